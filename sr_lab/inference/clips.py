"""Restoring clips: frame by frame, or by what carries something from one frame to the next."""

from collections.abc import Iterable, Iterator
from typing import Protocol, runtime_checkable

from torch import Tensor

from sr_lab.inference.restorers import Restorer


@runtime_checkable
class FramesRestorer(Protocol):
    """A restorer that looks at more than one frame of a clip."""

    def frames(self, lows: Iterable[Tensor]) -> Iterator[Tensor]:
        """One restored frame (1, C, h * scale, w * scale) for each low one (1, C, h, w), in their order."""


def restored_frames(restorer: Restorer, lows: Iterable[Tensor]) -> Iterator[Tensor]:
    """The restored frames of a clip, one after the other.

    Args:
        restorer: If it has ``frames``, that is asked for the whole clip; others see each frame alone.
        lows: Low frames (1, C, h, w), values in [0, 1]; taken as they are needed.

    Example:
        >>> import torch
        >>> from sr_lab.inference.restorers import BicubicRestorer
        >>> [tuple(frame.shape) for frame in restored_frames(BicubicRestorer(scale=2), [torch.zeros(1, 3, 4, 4)])]
        [(1, 3, 8, 8)]
    """
    if isinstance(restorer, FramesRestorer):
        yield from restorer.frames(lows)
        return
    for low in lows:
        yield restorer(low)
