"""Golden sets: pairs of images whose restoration a service measures again and again, each file known by its hash."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sr_lab.base.files import read_json, replacing_folder, sha256, write_json
from sr_lab.base.words import counted, line, setting
from sr_lab.images import crop_to_multiple, resize_bicubic, to_levels, to_tensor
from sr_lab.images.files import read_image, write_image
from sr_lab.images.folders import list_images
from sr_lab.metrics.changes import change_error
from sr_lab.metrics.protocol import Protocol
from sr_lab.metrics.psnr import PSNR, psnr
from sr_lab.metrics.ssim import ssim
from sr_lab.tracking.registry.aliases import aliases, label
from sr_lab.workflows.load import load_restorer

PLAN, EXPECTED = "golden.json", "expected.json"
FALLS = {"psnr": -0.05, "ssim": -0.001, "lpips": 0.005}
"""How far a number may be from what its version reached first: those of the alerts (``conf/deploy/slo.yaml``)."""
FLOORS = {"psnr": -0.05, "flicker": 0.5}
"""How far a number may be from what bicubic interpolation reaches; the same."""


@dataclass(frozen=True, kw_only=True)
class GoldenPair:
    """A pair.

    Attributes:
        name: Of the image.
        clip: Of the clip that it is a frame of; empty for a still image.
        low: File of the low image.
        high: File of what it should become.
        hashes: SHA-256 of both.
    """

    name: str
    clip: str
    low: Path
    high: Path
    hashes: tuple[str, str]

    @property
    def intact(self) -> bool:
        """Whether both files are what they were."""
        try:
            return (sha256(self.low), sha256(self.high)) == self.hashes
        except OSError:
            return False


@dataclass(frozen=True, kw_only=True)
class GoldenSet:
    """A golden set.

    Attributes:
        folder: Where it is.
        scale: Enlargement factor.
        pairs: Its pairs; frames of a clip one after the other.
    """

    folder: Path
    scale: int
    pairs: Sequence[GoldenPair]

    @property
    def text(self) -> str:
        """How much it holds, and where."""
        clips = len({pair.clip for pair in self.pairs} - {""})
        pairs = f"{counted(len(self.pairs), 'pair')} of scale {self.scale}, {counted(clips, 'clip')} among them"
        return f"{pairs}, in {self.folder}"


def make_golden(photos: Path, folder: Path, *, scale: int = 2, num: int = 8, side: int = 256) -> GoldenSet:
    """Makes a golden set of photos: the middle of each, made small by MATLAB's bicubic.

    Args:
        photos: Folder of photos; those of one folder below it are the frames of a clip.
        folder: Written; ``HR/``, ``LR/`` and ``golden.json``.
        scale: Enlargement factor.
        num: Most photos and clips; the first by name.
        side: Most rows and columns of an original.

    Raises:
        ValueError: If there is no photo of at least 16 pixels a side.
    """
    if side < 16 * scale:
        raise ValueError(f"side={side}: give at least {16 * scale}, so that a low image has 16 pixels")
    groups: dict[str, list[Path]] = {}
    for file in list_images(photos):
        below = file.relative_to(photos).parent.as_posix()
        groups.setdefault(file.relative_to(photos).as_posix() if below == "." else below, []).append(file)
    rows: list[dict[str, Any]] = []
    with replacing_folder(folder) as place:
        for group, files in list(groups.items())[:num]:
            for file in files:
                row = _write(file, place, len(rows), scale=scale, side=side)
                if row is not None:
                    clip = group if len(files) > 1 else ""
                    rows.append({"name": file.relative_to(photos).as_posix(), "clip": clip, **row})
        if not rows:
            raise ValueError(f"photos={photos}: there is no photo of at least {16 * scale} pixels a side")
        write_json(place / PLAN, {"scale": scale, "degradation": "bicubic (MATLAB)", "pairs": rows})
    return read_golden(folder)


def read_golden(folder: Path) -> GoldenSet:
    """A golden set as ``srlab golden`` wrote it; its files are not looked at.

    Raises:
        ValueError: If it is none.
        OSError: If it is not there.
    """
    plan = folder / PLAN
    if not plan.is_file():
        raise FileNotFoundError(f"{plan}: there is no golden set: srlab golden makes one")
    try:
        content = read_json(plan)
        pairs = [
            GoldenPair(
                name=str(row["name"]), clip=str(row["clip"]), low=folder / row["low"], high=folder / row["high"],
                hashes=(str(row["sha256"][0]), str(row["sha256"][1])),
            )
            for row in content["pairs"]
        ]  # fmt: skip
        return GoldenSet(folder=folder, scale=int(content["scale"]), pairs=pairs)
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{plan} is not what srlab golden writes: {error}") from error


def lpips_network() -> Any:
    """The network with which LPIPS of a golden set is measured; its weights are looked for as ``load_lpips`` does."""
    from sr_lab.metrics.lpips import load_lpips

    return load_lpips("alex")


def measured(
    images: Iterable[tuple[GoldenPair, Tensor, Tensor]], *, protocol: Protocol, scale: int, lpips: Any = None
) -> dict[str, float]:
    """Means of a golden set: ``psnr``, ``ssim``, ``lpips`` with its network, ``flicker`` where there are clips.

    Args:
        images: Each pair, its restored image and its original, (1, C, H, W) in [0, 1].
        protocol: Of PSNR and SSIM.
        scale: Enlargement factor.
        lpips: Network of LPIPS (``load_lpips``); None does not measure it.
    """
    found: dict[str, list[float]] = {}
    clips: dict[str, list[tuple[Tensor, Tensor]]] = {}
    with torch.inference_mode():
        for pair, restored, high in images:
            shown, wanted = protocol.compare(restored, high, scale=scale)
            found.setdefault("psnr", []).append(min(PSNR.ceiling, float(psnr(shown, wanted))))
            found.setdefault("ssim", []).append(float(ssim(shown, wanted)))
            if lpips is not None:
                from sr_lab.metrics.lpips import lpips as distance

                found.setdefault("lpips", []).append(float(distance(restored, high, network=lpips)))
            if pair.clip:
                clips.setdefault(pair.clip, []).append((shown, wanted))
        for frames in clips.values():
            if len(frames) > 1 and len({shown.shape for shown, _ in frames}) == 1:
                pair_of = [torch.cat([frame[side] for frame in frames]) for side in (0, 1)]
                found.setdefault("flicker", []).append(float(change_error(pair_of[0], pair_of[1])))
    return {name: sum(each) / len(each) for name, each in found.items()}


def floor_of(golden: GoldenSet, pairs: Sequence[GoldenPair], **how: Any) -> dict[str, float]:
    """What bicubic interpolation reaches on pairs of a set; ``how`` as for ``measured``."""
    images = (
        (pair, resize_bicubic(to_tensor(read_image(pair.low)), scale=golden.scale).clamp(0, 1), _high(pair))
        for pair in pairs
    )
    return measured(images, scale=golden.scale, **how)


def expected(state: Path, label: str, values: Mapping[str, float], *, protocol: Protocol, num: int) -> dict[str, float]:
    """What a version is expected to reach: what it reached when it first came, which is kept in a file.

    Args:
        state: JSON file, of all versions.
        label: ``NAME/VERSION``.
        values: What it reaches now.
        protocol: Of PSNR and SSIM.
        num: Number of pairs of the set.
    """
    known: dict[str, dict[str, float]] = read_json(state) if state.is_file() else {}
    key = f"{label} {protocol.name} x{num}"
    if set(values) - set(known.get(key, {})):
        known[key] = {**values, **known.get(key, {})}
        write_json(state, known)
    return known[key]


@dataclass(frozen=True, kw_only=True)
class GoldenCheck:
    """One look at what a version makes of a golden set.

    Attributes:
        label: ``NAME/VERSION``.
        values: What it reaches now; see ``measured``.
        expected: What it reached when it first came.
        floor: What bicubic interpolation reaches.
        failures: Pairs that were changed, and are not measured.
        fallen: What is wrong, in sentences.
    """

    label: str
    values: Mapping[str, float]
    expected: Mapping[str, float]
    floor: Mapping[str, float]
    failures: Sequence[str]
    fallen: Sequence[str]

    @property
    def lines(self) -> list[str]:
        """The numbers beside what they are compared with, and what fell."""
        numbers = [
            f"{name}: {number:.4f}, first {self.expected[name]:.4f}, bicubic {self.floor[name]:.4f}"
            for name, number in self.values.items()
        ]
        return [*numbers, f"{self.label}: {'fell' if self.fallen else 'nothing fell'}", *self.fallen]


def check_golden(
    folder: Path,
    restorer: Callable[[Tensor], Tensor],
    *,
    label: str,
    scale: int,
    protocol: Protocol,
    state: Path | None = None,
    lpips: Any = None,
) -> GoldenCheck:
    """Restores a golden set once, without a service, and compares as the service's alerts do.

    Args:
        folder: The set.
        restorer: Maps low images, (1, C, h, w) in [0, 1]; its image is rounded to 8 bits as the service's is.
        label: ``NAME/VERSION`` of what restores.
        scale: By how much it enlarges.
        protocol: Of PSNR and SSIM.
        state: File of what each version reached first, the service's too; None: ``expected.json`` in the folder.
        lpips: Network of LPIPS; None does not measure it.

    Raises:
        ValueError: If the set is of another scale, or no pair of it is as it was.
    """
    golden = read_golden(folder)
    if scale != golden.scale:
        raise ValueError(f"{folder} is of scale {golden.scale}, {label} of {scale}: make a set for it")
    intact = [pair for pair in golden.pairs if pair.intact]
    failures = [pair.name for pair in golden.pairs if pair not in intact]
    if not intact:
        raise ValueError(f"{folder}: every pair was changed since srlab golden wrote it: nothing can be measured")
    how: dict[str, Any] = {"protocol": protocol, "lpips": lpips}
    with torch.inference_mode():
        restored = [restorer(to_tensor(read_image(pair.low))).clamp(0, 1) for pair in intact]
    images = [
        (pair, to_tensor(to_levels(image, np.uint8)), _high(pair)) for pair, image in zip(intact, restored, strict=True)
    ]
    values, floor = measured(images, scale=scale, **how), floor_of(golden, intact, **how)
    first = dict(values)
    if not failures:
        first = expected(state or folder / EXPECTED, label, values, protocol=protocol, num=len(golden.pairs))
    fallen = [f"{name} was changed, and is not measured" for name in failures]
    for text, bounds, beside in (("when it first came", FALLS, first), ("by bicubic interpolation", FLOORS, floor)):
        fallen += [
            f"{name} is {values[name]:.4f}, {beside[name]:.4f} {text}"
            for name, bound in bounds.items()
            if name in values and (values[name] - beside[name]) * np.sign(bound) > abs(bound)
        ]
    return GoldenCheck(
        label=label, values=values, expected=first, floor=floor, failures=failures, fallen=fallen
    )  # fmt: skip


def check_registered(
    folder: Path,
    *,
    name: str,
    protocol: Protocol,
    alias: str = "champion",
    tracking_uri: str,
    device: str = "auto",
    lpips: bool = False,
    state: Path | None = None,
) -> GoldenCheck:
    """What the version with an alias makes of a golden set; see ``check_golden``.

    Args:
        folder: The set.
        name: Registered model.
        protocol: See ``check_golden``.
        alias: Names its version, as ``champion``.
        tracking_uri: The MLflow store or server that has the registry.
        device: ``auto``, ``cpu`` or ``cuda``.
        lpips: Whether LPIPS (alex) is measured too.
        state: See ``check_golden``.

    Raises:
        ValueError: If there is no such version, or ``check_golden`` refuses.
        RuntimeError: If the store does not answer.
    """
    version = aliases(tracking_uri, name).get(alias)
    if version is None:
        raise ValueError(f"{name} has no {alias}: {line('promote', setting('name', name))} first, or give alias=")
    network = lpips_network() if lpips else None
    restorer = load_restorer(f"models:/{name}/{version}", device=device, tracking_uri=tracking_uri)
    return check_golden(
        folder, restorer, label=label(name, version), scale=restorer.scale, protocol=protocol, state=state,
        lpips=network,
    )  # fmt: skip


def _high(pair: GoldenPair) -> Tensor:
    return to_tensor(read_image(pair.high))


def _write(file: Path, place: Path, number: int, *, scale: int, side: int) -> dict[str, Any] | None:
    pixels = read_image(file)
    if min(pixels.shape[:2]) < 16 * scale or pixels.shape[2] not in (1, 3):
        return None
    top, left = (max(0, (length - side) // 2) for length in pixels.shape[:2])
    middle = np.ascontiguousarray(pixels[top : top + side, left : left + side])
    high = crop_to_multiple(to_tensor(middle), scale)
    low = resize_bicubic(high, scale=1 / scale).clamp(0, 1)
    names = {kind: f"{kind}/{number:03d}.png" for kind in ("LR", "HR")}
    write_image(place / names["LR"], to_levels(low, pixels.dtype))
    write_image(place / names["HR"], to_levels(high, pixels.dtype))
    hashes = [sha256(place / names[kind]) for kind in ("LR", "HR")]
    return {"low": names["LR"], "high": names["HR"], "sha256": hashes}
