"""The guard: compares each restored image with its input, and with a conservative model's image."""

import functools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from sr_lab.images.files import Picture
from sr_lab.serving.asking import Ask
from sr_lab.serving.choice import ModelChoice
from sr_lab.serving.computing import Computing
from sr_lab.serving.consistency import Check, check
from sr_lab.serving.models import Pixels, Served
from sr_lab.serving.runner import Restored
from sr_lab.serving.shadows import colours


@dataclass(frozen=True, kw_only=True)
class Guard:
    """Limits beyond which an image is replaced by the conservative model's.

    Attributes:
        decibels: Least LR consistency; None: not looked at.
        energy: Greatest share of energy beyond what the input can hold; None: not looked at.
        levels: Greatest mean difference of the two images over the block of 32 pixels where they differ most, in
            levels of 255; None: the conservative image is only made where it is needed.
        generative: Whether a model that draws its images may answer at all.
    """

    decibels: float | None = 25.0
    energy: float | None = 0.5
    levels: float | None = None
    generative: bool = True

    @property
    def compares(self) -> bool:
        """Whether every image is compared with the conservative one, which costs that model's time."""
        return self.levels is not None

    def objection(self, found: Check) -> str:
        """What is wrong with an image beside its input; empty if nothing is."""
        if self.decibels is not None and found.decibels < self.decibels:
            return f"consistency {found.decibels:.1f} dB is below {self.decibels:g}"
        if self.energy is not None and found.energy > self.energy:
            return f"energy beyond the input's {found.energy:.2f} is above {self.energy:g}"
        return ""

    def disagreement(self, image: Pixels, conservative: Pixels) -> str:
        """What is wrong with an image beside the conservative one; empty if nothing is."""
        if self.levels is None:
            return ""
        found = disagreement(image, conservative)
        return f"disagreement {found:.1f} levels is above {self.levels:g}" if found > self.levels else ""


def disagreement(image: Pixels, conservative: Pixels) -> float:
    """The largest mean absolute difference of two images over blocks of 32 pixels, in levels of 255."""
    top = float(np.iinfo(image.dtype).max)
    difference = cv2.absdiff(image, conservative).astype(np.float32)
    if difference.ndim == 3:
        difference = difference.mean(axis=2)
    blocks = cv2.blur(difference, (32, 32), borderType=cv2.BORDER_REFLECT)
    return float(blocks.max()) * 255 / top


@dataclass(frozen=True)
class Looked:
    """What the guard lets through.

    Attributes:
        model: What made the image.
        restored: The image.
        check: The image beside its input.
        replaced: Why it is not the one that was asked for; empty where it is.
    """

    model: Served
    restored: Restored
    check: Check
    replaced: str = ""


class GuardedImages:
    """The guard at work: what it objects to is replaced by the conservative model's image.

    Args:
        guard: The limits; None: images are compared with their inputs, and nothing is refused.
        conservative: Name of the model whose image is taken instead; None: nothing is replaced.
        models: The models.
        computing: What makes the conservative image.
        in_thread: Calls a function beside the event loop.
    """

    def __init__(
        self,
        guard: Guard | None,
        conservative: str | None,
        *,
        models: ModelChoice,
        computing: Computing,
        in_thread: Callable[..., Awaitable[Any]],
    ) -> None:
        self.guard, self.conservative = guard, conservative
        self.models, self.computing, self.in_thread = models, computing, in_thread

    async def look(self, ask: Ask, low: Picture, model: Served, restored: Restored) -> Looked:
        """The image, or the conservative model's."""
        found = await self._check(low, restored)
        if self.guard is None or self.conservative is None or model.name == self.conservative:
            return Looked(model, restored, found)
        careful = await self.models.loaded(self.conservative)
        if careful.scale != model.scale or not careful.takes(low.pixels.shape[2] - low.alpha):
            return Looked(model, restored, found)
        reason = self.guard.objection(found)
        safe: Restored | None = None
        if not reason and self.guard.compares:
            safe = await self.computing.again(ask, low, careful, f"{ask.id}.guard")
            both = (colours(restored.image, low), colours(safe.image, low))
            reason = await self.in_thread(self.guard.disagreement, *both)
        if not reason:
            return Looked(model, restored, found)
        if ask.rank < 2:  # a client's
            self.computing.measures.replaced.labels(reason.partition(" ")[0]).inc()
        safe = safe or await self.computing.again(ask, low, careful, f"{ask.id}.guard")
        return Looked(careful, safe, await self._check(low, safe), reason)

    async def _check(self, low: Picture, restored: Restored) -> Check:
        image, guarded = colours(restored.image, low), self.guard is not None
        call = functools.partial(check, low.colours, image, num_windows=16 if guarded else 4, energy=guarded)
        found: Check = await self.in_thread(call)
        return found
