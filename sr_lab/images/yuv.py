"""Between the planes of a video frame and RGB: matrix, range, depth and chroma subsampling as the file states them."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Planes = tuple[npt.NDArray[Any], ...]
"""Planes of a frame, (rows, columns) of uint8 (8 bit) or uint16 (more): Y, Cb, Cr; grey alone; or G, B, R."""
Matrix = Literal["bt601", "bt709", "bt2020", "fcc", "smpte240m"]
LUMA_SHARES: dict[Matrix, tuple[float, float]] = {
    "bt601": (0.299, 0.114),
    "bt709": (0.2126, 0.0722),
    "bt2020": (0.2627, 0.0593),
    "fcc": (0.30, 0.11),
    "smpte240m": (0.212, 0.087),
}
"""Shares of red and blue in luma, by the matrix's name."""


@dataclass(frozen=True)
class PixelLayout:
    """How a frame's planes hold its colours.

    Attributes:
        kind: ``yuv``, ``grey`` or ``rgb`` (planes G, B, R).
        bits: Bits of a sample, 8 to 16.
        shifts: Halvings of the chroma planes, across and down: (1, 1) is 4:2:0, (1, 0) 4:2:2, (0, 0) 4:4:4.
        matrix: Of YCbCr; see ``LUMA_SHARES``.
        full: Whether black is 0 and white the highest level, as in JPEG; else 16 and 235 (of 8 bits).
    """

    kind: Literal["yuv", "grey", "rgb"] = "yuv"
    bits: int = 8
    shifts: tuple[int, int] = (1, 1)
    matrix: Matrix = "bt709"
    full: bool = False

    @property
    def dtype(self) -> type[np.uint8] | type[np.uint16]:
        """Type of the samples."""
        return np.uint8 if self.bits == 8 else np.uint16


def planes_to_rgb(planes: Planes, layout: PixelLayout) -> npt.NDArray[np.uint16]:
    """Colours of a frame with 16 bits, so that nothing is rounded twice.

    Chroma lies as H.264 and MPEG-2 have it: on every second column, between two rows; it is interpolated linearly.

    Args:
        planes: See ``Planes``.
        layout: How they hold the colours.

    Returns:
        (H, W, 3), or (H, W, 1) of grey. Colours outside RGB are clamped.

    Example:
        >>> grey = (np.full((4, 4), 235, np.uint8), np.full((2, 2), 128, np.uint8), np.full((2, 2), 128, np.uint8))
        >>> planes_to_rgb(grey, PixelLayout())[0, 0].tolist()
        [65535, 65535, 65535]
    """
    values = [torch.from_numpy(np.ascontiguousarray(plane)).to(torch.float32) for plane in planes]
    top, luma, chroma, black, grey = _levels(layout)
    if layout.kind == "rgb":
        rgb = torch.stack([values[2], values[0], values[1]], dim=-1) / top
    elif layout.kind == "grey":
        rgb = ((values[0] - black) / luma)[..., None]
    else:
        height, width = values[0].shape
        y = (values[0] - black) / luma
        blue, red = (_spread((each - grey) / chroma, layout.shifts, height, width) for each in values[1:3])
        share_red, share_blue = LUMA_SHARES[layout.matrix]
        r, b = y + 2 * (1 - share_red) * red, y + 2 * (1 - share_blue) * blue
        g = (y - share_red * r - share_blue * b) / (1 - share_red - share_blue)
        rgb = torch.stack((r, g, b), dim=-1)
    return rgb.mul_(65535).round_().clamp_(0, 65535).to(torch.int32).numpy().astype(np.uint16)


def rgb_to_planes(image: npt.NDArray[Any] | Tensor, layout: PixelLayout) -> Planes:
    """Planes of a frame, rounded to their levels; the reverse of ``planes_to_rgb``.

    Args:
        image: (H, W, C), uint16, or floating point in [0, 1]; C is 3, or 1 for grey planes.
        layout: How the planes hold the colours; odd sides have chroma planes rounded up.

    Example:
        >>> [plane[0, 0].item() for plane in rgb_to_planes(np.full((2, 2, 3), 65535, np.uint16), PixelLayout())]
        [235, 128, 128]
    """
    rgb = torch.as_tensor(image.astype(np.float32) / 65535 if isinstance(image, np.ndarray) else image)
    top, luma, chroma, black, grey = _levels(layout)
    if layout.kind == "rgb":
        return tuple(_rounded(rgb[..., index] * top, layout) for index in (1, 2, 0))
    if layout.kind == "grey":
        return (_rounded(rgb.mean(dim=-1) * luma + black, layout),)
    share_red, share_blue = LUMA_SHARES[layout.matrix]
    r, g, b = rgb.expand(*rgb.shape[:2], 3).unbind(dim=-1)
    y = share_red * r + (1 - share_red - share_blue) * g + share_blue * b
    blue, red = (b - y) / (2 * (1 - share_blue)), (r - y) / (2 * (1 - share_red))
    parts = (_gathered(each, layout.shifts) * chroma + grey for each in (blue, red))
    return (_rounded(y * luma + black, layout), *(_rounded(each, layout) for each in parts))


def _levels(layout: PixelLayout) -> tuple[float, float, float, float, float]:
    """Highest level, extent of luma and of chroma, level of black, and of chroma's zero."""
    unit, top = 2.0 ** (layout.bits - 8), 2.0**layout.bits - 1
    if layout.full:
        return top, top, top, 0.0, 128 * unit
    return top, 219 * unit, 224 * unit, 16 * unit, 128 * unit


def _rounded(values: Tensor, layout: PixelLayout) -> npt.NDArray[Any]:
    return values.round().clamp(0, 2**layout.bits - 1).to(torch.int32).numpy().astype(layout.dtype)


def _spread(plane: Tensor, shifts: tuple[int, int], height: int, width: int) -> Tensor:
    """A chroma plane at the size of luma."""
    if shifts[0]:
        after = torch.cat((plane[:, 1:], plane[:, -1:]), dim=1)
        plane = torch.stack((plane, (plane + after) / 2), dim=2).flatten(1)[:, :width]
    if shifts[1]:
        before, after = torch.cat((plane[:1], plane[:-1])), torch.cat((plane[1:], plane[-1:]))
        rows = torch.stack((0.75 * plane + 0.25 * before, 0.75 * plane + 0.25 * after), dim=1)
        plane = rows.flatten(0, 1)[:height]
    return plane


def _gathered(plane: Tensor, shifts: tuple[int, int]) -> Tensor:
    """A plane of luma's size at the size of chroma."""
    if shifts[0]:
        if plane.shape[1] % 2:
            plane = torch.cat((plane, plane[:, -1:]), dim=1)
        even, odd = plane[:, ::2], plane[:, 1::2]
        before = torch.cat((even[:, :1], odd[:, :-1]), dim=1)
        plane = (before + 2 * even + odd) / 4
    if shifts[1]:
        if plane.shape[0] % 2:
            plane = torch.cat((plane, plane[-1:]))
        plane = (plane[::2] + plane[1::2]) / 2
    return plane
