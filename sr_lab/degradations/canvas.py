"""The batch on a device: samples of different sizes in one tensor."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sr_lab.base.randomness import upload

Sizes = npt.NDArray[np.int64]
VARYING = "the samples come out in different sizes {}: end with ResizeTo(scale=...) so that they fit in one batch"
_WORTH_A_SPLIT = 2**25
"""Values whose way through a pipeline takes a GPU longer than the launches of one canvas more."""


@dataclass(frozen=True)
class Canvas:
    """Samples of different sizes in one tensor.

    Attributes:
        pixels: (B, C, H, W); sample k fills the top left ``sizes[k]``, what lies beyond has no meaning.
        sizes: (B, 2) heights and widths, on the host.
    """

    pixels: Tensor
    sizes: Sizes

    def extents(self) -> tuple[Tensor, Tensor]:
        """Heights and widths as (B, 1) int64 tensors on the device."""
        sizes = upload(self.sizes, self.pixels.device)
        return sizes[:, :1], sizes[:, 1:]

    def with_pixels(self, pixels: Tensor) -> "Canvas":
        """The same sizes with other pixels."""
        return Canvas(pixels, self.sizes)

    def take(self, rows: npt.NDArray[np.int64]) -> "Canvas":
        """Some of the samples."""
        sizes = self.sizes[rows]
        height, width = sizes.max(axis=0)
        pixels = self.pixels[:, :, :height, :width]
        return Canvas(pixels.index_select(0, upload(rows, pixels.device)), sizes)

    def put(self, rows: npt.NDArray[np.int64], other: "Canvas") -> "Canvas":
        """``other`` in place of the samples ``rows``."""
        sizes = self.sizes.copy()
        sizes[rows] = other.sizes
        height, width = sizes.max(axis=0)
        pixels = _fit(self.pixels, height, width)
        return Canvas(pixels.index_copy(0, upload(rows, pixels.device), _fit(other.pixels, height, width)), sizes)

    def by_size(self) -> list[npt.NDArray[np.int64]]:
        """Rows of the small and of the large samples where two canvases save enough room; else empty."""
        order = np.argsort(self.sizes.prod(axis=1), kind="stable")
        room = np.maximum.accumulate(self.sizes[order], axis=0).prod(axis=1)
        num_small = np.arange(1, len(order))
        saved = num_small * (room[-1] - room[:-1]) * self.pixels.shape[1]
        if not len(saved) or saved.max() < _WORTH_A_SPLIT:
            return []
        return [np.sort(part) for part in np.split(order, [int(saved.argmax()) + 1])]

    def extended(self, margin: int, *, border: str, multiple: int = 1) -> Tensor:
        """(B, C, H + 2 margin, W + 2 margin), at least: every sample with what its border continues to.

        Args:
            margin: pixels before and after.
            border: ``reflect`` (without repeating the edge) or ``replicate``.
            multiple: the sides are made multiples of it by continuing further.
        """
        pixels = self.pixels
        for axis, extent in zip((2, 3), self.extents(), strict=True):
            length = -(-(pixels.shape[axis] + 2 * margin) // multiple) * multiple
            index = torch.arange(-margin, length - margin, device=pixels.device)[None]
            if border == "reflect":
                period = (2 * extent - 2).clamp(min=1)
                index = index.remainder(period)
                index = torch.minimum(index, period - index).minimum(extent - 1).clamp(min=0)
            else:
                index = index.clamp(min=0).minimum(extent - 1)
            shape = [pixels.shape[0], 1, 1, 1]
            shape[axis] = length
            full = [pixels.shape[0], pixels.shape[1], pixels.shape[2], pixels.shape[3]]
            full[axis] = length
            pixels = pixels.gather(axis, index.reshape(shape).expand(full))
        return pixels

    def positions(self, channels: int) -> Tensor:
        """(B, channels, H, W) int32: number of each value in its sample's own (h, w, channels) raster."""
        kind: dict[str, Any] = {"device": self.pixels.device, "dtype": torch.int32}
        width = upload(self.sizes[:, 1].astype(np.int32), self.pixels.device)[:, None, None, None]
        rows = torch.arange(self.pixels.shape[2], **kind)[:, None] * (width * channels)
        columns = torch.arange(self.pixels.shape[3], **kind) * channels
        return rows + (columns + torch.arange(channels, **kind)[:, None, None])

    def inside(self) -> Tensor:
        """(B, 1, H, W) bool: which pixels belong to their sample."""
        height, width = self.extents()
        device = self.pixels.device
        rows = torch.arange(self.pixels.shape[2], device=device)[None] < height
        columns = torch.arange(self.pixels.shape[3], device=device)[None] < width
        return (rows[:, :, None] & columns[:, None, :])[:, None]


def to_canvas(image: Tensor) -> Canvas:
    """(B, C, H, W) as a canvas of float32, which every sample fills."""
    return Canvas(image.float(), np.tile(np.array(image.shape[2:], dtype=np.int64), (len(image), 1)))


def from_canvas(canvas: Canvas, dtype: torch.dtype) -> Tensor:
    """A canvas of equal sizes as (B, C, H, W)."""
    sizes = np.unique(canvas.sizes, axis=0)
    if len(sizes) > 1:
        raise ValueError(VARYING.format([tuple(size) for size in sizes[:2].tolist()]))
    height, width = sizes[0]
    return canvas.pixels[:, :, :height, :width].to(dtype)


def joined(parts: Sequence[Canvas], rows: Sequence[npt.NDArray[np.int64]]) -> Canvas:
    """The canvas whose samples ``rows[k]`` are those of ``parts[k]``; together the rows are all."""
    if len(parts) == 1:
        return parts[0]
    back = np.argsort(np.concatenate(rows))
    sizes = np.concatenate([part.sizes for part in parts])[back]
    height, width = sizes.max(axis=0)
    pixels = torch.cat([_fit(part.pixels, height, width) for part in parts])
    return Canvas(pixels.index_select(0, upload(back, pixels.device)), sizes)


def _fit(pixels: Tensor, height: int, width: int) -> Tensor:
    """Cuts or fills (right, bottom) the canvas to a size."""
    pad = (0, int(width) - pixels.shape[3], 0, int(height) - pixels.shape[2])
    return pixels if not any(pad) else torch.nn.functional.pad(pixels, pad)
