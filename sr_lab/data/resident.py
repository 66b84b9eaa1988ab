"""Training images that live on the device: crops are cut, flipped and turned there, from the same draws as elsewhere.

A loader then gives only what is drawn for each crop, a few bytes, instead of its pixels. Nothing here waits for the
device.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import psutil
import torch
from torch import Tensor
from torch.utils.data import Dataset

from sr_lab.base.words import counted
from sr_lab.data.cache import Part
from sr_lab.data.datasets import FLIP_X, FLIP_Y, TRANSPOSE, CropDataset
from sr_lab.data.sampler import SampleKey

Batch = dict[str, Any]
SHARE = 0.5


class DrawDataset(Dataset[Batch]):
    """What is drawn for each crop of ``crops``, without its pixels.

    Args:
        crops: the data set whose draws are given.
    """

    def __init__(self, crops: CropDataset) -> None:
        self.crops = crops

    def __len__(self) -> int:
        return len(self.crops)

    def __getitem__(self, key: SampleKey) -> Batch:
        """One sample, as a batch of one."""
        return self.__getitems__([key])

    def __getitems__(self, keys: Sequence[SampleKey]) -> Batch:
        """``draws`` (B, 4) as in ``CropDataset.draws``, ``index`` and ``epoch`` (B,), all int64."""
        epochs, indices = zip(*keys, strict=True)
        draws = torch.from_numpy(self.crops.draws(keys))
        return {"draws": draws, "index": torch.tensor(indices), "epoch": torch.tensor(epochs)}


class ResidentImages:
    """All images of a data set in one flat tensor a part, on a device.

    Args:
        crops: whose images are uploaded.
        device: where to.

    Raises:
        ValueError: if they do not fit (see ``memory_problem``).
    """

    def __init__(self, crops: CropDataset, device: torch.device) -> None:
        if problem := memory_problem(crops, device):
            raise ValueError(problem)
        self.crops = crops
        self.parts: dict[Part, tuple[Tensor, Tensor]] = {"high": _upload(crops, "high", device)}
        if crops.cache.has_low:
            self.parts["low"] = _upload(crops, "low", device)

    def cut(self, draws: Tensor) -> dict[str, Tensor]:
        """The crops that ``draws`` (B, 4), on the device, name: equal to those of ``CropDataset``.

        Returns:
            ``high`` (B, C, crop, crop) and, where the cache keeps them, ``low``; uint8 or uint16.
        """
        side = self.crops.crop
        cut = {"high": self._cut("high", draws, self.crops.step, side)}
        if "low" in self.parts:
            cut["low"] = self._cut("low", draws, 1, side // self.crops.scale)
        return cut

    def _cut(self, part: Part, draws: Tensor, step: int, side: int) -> Tensor:
        pixels, places = self.parts[part]
        top, left, operation = (values[:, None, None] for values in draws[:, 1:].unbind(1))
        offset, height, width = (values[:, None, None] for values in places[draws[:, 0]].unbind(1))
        index = torch.arange(side, device=pixels.device)
        along, across = index[None, :, None], index[None, None, :]
        transposed = (operation & TRANSPOSE) != 0
        y, x = torch.where(transposed, across, along), torch.where(transposed, along, across)
        y = torch.where((operation & FLIP_Y) != 0, side - 1 - y, y)
        x = torch.where((operation & FLIP_X) != 0, side - 1 - x, x)
        y, x = _mirrored(top * step + y, height), _mirrored(left * step + x, width)
        channel = torch.arange(self.crops.num_channels, device=pixels.device)[None, :, None, None]
        place = (offset + y * width + x)[:, None] + channel * (height * width)[:, None]
        cut = pixels[place]
        return cut.view(torch.uint16) if cut.dtype == torch.int16 else cut


def memory_problem(crops: CropDataset, device: torch.device) -> str | None:
    """Why the images of ``crops`` should not lie on ``device``; None where they take at most half of what is free."""
    needed = resident_bytes(crops)
    free = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else psutil.virtual_memory().available
    if needed <= SHARE * free:
        return None
    return (
        f"data.images_on=device needs {needed / 1e9:.2f} GB for {counted(len(crops.images), 'image')}, and {device} "
        f"has {free / 1e9:.2f} GB free, of which the training itself needs at least half: set data.images_on=host"
    )


def resident_bytes(crops: CropDataset) -> int:
    """Bytes that ``ResidentImages`` takes."""
    parts: tuple[Part, ...] = ("high", "low") if crops.cache.has_low else ("high",)
    samples = sum(math.prod(crops.cache.shape(int(index), part)) for index in crops.images for part in parts)
    return samples * int(crops.cache.dtype.itemsize)


def _upload(crops: CropDataset, part: Part, device: torch.device) -> tuple[Tensor, Tensor]:
    """The pixels one after another, and (N, 3) offset, height and width of each image, in the order of ``images``.

    16-bit pixels are kept as signed numbers of the same bits: indexing is defined for these on every device.
    """
    images = [crops.cache.image(int(index), part) for index in crops.images]
    places = np.array([[image.size, *image.shape[1:]] for image in images], dtype=np.int64)
    places[:, 0] = np.cumsum(places[:, 0]) - places[:, 0]
    flat = np.concatenate([image.ravel() for image in images])
    pixels = torch.from_numpy(flat.view(np.int16) if flat.dtype == np.uint16 else flat)
    return pixels.to(device), torch.from_numpy(places).to(device)


def _mirrored(position: Tensor, length: Tensor) -> Tensor:
    """Positions beyond the end continued by mirroring, as NumPy's ``symmetric`` padding does."""
    position = position.remainder(2 * length)
    return torch.minimum(position, 2 * length - 1 - position)
