"""Datasets over decoded caches: whole batches of random crops for training, whole images for validation."""

from collections.abc import Sequence
from typing import Any, Literal

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from sr_lab.data.cache import DecodedCache, Part
from sr_lab.data.sampler import SampleKey, draw_integers
from sr_lab.degradations.base import Degradation

Batch = dict[str, Any]
Augment = Literal["dihedral", "flips", "none"]
FLIP_X, FLIP_Y, TRANSPOSE = 1, 2, 4
NUM_OPERATIONS = {"dihedral": 8, "flips": 4, "none": 1}


class CropDataset(Dataset[Batch]):
    """Random aligned crops, flipped and rotated; sample (epoch, index) depends on that key and ``seed`` alone.

    Args:
        cache: decoded images; where it keeps low images, crops are cut from both, else only high ones are given.
        images: indices of the images to use; sample ``index`` shows ``images[index // repeats]``.
        scale: high pixels a low pixel.
        crop: side of the high crop, a multiple of ``scale``.
        seed: of the draws.
        repeats: samples of an image in an epoch.
        augment: ``dihedral`` draws one of the 8 flips and rotations, ``flips`` one of 4 without turning.
        degradation: makes the low crops where the cache has none, drawn by (seed, epoch, index); None leaves them out.

    Raises:
        ValueError: if the images do not all have the same number of channels.
    """

    def __init__(
        self,
        *,
        cache: DecodedCache,
        images: Sequence[int],
        scale: int,
        crop: int,
        seed: int,
        repeats: int = 1,
        augment: Augment = "dihedral",
        degradation: Degradation | None = None,
    ) -> None:
        self.cache, self.images = cache, np.asarray(images, dtype=np.int64)
        self.scale, self.crop, self.seed, self.repeats, self.augment = scale, crop, seed, repeats, augment
        self.degradation = degradation
        shapes = np.array([cache.shape(index) for index in self.images], dtype=np.int64)
        if len(set(shapes[:, 0])) > 1:
            raise ValueError(f"images of {sorted(set(shapes[:, 0].tolist()))} channels do not fit in one batch")
        self.num_channels = int(shapes[0, 0])
        self.step = scale if cache.has_low else 1
        self._positions = np.maximum((shapes[:, 1:] - crop) // self.step + 1, 1)

    def __len__(self) -> int:
        return len(self.images) * self.repeats

    def __getitem__(self, key: SampleKey) -> Batch:
        """One sample, as a batch of one."""
        return self.__getitems__([key])

    def __getitems__(self, keys: Sequence[SampleKey]) -> Batch:
        """The batch of ``keys``.

        Returns:
            ``high`` (B, C, crop, crop) and, where there is one, ``low`` (B, C, crop / scale, crop / scale), uint8 or
            uint16 (``low`` of a random degradation: float32), ``index`` and ``epoch`` (B,) int64. Where the degradation
            changes the target (a sharpened one), ``high`` is that target, float32, and ``original`` the crop itself.
        """
        draws = self.draws(keys).tolist()
        high = self._cut(draws, "high", self.step, self.crop)
        epochs, indices = zip(*keys, strict=True)
        batch = {"high": high, "index": torch.tensor(indices), "epoch": torch.tensor(epochs)}
        if self.cache.has_low:
            batch["low"] = self._cut(draws, "low", 1, self.crop // self.scale)
        elif self.degradation is not None:
            original = to_float(high)
            batch["low"], target = degrade(self.degradation, original, batch, seed=self.seed)
            if target is not original:
                batch["original"], batch["high"] = high, target
        return batch

    def draws(self, keys: Sequence[SampleKey]) -> np.ndarray:
        """What is cut for each key.

        Returns:
            (B, 4) int64: row in ``images``, top and left in units of ``step`` high pixels, operation (``copy_turned``).
        """
        rows = np.array([index // self.repeats for _, index in keys], dtype=np.int64)
        bounds = np.empty((len(keys), 3), dtype=np.int64)
        bounds[:, :2] = self._positions[rows]
        bounds[:, 2] = NUM_OPERATIONS[self.augment]
        return np.concatenate([rows[:, None], draw_integers(keys, bounds, seed=self.seed)], axis=1)

    def _cut(self, draws: list[list[int]], part: Part, step: int, side: int) -> Tensor:
        out = np.empty((len(draws), self.num_channels, side, side), dtype=self.cache.dtype)
        for (row, top, left, operation), target in zip(draws, out, strict=True):
            image = self.cache.image(int(self.images[row]), part)
            top, left = top * step, left * step
            crop = image[:, top : top + side, left : left + side]
            if crop.shape[1:] != (side, side):
                missing = [(0, 0), (0, side - crop.shape[1]), (0, side - crop.shape[2])]
                crop = np.pad(crop, missing, mode="symmetric")
            copy_turned(crop, target, operation)
        return torch.from_numpy(out)


class ImageDataset(Dataset[Batch]):
    """Whole images with their low versions, one at a time.

    Args:
        cache: decoded images with low ones.
    """

    def __init__(self, *, cache: DecodedCache) -> None:
        self.cache = cache

    def __len__(self) -> int:
        return len(self.cache)

    def __getitem__(self, index: int) -> Batch:
        """``high`` (1, C, H, W), ``low`` (1, C, H / scale, W / scale), uint8 or uint16; ``name``: list of one."""
        high, low = (torch.from_numpy(self.cache.image(index, part).copy())[None] for part in ("high", "low"))
        return {"low": low, "high": high, "name": [self.cache.names[index]]}


def copy_turned(source: np.ndarray, target: np.ndarray, operation: int) -> None:
    """Copies ``source`` (C, n, n) to ``target``, flipped and turned.

    OpenCV plane by plane: the fastest of NumPy, torch, OpenCV and albumentations (``benchmarks/crops.py``).

    Args:
        source: may be a view with gaps.
        target: contiguous, same shape and type.
        operation: 0..7, a sum of flips FLIP_X (left-right) and FLIP_Y (up-down), and then TRANSPOSE.
    """
    if operation & FLIP_Y:
        source = source[:, ::-1]
    if not operation & (FLIP_X | TRANSPOSE):
        target[...] = source
        return
    for plane, out in zip(source, target, strict=True):
        whole = np.ascontiguousarray(plane)
        if not operation & TRANSPOSE:
            cv2.flip(whole, 1, dst=out)
        elif operation & FLIP_X:
            cv2.flip(cv2.transpose(whole), 0, dst=out)
        else:
            cv2.transpose(whole, dst=out)


def to_float(image: Tensor) -> Tensor:
    """uint8 or uint16 to float32 in [0, 1], on the tensor's device; float passes unchanged."""
    if image.is_floating_point():
        return image
    return image.to(torch.float32).div_(255 if image.dtype == torch.uint8 else 65535)


def degrade(degradation: Degradation, high: Tensor, batch: Batch, *, seed: int) -> tuple[Tensor, Tensor]:
    """The low images, or clips, of a batch and their targets, drawn by (seed, epoch, index) of each sample.

    Both are on the device of ``high``; the parameters stay on the CPU, so that no step waits for the device.
    """
    keys = zip(batch["epoch"].tolist(), batch["index"].tolist(), strict=True)
    params = degradation.draw_keyed((seed, epoch, index) for epoch, index in keys)
    return degradation.pair_clip(high, params) if high.ndim == 5 else degradation.pair(high, params)
