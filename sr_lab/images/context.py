"""What losses and metrics may look at beside a restored image and its target."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from torch import Tensor

from sr_lab.images.found import Truth
from sr_lab.images.moment import Frame, Moment


@dataclass(frozen=True)
class Context:
    """What is known beside a restored image and its target; what is not known is None or empty.

    Attributes:
        low: The network's input, (B, C, h, w), values in [0, 1].
        degrade: What made ``low``, with the same draw: (B, C, H, W) to (B, C, h, w).
        variance: Variance of each value over several restorations of the same input, (B, C, H, W).
        levels: Steps between black and white of the original's file: 255, or 65535 of a deep one.
        averaged: In training: gives, when called, the averaged (EMA) weights' image, (B, C, H, W) without gradient.
        features: In training: the outputs of those layers of the network that a loss asks for (``Loss.watched``), by
            dotted name, with gradient.
        moment: In a clip: this frame's original and input, and those of the frames before.
        shown: In a clip: the restored frames up to this one, as ``moment.targets`` has the originals.
        truth: What the original is known to show: text, codes, boxes.
    """

    low: Tensor | None = None
    degrade: Callable[[Tensor], Tensor] | None = None
    variance: Tensor | None = None
    levels: int = 255
    averaged: Callable[[], Tensor] | None = None
    features: Mapping[str, Tensor] = field(default_factory=dict)
    moment: Moment | None = None
    shown: Sequence[Frame] = ()
    truth: Truth | None = None
