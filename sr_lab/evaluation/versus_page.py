"""The page that shows two restorers beside each other, with a decision on the first one where there is one."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sr_lab.base import page as pages
from sr_lab.evaluation.headings import shorten
from sr_lab.evaluation.pictures import Array, Pictures
from sr_lab.metrics.base import Words

DIFFERENCE_RANGE = 32
"""Difference of the two errors, in 8-bit levels, at which the colours of the map end."""


@dataclass(frozen=True, kw_only=True)
class Line:
    """One metric on one slice of the images.

    Attributes:
        slice: ``all``, or a name as in ``Row.slices``.
        metric: key.
        num_images: in the slice.
        num_scenes: in the slice.
        ours: mean over the scenes.
        theirs: the same of the second restorer; None where there is none.
        gain: of the first over the second, positive is better.
        low: lower bound of the gain; None where it cannot be known.
        high: upper bound.
    """

    slice: str
    metric: str
    num_images: int
    num_scenes: int
    ours: float
    theirs: float | None = None
    gain: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, kw_only=True)
class ImageLine:
    """One image: metric to value of the first, value of the second, gain; None where there is no value."""

    name: str
    scene: str
    slices: Sequence[str]
    values: Mapping[str, tuple[float | None, float | None, float | None]]


@dataclass(frozen=True, kw_only=True)
class Banner:
    """What was decided: ``tone`` is ``good``, ``bad`` or ``wait``."""

    tone: str
    title: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Page:
    """What the page shows.

    Attributes:
        title: of the page.
        subtitle: below it.
        names: what the restorers are called; the first is the one in question.
        metrics: keys, the most important first.
        words: how each metric and its values are written; of a key that is missing here only the key is known.
        level: of the intervals, for example 0.9.
        lines: the table of slices.
        images: every image, where the first restorer lost most first.
        pictures: crops by image's name, of some of the images.
        facts: what and where from, in order.
        notes: sentences below the title.
        banner: the decision; None without one.
        checks: its reasons (``Reason.as_dict()``).
    """

    title: str
    subtitle: str
    names: Sequence[str]
    metrics: Sequence[str]
    words: Mapping[str, Words]
    level: float
    lines: Sequence[Line]
    images: Sequence[ImageLine]
    pictures: Mapping[str, Pictures]
    facts: Mapping[str, str]
    notes: Sequence[str] = ()
    banner: Banner | None = None
    checks: Sequence[Mapping[str, Any]] = ()


def render(page: Page) -> str:
    """The page, without outside references."""
    return pages.render(
        Path(__file__).with_name("versus.html.j2"),
        page=page,
        first=page.metrics[0],
        bars=_bars(page),
        rulers=[_ruler(check) for check in page.checks],
        difference=difference_colours,
        difference_range=DIFFERENCE_RANGE,
        words=lambda key: page.words.get(key) or Words.of_key(key),
        shorten=shorten,
    )


def difference_colours(pictures: Pictures) -> Array:
    """(H, W, 3) colours of the first restorer's absolute error less the second's: red is worse, blue is better."""
    from matplotlib import colormaps

    target = pictures.target.astype(np.float32)
    ours, theirs = (
        np.abs(image.astype(np.float32) - target).mean(-1) for image in (pictures.restored, pictures.bicubic)
    )
    scaled = np.clip((ours - theirs) / (2 * DIFFERENCE_RANGE) + 0.5, 0, 1)
    coloured: Array = colormaps["RdBu_r"](scaled, bytes=True)[..., :3]
    return np.ascontiguousarray(coloured)


def _bars(page: Page) -> list[dict[str, Any]]:
    """Geometry of the chart of gains, in a drawing 1000 wide and 200 high; empty without a second restorer."""
    gains = [(image.name, image.values[page.metrics[0]][2]) for image in page.images]
    known = [(name, gain) for name, gain in gains if gain is not None]
    top = max((abs(gain) for _, gain in known), default=0.0) or 1.0
    slot = 1000 / max(1, len(known))
    return [
        {
            "name": name,
            "gain": gain,
            "x": round(index * slot + 0.14 * slot, 2),
            "width": round(min(40.0, 0.72 * slot), 2),
            "y": round(100 - max(gain, 0) / top * 92, 2),
            "height": max(1.0, round(abs(gain) / top * 92, 2)),
        }
        for index, (name, gain) in enumerate(known)
    ]


def _ruler(check: Mapping[str, Any]) -> dict[str, float] | None:
    """Places, in a drawing 200 wide, of an interval, its middle and the limit; None where there is no interval."""
    low, high, middle, limit = (check.get(key) for key in ("low", "high", "estimate", "limit"))
    if low is None or high is None or middle is None or limit is None or not math.isfinite(high - low):
        return None
    left, right = min(low, limit), max(high, limit)
    width = (right - left) or 1.0
    return {
        key: round(12 + 176 * (value - left) / width, 1)
        for key, value in (("low", low), ("high", high), ("middle", middle), ("limit", limit))
    }
