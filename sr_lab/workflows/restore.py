"""Enlarging every image of a folder or object store, or one image file."""

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from sr_lab.base.compute import Here, Mapper, spread
from sr_lab.data.stores import Store
from sr_lab.images.extras import Extras, dropped_sentences
from sr_lab.inference.batch import RECORD, Places, RestoreImages, find_places
from sr_lab.inference.restorers import Restorer

Load = Callable[[torch.device], Restorer]
"""Loads a restorer onto a device; it is called in each process that restores."""


@dataclass(frozen=True)
class RestoredFolder:
    """What ``restore`` did.

    Attributes:
        output: Where the restored images are.
        num_images: How many images there are.
        failures: A message for each image that could not be read or restored.
        cautions: A sentence for each kind of thing beside the pixels that the images have and the output has not.
    """

    output: str
    num_images: int
    failures: tuple[str, ...]
    cautions: tuple[str, ...] = ()


def restore(
    *,
    input: str | Path,
    output: str | Path,
    load: Load,
    made_by: Mapping[str, Any],
    device: Callable[[], torch.device],
    format: str | None = None,
    launcher: Mapper | None = None,
) -> RestoredFolder:
    """Restores each image once, whole, under its own name, as deep (8 or 16 bit) as it was.

    What was made of the same file (by its SHA-256) is left alone, so that the same call goes on where an earlier one
    was stopped; where the file has changed, its image is made again.

    Args:
        input: Folder or object store of the low images, searched with everything below it, or one image file.
        output: Folder or object store of the restored ones; for one image also the file to write.
        load: Loads the restorer, once in each process that restores.
        made_by: The restorer's name and every setting that changes its images; kept in ``restore.json``.
        device: Tells where to compute, in the process that asks.
        format: Format of the restored images: png, tif, webp, jpg or bmp; None takes the suffix of a file, else png.
        launcher: Where the work is done; None: in this process.

    Raises:
        ValueError: If the format is none of these or cannot hold an image, ``output`` is or lies in ``input`` or holds
            images that were made otherwise, or there is no image.
        Stopped: If the process is asked to end; it says how many images are done.
    """
    mapper = launcher or Here()
    mapper.check_map()
    places = find_places(input, output, format)
    extras = Store(places.source).extras(places.names)
    _check_format(places, extras)
    metadata = getattr(load(torch.device("cpu")), "metadata", None)
    _claim(places, made_by, metadata or {})
    make = functools.partial(_work, places, load, device)
    failures = spread(mapper, list(places.names), make, title="restore")
    return RestoredFolder(str(output), len(places.names), failures, dropped_sentences(extras))


def _work(places: Places, load: Load, device: Callable[[], torch.device]) -> RestoreImages:
    """The restorer at work, made in the process that uses it."""
    chosen = device()
    return RestoreImages(places=places, restorer=load(chosen), device=chosen)


def _check_format(places: Places, found: list[tuple[str, Extras]]) -> None:
    """Refuses a format that cannot hold what the headers tell of; what they do not tell fails image by image."""
    if places.format == "tif":
        return
    many = [name for name, extras in found if extras.bands not in (1, 3)]
    if many and places.file is not None:
        raise ValueError(f"{many[0]} has other than 1 or 3 bands, which {places.format} cannot hold: give a .tif file")
    deep = [name for name, extras in found if extras.bits > 8 and extras.bands in (1, 3)]
    if deep and places.format != "png":
        what = "give format=png or tif" if places.file is None else "give an output that ends in .png or .tif"
        count = f"{len(deep)} of {len(found)} images have 16 bits"
        raise ValueError(f"{deep[0]}: {places.format} cannot hold 16 bits; {what} ({count})")


def _claim(places: Places, made_by: Mapping[str, Any], metadata: Mapping[str, Any]) -> None:
    """Records what makes the images of the output; refuses to mix them with those of another restorer."""
    output, suffix = Store(places.target), places.format
    kept = {key: value for key, value in made_by.items() if key != "name"}
    weights = metadata.get("sha256", {}).get("weights.safetensors") or made_by["name"]
    record = {"restorer": weights, "format": suffix, **kept}
    for file in {RECORD, places.record}:
        found = output.read_bytes(file)
        before = record if found is None else json.loads(found)
        if changed := [
            f"{key} was {before.get(key)}, is {now}" for key, now in record.items() if before.get(key) != now
        ]:
            holder = output.uri if file == RECORD else f"{output.uri}/{places.file}"
            raise ValueError(f"{holder} was made otherwise: {'; '.join(changed)}. Give another output")
    if not output.has(places.record):
        stems = [PurePosixPath(name).with_suffix("").as_posix() for name in places.names]
        if places.file is not None:
            there, wanted = {places.file} if output.has(places.file) else set(), [places.file]
        else:
            there, wanted = set(output.names()), [stem + end for stem in stems for end in (f".{suffix}", ".tif")]
        for name in wanted:
            if name in there:
                raise ValueError(f"{output.uri}/{name} is there already and not of srlab restore: give another output")
        output.write_bytes(places.record, json.dumps({**record, "name": made_by["name"]}, indent=1).encode())
