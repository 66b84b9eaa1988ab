"""Restoring an image band by band, so that memory does not grow with it: whole rows of tiles, ready to be encoded."""

import logging
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sr_lab.images import resize_bicubic, to_levels, to_tensor
from sr_lab.images.alpha import bleed
from sr_lab.images.rows import resampled_rows
from sr_lab.inference.restorers import BicubicRestorer, NetworkRestorer, TileRestorer
from sr_lab.inference.tiles import TilePlan

LOG = logging.getLogger(__name__)
BAND_BYTES = 128 * 2**20
"""About the most that a finished row of tiles takes."""
LEAST_TILE = 32
"""Tiles are not halved below this side."""

Target = tuple[tuple[int, int], tuple[float, float]]
"""Height and width of the restored image, and the factors down and across that made them."""


def target_of(
    height: int, width: int, *, scale: float | None = None, size: tuple[int | None, int | None] = (None, None)
) -> Target:
    """What an image becomes.

    Args:
        height: Rows of the low image.
        width: Its columns.
        scale: Enlargement factor; lengths are rounded up, as MATLAB does.
        size: Height and width that are wanted instead; where one is None, it follows the other.

    Raises:
        ValueError: If nothing positive is asked for, or ``scale`` and a size.
    """
    tall, wide = size
    if tall is None and wide is None:
        if scale is None or scale <= 0:
            raise ValueError(f"scale={scale} must be a positive number")
        exact = scale == int(scale)
        lengths = [length * int(scale) if exact else math.ceil(length * scale - 1e-9) for length in (height, width)]
        return (lengths[0], lengths[1]), (float(scale), float(scale))
    if min(value for value in size if value is not None) < 1:
        raise ValueError(f"width={wide}, height={tall}: at least one pixel")
    factor = (tall / height) if tall is not None else (wide or 0) / width
    tall = tall if tall is not None else max(1, round(height * factor))
    wide = wide if wide is not None else max(1, round(width * factor))
    return (tall, wide), (tall / height, wide / width)


def restored_bands(
    pixels: npt.NDArray[Any],
    restorer: Callable[[Tensor], Tensor],
    *,
    alpha: bool,
    target: Target,
    device: torch.device | str = "cpu",
    tile: int | None = None,
) -> Iterator[npt.NDArray[Any]]:
    """The restored image, rounded to the levels of ``pixels``, band by band from the top.

    Transparency is enlarged by bicubic interpolation: a network draws rings beside its hard edges. The colours that a
    network sees under transparent pixels are those of the visible ones beside them.

    Args:
        pixels: (H, W, C), uint8 or uint16; with ``alpha`` the last channel is transparency. Colours under transparent
            pixels are changed in place.
        restorer: What enlarges; one that cannot be asked for windows gets the whole image at once.
        alpha: Whether there is transparency.
        target: Size and factors of the result; other than the restorer's scale is reached by exact resampling.
        device: Where the restorer wants its images.
        tile: Side of a tile; halved as often as memory is short. None for the restorer's own.

    Yields:
        (rows, width, C), of the type of ``pixels``.
    """
    size, factors = target
    if alpha:
        bleed(pixels)
    work = _Window(restorer, alpha=alpha, dtype=pixels.dtype, device=torch.device(device))
    if isinstance(restorer, BicubicRestorer):
        yield from _bicubic(work, pixels, target)
        return
    scale = int(restorer.scale)  # type: ignore[attr-defined]
    height, width = pixels.shape[:2]
    if size == (height * scale, width * scale):
        for _, parts in _rows(work, pixels, scale, tile, work.levels, pixels.dtype.itemsize):
            yield np.concatenate(parts, axis=1)
        return
    bands = (torch.cat(parts, dim=-1) for _, parts in _rows(work, pixels, scale, tile, torch.clone, 4))
    small = (factors[0] / scale, factors[1] / scale)
    for band in resampled_rows(bands, before=(height * scale, width * scale), size=size, factors=small):
        yield work.levels(band)


class _Window:
    """What is done to one window: colours by the restorer, transparency by bicubic interpolation."""

    def __init__(
        self, restorer: Callable[[Tensor], Tensor], *, alpha: bool, dtype: np.dtype[Any], device: torch.device
    ) -> None:
        self.restorer, self.alpha, self.dtype, self.device = restorer, alpha, dtype, device
        self.tiled = hasattr(restorer, "piece") and not getattr(restorer, "generative", False)
        self.apply: Callable[[Tensor], Tensor] = restorer.piece if self.tiled else restorer  # type: ignore[attr-defined]

    @torch.inference_mode()
    def __call__(self, window: npt.NDArray[Any]) -> Tensor:
        """(h, w, C) to (1, C, h * scale, w * scale), on the CPU, not rounded."""
        if not self.alpha:
            return self.apply(to_tensor(window).to(self.device)).cpu()
        colours = self.apply(to_tensor(window[:, :, :-1]).to(self.device)).cpu()
        return torch.cat((colours, self._enlarged(window[:, :, -1], colours.shape[-1] // window.shape[1])), dim=1)

    @staticmethod
    def _enlarged(alpha: npt.NDArray[Any], scale: int) -> Tensor:
        low = to_tensor(np.ascontiguousarray(alpha))
        if alpha.min() == alpha.max():
            return low.repeat_interleave(scale, -2).repeat_interleave(scale, -1)
        return resize_bicubic(low, scale=float(scale))

    def levels(self, band: Tensor) -> npt.NDArray[Any]:
        """(rows, width, C) of the image's own type."""
        return to_levels(band, self.dtype)


def _rows(
    work: _Window,
    pixels: npt.NDArray[Any],
    scale: int,
    tile: int | None,
    finish: Callable[[Tensor], Any],
    value_bytes: int,
) -> Iterator[tuple[int, list[Any]]]:
    """First row of each band, and its parts from the left, each finished. Tiles are halved on short memory."""
    height, width, channels = pixels.shape
    if not work.tiled:
        yield 0, [finish(work(pixels))]
        return
    restorer: TileRestorer = work.restorer  # type: ignore[assignment]
    done, side = 0, _narrowed(restorer, height, width, tile, channels * value_bytes * scale**2)
    while done < height:
        plan = restorer.plan(height, width, tile=side)
        try:
            for row in plan.rows():
                first, last = max(done, row[0].rows[0]), row[0].rows[1]
                if last <= done:
                    continue
                skipped = (first - row[0].rows[0]) * scale
                parts = []
                for each in row:
                    tall, wide = plan.core(each, scale)
                    restored = work(plan.cut(pixels, each))
                    parts.append(finish(restored[..., tall.start + skipped : tall.stop, wide]))
                yield first, parts
                done = last
        except (MemoryError, RuntimeError) as error:
            side = _halved(restorer, plan, error)


def _narrowed(restorer: TileRestorer, height: int, width: int, tile: int | None, pixel_bytes: int) -> int | None:
    """A side at which a band of a wide image takes no more than ``BAND_BYTES``, where such tiles can be."""
    rows = BAND_BYTES // (width * pixel_bytes) // 16 * 16
    own = tile or getattr(restorer, "tile", None)
    if own is None or rows >= min(own, height):
        return tile
    try:
        restorer.plan(height, width, tile=(side := max(rows, 128)))
    except ValueError:
        return tile
    return min(side, own)


def _halved(restorer: TileRestorer, plan: TilePlan, error: BaseException) -> int:
    """The side of smaller tiles, where it was memory that failed and they can be smaller."""
    short = isinstance(error, MemoryError | torch.OutOfMemoryError) or "allocate memory" in str(error)
    side = max(plan.shape) // 2
    if not short:
        raise error
    stride = getattr(restorer, "stride", 1)
    try:
        restorer.plan(plan.height, plan.width, tile=max(side, 1))
    except ValueError:
        side = 0
    if side < max(LEAST_TILE, stride):
        text = f"memory does not suffice for a tile of {max(plan.shape)} pixels, and smaller ones cannot be: {error}"
        raise RuntimeError(text) from error
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    LOG.warning("memory was short for tiles of %d pixels: going on with %d", max(plan.shape), side)
    return side


def _bicubic(work: _Window, pixels: npt.NDArray[Any], target: Target) -> Iterator[npt.NDArray[Any]]:
    """MATLAB's bicubic to any size, without tiles: the rows themselves are the bands."""
    size, factors = target
    bands = (to_tensor(pixels[top : top + 32]) for top in range(0, len(pixels), 32))
    before = (pixels.shape[0], pixels.shape[1])
    for band in resampled_rows(bands, before=before, size=size, factors=factors):
        yield work.levels(band)


def choose_tile(restorer: Callable[[Tensor], Tensor], free: int) -> int | None:
    """A side of tiles whose restoration takes at most half of the free memory; None where the restorer has no tiles.

    What a pixel takes is measured on a small window, once for each restorer.

    Args:
        restorer: What enlarges.
        free: Bytes of memory that may be taken.
    """
    if not isinstance(restorer, NetworkRestorer) or restorer.generative:
        return None
    from sr_lab.inference.costs import peak_memory

    low = torch.zeros(1, restorer.num_channels, 48, 48, device=restorer.device)
    with torch.inference_mode():
        each = max(1.0, peak_memory(restorer.piece, low) / low[0, 0].numel())
    side = int(math.sqrt(free / 2 / each))
    return max(LEAST_TILE, min(restorer.tile, side // 16 * 16))
