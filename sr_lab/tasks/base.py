"""What the tasks share: a picture is read once, and several numbers are made of the reading."""

import hashlib
import math
from abc import ABC, abstractmethod
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sr_lab.base.words import counted
from sr_lab.images import to_uint8
from sr_lab.images.found import Reading
from sr_lab.metrics.base import Context, PerImageMetric
from sr_lab.metrics.protocol import Protocol

Pixels = NDArray[np.uint8]

LOW, ORIGINAL = "low", "original"
"""What is read beside the restorations: the network's input and the original."""

_KEPT = 64


@dataclass(frozen=True, kw_only=True)
class Quantity:
    """One number of a task.

    Attributes:
        label: In a few words, for people.
        better: Which values are better.
        definition: What it is, exactly.
        digits: Format of a value.
    """

    label: str
    better: Literal["higher", "lower"]
    definition: str
    digits: str = ".3f"


class Task(ABC):
    """Something that is done with pictures, and how well it is done.

    Args:
        missing: What happens where the system that reads is not installed: ``error`` raises at once, ``skip`` measures
            nothing and says so in the report.

    Attributes:
        name: Of the task; its metrics' keys begin with it, and its truth in ``truth.json`` stands under it.
        quantities: Its numbers by the rest of their keys.
        threshold: Confidence from which on something counts as found; None where the reader gives no confidence.
    """

    name: str
    quantities: ClassVar[Mapping[str, Quantity]]
    threshold: float | None = None

    def __init__(self, *, missing: Literal["error", "skip"] = "error") -> None:
        if missing not in ("error", "skip"):
            raise ValueError(f"missing={missing!r}: either error or skip")
        self.reason = self.lacks()
        if self.reason is not None and missing == "error":
            raise ValueError(f"{self.name}: {self.reason}; missing=skip leaves it out and says so")
        self._kept: OrderedDict[bytes, Reading] = OrderedDict()

    @abstractmethod
    def lacks(self) -> str | None:
        """What is missing for reading, with the remedy; None where nothing is."""

    @abstractmethod
    def read_pixels(self, pixels: Pixels) -> Reading:
        """All that is found in a picture, (H, W, 3), 8 bits, RGB."""

    @abstractmethod
    def score(self, reading: Reading, truth: Reading) -> Mapping[str, float]:
        """The quantities of a reading; NaN where one does not apply to such an image."""

    def read(self, image: Tensor) -> Reading:
        """All that is found in an image (1, C, H, W), C = 1 or 3, values in [0, 1]; equal images are read once.

        Raises:
            ValueError: if the image has other channels.
        """
        if image.ndim != 4 or image.shape[0] != 1 or image.shape[1] not in (1, 3):
            raise ValueError(f"an image is (1, C, H, W) with C = 1 or 3, not {tuple(image.shape)}")
        pixels: Pixels = to_uint8(image).expand(-1, 3, -1, -1)[0].permute(1, 2, 0).cpu().numpy()
        pixels = np.ascontiguousarray(pixels)
        key = hashlib.blake2b(pixels.tobytes() + repr(pixels.shape).encode(), digest_size=16).digest()
        if key not in self._kept:
            self._kept[key] = self.read_pixels(pixels)
            if len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]

    def read_low(self, low: Tensor, *, scale: int) -> Reading:
        """What is found in the network's input, at its own size; places are those of the original."""
        return tuple(found.scaled(scale) for found in self.read(low))

    def truth_of(self, target: Tensor, context: Context) -> Reading:
        """What is known to be there; where nothing is known, what is found in the original."""
        if context.truth is not None and self.name in context.truth.found:
            return context.truth.found[self.name]
        return self.certain(self.read(target))

    def certain(self, reading: Reading) -> Reading:
        """The part of a reading that counts as found."""
        return tuple(found for found in reading if self.threshold is None or found.confidence >= self.threshold)

    def metrics(self) -> dict[str, PerImageMetric]:
        """Its numbers as metrics, by key."""
        return {f"{self.name}_{quantity}": TaskMetric(self, quantity) for quantity in self.quantities}


def metrics_of(tasks: Mapping[str, Task]) -> dict[str, PerImageMetric]:
    """The numbers of several tasks as metrics, by key.

    Raises:
        ValueError: if two tasks have one name.
    """
    found: dict[str, PerImageMetric] = {}
    for task in tasks.values():
        own = task.metrics()
        if twice := found.keys() & own.keys():
            raise ValueError(f"two tasks record {min(twice)}: give one of them another name")
        found |= own
    return found


class TaskMetric(PerImageMetric):
    """One number of a task as a metric. All numbers of a task are of one reading.

    Args:
        task: The task.
        quantity: Which of its numbers.
    """

    of_some = True

    def __init__(self, task: Task, quantity: str) -> None:
        super().__init__()
        self.task, self.quantity = task, quantity
        self.reason = task.reason
        self.higher_is_better = task.quantities[quantity].better == "higher"  # type: ignore[misc]
        self.definition = task.quantities[quantity].definition  # type: ignore[misc]
        self.digits = task.quantities[quantity].digits  # type: ignore[misc]

    @property
    def key(self) -> str:
        """Task and quantity: ``ocr_cer``."""
        return f"{self.task.name}_{self.quantity}"

    @property
    def label(self) -> str:
        """The quantity for people."""
        return self.task.quantities[self.quantity].label

    def unavailable(self, protocol: Protocol) -> str | None:
        """What is missing, or a protocol that restores luma only."""
        if self.reason is None and not protocol.colour:
            return f"protocol {protocol.name} restores luma only, tasks read pictures"
        if self.reason is None and protocol.clips:
            return f"protocol {protocol.name} is of clips, tasks read single pictures"
        return self.reason

    def refuses(self, num_channels: int) -> str | None:
        """Tasks read grey or RGB pictures."""
        return (
            None
            if num_channels in (1, 3)
            else f"tasks read grey or RGB pictures, these have {counted(num_channels, 'channel')}"
        )

    def per_image(self, restored: Tensor, target: Tensor) -> Tensor:
        """(B,) values; what is found in ``target`` counts as the truth."""
        ones, others = torch.unbind(restored[:, None]), torch.unbind(target[:, None])
        return torch.cat([self.measure(one, other, Context()) for one, other in zip(ones, others, strict=True)])

    def measure(self, restored: Tensor, target: Tensor, context: Context) -> Tensor:
        """(1,) value of one image; NaN where the number does not apply to it."""
        return self._value(self.task.read(restored), target, context)

    def references(self, target: Tensor, context: Context) -> dict[str, float]:
        """The values of the input, read at its own size, and of the original itself."""
        found = {ORIGINAL: float(self._value(self.task.read(target), target, context))}
        if context.low is not None:
            scale = target.shape[-1] // context.low.shape[-1]
            found[LOW] = float(self._value(self.task.read_low(context.low, scale=scale), target, context))
        return {name: value for name, value in found.items() if not math.isnan(value)}

    def readings(self, image: Tensor) -> dict[str, Reading]:
        """What the task found in an image (1, C, H, W), under the task's name."""
        return {self.task.name: self.task.read(image)}

    def _value(self, reading: Reading, target: Tensor, context: Context) -> Tensor:
        value = self.task.score(reading, self.task.truth_of(target, context))[self.quantity]
        return torch.tensor([value], dtype=torch.float64)
