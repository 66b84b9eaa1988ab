"""Images that come in before and after a drift, made of the photos: what the demonstration of a drift looks at."""

import io
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from sr_lab.base.files import write_bytes
from sr_lab.degradations.estimate.arrays import Pixels
from sr_lab.images import list_images, read_image, resize_bicubic_uint8, write_image

__all__ = ["SCALE", "Condition", "Photos", "blurred_photos", "make_holdout", "make_inputs", "make_reference"]

SCALE, SIDE = 2, 64
_GREY = ("camera", "brick", "grass", "gravel", "coins")
"""Grey photos; not the moon, which holds nothing that bicubic interpolation at x2 would lose (44.7 dB)."""


def make_inputs(output: Path, *, noise: float, quality: int) -> tuple[Path, Path, Path, Path]:
    """Low images as they were, more of them, noisy JPEG ones, and unseen originals by scene.

    The first three are different crops of the photos that are not in the test split, dealt out at random.

    Args:
        output: Folder for the four folders.
        noise: Standard deviation of the new images' noise, in 8-bit levels.
        quality: Their JPEG quality.
    """
    random, folders = np.random.default_rng(0), [output / name for name in ("before", "same", "now", "holdout")]
    lows = [
        low
        for split in ("train", "val")
        for file in list_images(Path("data/photos") / split)
        for low in _crops(_low(read_image(file)), SIDE, most=16, random=random)
        if low.std() > 6
    ]
    order = random.permutation(len(lows))
    parts = np.split(order, [len(lows) // 2, 3 * len(lows) // 4])
    for folder, part in zip(folders, parts, strict=False):
        for index in part:
            target = folder / f"{index:03}.png"
            if folder.name != "now":
                write_image(target, lows[index])
                continue
            worse = Condition(noise=noise, quality=quality)
            write_bytes(target.with_suffix(".jpg"), worse(lows[index], random))
    make_holdout(folders[3], random=random)
    return folders[0], folders[1], folders[2], folders[3]


def make_holdout(folder: Path, *, random: np.random.Generator | None = None) -> None:
    """Originals of the photos that nothing is trained on, by scene: crops of 128 x 128 pixels.

    They are the test split and grey photos of scikit-image: of the split's three scenes alone, chance decides the gate.
    """
    from skimage import data

    random = random or np.random.default_rng(0)
    scenes = {file.stem: read_image(file) for file in list_images(Path("data/photos/test"))}
    scenes |= {name: np.repeat(getattr(data, name)()[..., None], 3, axis=2) for name in _GREY}
    for name, image in scenes.items():
        for index, crop in enumerate(_crops(image, SCALE * SIDE, most=6, random=random)):
            write_image(folder / name / f"{index}.png", crop)


@dataclass(frozen=True, kw_only=True)
class Condition:
    """How images come in.

    Attributes:
        noise: Standard deviation of their noise, in 8-bit levels.
        quality: Of JPEG; None: as PNG.
    """

    noise: float = 0.0
    quality: int | None = None

    @property
    def text(self) -> str:
        """In words."""
        kind = "PNG" if self.quality is None else f"JPEG of quality {self.quality}"
        return f"{kind}, noise of {self.noise:g} levels" if self.noise else kind

    def __call__(self, low: Pixels, random: np.random.Generator) -> bytes:
        """The file of an image, (H, W, 3) uint8, as it comes in."""
        noisy = np.clip(np.round(low + random.normal(0, max(self.noise, 1e-9), low.shape)), 0, 255).astype(np.uint8)
        stream = io.BytesIO()
        options = {"format": "PNG"} if self.quality is None else {"format": "JPEG", "quality": self.quality}
        Image.fromarray(noisy).save(stream, **options)
        return stream.getvalue()


class Photos:
    """Low images of clients: no two are the same square of the photos that are not in the test split.

    Args:
        side: Side of the squares, in pixels.
        seed: Of what is drawn.
    """

    def __init__(self, *, side: int = SIDE, seed: int = 0) -> None:
        files = [file for split in ("train", "val") for file in list_images(Path("data/photos") / split)]
        self.lows = [low for low in (_low(read_image(file)[:, :, :3]) for file in files) if min(low.shape[:2]) > side]
        self.side, self._random = side, np.random.default_rng(seed)

    def draw(self, condition: Condition) -> bytes:
        """The file of the next one."""
        while True:
            low = self.lows[self._random.integers(len(self.lows))]
            top, left = (int(self._random.integers(length - self.side + 1)) for length in low.shape[:2])
            square = low[top : top + self.side, left : left + self.side]
            if square.std() > 6:
                return condition(square, self._random)


def make_reference(folder: Path, condition: "Condition", *, num: int, side: int = SIDE) -> None:
    """So many images of clients, squares of so many pixels a side, as they come in while all is well."""
    photos = Photos(side=side)
    for index in range(num):
        suffix = "png" if condition.quality is None else "jpg"
        write_bytes(folder / f"{index:03}.{suffix}", photos.draw(condition))


def blurred_photos(folder: Path, *, sigma: float = 2.5) -> Path:
    """The photos of the training, blurred, as originals that somebody has exchanged by mistake; gives the folder."""
    for file in list_images(Path("data/photos/train")):
        write_image(folder / file.with_suffix(".png").name, cv2.GaussianBlur(read_image(file), (0, 0), sigma))
    return folder


def _low(image: Pixels) -> Pixels:
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None]
    return np.asarray(resize_bicubic_uint8(tensor, scale=1 / SCALE)[0].permute(1, 2, 0).numpy())


def _crops(image: Pixels, side: int, *, most: int, random: np.random.Generator) -> list[Pixels]:
    """Crops beside one another, at most so many, in a random order."""
    rows, columns = (length // side for length in image.shape[:2])
    places = [(row * side, column * side) for row in range(rows) for column in range(columns)]
    chosen = random.permutation(len(places))[:most]
    return [image[top : top + side, left : left + side, :3] for top, left in (places[index] for index in chosen)]
