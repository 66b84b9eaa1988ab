"""Restoring by an engine's files that an earlier start wrote: nothing is measured again, and no PyTorch is loaded.

The first restoration by a network measures which engine computes it fastest, and how far it sees; both are kept in the
user's cache with the files of that engine, under the hashes of weights and configuration, the versions of the engines,
the processor and the number of cores.
"""

import contextlib
import hashlib
import importlib.metadata
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sr_lab.artefacts.export.manifest import is_export, read_manifest
from sr_lab.artefacts.folder import METADATA, Folder, read_folder
from sr_lab.artefacts.shipped import find_shipped
from sr_lab.base.compute import num_cores
from sr_lab.base.files import read_json, replacing_folder, sha256, write_json
from sr_lab.base.places import user_cache
from sr_lab.base.provenance import cpu_name
from sr_lab.base.version import __version__
from sr_lab.inference.engine_restorer import EngineRestorer
from sr_lab.inference.runtimes import Array, open_files
from sr_lab.inference.tiles import Halo

FACTS = "facts.json"
VERSION = 1
"""Of what is kept: another number makes what was written before count no more."""
PACKAGES = ("onnxruntime", "onnx", "openvino", "ncnn", "torch", "numpy")
SIDES = (512, 256, 128)
"""Sides of tiles that are tried; a smaller one is taken where it is a tenth faster, its halo counted."""
_PROBE, _LONG = 96, 1.0
_OURS = "sr_lab.networks."


def find_folder(name: str, *, scale: int | None = None) -> Folder | None:
    """The artefact's folder that a restorer's name means, read without PyTorch; None where it is something else.

    Raises:
        ValueError: If it is one, and its files are not those that were saved.
    """
    if "://" in name or name.startswith(("runs:/", "models:/")):
        return None
    path = find_shipped(name, scale=scale) or Path(name)
    if not path.is_dir() or is_export(path):
        return None
    if not (path / METADATA).exists() and len(list(path.rglob(METADATA))) != 1:
        return None
    return read_folder(path)


def told_scale(name: str, *, scale: int | None = None) -> int | None:
    """The factor of a restorer whose files tell it without being loaded; None where they do not."""
    if "://" not in name and is_export(Path(name)):
        return int(read_manifest(Path(name))["scale"])
    found = find_folder(name, scale=scale)
    told = None if found is None else found.node.get("scale")
    return told if isinstance(told, int) else None


def kept_restorer(
    name: str, *, scale: int | None, engine: str, tile: int | None, overlap: int | None
) -> EngineRestorer | None:
    """A restorer by an engine's files, which are written now where they are not kept; None where there is none.

    There is none of a network that PyTorch itself computes fastest, or alone can; and of what is no artefact's folder.

    Args:
        name: Of the restorer, as ``workflows.load.load_restorer`` takes it.
        scale: Of a model that comes with the package for several.
        engine: ``auto``, ``onnx``, ``openvino`` or ``ncnn``.
        tile: Side of a tile; None for what suits the engine.
        overlap: Low-resolution pixels that tiles share; None for what was measured.

    Raises:
        UnfitEngine: If the engine is not installed, or does not compute this network's image.
    """
    found = find_folder(name, scale=scale)
    if found is None or not str(found.node.get("_target_", "")).startswith(_OURS):
        return None
    threads = num_threads()
    folder = user_cache() / "engines" / _key(found, engine, threads)
    facts, run, told = _read(folder), None, ""
    if not facts:
        facts, run, told = _measured(folder, name, scale, engine, threads)
    if facts.get("engine") in (None, "torch"):
        return None
    return EngineRestorer(
        run or open_files(folder, facts["engine"], threads=threads),
        scale=facts["scale"],
        num_channels=facts["channels"],
        halo=Halo(**facts["halo"]),
        stride=facts["stride"],
        tile=tile or facts["tile"],
        overlap=overlap,
        pixel_bytes=facts["pixel_bytes"],
        metadata={key: value for key, value in found.metadata.items() if key != "images"},
        told=told,
    )


def num_threads() -> int:
    """Cores that an engine uses: as many as PyTorch would."""
    if (torch := sys.modules.get("torch")) is not None:
        return int(torch.get_num_threads())
    given = os.environ.get("OMP_NUM_THREADS", "")
    return int(given) if given.isdecimal() and int(given) > 0 else num_cores()


def _key(found: Folder, engine: str, threads: int) -> str:
    versions = {}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    code = Path(__file__).parents[2].joinpath(*str(found.node["_target_"]).split(".")[:-1]).with_suffix(".py")
    ours = sha256(code) if code.is_file() else ""
    record = [VERSION, __version__, ours, found.hashes, engine, versions, cpu_name(), threads]
    return hashlib.sha256(json.dumps(record, sort_keys=True).encode()).hexdigest()[:32]


def _read(folder: Path) -> Mapping[str, Any]:
    """What is kept; nothing where it is not whole."""
    try:
        facts: dict[str, Any] = read_json(folder / FACTS)
        whole = all(sha256(folder / name) == digest for name, digest in facts["files"].items())
    except (OSError, ValueError, KeyError, AttributeError):
        return {}
    return facts if whole else {}


def _measured(
    folder: Path, name: str, scale: int | None, engine: str, threads: int
) -> tuple[Mapping[str, Any], Callable[[Array], Array] | None, str]:
    """Measures, and keeps the files of the engine: what is known, the engine, and the choice in a sentence."""
    import numpy as np

    from sr_lab.inference.engines import choose_engine, make_engine
    from sr_lab.inference.halo import known_halo
    from sr_lab.inference.latency import peak_resident
    from sr_lab.networks.base import GenerativeNetwork
    from sr_lab.networks.temporal.base import ClipNetwork
    from sr_lab.workflows.load import fetch_artefact

    network = fetch_artefact(name, scale=scale).network
    if isinstance(network, GenerativeNetwork | ClipNetwork):  # theirs is no function of one window
        return {}, None, ""
    told = ""
    if engine == "auto":
        made, choice = choose_engine(network, threads=threads)
        told = choice.sentence if choice.measured else ""
    else:
        made = make_engine(network, engine, threads=threads)
    facts: dict[str, Any] = {"engine": made.name, "name": name}
    if made.name != "torch":
        low = np.zeros((1, network.num_channels, _PROBE, _PROBE), np.float32)
        halo = known_halo(network)
        facts |= {
            "scale": network.scale,
            "channels": network.num_channels,
            "stride": network.stride,
            "halo": {"pixels": halo.pixels, "error": halo.error, "exact": halo.exact},
            "pixel_bytes": max(256.0, (peak_resident(lambda: made(low)) or 0) / _PROBE**2),
            "tile": _best_side(made, network.num_channels, halo.pixels),
        }
    with contextlib.suppress(OSError):  # what cannot be kept is measured again
        _keep(folder, network, facts)
    return facts, made, told


def _best_side(run: Callable[[Array], Array], num_channels: int, halo: int) -> int:
    """The side of tiles at which a pixel of the image takes least; large ones of slow networks are not tried."""
    import numpy as np

    seconds: dict[int, float] = {}
    each = 0.0
    for side in reversed(SIDES):
        if each * side**2 < _LONG:
            tile = np.zeros((1, num_channels, side, side), np.float32)
            run(tile)  # what is compiled or laid out at the first call
            begin = time.perf_counter()
            run(tile)
            each = (time.perf_counter() - begin) / side**2
        seconds[side] = each * (side / max(1, side - 2 * halo)) ** 2
    return min(SIDES, key=lambda side: seconds[side] * (1.1 if side < SIDES[0] else 1.0))


def _keep(folder: Path, network: Any, facts: Mapping[str, Any]) -> None:
    from sr_lab.artefacts.export import graphs
    from sr_lab.networks.graph import plain_layers

    with replacing_folder(folder) as place:
        if facts["engine"] == "ncnn":
            graphs.write_ncnn(place, plain_layers(network), half=False)
        elif facts["engine"] != "torch":
            graphs.write_onnx(place, graphs.onnx_bytes(plain_layers(network)))
        files = {file.name: sha256(file) for file in sorted(place.iterdir())}
        write_json(place / FACTS, {**facts, "files": files})
