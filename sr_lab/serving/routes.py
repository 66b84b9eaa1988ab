"""Which model restores an image: by its size, its content, the deadline and the key's plan."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from sr_lab.serving.models import Pixels
from sr_lab.serving.pictures import Facts


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is known of a request when its model is chosen.

    Attributes:
        facts: Size, channels and depth.
        plan: Of the key.
        deadline: Seconds.
        scale: Enlargement factor that is wanted, if one is.
        low: The image, where a rule looks at it.
    """

    facts: Facts
    plan: str = "default"
    deadline: float = 30.0
    scale: int | None = None
    low: Pixels | None = None


class Route(Protocol):
    """Chooses a model."""

    @property
    def needs_pixels(self) -> bool:
        """Whether the image is decoded first, before the request is admitted."""

    def choose(self, asked: Asked) -> str | None:
        """The model's name; None: the first one."""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """Conditions that all have to hold, and the model that is taken then.

    Attributes:
        model: A name of the server's models.
        most_pixels: Of the low image.
        least_pixels: Of the low image.
        content: ``text``, ``flat`` or ``photo``, as ``content_of`` says.
        most_deadline: Seconds.
        plans: Of the key.
        noisy: Whether the image's noise is at least 6 levels, or is not.
    """

    model: str
    most_pixels: int | None = None
    least_pixels: int | None = None
    content: str | None = None
    most_deadline: float | None = None
    plans: Sequence[str] = ()
    noisy: bool | None = None

    def holds(self, asked: Asked) -> bool:
        """Whether the rule is for this request."""
        pixels = asked.facts.pixels
        if self.most_pixels is not None and pixels > self.most_pixels:
            return False
        if self.least_pixels is not None and pixels < self.least_pixels:
            return False
        if self.most_deadline is not None and asked.deadline > self.most_deadline:
            return False
        if self.plans and asked.plan not in self.plans:
            return False
        if self.content is None and self.noisy is None:
            return True
        if asked.low is None:
            return False
        if self.content is not None and content_of(asked.low) != self.content:
            return False
        return self.noisy is None or (noise_of(asked.low) >= 6.0) == self.noisy


class Rules:
    """The first rule that holds chooses.

    Args:
        rules: By names, in order.

    Example:
        >>> rules = Rules(rules={"small": Rule(model="careful", most_pixels=100)})
        >>> rules.choose(Asked(facts=Facts(8, 8, 3, False))), rules.choose(Asked(facts=Facts(80, 8, 3, False)))
        ('careful', None)
    """

    def __init__(self, *, rules: Mapping[str, Rule]) -> None:
        self.rules = dict(rules)

    @property
    def needs_pixels(self) -> bool:
        """Whether a rule looks at the image."""
        return any(rule.content is not None or rule.noisy is not None for rule in self.rules.values())

    def choose(self, asked: Asked) -> str | None:
        """The model of the first rule that holds."""
        return next((rule.model for rule in self.rules.values() if rule.holds(asked)), None)


def content_of(low: Pixels) -> str:
    """``flat`` where little happens, ``text`` where few levels meet in hard edges, else ``photo``."""
    grey = _grey(low)
    steps = np.abs(np.diff(grey, axis=1))
    if float(np.percentile(steps, 99)) < 8:
        return "flat"
    levels = np.bincount(grey.astype(np.uint8).ravel() >> 3, minlength=32) / grey.size
    hard = float((steps > 60).mean())
    return "text" if float(np.sort(levels)[-3:].sum()) > 0.7 and hard > 0.01 else "photo"


def noise_of(low: Pixels) -> float:
    """Standard deviation of the noise in levels of 255 (Immerkaer 1996: what a mask without edges leaves)."""
    mask = np.array([[1, -2, 1], [-2, 4, -2], [1, -2, 1]], np.float32)
    left = cv2.filter2D(_grey(low), -1, mask)[1:-1, 1:-1]
    if not left.size:
        return 0.0
    return float(np.median(np.abs(left)) / 0.6745 / 6.0)


def _grey(low: Pixels) -> Pixels:
    """(h, w), float32, 0 to 255; the middle of a large image."""
    height, width = low.shape[:2]
    top, left = max(0, height // 2 - 256), max(0, width // 2 - 256)
    part = low[top : top + 512, left : left + 512].astype(np.float32)
    return np.ascontiguousarray(part.mean(axis=2)) * (255 / float(np.iinfo(low.dtype).max))
