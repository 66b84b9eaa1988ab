"""How a large image is cut: windows of one shape, each with a core that it alone decides, and no blending.

Where every core keeps ``halo`` pixels of distance from the edges of its window that are not edges of the image, and
``halo`` is at least the radius that the network sees (``inference.halo``), the tiles together are the image that the
network makes of the whole: seams are not hidden, there are none.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from torch import Tensor


BICUBIC_HALO = 4
"""Low-resolution pixels that bicubic enlargement sees to each side, with room for the border."""


@dataclass(frozen=True)
class Halo:
    """What a network's tiles have to see beyond their cores.

    Attributes:
        pixels: Low-resolution pixels to each side.
        error: Largest difference between tile and whole on the probe, in [0, 1].
        exact: Whether that is rounding alone.
    """

    pixels: int
    error: float
    exact: bool


@dataclass(frozen=True)
class Tile:
    """A window of the image, and the part of the image that is taken from it; in low-resolution pixels.

    Attributes:
        top: First row of the window.
        left: First column of the window.
        rows: First row of the core and the one behind its last, counted in the image.
        columns: The same of columns.
    """

    top: int
    left: int
    rows: tuple[int, int]
    columns: tuple[int, int]


@dataclass(frozen=True)
class TilePlan:
    """The tiles of one image, row by row; their cores cover it once.

    Attributes:
        height: Rows of the image.
        width: Columns of the image.
        shape: Rows and columns of every window. Where this is more than the image has (it is no multiple of the
            stride, or smaller than a fixed window), the image is continued by reflection, below and on the right.
        halo: Least distance of a core from an edge of its window inside the image.
        tiles: The tiles.

    Example:
        >>> plan = plan_tiles(100, 60, tile=64, halo=8)
        >>> plan.shape, len(plan.tiles), [tile.rows for tile in plan.tiles]
        ((64, 60), 2, [(0, 56), (56, 100)])
        >>> image = np.zeros((100, 60, 3), np.uint8)
        >>> {plan.cut(image, tile).shape for tile in plan.tiles}
        {(64, 60, 3)}
    """

    height: int
    width: int
    shape: tuple[int, int]
    halo: int
    tiles: tuple[Tile, ...]

    def rows(self) -> Iterator[list[Tile]]:
        """The tiles of one row after the other; their cores make a band as wide as the image."""
        for _, row in groupby(self.tiles, key=lambda tile: tile.rows):
            yield list(row)

    def cut(self, image: npt.NDArray[Any], tile: Tile) -> npt.NDArray[Any]:
        """The window of a tile, (*shape, ...), of an image (height, width, ...); a view where nothing is continued."""
        tall, wide = self.shape
        if tile.top + tall <= self.height and tile.left + wide <= self.width:
            return image[tile.top : tile.top + tall, tile.left : tile.left + wide]
        rows, columns = _mirrored(tile.top, tall, self.height), _mirrored(tile.left, wide, self.width)
        return image[rows[:, None], columns]

    def cut_tensor(self, image: "Tensor", tile: Tile) -> "Tensor":
        """As ``cut``, of a tensor (..., height, width)."""
        tall, wide = self.shape
        if tile.top + tall <= self.height and tile.left + wide <= self.width:
            return image[..., tile.top : tile.top + tall, tile.left : tile.left + wide]
        rows, columns = _mirrored(tile.top, tall, self.height), _mirrored(tile.left, wide, self.width)
        import torch

        return image.index_select(-2, torch.from_numpy(rows).to(image.device)).index_select(
            -1, torch.from_numpy(columns).to(image.device)
        )

    def core(self, tile: Tile, scale: int = 1) -> tuple[slice, slice]:
        """Where the core of a tile lies in its restored window."""
        return (
            slice((tile.rows[0] - tile.top) * scale, (tile.rows[1] - tile.top) * scale),
            slice((tile.columns[0] - tile.left) * scale, (tile.columns[1] - tile.left) * scale),
        )

    def place(self, tile: Tile, scale: int = 1) -> tuple[slice, slice]:
        """Where the core of a tile belongs in the restored image."""
        return (
            slice(tile.rows[0] * scale, tile.rows[1] * scale),
            slice(tile.columns[0] * scale, tile.columns[1] * scale),
        )


def plan_tiles(height: int, width: int, *, tile: int, halo: int, stride: int = 1, fixed: bool = False) -> TilePlan:
    """Windows of one shape that lie inside the image, and their cores.

    Args:
        height: Rows of the image, at least 1.
        width: Columns of the image, at least 1.
        tile: Most rows and columns of a window; rounded down to a multiple of ``stride``.
        halo: Least distance of a core from the edges of its window, but for those of the image.
        stride: Pixels by which the network's input can be moved so that its output moves along: windows start at
            multiples of it, and are a multiple of it high and wide.
        fixed: Whether a window is ``tile`` pixels high and wide even where the image is smaller.

    Raises:
        ValueError: If a window has no core of at least ``stride`` pixels, or a length is not positive.
    """
    if min(height, width, tile, stride) < 1 or halo < 0:
        raise ValueError(f"{height}x{width} pixels, tile={tile}, halo={halo}, stride={stride}: all must be positive")
    side = tile // stride * stride
    tall, wide = (side if fixed else min(side, _up(length, stride)) for length in (height, width))
    if side < 1 or any(length > side and side - 2 * halo < stride for length in (height, width)):
        raise ValueError(
            f"tile={tile} leaves no core: it must be at least {2 * _up(halo, stride) + stride}, for the {halo} pixels "
            f"that the network sees to each side and its stride of {stride}"
        )
    rows, columns = (_axis(length, window, halo, stride) for length, window in ((height, tall), (width, wide)))
    tiles = tuple(
        Tile(top=top, left=left, rows=tall_core, columns=wide_core)
        for top, tall_core in rows
        for left, wide_core in columns
    )
    return TilePlan(height=height, width=width, shape=(tall, wide), halo=halo, tiles=tiles)


def plan_network(
    height: int, width: int, *, tile: int, halo: Callable[[], Halo], overlap: int | None, stride: int, fixed: bool
) -> TilePlan:
    """How an image is cut for a network: not at all where it fits into a tile.

    Args:
        height: Rows of the image.
        width: Columns of the image.
        tile: See ``plan_tiles``.
        halo: Tells what the network sees; asked only where the image is cut.
        overlap: What neighbouring tiles share, where somebody said it; else there is room for colour and alpha, too.
        stride: See ``plan_tiles``.
        fixed: See ``plan_tiles``.
    """
    if max(height, width) <= tile:
        return plan_tiles(height, width, tile=tile, halo=0, stride=min(stride, tile), fixed=fixed)
    pixels = overlap // 2 if overlap is not None else max(halo().pixels, BICUBIC_HALO)
    return plan_tiles(height, width, tile=tile, halo=pixels, stride=stride, fixed=fixed)


def _axis(length: int, window: int, halo: int, stride: int) -> list[tuple[int, tuple[int, int]]]:
    """Start and core of each window along one axis."""
    last = max(0, _up(length, stride) - window)
    step = max(stride, (window - 2 * halo) // stride * stride)
    starts = [*range(0, last, step), last]
    ends = [start + window - halo for start in starts[:-1]] + [length]
    return list(zip(starts, zip([0, *ends[:-1]], ends, strict=True), strict=True))


def _up(length: int, stride: int) -> int:
    return -(-length // stride) * stride


def _mirrored(start: int, count: int, length: int) -> npt.NDArray[np.int64]:
    """Indices ``start`` to ``start + count`` into an axis that is continued by reflection, the edge not repeated."""
    period = max(2 * length - 2, 1)
    index = np.arange(start, start + count) % period
    return np.minimum(index, period - index) if length > 1 else np.zeros(count, np.int64)
