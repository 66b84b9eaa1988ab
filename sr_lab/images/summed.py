"""Shrinking by a kernel that is not separable: a sum of pairs of matrices, and the projection of images with it.

Any kernel is a sum of separable ones (its singular value decomposition), and where its border rule is one of rows and
one of columns, so is the map: D: X -> sum R_k X C_k^T. A turned Gaussian needs about ten terms in float precision, a
disc of 9 pixels three. D D^T is such a sum on low images, but has no inverse of that form: (D D^T + weight) z = r is
solved by conjugate gradients in float64, preconditioned by the stencil of D D^T in the middle of an image, inverted by
FFT.
"""

import math
from collections.abc import Callable, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from sr_lab.images.banded import FloatArray, multiply
from sr_lab.images.projection import Axis, Matrix, Projection, working_type

RESIDUAL = 1e-8
"""What is left of (D D^T + weight) z = r where the solution stops: the largest value, those of images being 0..1."""
_EXACT = 1e-13
"""The same where the decay of a correction is looked at."""
_MOST_STEPS = 300
_KEPT = 1e-10
"""Terms of D D^T below this share of the largest are left out."""


class SummedShrinking(Projection):
    """A linear shrinking of images of one size: matrices for the rows and for the columns of each of its terms.

    Args:
        terms: Rows and columns of each term.

    Raises:
        ValueError: from ``solve`` and what uses it, if the equations are so badly conditioned that they are not solved.

    Example:
        >>> import numpy as np, torch
        >>> one, other = Axis(np.kron(np.eye(3), [0.5, 0.5])), Axis(np.kron(np.eye(3), [1.0, 0.0]))
        >>> shrinking = SummedShrinking([(one, one), (other, other)])
        >>> low = torch.rand(1, 1, 3, 3)
        >>> image = shrinking.project(torch.rand(1, 1, 6, 6), low)
        >>> bool((shrinking.shrink(image) - low).abs().max() < 1e-5)
        True
    """

    def __init__(self, terms: Sequence[tuple[Axis, Axis]]) -> None:
        self.terms = list(terms)

    @property
    def low(self) -> tuple[int, int]:
        """Height and width of the shrunk image."""
        rows, columns = self.terms[0]
        return rows.shape[0], columns.shape[0]

    @property
    def high(self) -> tuple[int, int]:
        """Height and width of the image."""
        rows, columns = self.terms[0]
        return rows.shape[1], columns.shape[1]

    def shrink(self, image: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, h, w); neither clamped nor rounded."""
        self.require(image, self.high, "image")
        return self._applied(self.terms, image.to(working_type(image)), lift=False)

    def lift(self, low: Tensor) -> Tensor:
        """(B, C, h, w) to (B, C, H, W), by the transpose: the range of corrections."""
        return self._applied(self.terms, low.to(working_type(low)), lift=True)

    def solve(self, residual: Tensor, *, weight: float = 0.0) -> Tensor:
        """(D D^T + weight)^-1 of a low image, up to ``RESIDUAL``; in float64, on the CPU meanwhile."""
        solution = self._solved(residual.detach().cpu().double(), weight, RESIDUAL)
        return solution.to(residual.device, working_type(residual))

    def _solved(self, right: Tensor, weight: float, enough: float) -> Tensor:
        """By preconditioned conjugate gradients, each plane with steps of its own."""
        stencil = self._stencil + weight
        stencil = stencil.clamp(min=float(stencil.max()) * 1e-9)

        def times(image: Tensor) -> Tensor:
            return self._applied(self._squared, image, lift=False) + weight * image

        def conditioned(image: Tensor) -> Tensor:
            result: Tensor = torch.fft.irfft2(torch.fft.rfft2(image) / stencil, s=image.shape[-2:])
            return result

        solution, left = torch.zeros_like(right), right.clone()
        direction = conditioned(left)
        product = _inner(left, direction)
        for _ in range(_MOST_STEPS):
            if float(left.abs().max()) <= enough:
                return solution
            image = times(direction)
            step = product / _inner(direction, image).clamp(min=1e-300)
            solution += step * direction
            left -= step * image
            towards = conditioned(left)
            after = _inner(left, towards)
            direction = towards + after / product.clamp(min=1e-300) * direction
            product = after
        raise ValueError(
            f"the projection was not found to {enough:g} in {_MOST_STEPS} steps ({float(left.abs().max()):.2g} is "
            "left): the degradation leaves next to nothing of some frequencies; give input_noise=0.3, or auto"
        )

    @cached_property
    def noise_gain(self) -> float:
        """RMS in the image over RMS in the low image: how much stronger noise of the low image comes back."""
        (height, width), (tall, wide) = self.low, self.high
        return math.sqrt(float((1 / self._eigenvalues.clip(1e-300)).mean()) * height * width / (tall * wide))

    @cached_property
    def mean_gain(self) -> float:
        """Mean square of what shrinking makes of noise of variance 1."""
        total = sum(
            float((a.shrink.multiply(c.shrink)).sum() * (b.shrink.multiply(d.shrink)).sum())
            for a, b in self.terms
            for c, d in self.terms
        )
        return total / float(np.prod(self.low))

    def halo(self, tolerance: float = 1e-6) -> int:
        """Low pixels around a tile after which its projection equals that of the whole image, up to ``tolerance``."""
        height, width = self.low
        unit = torch.zeros(1, 1, height, width, dtype=torch.float64)
        unit[..., height // 2, width // 2] = 1
        spread = self.lift(self._solved(unit, 0.0, _EXACT)).abs()[0, 0].numpy()
        distance = np.maximum(*np.meshgrid(*map(self._distances, (0, 1)), indexing="ij"))
        inside = min(height, width) // 2
        beyond = np.flatnonzero([spread[distance >= pixels].sum() < tolerance for pixels in range(inside)])
        return int(beyond[0]) + 1 if beyond.size else max(height, width)

    def _distances(self, axis: int) -> FloatArray:
        """Of each row or column of the image from the low image's middle one, in low pixels."""
        low, high = self.low[axis], self.high[axis]
        return np.abs((np.arange(high) + 0.5) * low / high - 0.5 - low // 2)

    @staticmethod
    def _applied(terms: Sequence[tuple[Axis, Axis]], image: Tensor, *, lift: bool) -> Tensor:
        def times(part: Tensor, axis: Axis, along: int) -> Tensor:
            return multiply(part, axis.blocks(lift=lift, dtype=image.dtype, device=image.device), along)

        (rows, columns), *others = terms
        total = times(times(image, rows, -2), columns, -1)
        for rows, columns in others:
            total = total + times(times(image, rows, -2), columns, -1)
        return total

    @cached_property
    def _squared(self) -> list[tuple[Axis, Axis]]:
        """D D^T as such a sum, of as few terms as it takes."""
        pairs = [
            (first.shrink @ second.lift, one.shrink @ other.lift)
            for first, one in self.terms
            for second, other in self.terms
        ]
        return fewest(pairs)

    @cached_property
    def _stencil(self) -> Tensor:
        """Spectrum of what D D^T does in the middle of an image, continued around its border."""
        height, width = self.low
        unit = torch.zeros(1, 1, height, width, dtype=torch.float64)
        unit[..., height // 2, width // 2] = 1
        around = self._applied(self._squared, unit, lift=False).roll((-(height // 2), -(width // 2)), (-2, -1))
        spectrum: Tensor = torch.fft.rfft2(around).real
        return spectrum

    @cached_property
    def _eigenvalues(self) -> FloatArray:
        """Of D D^T, for a piece of the low image."""
        whole = sum(
            np.kron(rows.shrink.toarray()[:_PIECE, :_PIECE], columns.shrink.toarray()[:_PIECE, :_PIECE])
            for rows, columns in self._squared
        )
        values: FloatArray = np.linalg.eigvalsh(whole)
        return values


_PIECE = 20


def fewest(pairs: Sequence[tuple[Matrix, Matrix]], *, kept: float = _KEPT) -> list[tuple[Axis, Axis]]:
    """The sum of Kronecker products of ``pairs`` as one of as few products as it takes, the largest first.

    Args:
        pairs: Sparse matrices for the rows, of one shape, and for the columns, of one shape.
        kept: Share of the largest product below which others are left out.
    """
    (rows, across), (columns, down) = (_vectors([pair[side] for pair in pairs]) for side in (0, 1))
    left, right = np.linalg.qr(across), np.linalg.qr(down)
    u, sizes, v = np.linalg.svd(left.R @ right.R.T)
    count = int((sizes > kept * sizes[0]).sum())
    return [
        (
            Axis(rows(left.Q @ u[:, k] * sizes[k] ** 0.5)),
            Axis(columns(right.Q @ v[k] * sizes[k] ** 0.5)),
        )
        for k in range(count)
    ]


def _vectors(matrices: Sequence[Matrix]) -> tuple[Callable[[FloatArray], Matrix], FloatArray]:
    """(places, count) of the entries that any of the matrices has, and what makes a matrix of such a column."""
    import scipy.sparse

    used = scipy.sparse.csr_array(sum(abs(matrix) for matrix in matrices)).tocoo()
    row, column = used.row, used.col
    columns = np.stack([np.asarray(matrix.tocsr()[row, column]).ravel() for matrix in matrices], axis=1)

    def build(values: FloatArray) -> Matrix:
        return scipy.sparse.coo_array((values, (row, column)), shape=used.shape)

    return build, columns


def _inner(one: Tensor, other: Tensor) -> Tensor:
    """(B, C, 1, 1): the inner product of each plane."""
    return (one * other).sum(dim=(-2, -1), keepdim=True)
