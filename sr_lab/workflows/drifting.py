"""Images that come in before and after a drift, made of the photos: what the demonstration of a drift looks at."""

import io
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from sr_lab.base.files import write_bytes
from sr_lab.degradations.estimate.arrays import Pixels
from sr_lab.images import list_images, read_image, resize_bicubic_uint8, write_image

__all__ = ["make_inputs"]

SCALE, SIDE = 2, 64


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
            noisy = lows[index] + random.normal(0, noise, lows[index].shape)
            stream = io.BytesIO()
            Image.fromarray(np.clip(np.round(noisy), 0, 255).astype(np.uint8)).save(stream, "JPEG", quality=quality)
            write_bytes(target.with_suffix(".jpg"), stream.getvalue())
    for file in list_images(Path("data/photos/test")):
        for index, crop in enumerate(_crops(read_image(file), 2 * SCALE * SIDE // 2, most=6, random=random)):
            write_image(folders[3] / file.stem / f"{index}.png", crop)
    return folders[0], folders[1], folders[2], folders[3]


def _low(image: Pixels) -> Pixels:
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None]
    return np.asarray(resize_bicubic_uint8(tensor, scale=1 / SCALE)[0].permute(1, 2, 0).numpy())


def _crops(image: Pixels, side: int, *, most: int, random: np.random.Generator) -> list[Pixels]:
    """Crops beside one another, at most so many, in a random order."""
    rows, columns = (length // side for length in image.shape[:2])
    places = [(row * side, column * side) for row in range(rows) for column in range(columns)]
    chosen = random.permutation(len(places))[:most]
    return [image[top : top + side, left : left + side, :3] for top, left in (places[index] for index in chosen)]
