"""Exporting: a network in another runtime's files, checked against PyTorch, timed, and told where it came from."""

import importlib.metadata
import math
import re
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sr_lab.artefacts.artefact import Artefact
from sr_lab.artefacts.export import graphs
from sr_lab.artefacts.export.bundle import INSTALL, write_page, write_runtime
from sr_lab.artefacts.export.graphs import PRECISIONS, TARGETS
from sr_lab.artefacts.export.int8 import calibration_patches, convolutions, quantised
from sr_lab.artefacts.export.manifest import MANIFEST, write_manifest
from sr_lab.artefacts.lineage import parent_of
from sr_lab.base.errors import SRLabError
from sr_lab.base.files import replacing_folder, require_replaceable
from sr_lab.base.places import user_cache
from sr_lab.base.provenance import git_state, hardware
from sr_lab.base.version import __version__
from sr_lab.base.words import counted
from sr_lab.data.photos import extract_photos
from sr_lab.evaluation.benchmark import Benchmark
from sr_lab.evaluation.scoring import score
from sr_lab.images import list_images, read_image, to_tensor
from sr_lab.inference.clips import CausalRestorer, network_restorer
from sr_lab.inference.costs import OPERATIONS, PARAMETERS, counted_work
from sr_lab.inference.engines import ENGINES
from sr_lab.inference.latency import measure_latency
from sr_lab.inference.restorers import NetworkRestorer
from sr_lab.inference.runtimes import onnx_session, open_files, open_step
from sr_lab.metrics.protocol import YCrop
from sr_lab.metrics.psnr import PSNR
from sr_lab.networks.graph import NotPlain, Plain, plain_layers
from sr_lab.networks.graph.network import GraphStep
from sr_lab.networks.graph.step import PlainStep, plain_step
from sr_lab.networks.temporal.base import CausalNetwork
from sr_lab.workflows.load import fetch_artefact

__all__ = ["ExportRefused", "Exported", "export"]

Array = npt.NDArray[np.float32]
MEAN_LOSS, WORST_LOSS = 0.05, 0.15
"""Decibels that int8 may lose on average and on any one image, by default."""
TOLERANCE = {"fp32": 2e-4, "fp16": 1e-2}
"""Largest difference to PyTorch that a file may show, of values in [0, 1]; integers are judged by images."""
_STEP = {
    "inputs": {
        "low": "the frame, (B, C, h, w), values in [0, 1]",
        "low_before": "the frame before",
        "restored_before": "the restored frame before, (B, C, h * scale, w * scale)",
        "flow": "(B, 2, h, w), pixels to the right and down from low to low_before: DIS of OpenCV, medium, "
        "of frames that were enlarged by flow_enlarge",
        "same": "(B, 1, 1, 1): 0 at the first frame and at cuts, 1 elsewhere",
    },
    "state": "low and restored, for the next frame; a frame equal to the one before keeps its restored one",
}
"""What whoever runs the graph of a step has to hand it."""
PROBE, WINDOW = (61, 75), 128
"""The tile that is compared, and the side of the one that is timed."""


class ExportRefused(SRLabError, ValueError):
    """The export would not be the network: the message says by how much, and what helps.

    Args:
        message: The same.
        instead: Settings of ``srlab export`` with which the export was seen to pass.
    """

    def __init__(self, message: str, *, instead: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.instead = dict(instead or {})


@dataclass(frozen=True, kw_only=True)
class Exported:
    """An export that was written.

    Attributes:
        folder: Where it is.
        manifest: What was recorded: source, check, cost, judgement.
    """

    folder: Path
    manifest: Mapping[str, Any]

    @property
    def lines(self) -> list[str]:
        """What a person wants to know, line by line."""
        check, cost = self.manifest["check"], self.manifest["cost"]
        memory = "" if cost["memory_bytes"] is None else f", {cost['memory_bytes'] / 2**20:.0f} MiB"
        lines = [
            f"against PyTorch: at most {check['max']:.2g} apart, {check['mean']:.2g} on average; "
            f"{check['flipped']} of {check['values']} 8-bit values differ, by at most {check['levels']}",
            f"a window of {cost['window']}x{cost['window']}: p50 {1000 * cost['p50_s']:.0f} ms, "
            f"p95 {1000 * cost['p95_s']:.0f} ms, {1000 * cost['cpu_s']:.0f} ms of CPU{memory}",
            f"{cost['parameters']:,} parameters, {cost['flops_per_pixel']:,.0f} operations a low pixel, "
            f"{cost['file_bytes'] / 1024:.0f} KiB",
        ]
        if (judged := self.manifest.get("judged")) is not None:
            lines.append(
                f"int8 on {counted(judged['images'], 'image')}: {-judged['mean_loss_db']:+.3f} dB on average, "
                f"{-judged['worst_loss_db']:+.3f} dB on {judged['worst_image']}"
            )
        return lines


def export(
    name: str,
    output: Path,
    *,
    target: str = "onnx",
    precision: str = "fp32",
    size: tuple[int, int] | None = None,
    scale: int | None = None,
    calibration: Path | None = None,
    benchmark: Path | None = None,
    exclude: Sequence[str] = (),
    mean_loss: float = MEAN_LOSS,
    worst_loss: float = WORST_LOSS,
    web: Path | None = None,
    num_runs: int = 15,
    tracking_uri: str | None = None,
) -> Exported:
    """Writes a network as another runtime's files, whole or not at all.

    Args:
        name: The artefact, as ``workflows.load.fetch_artefact`` takes it.
        output: Folder of the export; a former one is replaced.
        target: ``onnx``, ``openvino``, ``ncnn``, or ``bundle`` for a folder that restores without PyTorch.
        precision: ``fp32``; ``fp16`` stores weights in 16 bits and computes in float32; ``int8`` computes
            convolutions in integers.
        size: The one height and width that an ONNX graph takes; None for any.
        scale: Enlargement factor of public weights, which some architectures do not tell.
        calibration: Folder of photos from which int8 takes its ranges; None for the photos of scikit-image.
        benchmark: Images on which int8 is judged, as ``srlab evaluate`` takes them; None for others of those photos.
        exclude: Names of convolutions that stay in float; the refusal of an int8 export names some.
        mean_loss: Decibels of PSNR on luma that int8 may lose on average.
        worst_loss: Decibels that it may lose on any one image.
        web: Where onnxruntime-web is installed; the bundle then carries a page that restores in a browser.
        num_runs: Calls that are timed.
        tracking_uri: The store that knows ``runs:/`` and ``models:/``.

    Raises:
        UnfitEngine: If the runtime's package is not installed.
        ExportRefused: If the files would not compute the network's images.
        ValueError: If the network is not plain, the settings do not fit together, or another folder is at ``output``.
    """
    _check(target, precision, size, exclude, web, num_runs)
    judging: dict[str, object] = {
        "calibration": calibration,
        "benchmark": benchmark,
        "mean_loss": float(mean_loss),
        "worst_loss": float(worst_loss),
    }
    judging["exclude"] = list(exclude) or None
    usual = {"mean_loss": MEAN_LOSS, "worst_loss": WORST_LOSS}
    _require_used(precision, {key: value for key, value in judging.items() if value != usual.get(key)})
    require_replaceable(output, mark=MANIFEST)
    ENGINES["onnx" if target == "bundle" else target].require()
    artefact = fetch_artefact(name, tracking_uri=tracking_uri, scale=scale)
    network = artefact.network
    try:
        plain = plain_step(network) if isinstance(network, CausalNetwork) else plain_layers(network)
    except NotPlain as error:
        raise ValueError(
            f"restorer={name} cannot be exported: {error}. Plain convolution networks (Compact, ECBSR, EDSR, FSRCNN, "
            "RDN, RRDBNet at x4) can, and RecurrentEDSR and TrustingEDSR"
        ) from error
    if isinstance(plain, PlainStep):
        _check_step(name, target, precision, size)
    restorer = network_restorer(network)
    model = b"" if target == "ncnn" else graphs.onnx_bytes(plain, half=precision == "fp16", size=size)
    if precision == "int8":
        photos = _photos(calibration)
        patches = calibration_patches(photos, scale=plain.scale, num_channels=plain.num_channels)
        if size is not None:
            patches = [_continued(patch, size) for patch in patches]
        whole, model = model, quantised(model, patches, exclude=exclude)
    with replacing_folder(output) as folder:
        if target == "ncnn" and isinstance(plain, Plain):
            graphs.write_ncnn(folder, plain, half=precision == "fp16")
        else:
            _write(folder, model, target, half=precision == "fp16")
        run = _opened(folder, target, restorer, plain)
        facts = _facts(name, artefact, plain, restorer, target, precision, size, tracking_uri)
        facts["check"] = _compared(run, restorer, size)
        _require_equal(facts["check"], precision)
        if precision == "int8":
            limits = (mean_loss, worst_loss)
            judged = _judged(restorer, run, benchmark, size)
            facts["judged"] = judged | {"excluded": list(exclude), "limits_db": list(limits)}
            if not _within(judged, limits):

                def judge(names: Sequence[str]) -> dict[str, Any]:
                    with tempfile.TemporaryDirectory(prefix="srlab-") as scratch:
                        _write(Path(scratch), quantised(whole, patches, exclude=names), target, half=False)
                        trial = open_files(Path(scratch), target, threads=torch.get_num_threads())
                        return _judged(restorer, trial, benchmark, size)

                raise _refusal(judged, limits, least_in_float(judge, _damage(whole, patches, exclude), exclude, limits))
        facts["cost"] = _cost(run, restorer, plain, folder, size, num_runs)
        if target == "bundle":
            write_runtime(folder)
            if web is not None:
                write_page(folder, web)
        manifest = write_manifest(folder, facts)
    return Exported(folder=output, manifest=manifest)


def _check(
    target: str, precision: str, size: tuple[int, int] | None, exclude: Sequence[str], web: Path | None, num_runs: int
) -> None:
    if target not in TARGETS:
        raise ValueError(f"target={target}: {', '.join(TARGETS)}")
    if precision not in PRECISIONS:
        raise ValueError(f"precision={precision}: {', '.join(PRECISIONS)}")
    if target == "ncnn" and precision == "int8":
        raise ValueError("target=ncnn holds fp32 and fp16 here: give precision=fp16, or target=onnx for int8")
    if target == "ncnn" and size is not None:
        raise ValueError("size: ncnn's files take any size, leave it out")
    if size is not None and (min(size) < 16 or (target == "bundle" and size[0] != size[1])):
        raise ValueError(f"size={list(size)}: at least 16 pixels each way, and a square for the windows of a bundle")
    if web is not None and target != "bundle":
        raise ValueError(f"web={web}: the page is a part of target=bundle ({INSTALL})")
    if num_runs < 1:
        raise ValueError(f"num_runs={num_runs}: at least one call is timed")


def _check_step(name: str, target: str, precision: str, size: tuple[int, int] | None) -> None:
    """Refuses what there is not for a step."""
    for key, value, known in (("target", target, ("onnx", "openvino")), ("precision", precision, ("fp32", "fp16"))):
        if value not in known:
            raise ValueError(f"restorer={name} goes from frame to frame, and {key}={value}: give {' or '.join(known)}")
    if size is not None:
        raise ValueError(f"size={list(size)}: the graph of a step takes any size, leave it out")


def _opened(folder: Path, target: str, restorer: NetworkRestorer, plain: Plain | PlainStep) -> Callable[[Array], Array]:
    """What the files make of a window; of a network for clips, of the second frame of two."""
    threads = torch.get_num_threads()
    if not isinstance(plain, PlainStep):
        return open_files(folder, target, threads=threads)
    step = GraphStep(scale=plain.scale, num_channels=plain.num_channels, num_bytes=0, flow_enlarge=plain.flow_enlarge)
    step.compute = open_step(folder, target, threads=threads)
    return lambda tile: _second(step, tile)


@torch.inference_mode()
def _second(network: Callable[[torch.Tensor], torch.Tensor], tile: Array) -> Array:
    """The second frame of two, of which the first one shows the same three pixels further right."""
    now = torch.from_numpy(tile)
    found: Array = network(torch.stack([now.roll(3, dims=-1), now], dim=1))[:, 1].numpy()
    return found


def _require_used(precision: str, given: Mapping[str, object]) -> None:
    """Refuses settings of int8 for another precision: they would change nothing."""
    if given and precision != "int8":
        key, value = next(iter(given.items()))
        raise ValueError(f"{key}={value} is for precision=int8, and precision={precision}: leave it out")


def _facts(
    name: str,
    artefact: Artefact,
    plain: Plain | PlainStep,
    restorer: NetworkRestorer,
    target: str,
    precision: str,
    size: tuple[int, int] | None,
    tracking_uri: str | None,
) -> dict[str, Any]:
    """What the files are and where they came from."""
    metadata = artefact.metadata
    known = ("commit", "data_version", "protocol", "metrics", "perceptual_backbones", "unknown_history")
    source = {
        **parent_of(name, artefact),
        "network": type(artefact.network).__name__,
        "registry": _version(name, tracking_uri),
        "config": artefact.config.get("model", {}).get("network"),
        **{key: metadata[key] for key in known if key in metadata},
    }
    halo = max(restorer.halo.pixels, 4 if plain.num_channels == 1 else 0)
    return {
        "target": target,
        "precision": precision,
        "scale": plain.scale,
        "channels": plain.num_channels,
        "size": None if size is None else list(size),
        **({"step": _STEP | {"flow_enlarge": plain.flow_enlarge}} if isinstance(plain, PlainStep) else {}),
        "halo": halo,
        "halo_exact": restorer.halo.exact,
        "tile": 128 if 2 * halo < 96 else 256,
        "source": source,
        "images": metadata.get("images"),
        "card": _card(source, plain, precision),
        "made_by": {
            "sr_lab": __version__,
            "commit": git_state().commit,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "versions": {
                package: importlib.metadata.version(package)
                for package in ENGINES["onnx" if target == "bundle" else target].packages
            },
            "cpu": hardware().get("cpu"),
        },
    }


def _card(source: Mapping[str, Any], plain: Plain | PlainStep, precision: str) -> str:
    """A few sentences for whoever finds the files."""
    version = source["registry"]
    where = f"version {version['version']} of {version['name']}" if version else str(source["name"])
    what = "video" if isinstance(plain, PlainStep) else "pictures"
    return (
        f"Enlarges {what} by {plain.scale}: {source['network']} of {where}, weights {str(source['weights'])[:12]}, "
        f"in {precision}. It draws detail that is likely, not detail that was there: not for evidence, measurement or "
        "diagnosis."
    )


def _version(name: str, tracking_uri: str | None) -> dict[str, Any] | None:
    """Registered model and version that a name stands for now."""
    found = re.fullmatch(r"models:/([^/@]+)(?:@([\w-]+)|/(\d+))", name)
    if found is None:
        return None
    if found[3]:
        return {"name": found[1], "version": int(found[3])}
    from sr_lab.tracking.registry.aliases import aliases
    from sr_lab.tracking.store import resolve_uri

    return {"name": found[1], "version": aliases(resolve_uri(tracking_uri), found[1])[found[2]], "alias": found[2]}


def _photos(folder: Path | None) -> list[torch.Tensor]:
    if folder is None:
        root = user_cache() / "photos"
        extract_photos(root)
        folder = root / "train"
    files = list_images(folder)[:24]
    if not files:
        raise ValueError(f"calibration={folder} holds no image")
    return [to_tensor(image) for image in map(read_image, files) if image.shape[2] in (1, 3)]


def _continued(patch: Array, size: tuple[int, int]) -> Array:
    """A patch cut or repeated to a fixed size."""
    rows, columns = (np.arange(length) % side for length, side in zip(size, patch.shape[-2:], strict=True))
    return np.ascontiguousarray(patch[:, :, rows[:, None], columns])


def _probe(num_channels: int, size: tuple[int, int] | None) -> Array:
    """Noise, a smooth ground, and black and white."""
    height, width = size or PROBE
    generator = np.random.default_rng(0)
    probe = 0.5 + 0.5 * np.sin(np.arange(height)[:, None] / 5) * np.cos(np.arange(width) / 7)
    probe = np.broadcast_to(probe, (1, num_channels, height, width)).copy()
    probe[..., : height // 3] = generator.random(probe[..., : height // 3].shape)
    probe[..., : height // 4, width // 2 :] = generator.integers(0, 2, probe[..., : height // 4, width // 2 :].shape)
    return probe.astype(np.float32)


@torch.inference_mode()
def _compared(run: Callable[[Array], Array], restorer: NetworkRestorer, size: tuple[int, int] | None) -> dict[str, Any]:
    """Files against PyTorch on one tile: differences, and 8-bit values that are not the same."""
    probe = _probe(restorer.num_channels, size)
    if isinstance(restorer, CausalRestorer):
        expected = _second(restorer.network, probe)
    else:
        expected = restorer.network(torch.from_numpy(probe)).numpy()
    found = run(probe)
    apart = np.abs(expected - found)
    levels = [np.floor(np.clip(image * 255, 0, 255) + 0.5).astype(int) for image in (expected, found)]
    flips = np.abs(levels[0] - levels[1])
    return {
        "max": float(apart.max()),
        "mean": float(apart.mean()),
        "flipped": int((flips > 0).sum()),
        "levels": int(flips.max()),
        "values": int(flips.size),
        "most": float(np.abs(expected).max()),
    }


def _require_equal(check: Mapping[str, Any], precision: str) -> None:
    allowed = TOLERANCE.get(precision)
    if allowed is not None and not check["max"] <= allowed * max(1.0, check["most"]):
        raise ExportRefused(
            f"the files compute another image than PyTorch: up to {check['max']:.2g} apart, {allowed:g} is allowed "
            f"for {precision}" + ("; give precision=fp32" if precision == "fp16" else "")
        )


def _judged(
    restorer: NetworkRestorer, run: Callable[[Array], Array], benchmark: Path | None, size: tuple[int, int] | None
) -> dict[str, Any]:
    """What the integers lose, image by image."""
    if benchmark is None:
        extract_photos(user_cache() / "photos")
        benchmark = user_cache() / "photos" / "test"
    other = NetworkRestorer(restorer.network, tile=restorer.tile if size is None else min(size))
    other.apply = lambda low: torch.from_numpy(run(low.contiguous().numpy()))
    if size is not None:
        raise ValueError("precision=int8 is judged on whole images: leave size out")
    scale = restorer.scale
    protocol = YCrop()
    with torch.inference_mode():
        scores = score(
            {"int8": other, "float": restorer},
            {"": Benchmark(benchmark, scale=scale, protocol=protocol)},
            metrics={"psnr": PSNR(protocol=protocol, scale=scale)},
        )
    (key,) = scores.metrics
    if scores.failed or not scores.scored:
        raise ValueError(f"benchmark={benchmark}: {scores.failed[0].name}: {scores.failed[0].reason}")
    losses = {image.name: image.value("float", key) - image.value("int8", key) for image in scores.scored}
    losses = {image: 0.0 if math.isnan(loss) else loss for image, loss in losses.items()}
    worst = max(losses, key=lambda image: losses[image])
    return {
        "benchmark": str(benchmark),
        "images": len(losses),
        "mean_loss_db": float(np.mean(list(losses.values()))),
        "worst_loss_db": losses[worst],
        "worst_image": worst,
        "loss_db": losses,
    }


def _write(folder: Path, model: bytes, target: str, *, half: bool) -> None:
    """An ONNX graph as the files of ``onnx``, ``bundle`` or ``openvino``."""
    if target == "openvino":
        graphs.write_openvino(folder, model, half=half)
    else:
        graphs.write_onnx(folder, model)


def _within(judged: Mapping[str, Any], limits: tuple[float, float]) -> bool:
    return bool(judged["mean_loss_db"] <= limits[0] and judged["worst_loss_db"] <= limits[1])


def _damage(model: bytes, patches: Sequence[Array], exclude: Sequence[str]) -> list[str]:
    """The convolutions by what each alone costs in integers (mean squared error on some patches), the worst first."""
    few = list(patches)[:: max(1, len(patches) // 6)]
    threads = torch.get_num_threads()
    names = convolutions(model)
    whole = onnx_session(model, threads=threads)
    expected = [whole.run(None, {"low": patch})[0] for patch in few]
    found = {}
    for name in (name for name in names if name not in exclude):
        others = [other for other in names if other != name]
        alone = onnx_session(quantised(model, few, exclude=others), threads=threads)
        errors = [
            float(np.square(alone.run(None, {"low": p})[0] - e).mean()) for p, e in zip(few, expected, strict=True)
        ]
        found[name] = float(np.mean(errors))
    return sorted(found, key=lambda name: -found[name])


def least_in_float(
    judge: Callable[[Sequence[str]], dict[str, Any]],
    damage: Sequence[str],
    exclude: Sequence[str],
    limits: tuple[float, float],
) -> tuple[list[str], dict[str, Any]] | None:
    """Convolutions without which the integers pass, none of which can be spared, and how they are judged then.

    The fewest of the worst are found by bisection, then each that is not needed after all is taken out, from the least
    harmful on; each trial is quantised and judged on the images. None where not even one may be in integers.
    """
    found = None
    fewest, most = 1, len(damage) - 1
    count = most
    while fewest <= most:
        names = [*exclude, *damage[:count]]
        judged = judge(names)
        if _within(judged, limits):
            found, most = (names, judged), count - 1
        elif found is None:
            return None
        else:
            fewest = count + 1
        count = (fewest + most) // 2
    if found is not None:
        for name in [name for name in reversed(found[0]) if name not in exclude]:
            names = [kept for kept in found[0] if kept != name]
            if len(names) > len(exclude) and _within(judged := judge(names), limits):
                found = names, judged
    return found


def _refusal(
    judged: Mapping[str, Any], limits: tuple[float, float], found: tuple[list[str], dict[str, Any]] | None
) -> ExportRefused:
    loses = (
        f"int8 loses {judged['mean_loss_db']:.3f} dB on average and {judged['worst_loss_db']:.3f} dB on "
        f"{judged['worst_image']}; at most {limits[0]:g} and {limits[1]:g} are allowed. "
    )
    if found is None:
        return ExportRefused(f"{loses}It does with any of its convolutions in integers: give precision=fp16")
    names, better = found
    return ExportRefused(
        f"{loses}With exclude=[{','.join(names)}], which leaves these in float, it loses {better['mean_loss_db']:.3f} "
        f"and {better['worst_loss_db']:.3f} dB on the same images, by which they were found; or give precision=fp16",
        instead={"exclude": names},
    )


def _cost(
    run: Callable[[Array], Array],
    restorer: NetworkRestorer,
    plain: Plain | PlainStep,
    folder: Path,
    size: tuple[int, int] | None,
    num_runs: int,
) -> dict[str, Any]:
    """What one window costs on this machine, and the work that it is."""
    height, width = size or (WINDOW, WINDOW)
    tile = np.random.default_rng(0).random((1, plain.num_channels, height, width), dtype=np.float32)
    latency = measure_latency(lambda: run(tile), num_runs=num_runs)
    with torch.inference_mode():
        work = counted_work(restorer, torch.zeros(1, plain.num_channels, 16, 16))
    return {
        "window": height,
        "p50_s": latency.p50,
        "p95_s": latency.p95,
        "cpu_s": latency.cpu,
        "memory_bytes": latency.memory,
        "runs": latency.runs,
        "threads": torch.get_num_threads(),
        "file_bytes": sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()),
        "parameters": int(work[PARAMETERS][0]),
        "flops_per_pixel": work[OPERATIONS][0] / 256,
        "radius": plain.radius,
    }
