"""The matrices of a linear degradation that is not separable, from its answers to impulses.

Seen as a matrix from pairs (row of the low image, row of the high one) to pairs of columns, such a map is of low rank.
Its rows are asked by an impulse in one row times a random profile along it: each column of the answer is another
mixture of the same few matrices, and the singular vectors of all mixtures are a basis of them, the border's included.
The columns are asked in the same way; how much of each pair of both bases there is comes from answers to random images.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from sr_lab.images.banded import FloatArray
from sr_lab.images.projection import Axis, Matrix

Run = Callable[[Tensor], Tensor]
"""What makes low images (B, 1, h, w) of images (B, 1, H, W) in [0, 1]."""
Term = tuple[Matrix, Matrix]
"""Matrices (h, H) for the rows and (w, W) for the columns."""

_GREY, _IMPULSE = 0.5, 0.25
_MIXTURES = 64
_NOISE = 3e-6
"""Share of the largest below which singular values and entries are the rounding of float32."""
_ATONCE = 32


def terms_of(run: Run, low: tuple[int, int], scale: int) -> list[Term]:
    """The degradation of images of one size as a sum of pairs of matrices, the largest first.

    Args:
        run: The degradation.
        low: Height and width of the low image.
        scale: Its factor.

    Returns:
        As few pairs as it takes; they reproduce ``run`` where it is linear and its border rules are of rows and of
        columns, which they do not tell: ``run`` has to be compared with them.
    """
    rows, columns = (_basis(run, low, scale, axis=axis) for axis in (0, 1))
    shape = (len(rows), len(columns))
    num = 2 + 2 * shape[0] * shape[1] // (low[0] * low[1])
    fields = torch.rand(num, low[0] * scale, low[1] * scale, generator=torch.Generator().manual_seed(1)) - 0.5
    told = _answers(run, fields.double().numpy()).reshape(-1)
    images = fields.double().numpy()
    narrow = [row @ images for row in rows]
    parts = np.stack([(part @ column.T).reshape(-1) for part in narrow for column in columns], axis=1)
    weights = np.linalg.lstsq(parts, told, rcond=None)[0].reshape(shape)
    u, sizes, v = np.linalg.svd(weights)
    count = max(1, int((sizes > _NOISE * sizes[0]).sum()))
    return [
        (
            _sparse(np.tensordot(u[:, k] * sizes[k] ** 0.5, rows, 1)),
            _sparse(np.tensordot(v[k] * sizes[k] ** 0.5, columns, 1)),
        )
        for k in range(count)
    ]


def stretched(matrix: Matrix, length: int, scale: int) -> Axis:
    """The matrix of a longer axis: the same at both ends, its middle row moved along between them."""
    import scipy.sparse

    known = matrix.tocoo()
    num = matrix.shape[0]
    middle, longer = num // 2, length - num
    row, column, value = known.row.astype(np.int64), known.col.astype(np.int64), known.data
    late = row >= middle
    steps = np.arange(longer)
    here = row == middle
    again_row = middle + np.repeat(steps, here.sum())
    again_column = (column[here][None] + steps[:, None] * scale).reshape(-1)
    again_value = np.tile(value[here], longer)
    entries = (
        np.concatenate([value, again_value]),
        (
            np.concatenate([row + late * longer, again_row]),
            np.concatenate([column + late * longer * scale, again_column]),
        ),
    )
    return Axis(scipy.sparse.coo_array(entries, shape=(length, length * scale)))


def _basis(run: Run, low: tuple[int, int], scale: int, *, axis: int) -> FloatArray:
    """(rank, n, N): an orthonormal basis of the matrices of one axis."""
    along, across = low[axis], low[1 - axis]
    high, wide = along * scale, across * scale
    generator = torch.Generator().manual_seed(2 + axis)
    profiles = torch.rand(-(-_MIXTURES // across), wide, generator=generator).double().numpy() * 2 - 1
    mixtures = np.empty((len(profiles) * across, along, high))
    for number, profile in enumerate(profiles):
        for start in range(0, high, _ATONCE):
            places = np.arange(start, min(start + _ATONCE, high))
            images = np.zeros((len(places), high, wide))
            images[np.arange(len(places)), places] = profile
            answers = _answers(run, images if axis == 0 else images.transpose(0, 2, 1))
            answers = answers if axis == 0 else answers.transpose(0, 2, 1)
            mixtures[number * across : (number + 1) * across, :, places] = answers.transpose(2, 1, 0)
    seen = np.abs(mixtures).max(axis=0)
    mixtures[:, seen < _NOISE * seen.max()] = 0
    _, sizes, v = np.linalg.svd(mixtures.reshape(len(mixtures), -1), full_matrices=False)
    result: FloatArray = v[sizes > _NOISE * sizes[0]].reshape(-1, along, high)
    return result


def _answers(run: Run, images: FloatArray) -> FloatArray:
    """(B, h, w): what is made of (B, H, W) in -1..1, linearly."""
    given = torch.from_numpy(np.ascontiguousarray(images * _IMPULSE + _GREY)).float()[:, None]
    grey = run(torch.full_like(given[:1], _GREY))
    result: FloatArray = (run(given) - grey)[:, 0].double().numpy() / _IMPULSE
    return result


def _sparse(matrix: FloatArray) -> Matrix:
    import scipy.sparse

    return scipy.sparse.csr_array(np.where(np.abs(matrix) > 1e-12, matrix, 0))


def reaches(terms: Sequence[Term], scale: int) -> bool:
    """Whether the middle of these matrices knows nothing of the border, so that they can be stretched."""
    for term in terms:
        for matrix in term:
            dense = matrix.toarray()
            middle = len(dense) // 2
            if middle < 1:
                return True
            before, here = dense[middle - 1], dense[middle]
            if (
                np.abs(np.roll(before, scale) - here).max() > 1e-5
                or np.abs(here[[*range(scale), *range(-scale, 0)]]).max() > 0
            ):
                return True
    return False
