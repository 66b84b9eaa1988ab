"""Bicubic resampling of an image whose rows come one band after the other: ``resize_bicubic`` without the image."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from sr_lab.images.banded import Block, multiply
from sr_lab.images.resize import band_of

_BAND_VALUES = 2**24
"""Values of a band that is given out, at most, where it has more than one row."""


def resampled_rows(
    bands: Iterable[Tensor], *, before: tuple[int, int], size: tuple[int, int], factors: tuple[float, float]
) -> Iterator[Tensor]:
    """Bands of the image that ``resize_bicubic`` makes of the whole, but for rounding.

    Args:
        bands: (1, C, rows, width), floating point, from the top to the bottom.
        before: Height and width of the whole.
        size: Height and width of the result.
        factors: Down and across: what MATLAB's ``imresize`` is given; the ratios of the lengths where a size is asked.
    """
    waiting: Tensor | None = None
    start, done = 0, 0
    rows_first = factors[0] <= factors[1]  # in MATLAB's order: the axis that shrinks most, or else the rows
    blocks: tuple[Block, ...] = ()
    across: tuple[Block, ...] = ()

    def finished(ready: list[Tensor]) -> Tensor:
        lines = torch.cat(ready, dim=-2)
        return multiply(lines, across, -1) if rows_first and factors[1] != 1 else lines

    for band in bands:
        if not blocks:
            dtype, device = band.dtype, band.device
            blocks = band_of(before[0], size[0], factors[0], "symmetric", False, dtype, device).blocks
            across = band_of(before[1], size[1], factors[1], "symmetric", False, dtype, device).blocks
        part = band if rows_first or factors[1] == 1 else multiply(band, across, -1)
        waiting = part if waiting is None else torch.cat((waiting, part), dim=-2)
        most = max(1, _BAND_VALUES // (waiting.shape[-3] * size[1]))
        ready: list[Tensor] = []
        while done < len(blocks) and blocks[done].first + blocks[done].width <= start + waiting.shape[-2]:
            block = blocks[done]
            window = waiting.narrow(-2, block.first - start, block.width).contiguous()
            for top in range(0, len(block.matrix), most):
                matrix = block.matrix[top : top + most]
                if ready and sum(lines.shape[-2] for lines in ready) + len(matrix) > most:
                    yield finished(ready)
                    ready = []
                ready.append(matrix @ window)
            done += 1
        if ready:
            yield finished(ready)
        if done < len(blocks) and (gone := min(block.first for block in blocks[done:]) - start) > 0:
            waiting, start = waiting[..., gone:, :], start + gone
