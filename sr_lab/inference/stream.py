"""Restoring an image band by band, so that memory does not grow with it: whole rows of tiles, ready to be encoded."""

import functools
import logging
import math
import sys
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from sr_lab.images.alpha import bleed
from sr_lab.images.plain import as_float, as_levels, bicubic
from sr_lab.inference.engine_restorer import EngineRestorer
from sr_lab.inference.tiles import TilePlan

Restorer = Any
"""An ``EngineRestorer``, or what maps a tensor (1, C, h, w) to the restored one; the latter alone loads PyTorch."""

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
        if scale is None or not 0 < scale < math.inf:
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
    restorer: Restorer,
    *,
    alpha: bool,
    target: Target,
    device: Any = "cpu",
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
    if getattr(restorer, "anywhere", False):
        yield from _bicubic(pixels, target)
        return
    work = _Window(restorer, alpha=alpha, device=device)
    scale = int(restorer.scale)
    height, width = pixels.shape[:2]
    if size == (height * scale, width * scale):
        finish = functools.partial(as_levels, dtype=pixels.dtype)
        for _, parts in _rows(work, pixels, scale, tile, finish, pixels.dtype.itemsize):
            yield np.concatenate(parts, axis=1)
        return
    bands = (np.concatenate(parts, axis=-1) for _, parts in _rows(work, pixels, scale, tile, np.copy, 4))
    small = (factors[0] / scale, factors[1] / scale)
    yield from _resampled(bands, (height * scale, width * scale), size, small, pixels.dtype)


def enlarged_alpha(alpha: npt.NDArray[Any], scale: int) -> npt.NDArray[Any]:
    """Transparency (h, w, 1), enlarged by bicubic interpolation: (1, h * scale, w * scale), float32, not rounded."""
    low = as_float(alpha)
    if alpha.min() == alpha.max():
        return np.asarray(low.repeat(scale, -2).repeat(scale, -1))
    return np.asarray(bicubic(low[None], scale)[0])


class _Window:
    """What is done to one window: colours by the restorer, transparency by bicubic interpolation."""

    def __init__(self, restorer: Restorer, *, alpha: bool, device: Any) -> None:
        self.restorer, self.alpha = restorer, alpha
        windows = hasattr(restorer, "piece") or hasattr(restorer, "window")
        self.tiled = windows and not getattr(restorer, "generative", False)
        self.apply: Callable[[npt.NDArray[Any]], npt.NDArray[Any]] = (
            restorer.window if hasattr(restorer, "window") else _by_tensors(restorer, device, piece=self.tiled)
        )

    def __call__(self, window: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """(h, w, C) to (C, h * scale, w * scale), float32, not rounded."""
        if not self.alpha:
            restored: npt.NDArray[Any] = self.apply(as_float(window)[None])[0]
            return restored
        colours = self.apply(as_float(window[:, :, :-1])[None])[0]
        return np.concatenate((colours, enlarged_alpha(window[:, :, -1:], colours.shape[-1] // window.shape[1])))


def _by_tensors(restorer: Restorer, device: Any, *, piece: bool) -> Callable[[npt.NDArray[Any]], npt.NDArray[Any]]:
    """A restorer of tensors as a function of arrays."""
    import torch

    apply = restorer.piece if piece else restorer

    def run(low: npt.NDArray[Any]) -> npt.NDArray[Any]:
        with torch.inference_mode():
            restored: npt.NDArray[Any] = apply(torch.from_numpy(low).to(device)).float().cpu().numpy()
        return restored

    return run


def _rows(
    work: _Window,
    pixels: npt.NDArray[Any],
    scale: int,
    tile: int | None,
    finish: Callable[[npt.NDArray[Any]], Any],
    value_bytes: int,
) -> Iterator[tuple[int, list[Any]]]:
    """First row of each band, and its parts from the left, each finished. Tiles are halved on short memory."""
    height, width, channels = pixels.shape
    if not work.tiled:
        yield 0, [finish(work(pixels))]
        return
    restorer = work.restorer
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


def _narrowed(restorer: Restorer, height: int, width: int, tile: int | None, pixel_bytes: int) -> int | None:
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


def _halved(restorer: Restorer, plan: TilePlan, error: BaseException) -> int:
    """The side of smaller tiles, where it was memory that failed and they can be smaller."""
    torch = sys.modules.get("torch")
    short = isinstance(error, MemoryError) or "allocate memory" in str(error)
    short = short or (torch is not None and isinstance(error, torch.OutOfMemoryError))
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
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
    LOG.warning("memory was short for tiles of %d pixels: going on with %d", max(plan.shape), side)
    return side


def _bicubic(pixels: npt.NDArray[Any], target: Target) -> Iterator[npt.NDArray[Any]]:
    """MATLAB's bicubic to any size, without tiles: the rows themselves are the bands."""
    size, factors = target
    bands = (as_float(pixels[top : top + 32]) for top in range(0, len(pixels), 32))
    yield from _resampled(bands, (pixels.shape[0], pixels.shape[1]), size, factors, pixels.dtype)


def _resampled(
    bands: Iterator[npt.NDArray[Any]],
    before: tuple[int, int],
    size: tuple[int, int],
    factors: tuple[float, float],
    dtype: np.dtype[Any],
) -> Iterator[npt.NDArray[Any]]:
    """Bands (C, rows, width) in another size, in levels."""
    import torch

    from sr_lab.images.rows import resampled_rows

    tensors = (torch.from_numpy(band)[None] for band in bands)
    for band in resampled_rows(tensors, before=before, size=size, factors=factors):
        yield as_levels(band[0].numpy(), dtype)


def choose_tile(restorer: Restorer, free: int) -> int | None:
    """A side of tiles whose restoration takes at most half of the free memory; None where the restorer has no tiles.

    What a pixel takes is measured on a small window, once for each restorer.

    Args:
        restorer: What enlarges.
        free: Bytes of memory that may be taken.
    """
    if isinstance(restorer, EngineRestorer):
        return restorer.side(free, LEAST_TILE)
    from sr_lab.inference.restorers import NetworkRestorer

    if not isinstance(restorer, NetworkRestorer) or restorer.generative:
        return None
    import torch

    from sr_lab.inference.costs import peak_memory

    low = torch.zeros(1, restorer.num_channels, 48, 48, device=restorer.device)
    with torch.inference_mode():
        each = max(1.0, peak_memory(restorer.piece, low) / low[0, 0].numel())
    side = int(math.sqrt(free / 2 / each))
    return max(LEAST_TILE, min(restorer.tile, side // 16 * 16))
