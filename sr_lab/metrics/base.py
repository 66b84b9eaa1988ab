"""What the image metrics share: a value for each image, and the mean over images."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from sr_lab.images.context import Context
from sr_lab.images.found import Reading
from sr_lab.images.moment import Frame
from sr_lab.metrics.protocol import Protocol

__all__ = ["ClipMetric", "Context", "ErrorMap", "PerImageMetric", "ProtocolMetric", "Words"]


@dataclass(frozen=True)
class Words:
    """How a metric and its values are written for people.

    Attributes:
        label: The metric in a word or two.
        unit: Unit of its values; empty where they have none.
        digits: Format of a value, with the digits that mean something.
    """

    label: str
    unit: str = ""
    digits: str = ".4f"

    @classmethod
    def of_key(cls, key: str) -> "Words":
        """What can be said of a metric of which only the key is known."""
        return cls(label=key.upper() if key.isalpha() else key)

    def value(self, value: float, *, sign: bool = False) -> str:
        """A value with its digits and unit; ``-`` for NaN, ``exact`` for infinity."""
        if math.isnan(value):
            return "-"
        if math.isinf(value):
            return "exact"
        return f"{value:{'+' if sign else ''}{self.digits}} {self.unit}".rstrip()


@dataclass(frozen=True)
class ErrorMap:
    """Where in an image a metric's value comes from.

    Attributes:
        name: what it shows, in a few words.
        values: (1, 1, H, W), or (1, 1, h, w) at the input's size, 0 and above, in units of the value range.
        top: value at which the colours end.
    """

    name: str
    values: Tensor
    top: float


class PerImageMetric(nn.Module, ABC):
    """A value for each image, and its mean over images; never the value of the pooled error.

    ``training.means.ImageMean`` forms the mean over batches and processes.

    Attributes:
        reason: why nothing is measured at all; None where it is.
        ceiling: a value counts at most this much in a mean (PSNR of equal images is infinite).
        definition: the metric in words, for reports; empty where the protocol defines it.
        unit: unit of the values; empty where they have none.
        digits: format of a value, with the digits that mean something.
        frames_before: frames of a clip before this one that it looks at; NaN stands where they are not there.
        whole: whether it looks at whole images where a clip's protocol crops.
        own: whether the original has a value of its own, which is told beside.
        of_some: whether there are images that it does not apply to: its NaN is then an empty cell, and no fault.
    """

    higher_is_better: ClassVar[bool]
    of_some: ClassVar[bool] = False
    ceiling: ClassVar[float] = float("inf")
    definition: ClassVar[str] = ""
    unit: ClassVar[str] = ""
    digits: ClassVar[str] = ".4f"
    frames_before: ClassVar[int] = 0
    whole: ClassVar[bool] = False
    own: ClassVar[bool] = False
    reason: str | None = None

    @property
    @abstractmethod
    def key(self) -> str:
        """Name under which the value is recorded, for example ``psnr_y``."""

    @property
    def label(self) -> str:
        """The metric in a word or two, for people: ``PSNR, luma``."""
        return Words.of_key(self.key).label

    @property
    def words(self) -> Words:
        """How the metric and its values are written for people."""
        return Words(self.label, self.unit, self.digits)

    @abstractmethod
    def per_image(self, restored: Tensor, target: Tensor) -> Tensor:
        """(B,) values of (B, C, H, W) images with values in [0, 1], before any ceiling."""

    def measure(self, restored: Tensor, target: Tensor, context: Context) -> Tensor:
        """``per_image``, for the metrics that also look at the input or at the spread of samples."""
        return self.per_image(restored, target)

    def map_of(self, restored: Tensor, target: Tensor, context: Context) -> ErrorMap | None:
        """Where the value of one image comes from; None for metrics without a map."""
        return None

    def references(self, target: Tensor, context: Context) -> dict[str, float]:
        """The values of the ``original`` itself and of the input (``low``), for metrics where these tell something."""
        return {}

    def readings(self, image: Tensor) -> dict[str, Reading]:
        """What was found in an image, by task, for metrics that are of something found: words, codes, faces."""
        return {}

    def refuses(self, num_channels: int) -> str | None:
        """Why images of so many channels cannot be measured; None where they can."""
        return None

    def unavailable(self, protocol: Protocol) -> str | None:
        """Why nothing can be measured under ``protocol``; None where it can."""
        return None

    @classmethod
    def mean(cls, values: Iterable[float]) -> float:
        """Mean of per-image values, each counted up to ``ceiling``; NaN of none."""
        capped = [min(value, cls.ceiling) for value in values]
        return sum(capped) / len(capped) if capped else float("nan")


class ClipMetric(PerImageMetric):
    """A metric that needs a clip from its first to its last frame before it has a value for any of them."""

    @abstractmethod
    def of_clip(self, restored: Sequence[Frame], target: Sequence[Frame]) -> list[float]:
        """A value for each frame, (H, W, C) of 8 bits, cropped as the protocol has it."""


class ProtocolMetric(PerImageMetric):
    """A per-image metric of what a protocol compares.

    Args:
        protocol: Protocol: rounding, colour conversion and border.
        scale: Enlargement factor, which sets the border.

    Attributes:
        quantity: the metric's word, to which the protocol adds its channels.
    """

    quantity: ClassVar[str]

    def __init__(self, *, protocol: Protocol, scale: int) -> None:
        super().__init__()
        self.protocol = protocol
        self.scale = scale

    @property
    def key(self) -> str:
        """``psnr_y`` or ``psnr_rgb``, for example."""
        return f"{self.quantity}_{self.protocol.suffix}"

    @property
    def label(self) -> str:
        """The quantity and what of the images is compared."""
        return f"{self.quantity.upper()}, {self.protocol.compared or self.protocol.suffix}"
