"""Boxes that were found held against those that are there."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sr_lab.images.found import Found, Reading

OVERLAP = 0.5
"""Overlap (intersection over union) from which on two boxes are of one thing."""


@dataclass(frozen=True, kw_only=True)
class Matches:
    """What was found of what is there.

    Attributes:
        found: Of each thing that is there the detection that is of it; None where it was missed.
        false: Detections that are of nothing.
    """

    found: Sequence[Found | None]
    false: Reading

    @property
    def num_found(self) -> int:
        """Things that were found."""
        return sum(one is not None for one in self.found)

    @property
    def recall(self) -> float:
        """Share of what is there that was found; NaN where nothing is."""
        return self.num_found / len(self.found) if self.found else float("nan")

    @property
    def precision(self) -> float:
        """Share of the detections that are of something; 1 where there are none: nothing wrong was said."""
        total = self.num_found + len(self.false)
        return self.num_found / total if total else 1.0


def match(reading: Reading, truth: Reading, *, overlap: float = OVERLAP) -> Matches:
    """Gives each detection, the surest first, the free thing of its class that it overlaps most (Everingham 2010).

    Args:
        reading: Detections.
        truth: What is there; its text is the class.
        overlap: Least intersection over union.

    Example:
        >>> cat = Found(text="cat", box=(0.0, 0.0, 10.0, 10.0))
        >>> near = Found(text="cat", box=(1.0, 0.0, 11.0, 10.0), confidence=0.9)
        >>> dog = Found(text="dog", box=(0.0, 0.0, 10.0, 10.0), confidence=0.8)
        >>> found = match((near, dog), (cat,))
        >>> found.recall, found.precision
        (1.0, 0.5)
    """
    found: list[Found | None] = [None] * len(truth)
    false = []
    overlaps = iou(reading, truth)
    for index in sorted(range(len(reading)), key=lambda index: -reading[index].confidence):
        one = reading[index]
        free = [k for k, thing in enumerate(truth) if found[k] is None and thing.text == one.text]
        best = max(free, key=lambda k: overlaps[index, k], default=None)
        if best is None or overlaps[index, best] < overlap:
            false.append(one)
        else:
            found[best] = one
    return Matches(found=found, false=tuple(false))


def iou(first: Sequence[Found], second: Sequence[Found]) -> NDArray[np.float64]:
    """(N, M) intersection over union of boxes."""
    a = np.array([one.box for one in first], dtype=float).reshape(-1, 1, 4)
    b = np.array([one.box for one in second], dtype=float).reshape(1, -1, 4)
    sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2])
    both = sides.clip(min=0).prod(axis=-1)
    areas = [(boxes[..., 2:] - boxes[..., :2]).clip(min=0).prod(axis=-1) for boxes in (a, b)]
    either = areas[0] + areas[1] - both
    shares: NDArray[np.float64] = np.divide(both, either, out=np.zeros_like(both), where=either > 0)
    return shares


def without_doubles(reading: Sequence[Found], *, overlap: float = 0.45) -> Reading:
    """Non-maximum suppression: of detections of a class that overlap more than this only the surest one."""
    kept: list[Found] = []
    for one in sorted(reading, key=lambda one: -one.confidence):
        rivals = [other for other in kept if other.text == one.text]
        if not rivals or iou([one], rivals).max() <= overlap:
            kept.append(one)
    return tuple(kept)
