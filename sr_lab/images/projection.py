"""Shrinking as a pair of matrices, and the projection of an image onto those that shrink to a given one.

A linear shrinking whose kernel is separable is D: X -> R X C^T, with a banded matrix for the rows and one for the
columns. What an image x lacks to shrink to y is smallest in x' = x + D^T (D D^T)^-1 (y - D x): x is projected, by two
small banded systems and three resizes. Of MATLAB's bicubic D^T is its enlargement U up to a factor, the mirrored border
included, so that x + U (D U)^-1 (y - D x) is the same.
"""

import math
from abc import ABC, abstractmethod
from functools import cached_property, lru_cache
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from sr_lab.images.banded import Block, FloatArray, cut_rows, multiply
from sr_lab.images.resize import bicubic_matrix

Matrix: TypeAlias = Any
"""A ``scipy.sparse`` array; SciPy's types are not checked."""

_SOLVED = 64
"""Right-hand sides that are solved at once: so many columns stay in a core's cache."""


class Axis:
    """Shrinking along one axis.

    Args:
        shrink: (n, N) matrix: what makes n low pixels of N.

    Attributes:
        shape: n and N.
    """

    def __init__(self, shrink: Matrix) -> None:
        self.shrink = _tidy(shrink)
        self.lift = _tidy(self.shrink.T)
        self.shape: tuple[int, int] = self.shrink.shape
        self._blocks: dict[tuple[bool, torch.dtype, torch.device], tuple[Block, ...]] = {}

    def blocks(self, *, lift: bool, dtype: torch.dtype, device: torch.device) -> tuple[Block, ...]:
        """``shrink``, or its transpose ``lift``, for ``images.banded.multiply``."""
        key = (lift, dtype, device)
        if key not in self._blocks:
            matrix = (self.lift if lift else self.shrink).tocoo()
            row, column = matrix.row.astype(np.int64), matrix.col.astype(np.int64)
            ratio = max(1, matrix.shape[0] / matrix.shape[1])
            step = round((16 if device.type == "cpu" else 128) * ratio)
            self._blocks[key] = cut_rows(row, column, matrix.data, matrix.shape[0], step, dtype, device)
        return self._blocks[key]

    @cached_property
    def _banded(self) -> tuple[tuple[int, int], FloatArray]:
        """The product of ``shrink`` and its transpose as LAPACK wants it: widths of the band, and its diagonals."""
        product = (self.shrink @ self.lift).tocoo()
        offset = product.col - product.row
        above, below = max(0, int(offset.max())), max(0, int(-offset.min()))
        diagonals = np.zeros((above + below + 1, self.shape[0]))
        np.add.at(diagonals, (above - offset, product.col), product.data)
        return (below, above), diagonals

    @cached_property
    def spectrum(self) -> tuple[FloatArray, FloatArray]:
        """Eigenvalues and eigenvectors of the product of ``shrink`` and its transpose."""
        import scipy.linalg

        values, vectors = scipy.linalg.eigh((self.shrink @ self.shrink.T).toarray())
        return values, vectors

    @cached_property
    def noise_gain(self) -> float:
        """Mean square of what a correction by the transpose makes of noise of variance 1, on this axis alone."""
        piece = min(self.shape[0], 128)
        values = np.linalg.eigvalsh((self.shrink @ self.shrink.T)[:piece, :piece].toarray())
        return float((1 / np.maximum(values, 1e-300)).mean()) * self.shape[0] / self.shape[1]

    @cached_property
    def mean_gain(self) -> float:
        """Mean square of what shrinking makes of noise of variance 1."""
        return float(self.shrink.power(2).sum() / self.shape[0])

    def solve(self, values: FloatArray) -> FloatArray:
        """(D D^T)^-1 times each column of (n, m)."""
        import scipy.linalg

        widths, diagonals = self._banded
        result: FloatArray = scipy.linalg.solve_banded(widths, diagonals, values, check_finite=False)
        return result

    @cached_property
    def _response(self) -> FloatArray:
        """What the correction of a middle low pixel weighs at each distance in low pixels, at most."""
        n, length = self.shape
        unit = np.zeros((n, 1))
        unit[n // 2] = 1
        spread = np.abs((self.lift @ self.solve(unit))[:, 0])
        distance = np.abs((np.arange(length) + 0.5) * n / length - 0.5 - n // 2)
        return np.array([spread[distance >= k].sum() for k in range(n // 2)])

    def halo(self, tolerance: float = 1e-6) -> int:
        """Low pixels after which the correction has decayed: those beyond weigh less than ``tolerance`` together.

        Where the axis is too short to tell, all of it.
        """
        below = np.flatnonzero(self._response < tolerance)
        return int(below[0]) + 1 if below.size else self.shape[0]


class Projection(ABC):
    """A linear shrinking D of images of one size, and the projection onto those that shrink to a given one."""

    @property
    @abstractmethod
    def low(self) -> tuple[int, int]:
        """Height and width of the shrunk image."""

    @property
    @abstractmethod
    def high(self) -> tuple[int, int]:
        """Height and width of the image."""

    @property
    @abstractmethod
    def noise_gain(self) -> float:
        """RMS in the image over RMS in the low image: how much stronger noise of the low image comes back."""

    @property
    @abstractmethod
    def mean_gain(self) -> float:
        """Mean square of what shrinking makes of noise of variance 1."""

    @abstractmethod
    def shrink(self, image: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, h, w); neither clamped nor rounded."""

    @abstractmethod
    def lift(self, low: Tensor) -> Tensor:
        """(B, C, h, w) to (B, C, H, W), by the transpose: the range of corrections."""

    @abstractmethod
    def solve(self, residual: Tensor, *, weight: float = 0.0) -> Tensor:
        """(D D^T + weight)^-1 of a low image; in float64, on the CPU meanwhile."""

    @abstractmethod
    def halo(self, tolerance: float = 1e-6) -> int:
        """Low pixels around a tile after which its projection equals that of the whole image, up to ``tolerance``."""

    def part(self, low: Tensor) -> Tensor:
        """The smallest image (B, C, H, W) that shrinks to ``low``: it shows nothing that ``low`` does not."""
        return self.lift(self.solve(low))

    def project(self, image: Tensor, low: Tensor, *, weight: float = 0.0) -> Tensor:
        """The image that is nearest to ``image`` and shrinks to ``low``.

        Args:
            image: (B, C, H, W), any range.
            low: (B, C, h, w).
            weight: 0 for exactly ``low``; above, less than exactly: the variance of its noise over that of the image's
                error.

        Returns:
            (B, C, H, W) in the type of ``image``, not clamped.

        Raises:
            ValueError: if the sizes are others.
        """
        self.require(low, self.low, "low image")
        correction = self.solve(low.to(working_type(image)) - self.shrink(image), weight=weight)
        return (image + self.lift(correction)).to(image.dtype)

    @staticmethod
    def require(image: Tensor, size: tuple[int, int], what: str) -> None:
        """Raises ``ValueError`` unless ``image`` is (B, C, *size)."""
        if image.ndim != 4 or tuple(image.shape[-2:]) != size:
            raise ValueError(f"the {what} is {tuple(image.shape)}: (B, C, {size[0]}, {size[1]}) is needed")


class Shrinking(Projection):
    """A separable shrinking: a matrix for the rows and one for the columns.

    Args:
        rows: Along the height.
        columns: Along the width.

    Example:
        >>> import torch
        >>> shrinking = Shrinking.bicubic((12, 16), (3, 4))
        >>> low = torch.rand(1, 3, 3, 4)
        >>> image = shrinking.project(torch.rand(1, 3, 12, 16), low)
        >>> bool((shrinking.shrink(image) - low).abs().max() < 1e-5)
        True
    """

    def __init__(self, rows: Axis, columns: Axis) -> None:
        self.rows, self.columns = rows, columns

    @classmethod
    def bicubic(cls, high: tuple[int, int], low: tuple[int, int]) -> "Shrinking":
        """MATLAB's bicubic from a size (height, width) to another."""
        return cls(*(bicubic_axis(before, after) for before, after in zip(high, low, strict=True)))

    @property
    def noise_gain(self) -> float:
        """RMS in the image over RMS in the low image: how much stronger noise of the low image comes back."""
        return math.sqrt(self.rows.noise_gain * self.columns.noise_gain)

    @property
    def mean_gain(self) -> float:
        """Mean square of what shrinking makes of noise of variance 1."""
        return self.rows.mean_gain * self.columns.mean_gain

    @property
    def low(self) -> tuple[int, int]:
        """Height and width of the shrunk image."""
        return self.rows.shape[0], self.columns.shape[0]

    @property
    def high(self) -> tuple[int, int]:
        """Height and width of the image."""
        return self.rows.shape[1], self.columns.shape[1]

    def shrink(self, image: Tensor) -> Tensor:
        """(B, C, H, W) to (B, C, h, w); neither clamped nor rounded."""
        self.require(image, self.high, "image")
        dtype, device = working_type(image), image.device
        narrow = multiply(image.to(dtype), self.rows.blocks(lift=False, dtype=dtype, device=device), -2)
        return multiply(narrow, self.columns.blocks(lift=False, dtype=dtype, device=device), -1)

    def lift(self, low: Tensor) -> Tensor:
        """(B, C, h, w) to (B, C, H, W), by the transpose: the range of corrections."""
        dtype, device = working_type(low), low.device
        wide = multiply(low.to(dtype), self.columns.blocks(lift=True, dtype=dtype, device=device), -1)
        return multiply(wide, self.rows.blocks(lift=True, dtype=dtype, device=device), -2)

    def solve(self, residual: Tensor, *, weight: float = 0.0) -> Tensor:
        """(D D^T + weight)^-1 of a low image; in float64, on the CPU meanwhile."""
        values = residual.detach().cpu().double().numpy()
        planes = values.reshape(-1, *values.shape[-2:])
        if weight > 0:
            (along, down), (across, over) = self.rows.spectrum, self.columns.spectrum
            inner = down.T @ planes @ over / (along[:, None] * across + weight)
            solved = down @ inner @ over.T
        else:
            solved = _solve_rows(self.rows, planes)
            solved = _solve_rows(self.columns, solved.transpose(0, 2, 1)).transpose(0, 2, 1)
        result = torch.from_numpy(np.ascontiguousarray(solved)).reshape(residual.shape)
        return result.to(residual.device, working_type(residual))

    def halo(self, tolerance: float = 1e-6) -> int:
        """Low pixels around a tile after which its projection equals that of the whole image, up to ``tolerance``."""
        return max(self.rows.halo(tolerance), self.columns.halo(tolerance))


@lru_cache(maxsize=64)
def bicubic_axis(num_in: int, num_out: int) -> Axis:
    """MATLAB's bicubic along one axis."""
    import scipy.sparse

    row, column, value = bicubic_matrix(num_in, num_out)
    return Axis(scipy.sparse.coo_array((value, (row, column)), shape=(num_out, num_in)))


def _tidy(matrix: Matrix) -> Matrix:
    """Entries sorted by row, those at one place added, none of zero."""
    import scipy.sparse

    tidy = scipy.sparse.csr_array(matrix)
    tidy.sum_duplicates()
    tidy.eliminate_zeros()
    tidy.sort_indices()
    return tidy


def _solve_rows(axis: Axis, planes: FloatArray) -> FloatArray:
    """``axis.solve`` along the second axis of (P, n, m), a few columns at a time."""
    num, length, width = planes.shape
    columns = np.ascontiguousarray(planes.transpose(1, 0, 2)).reshape(length, -1)
    solved = np.empty_like(columns)
    for start in range(0, columns.shape[1], _SOLVED):
        solved[:, start : start + _SOLVED] = axis.solve(columns[:, start : start + _SOLVED])
    return solved.reshape(length, num, width).transpose(1, 0, 2)


def working_type(image: Tensor) -> torch.dtype:
    """The type that an image is multiplied in: float64 where it is, else float32."""
    return torch.float64 if image.dtype == torch.float64 else torch.float32
