"""Linear degradations as matrices: what of a degradation an image can be made consistent with, exactly."""

import functools
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sr_lab.degradations.base import Degradation
from sr_lab.degradations.compression import Quantise
from sr_lab.degradations.impulses import Term, reaches, stretched, terms_of
from sr_lab.degradations.noise import GaussianNoise, PoissonNoise, Speckle
from sr_lab.degradations.pipeline import Chain, Pipeline
from sr_lab.degradations.resize import Bicubic
from sr_lab.images.banded import FloatArray
from sr_lab.images.projection import Axis, Projection, Shrinking
from sr_lab.images.summed import SummedShrinking

__all__ = ["LinearDegradation", "NotLinear"]

NOISE = (GaussianNoise, PoissonNoise, Speckle)

_GREY, _IMPULSE = 0.5, 0.25
"""What a degradation is asked: impulses on grey, so that a kernel's overshoot stays within [0, 1]."""
_ERROR = 2e-5
"""Greatest difference of values of 0..1 between a degradation and its matrices, where it has such."""
_SIDE = 16
"""Low pixels of the image that a degradation is tried on."""
_KNOWN = (24, 64)
"""Low pixels on a side that a degradation that is not separable is asked on; larger images repeat their middle."""
_REMEDY = (
    "leave consistency out, or give a linear one as degradation= (bicubic) with input_noise=auto, which takes the rest "
    "for noise"
)


class NotLinear(ValueError):
    """A degradation that is no fixed linear map, so that no image can be made consistent with it."""


class LinearDegradation:
    """A deterministic, linear degradation as matrices for each size: a pair where it is separable, else a sum of pairs.

    Quantising is left out (it is what 8 bits lose), and so is noise, where the caller has a weight for it. Bicubic is
    known by its formula. Any other degradation is asked for its matrices by impulses, one's own included, and they are
    held against it on an image: what they do not reproduce is refused. Where it is not separable (a turned kernel, a
    disc) it is asked on a small image, whose middle is repeated in larger ones.

    Args:
        degradation: What made the low images.
        noisy: Whether noise in it is allowed, because low images will not be met exactly.

    Attributes:
        scale: Its enlargement factor.

    Raises:
        NotLinear: If it is random, not linear, or sees further or otherwise than such matrices; the message says
            which, and what helps.
    """

    def __init__(self, degradation: Degradation, *, noisy: bool = False) -> None:
        self.scale = degradation.scale
        self.degradation = _linear_part(degradation, noisy=noisy)
        self._is_bicubic = type(self.degradation) is Bicubic
        self._axis = functools.lru_cache(maxsize=32)(self._asked)
        self._terms = functools.lru_cache(maxsize=8)(self._asked_terms)
        self._sum = functools.lru_cache(maxsize=8)(self._summed)
        self._known: int | None = None
        if not self._is_bicubic:
            self._check()

    def shrinking(self, high: tuple[int, int], low: tuple[int, int]) -> Projection:
        """The matrices for images of a size (height, width) and their low images.

        Raises:
            ValueError: If the degradation does not make such low images of such images.
        """
        if self._is_bicubic:
            return Shrinking.bicubic(high, low)
        if high != (low[0] * self.scale, low[1] * self.scale):
            raise ValueError(
                f"{_called(self.degradation)} shrinks by {self.scale}, and a {low[1]}x{low[0]} image was made "
                f"{high[1]}x{high[0]}: only bicubic is known for any factor"
            )
        if self._known is not None:
            return self._sum(low)
        return Shrinking(self._axis(low[0], -2), self._axis(low[1], -1))

    def _summed(self, low: tuple[int, int]) -> SummedShrinking:
        """The sum of pairs for one size."""
        assert self._known is not None
        terms = self._terms((min(low[0], self._known), min(low[1], self._known)))
        return SummedShrinking(
            [(stretched(rows, low[0], self.scale), stretched(columns, low[1], self.scale)) for rows, columns in terms]
        )

    def _asked_terms(self, low: tuple[int, int]) -> list[Term]:
        return terms_of(functools.partial(_run, self.degradation), low, self.scale)

    def _asked(self, length: int, axis: int) -> Axis:
        """The matrix of one axis; far impulses are asked together, unless a kernel is so wide that they mix."""
        high = length * self.scale
        line = _random(high)
        (told,) = _answers(self.degradation, line[None], self.scale, axis)
        for period in sorted({min(32 * self.scale + 64, high), high}):
            matrix = _matrix(self.degradation, length, self.scale, axis, period)
            if np.abs(matrix @ line.double().numpy() - told).max() < _ERROR:
                return Axis(matrix)
        raise NotLinear(f"{_called(self.degradation)} is not linear: {_REMEDY}")

    def _check(self) -> None:
        """Refuses what differs between two draws, or from its own matrices."""
        degradation = self.degradation
        parts = degradation.ops if isinstance(degradation, Chain) else {type(degradation).__name__: degradation}
        for name, part in parts.items():
            if fault := _fault(part):
                raise NotLinear(f"{_called(degradation)} has {name}, which {fault}: {_REMEDY}")
        size = (_SIDE * self.scale, (_SIDE + 4) * self.scale)
        field = _random(size[0] * size[1]).reshape(1, 1, *size)
        low = _run(degradation, field)
        if self.scale == 1 and torch.equal(low, field):
            raise NotLinear(
                f"{_called(degradation)} leaves images as they are, and the only image that is consistent with an "
                "input is then the input itself: leave consistency out"
            )
        told = self.shrinking(size, (low.shape[-2], low.shape[-1])).shrink(field)
        if float((told - low).abs().max()) > _ERROR:
            self._known = self._enough()

    def _enough(self) -> int:
        """Low pixels on a side of an image whose middle knows nothing of its border."""
        for side in _KNOWN:
            if reaches(self._terms((side, side)), self.scale):
                continue
            self._known = side
            size = (side + 9, side + 4)
            field = _random(size[0] * size[1] * self.scale**2).reshape(1, 1, size[0] * self.scale, size[1] * self.scale)
            if float((self._sum(size).shrink(field) - _run(self.degradation, field)).abs().max()) < _ERROR:
                return side
        raise NotLinear(
            f"{_called(self.degradation)} is no kernel of at most {_KNOWN[-1]} low pixels, the same at every place, "
            f"whose border rules are of rows and of columns: {_REMEDY}"
        )


def _linear_part(degradation: Degradation, *, noisy: bool) -> Degradation:
    """The degradation without its quantising, and without its noise where ``noisy``."""
    if type(degradation) not in (Chain, Pipeline):
        return degradation
    assert isinstance(degradation, Chain)
    kept: dict[str, Degradation] = {}
    for name, op in degradation.ops.items():
        if isinstance(op, NOISE) and not noisy:
            raise NotLinear(
                f"{_called(degradation)} adds noise, and an image that is exactly consistent with a noisy input shows "
                "that noise: give input_noise=auto, or its sigma in 8-bit levels (input_noise=10)"
            )
        if not isinstance(op, (Quantise, *NOISE)):
            kept[name] = op
    if len(kept) == 1 and isinstance(only := next(iter(kept.values())), Bicubic):
        return only
    return Pipeline(ops=kept) if kept else degradation


def _called(degradation: Degradation) -> str:
    if isinstance(degradation, Chain):
        return f"the degradation of {', '.join(degradation.ops)}"
    return f"the degradation {type(degradation).__name__}"


def _run(degradation: Degradation, image: Tensor, key: int = 0) -> Tensor:
    params = degradation.draw_keyed([(key, 0, 0)])
    return degradation.apply(
        image, {name: value.expand(len(image), *value.shape[1:]) for name, value in params.items()}
    )


def _fault(degradation: Degradation) -> str | None:
    """Why one operation is no fixed linear map; None where it is, with values in [0, 1]."""
    one, other = (_random(96 * 96, key).reshape(1, 1, 96, 96) for key in (1, 2))
    made = _run(degradation, one)
    if any(not torch.equal(made, _run(degradation, one, key)) for key in (1, 2, 3)):
        return (
            "draws at random, so that it is not known what made an input (fixed values are: one kind, one sigma, one "
            "size, probability 1)"
        )
    between = _run(degradation, (one + other) / 2) - (made + _run(degradation, other)) / 2
    return "is not linear" if float(between.abs().max()) > _ERROR else None


def _random(count: int, key: int = 0) -> Tensor:
    """(count,) values in [0.25, 0.75]."""
    return torch.rand(count, generator=torch.Generator().manual_seed(key)) * 0.5 + 0.25


def _answers(degradation: Degradation, lines: Tensor, scale: int, axis: int) -> FloatArray:
    """(B, n) float64: what becomes of images that are (B, N) along one axis and the same along the other."""
    width = 8 * scale
    images = lines[:, None, :, None].expand(-1, 1, -1, width)
    if axis == -1:
        images = images.transpose(-1, -2)
    low = _run(degradation, images.contiguous())
    low = low.transpose(-1, -2) if axis == -1 else low
    result: FloatArray = low[:, 0, :, low.shape[-1] // 2].double().numpy()
    return result


def _matrix(degradation: Degradation, length: int, scale: int, axis: int, period: int) -> Any:
    """The (length, length * scale) matrix of one axis, from the answers to impulses ``period`` pixels apart."""
    import scipy.sparse

    high = length * scale
    ask = functools.partial(_answers, degradation, scale=scale, axis=axis)
    grey = ask(torch.full((1, high), _GREY))[0]
    centres = (np.arange(length) + 0.5) * scale - 0.5
    rows, columns, values = [], [], []
    for start in range(0, period, 32):
        phases = range(start, min(start + 32, period))
        lines = torch.full((len(phases), high), _GREY)
        for line, phase in zip(lines, phases, strict=True):
            line[phase::period] += _IMPULSE
        for phase, answer in zip(phases, (ask(lines) - grey) / _IMPULSE, strict=True):
            used = np.flatnonzero(np.abs(answer) > 1e-9)
            nearest = np.rint((centres[used] - phase) / period).clip(0, (high - 1 - phase) // period)
            rows.append(used)
            columns.append(phase + nearest.astype(np.int64) * period)
            values.append(answer[used])
    entries = (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns)))
    return scipy.sparse.coo_array(entries, shape=(length, high)).tocsr()
