"""Several images of one scene as files: a folder of frames, and masks that are named like them."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sr_lab.base.words import counted
from sr_lab.images.files import read_image
from sr_lab.images.folders import by_stem
from sr_lab.images.headers import ImageError

MASKS = "masks"
"""The folder of the masks in a scene's folder."""


@dataclass(frozen=True, eq=False)
class Revisits:
    """One scene.

    Attributes:
        name: Of its folder.
        frames: (h, w, C) of each, values in [0, 1].
        masks: (h, w) of each: False where it does not show the scene, as under a cloud.
        names: Of the files, without suffix.
        bits: 8 or 16, of the files.
    """

    name: str
    frames: Sequence[npt.NDArray[np.float32]]
    masks: Sequence[npt.NDArray[np.bool_]]
    names: Sequence[str]
    bits: int


def find_scenes(folder: Path) -> list[Path]:
    """The scenes of a folder: itself, where images lie in it, else each folder below it that holds images.

    Raises:
        ImageError: If there is none.
    """
    names = by_stem(folder)
    if any("/" not in name for name in names):
        return [folder]
    return [folder / name for name in sorted({name.partition("/")[0] for name in names})]


def read_revisits(folder: Path) -> Revisits:
    """The frames of a scene in the order of their names, and their masks.

    ``FOLDER/masks/NAME`` is the mask of ``FOLDER/NAME``, whatever their suffixes: 0 where the frame does not show the
    scene, anything else where it does. A frame without a mask shows it everywhere.

    Raises:
        ImageError: If there is no frame, a file cannot be read, a mask has no frame, or sizes or depths differ.
    """
    files = by_stem(folder)
    frames = {name: file for name, file in files.items() if "/" not in name}
    masks = {name.removeprefix(f"{MASKS}/"): file for name, file in files.items() if name.startswith(f"{MASKS}/")}
    if not frames:
        raise ImageError(f"{folder} holds no frame: the images of a scene lie in its folder, their masks in {MASKS}/")
    if alone := sorted(masks.keys() - frames.keys()):
        more = f" and {counted(len(alone) - 1, 'other mask')}" if len(alone) > 1 else ""
        raise ImageError(f"{masks[alone[0]]}{more}: there is no frame of that name in {folder}")
    images = {name: read_image(file) for name, file in frames.items()}
    first = next(iter(images.values()))
    for name, image in images.items():
        if image.shape != first.shape or image.dtype != first.dtype:
            raise ImageError(
                f"{frames[name]} is {_told(image)}, and the first of {folder} {_told(first)}: all frames are alike"
            )
    seen = {name: _mask(masks[name], first.shape[:2]) for name in frames if name in masks}
    whole = np.ones(first.shape[:2], np.bool_)
    top = np.float32(np.iinfo(first.dtype).max)
    return Revisits(
        name=folder.resolve().name,
        frames=[np.asarray(image, np.float32) / top for image in images.values()],
        masks=[seen.get(name, whole) for name in frames],
        names=list(frames),
        bits=8 * first.dtype.itemsize,
    )


def _mask(file: Path, size: tuple[int, ...]) -> npt.NDArray[np.bool_]:
    image = read_image(file)
    if image.shape[:2] != size:
        raise ImageError(f"{file} is {_told(image)}, and its frame is {size[1]}x{size[0]}: a mask has its frame's size")
    return np.asarray(image[..., : min(3, image.shape[2])].max(axis=2) > 0)


def _told(image: npt.NDArray[Any]) -> str:
    height, width, channels = image.shape
    return f"{width}x{height} of {counted(channels, 'channel')} and {8 * image.dtype.itemsize} bits"
