"""Enlarging every image of a folder or object store."""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from sr_lab.base.compute import Here, Mapper, spread
from sr_lab.data.stores import Store, distinct_stems, open_stores
from sr_lab.inference.batch import RestoreImages
from sr_lab.inference.restorers import Restorer

RECORD = "restore.json"
FORMATS = ("png", "tif", "webp", "jpg", "bmp")

Load = Callable[[torch.device], tuple[Restorer, Mapping[str, Any] | None]]
"""Loads a restorer and its metadata onto a device; it is called in each process that restores."""


@dataclass(frozen=True)
class RestoredFolder:
    """What ``restore`` did.

    Attributes:
        output: Where the restored images are.
        num_images: How many images there are.
        failures: A message for each image that could not be read or restored.
    """

    output: str
    num_images: int
    failures: tuple[str, ...]


def restore(
    *,
    input: str | Path,
    output: str | Path,
    load: Load,
    made_by: Mapping[str, Any],
    device: Callable[[], torch.device],
    format: str = "png",
    launcher: Mapper | None = None,
) -> RestoredFolder:
    """Restores each image once, whole, under its own name, as deep (8 or 16 bit) as it was.

    What was made of the same file (by its SHA-256) is left alone, so that the same call goes on where an earlier one
    was stopped; where the file has changed, its image is made again.

    Args:
        input: Folder or object store of the low images, searched with everything below it.
        output: Folder or object store of the restored ones.
        load: Loads the restorer, once in each process that restores.
        made_by: The restorer's name and every setting that changes its images; kept in ``restore.json``.
        device: Tells where to compute, in the process that asks.
        format: Format of the restored images: png, tif, webp, jpg or bmp.
        launcher: Where the work is done; None: in this process.

    Raises:
        ValueError: If the format is none of these, ``output`` lies in ``input`` or holds images that were made
            otherwise, or there is no image.
        Stopped: If the process is asked to end; it says how many images are done.
    """
    if format not in FORMATS:
        raise ValueError(f"format={format}: one of {', '.join(FORMATS)}")
    source, target = open_stores(input, output)
    names = source.images()
    distinct_stems(names)
    _, metadata = load(torch.device("cpu"))
    _claim(target, names, made_by, metadata or {}, format)
    make = functools.partial(_work, str(input), str(output), load, device, f".{format}")
    failures = spread(launcher or Here(), names, make, title="restore")
    return RestoredFolder(str(output), len(names), failures)


def _work(source: str, target: str, load: Load, device: Callable[[], torch.device], suffix: str) -> RestoreImages:
    """The restorer at work, made in the process that uses it."""
    chosen = device()
    restorer, _ = load(chosen)
    return RestoreImages(source=source, target=target, restorer=restorer, device=chosen, suffix=suffix)


def _claim(
    output: Store, names: Sequence[str], made_by: Mapping[str, Any], metadata: Mapping[str, Any], suffix: str
) -> None:
    """Records what makes the images of ``output``; refuses to mix them with those of another restorer."""
    kept = {key: value for key, value in made_by.items() if key != "name"}
    weights = metadata.get("sha256", {}).get("weights.safetensors") or made_by["name"]
    record = {"restorer": weights, "format": suffix, **kept}
    found = output.read_bytes(RECORD)
    if found is None:
        there = set(output.names())
        stems = (PurePosixPath(name).with_suffix("").as_posix() for name in names)
        for name in (stem + end for stem in stems for end in (f".{suffix}", ".tif")):
            if name in there:
                raise ValueError(f"{output.uri}/{name} is there already and not of srlab restore: give another output")
        output.write_bytes(RECORD, json.dumps({**record, "name": made_by["name"]}, indent=1).encode())
        return
    before = json.loads(found)
    if changed := [f"{key} was {before.get(key)}, is {value}" for key, value in record.items() if before[key] != value]:
        raise ValueError(
            f"{output.uri} holds images that were made otherwise: {'; '.join(changed)}. Give another output"
        )
