"""Restoring images of a folder or object store: each is written once, whole, and what is there is left alone."""

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from torch import Tensor

from sr_lab.base.files import sha256
from sr_lab.data.stores import Store, distinct_stems, open_stores
from sr_lab.images import IMAGE_SUFFIXES, read_image, to_levels, to_tensor

RECORD = "restore.json"
MADE_OF = ".restored"
"""Folder below the output with a file for each image: the SHA-256 of what it was made of."""
FORMATS = ("png", "tif", "webp", "jpg", "bmp")
_ALIASES = {"tiff": "tif", "jpeg": "jpg"}


@dataclass(frozen=True)
class Places:
    """Where images are taken from and written to.

    Attributes:
        source: Folder or store of the low images.
        target: Folder or store of the restored ones.
        names: The low images, by their names below ``source``.
        format: Format of the restored ones: png, tif, webp, jpg or bmp.
        file: Name below ``target`` of the one file that is wanted; None: each image under its own name.
    """

    source: str
    target: str
    names: tuple[str, ...]
    format: str
    file: str | None = None

    @property
    def record(self) -> str:
        """File below ``target`` that tells what makes the images: all of the folder, or the one file."""
        return RECORD if self.file is None else f"{MADE_OF}/{self.file}.made.json"


def find_places(input: str | Path, output: str | Path, format: str | None = None) -> Places:
    """What ``input`` and ``output`` mean: folders or object stores, or one image and the file that is made of it.

    Args:
        input: Folder or object store, searched with everything below it, or one image file.
        output: Folder or object store, or for one image the file to write; a folder's name ends with a slash where it
            could be taken for a file.
        format: Format of the restored images; None takes the suffix of a file, and png in a folder.

    Raises:
        ValueError: If there is no image, the two are in each other's way, or format and suffix differ.
    """
    if format is not None and format not in FORMATS:
        raise ValueError(f"format={format}: one of {', '.join(FORMATS)}")
    given, wanted = Store(input), Store(output)
    if not given.is_file():
        if given.local is not None and not given.local.exists():
            raise ValueError(f"input={input}: no such file or folder")
        if wanted.is_file():
            raise ValueError(f"output={output} is a file, and input={input} a folder: give a folder")
        source, _ = open_stores(input, output)
        names = source.images()
        distinct_stems(names)
        return Places(str(input), str(output), tuple(names), format or "png")
    folder, name = _parted(str(input))
    suffix = "" if str(output).endswith("/") or wanted.is_folder() else PurePosixPath(str(output)).suffix
    if not suffix and wanted.is_file():
        raise ValueError(f"output={output} is a file without suffix: give one that tells the format, or a folder")
    if not suffix:
        places = Places(folder, str(output), (name,), format or "png")
        made = {PurePosixPath(name).with_suffix(end).as_posix() for end in (f".{places.format}", ".tif")}
        _check_apart(given, [Store(f"{str(output).rstrip('/') or '/'}/{each}") for each in sorted(made)])
        return places
    told = _ALIASES.get(suffix[1:].lower(), suffix[1:].lower())
    if suffix.lower() not in IMAGE_SUFFIXES:
        raise ValueError(
            f"output={output}: {suffix} is no format that can be written ({', '.join(FORMATS)}); a folder of that name "
            "ends with /"
        )
    if format not in (None, told):
        raise ValueError(f"format={format} is not the format of output={output}: leave format out, or change one")
    _check_apart(given, [wanted])
    target, file = _parted(str(output))
    return Places(folder, target, (name,), told, file)


def _parted(place: str) -> tuple[str, str]:
    """Folder and name of a file, whatever kind of store it is in."""
    folder, slash, name = place.rpartition("/")
    return (folder or slash or "."), name


def _check_apart(given: Store, made: list[Store]) -> None:
    for file in made:
        if file.lies_in(given):
            raise ValueError(f"the output would be {file.uri}, which is the input: give another output")


class RestoreImages:
    """Restores one named image after the other.

    Args:
        places: Where they are taken from and written to; one that was made of the same input (by SHA-256) is passed
            over.
        restorer: Maps a low image (1, C, h, w) in [0, 1] to the restored one.
        device: Where the restorer wants its input.
    """

    def __init__(self, *, places: Places, restorer: Callable[[Tensor], Tensor], device: torch.device) -> None:
        self.source, self.target, self.places = Store(places.source), Store(places.target), places
        self.restorer, self.device = restorer, device

    @torch.inference_mode()
    def __call__(self, name: str) -> None:
        """Restores the image called ``name``, as deep (8 or 16 bit) as it was.

        Images of other than 1 or 3 channels become TIFF, where no single file is wanted.

        Raises:
            ValueError: Naming the image, if it cannot be read or restored.
        """
        stem, one = PurePosixPath(name).with_suffix("").as_posix(), self.places.file
        usual = f".{self.places.format}"
        there = any(self.target.has(file) for file in ({stem + usual, f"{stem}.tif"} if one is None else {one}))
        with tempfile.TemporaryDirectory(prefix="srlab-") as scratch:
            file = self.source.fetch(name, Path(scratch))
            digest, record = sha256(file), f"{MADE_OF}/{name if one is None else one}.json"
            before = self.target.read_bytes(record)
            if there and before is not None and json.loads(before) == digest:
                return
            try:
                low = read_image(file)
                suffix = usual if low.shape[2] in (1, 3) else ".tif"
                if one is not None and suffix != usual:
                    raise ValueError(
                        f"{name} has {low.shape[2]} bands, which {usual[1:]} cannot hold: give a .tif file"
                    )
                if low.dtype == np.uint16 and suffix not in (".png", ".tif"):
                    raise ValueError(f"{name}: {suffix[1:]} cannot hold 16 bits; give format=png or tif")
                restored = self.restorer(to_tensor(low).to(self.device))
            except (ValueError, RuntimeError) as error:
                text = str(error) if self.source.local else str(error).replace(str(file), f"{self.source.uri}/{name}")
                raise ValueError(text if name in text else f"{name}: {text}") from error
        if before is not None:
            self.target.write_bytes(record, b"null")
        self.target.write_image(stem + suffix if one is None else one, to_levels(restored.cpu(), low.dtype))
        self.target.write_bytes(record, json.dumps(digest).encode())
