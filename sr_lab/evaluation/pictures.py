"""The part of an image that a report shows: the square where the restoration errs most."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from sr_lab.images import to_uint8
from sr_lab.metrics.base import ErrorMap

Array = np.ndarray[tuple[int, ...], np.dtype[np.uint8]]

ERROR_RANGE = 64
"""Error in 8-bit levels at which the colours of an error map end."""

_THUMBNAIL_SIDE = 320


@dataclass(frozen=True)
class MapPicture:
    """The same place in a metric's map.

    Attributes:
        name: what it shows.
        levels: (H, W) float32, in 8-bit levels; smaller by the scale where the map is of the input's size.
        top: level at which the colours end.
    """

    name: str
    levels: np.ndarray[tuple[int, ...], np.dtype[np.float32]]
    top: int

    @property
    def rms(self) -> float:
        """Root mean square of the levels."""
        return float(np.sqrt(np.mean(np.square(self.levels))))


@dataclass(frozen=True)
class Pictures:
    """Crops of one image, (H, W, 3) uint8, all of the same place; ``low`` is smaller by the scale.

    Attributes:
        low: the network's input.
        bicubic: the bicubic restoration.
        restored: the restoration.
        target: the original.
        error: mean absolute error over the channels, in 8-bit levels, (H, W).
        thumbnail: the whole original, at most 320 pixels a side.
        box: left, top, right, bottom of the crop in the original, as parts of its width and height.
        maps: of the metrics that have one.
        stretch: of a deep image the values that are shown as black and white; errors and maps are of what is shown.
    """

    low: Array
    bicubic: Array
    restored: Array
    target: Array
    error: Array
    thumbnail: Array
    box: tuple[float, float, float, float]
    maps: tuple[MapPicture, ...] = ()
    stretch: tuple[float, float] | None = None

    @property
    def shown(self) -> str:
        """How a deep image is shown, in words; empty for an 8-bit one."""
        if self.stretch is None:
            return ""
        low, high = (round(65535 * end) for end in self.stretch)
        return f"levels {low} to {high} of 65535 are shown as black to white"


def take_pictures(
    *,
    low: Tensor,
    bicubic: Tensor,
    restored: Tensor,
    target: Tensor,
    scale: int,
    maps: Sequence[ErrorMap] = (),
    side: int = 128,
    error: Tensor | None = None,
    stretch: tuple[float, float] | None = None,
) -> Pictures:
    """Crops the square with the largest mean of the error, by default the squared error of the restoration.

    Args:
        low: (1, C, h, w), values in [0, 1].
        bicubic: (1, C, h * scale, w * scale).
        restored: same shape.
        target: same shape.
        scale: enlargement factor.
        maps: of the whole image, at the size of ``low`` or of ``target``.
        side: side of the square in pixels of the original; less in a smaller image, rounded to a multiple of ``scale``.
        error: what the place is chosen by, same shape as ``restored``.
        stretch: values that are shown as black and white, see ``stretch_of``; None shows the whole range.
    """
    height, width = target.shape[-2:]
    tall, wide = (max(1, min(side, length) // scale) for length in (height, width))
    error = (restored - target).square() if error is None else error
    top, left = _worst_window(error.mean(dim=1, keepdim=True), scale, tall, wide)
    span = 1.0
    if stretch is not None:
        span = stretch[1] - stretch[0]
        low, bicubic, restored, target = ((image - stretch[0]) / span for image in (low, bicubic, restored, target))
    small = (..., slice(top, top + tall), slice(left, left + wide))
    large = (..., slice(top * scale, (top + tall) * scale), slice(left * scale, (left + wide) * scale))
    difference = (to_uint8(restored[large]).float() - to_uint8(target[large]).float()).abs().mean(dim=1)[0]
    shrink = max(1.0, max(height, width) / _THUMBNAIL_SIDE)
    size = (max(1, round(height / shrink)), max(1, round(width / shrink)))
    thumbnail = functional.interpolate(target.float(), size=size, mode="bilinear", antialias=True)
    return Pictures(
        low=picture_of(low[small]),
        bicubic=picture_of(bicubic[large]),
        restored=picture_of(restored[large]),
        target=picture_of(target[large]),
        error=difference.round().to(torch.uint8).cpu().numpy(),
        thumbnail=picture_of(thumbnail),
        box=(
            left * scale / width,
            top * scale / height,
            (left + wide) * scale / width,
            (top + tall) * scale / height,
        ),
        maps=tuple(
            MapPicture(
                name=item.name,
                levels=(
                    item.values[large if item.values.shape[-2:] == target.shape[-2:] else small][0, 0] * (255 / span)
                )
                .float()
                .cpu()
                .numpy(),
                top=round(item.top * 255),
            )
            for item in maps
        ),
        stretch=stretch,
    )


def stretch_of(target: Tensor) -> tuple[float, float]:
    """The values of a deep original that are shown as black and white: its percentiles 0.5 and 99.5."""
    low, high = (float(end) for end in np.percentile(target.float().cpu().numpy(), (0.5, 99.5)))
    return (low, high) if high > low else (0.0, 1.0)


def error_colours(error: np.ndarray[Any, Any], top: float = ERROR_RANGE) -> Array:
    """(H, W) error in 8-bit levels as (H, W, 3) colours, black at 0 and light from ``top`` on."""
    from matplotlib import colormaps

    coloured: Array = colormaps["inferno"](np.clip(error / top, 0, 1), bytes=True)[..., :3]
    return np.ascontiguousarray(coloured)


def _worst_window(error: Tensor, scale: int, tall: int, wide: int) -> tuple[int, int]:
    """Top and left, in low-resolution pixels, of the (tall, wide) window with the largest mean of ``error``."""
    cells = functional.avg_pool2d(error.float(), scale)[0, 0].double()
    corners = functional.pad(cells.cumsum(0).cumsum(1), (1, 0, 1, 0))
    sums = corners[tall:, wide:] - corners[:-tall, wide:] - corners[tall:, :-wide] + corners[:-tall, :-wide]
    index = int(sums.argmax())
    return index // sums.shape[1], index % sums.shape[1]


def picture_of(image: Tensor) -> Array:
    """An image (1, C, H, W), values in [0, 1], as (H, W, 3): grey in all channels, of many bands the first three."""
    image = image[:, :3] if image.shape[1] >= 3 else image[:, :1].expand(-1, 3, -1, -1)
    picture: Array = to_uint8(image)[0].permute(1, 2, 0).cpu().numpy()
    return np.ascontiguousarray(picture)
