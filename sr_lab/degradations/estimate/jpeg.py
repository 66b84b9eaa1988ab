"""JPEG quality: from the quantisation tables of a file, or from the comb that quantisation leaves in decoded pixels.

Each DCT coefficient of a decoded JPEG lies near a multiple of its quantisation step (Fan and de Queiroz 2003,
doi:10.1109/TIP.2002.807361). The likelihood ratio of every step at every frequency is one matrix product of coefficient
histograms, and a quality is scored by the sum over the 64 steps that libjpeg derives from it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sr_lab.degradations.estimate.arrays import Floats, blocks, dct

# Annex K.1 of ITU-T T.81, luminance, natural order.
_BASE = np.array(
    [
        [16, 11, 10, 16, 24, 40, 51, 61],
        [12, 12, 14, 19, 26, 58, 60, 55],
        [14, 13, 16, 24, 40, 57, 69, 56],
        [14, 17, 22, 29, 51, 87, 80, 62],
        [18, 22, 37, 56, 68, 109, 103, 77],
        [24, 35, 55, 64, 81, 104, 113, 92],
        [49, 64, 78, 87, 103, 121, 120, 101],
        [72, 92, 95, 98, 112, 100, 103, 99],
    ]
)
_BINS_A_LEVEL = 4
_TOP = 256
_DEAD = 1.25
_RESIDUAL = 0.42
_OUTLIERS = 0.03
_ZERO = 0.8
_SEARCHED = 168


@dataclass(frozen=True)
class Jpeg:
    """What is known about the last JPEG compression of an image.

    Attributes:
        quality: libjpeg's quality, 1 to 100; ``None`` where no trace was found.
        source: ``tables`` of the file, ``comb`` of the pixels, or ``none``.
        exact: whether the tables are libjpeg's own for that quality (else the nearest one is given).
        evidence: log-likelihood ratio of the comb, in nats a non-zero coefficient; 0 from tables.
        grid: top and left of the first whole 8x8 block.
    """

    quality: float | None
    source: Literal["tables", "comb", "none"]
    exact: bool = False
    evidence: float = 0.0
    grid: tuple[int, int] = (0, 0)


def luma_table(quality: float) -> NDArray[np.int64]:
    """Libjpeg's (8, 8) luma quantisation steps at ``quality`` (rounded to a whole number from 1 to 100).

    Raises:
        ValueError: if ``quality`` is outside [1, 100].
    """
    if not 1 <= quality <= 100:
        raise ValueError(f"quality={quality}: libjpeg's runs from 1 to 100")
    whole = round(quality)
    factor = 5000 // whole if whole < 50 else 200 - 2 * whole
    steps: NDArray[np.int64] = np.clip((_BASE * factor + 50) // 100, 1, 255)
    return steps


def quality_of_tables(tables: Mapping[int, Sequence[int]]) -> tuple[float, bool]:
    """Quality and whether it is exact, of a file's tables (``PIL.Image.quantization``: natural order, luma first).

    Tables that are not libjpeg's (cameras, image editors) get the quality whose steps are nearest in the mean absolute
    logarithm.

    Raises:
        ValueError: if there is no luma table of 64 steps.
    """
    if 0 not in tables or len(tables[0]) != 64:
        raise ValueError("no luma quantisation table of 64 steps: give PIL's Image.quantization of a JPEG file")
    steps = np.asarray(tables[0], float).reshape(8, 8)
    distance = np.abs(np.log(_all_tables() / np.maximum(steps, 1))).mean((1, 2))
    return float(np.argmin(distance) + 1), bool(distance.min() == 0)


def find_comb(plane: Floats, *, saturated: NDArray[np.bool_] | None = None, least_evidence: float = 0.02) -> Jpeg:
    """JPEG quality of decoded pixels, whatever file they now lie in.

    The grid is tried at the top left corner, then where most coefficients are zero (an image cropped since).

    Args:
        plane: (H, W) luma in [0, 255], 8-bit.
        saturated: (H, W) pixels at an end of the range, whose blocks lost their comb.
        least_evidence: nats a non-zero coefficient below which no JPEG is reported.
    """
    best = _score(plane, saturated, (0, 0))
    if best[1] < least_evidence:
        grid = likely_grid(plane)
        if grid != (0, 0):
            best = max(best, _score(plane, saturated, grid), key=lambda scored: scored[1])
    quality, evidence, found = best
    if evidence < least_evidence:
        return Jpeg(quality=None, source="none", evidence=evidence)
    return Jpeg(quality=quality, source="comb", exact=False, evidence=evidence, grid=found)


def likely_grid(plane: Floats) -> tuple[int, int]:
    """Top and left, each 0 to 7, of the 8x8 grid on which most DCT coefficients of (H, W) were rounded to zero.

    Looks at 20x20 blocks in the middle at most.
    """
    top, left = (max(length - _SEARCHED, 0) // 16 * 8 for length in plane.shape)
    middle = plane[top : top + _SEARCHED, left : left + _SEARCHED]
    zeros = [(np.abs(dct(blocks(middle, top=shift // 8, left=shift % 8))) < _ZERO).mean() for shift in range(64)]
    return divmod(int(np.argmax(zeros)), 8)


def blockiness(plane: Floats, *, grid: tuple[int, int] = (0, 0)) -> float:
    """Jump across the borders of 8x8 blocks over the jump elsewhere, less 1: about 0 without blocks; (H, W) luma."""
    on, off = 0.0, 0.0
    for axis in (0, 1):
        jumps, position = _jumps(plane, axis)
        border = position % 8 == grid[axis]
        on += float(jumps[border].mean())
        off += float(jumps[~border].mean())
    return on / max(off, 1e-6) - 1


def _jumps(plane: Floats, axis: int) -> tuple[Floats, NDArray[np.int64]]:
    """How much the step before each row (axis 0) or column exceeds those beside it, on average, and its number."""
    lines = plane if axis == 0 else plane.T
    step = np.abs(np.diff(lines, axis=0))
    excess: Floats = np.maximum(step[1:-1] - (step[:-2] + step[2:]) / 2, 0).mean(1)
    return excess, np.arange(2, lines.shape[0] - 1)


def _score(
    plane: Floats, saturated: NDArray[np.bool_] | None, grid: tuple[int, int]
) -> tuple[float, float, tuple[int, int]]:
    top, left = grid
    cut = blocks(plane, top=top, left=left)
    if saturated is not None:
        clean = ~blocks(saturated.astype(np.float32), top=top, left=left).reshape(-1, 64).any(1)
        if clean.sum() >= 30:
            cut = cut[clean]
    size = np.abs(dct(cut - 128))
    cell = (size * _BINS_A_LEVEL + 0.5).astype(np.int64)
    used = (size > _DEAD) & (cell < _TOP * _BINS_A_LEVEL)
    width = _TOP * _BINS_A_LEVEL
    flat = (cell + np.arange(64) * width)[used]
    histogram = np.bincount(flat, minlength=64 * width).reshape(64, width).astype(np.float32)
    ratio = histogram @ _likelihood()
    total = ratio[np.arange(64), _all_tables().reshape(100, 64) - 1].sum(1)
    near = np.flatnonzero(total >= total.max() - 1)
    return float(near.mean() + 1), float(total.max() / max(len(flat), 100)), grid


@cache
def _all_tables() -> NDArray[np.int64]:
    return np.stack([luma_table(quality) for quality in range(1, 101)])


@cache
def _likelihood() -> Floats:
    """(bins, 255): log density of a coefficient under a step, over its density without quantisation."""
    value = np.arange(_TOP * _BINS_A_LEVEL)[:, None] / _BINS_A_LEVEL
    step = np.arange(1, 256)[None, :]
    residual = value - step * np.round(value / step)
    density = sum(np.exp(-((residual + shift * step) ** 2) / (2 * _RESIDUAL**2)) for shift in (-2, -1, 0, 1, 2))
    peaked = np.where(value > step / 2, density * step / (_RESIDUAL * np.sqrt(2 * np.pi)), 0)
    return np.log((1 - _OUTLIERS) * peaked + _OUTLIERS).astype(np.float32)
