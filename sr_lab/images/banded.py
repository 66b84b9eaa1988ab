"""Banded matrices along one axis of images, applied as small dense blocks."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

FloatArray = npt.NDArray[np.float64]
IndexArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Block:
    """Rows ``[start, start + len(matrix))`` of the output, made from rows ``[first, first + width)`` of the input."""

    first: int
    width: int
    matrix: Tensor


def cut_rows(
    row: IndexArray,
    column: IndexArray,
    value: FloatArray,
    num_rows: int,
    step: int,
    dtype: torch.dtype,
    device: torch.device,
) -> tuple[Block, ...]:
    """Blocks of ``step`` rows of a sparse matrix whose entries are sorted by row; repeated entries are added."""
    blocks = []
    for start in range(0, num_rows, step):
        stop = min(start + step, num_rows)
        here = slice(*np.searchsorted(row, (start, stop)))
        first, width = 0, 1
        if column[here].size:
            first = int(column[here].min())
            width = int(column[here].max()) + 1 - first
        flat = (row[here] - start) * width + column[here] - first
        matrix = np.bincount(flat, weights=value[here], minlength=(stop - start) * width).reshape(-1, width)
        blocks.append(Block(first=first, width=width, matrix=torch.from_numpy(matrix).to(device, dtype)))
    return tuple(blocks)


def multiply(image: Tensor, blocks: Sequence[Block], axis: int) -> Tensor:
    """Product of a banded matrix with the rows (axis -2) or the columns (axis -1) of (B, C, H, W)."""
    image = image.contiguous()
    windows = [image.narrow(axis, block.first, block.width) for block in blocks]
    if axis == -1:
        parts = [window @ block.matrix.T for window, block in zip(windows, blocks, strict=True)]
    else:
        parts = [block.matrix @ window for window, block in zip(windows, blocks, strict=True)]
    return torch.cat(parts, dim=axis)
