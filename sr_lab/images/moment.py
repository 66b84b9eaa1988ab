"""A frame of a clip and those before it, as temporal metrics look at them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import cv2
import numpy as np
import numpy.typing as npt

from sr_lab.images.flow import Flow, dis_flow, enlarge_flow, occluded

Frame = npt.NDArray[np.uint8]
Found = TypeVar("Found")


class Motion(NamedTuple):
    """Motion from the frame before to this one, and where it can be believed.

    Attributes:
        flow: (H, W, 2), from the frame before to this one.
        seen: (H, W), pixels of the frame before that this one shows, too.
    """

    flow: Flow
    seen: npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Moment:
    """What is known of a clip at one of its frames, whoever restores it.

    Attributes:
        targets: Originals up to this frame, which is the last one; (H, W, C), whole.
        lows: The low frames that belong to them, (h, w, C).
        number: Number of the frame in its clip, from 0.
        scale: Enlargement factor.
        box: Top, left, height and width of what the protocol scores; flows are searched in whole frames.
        rate: Frames a second; None where nobody knows.
        varies: Whether the clip's rate varies.
    """

    targets: Sequence[Frame]
    lows: Sequence[Frame]
    number: int
    scale: int
    box: tuple[int, int, int, int]
    rate: float | None = None
    varies: bool = False
    _found: dict[str, Any] = field(default_factory=dict)

    def once(self, name: str, make: Callable[[], Found]) -> Found:
        """What ``make`` gives, made once for all restorers."""
        if name not in self._found:
            self._found[name] = make()
        found: Found = self._found[name]
        return found

    def crop(self, whole: npt.NDArray[Any]) -> Any:
        """What the protocol scores of (H, W, ...)."""
        top, left, height, width = self.box
        return np.ascontiguousarray(whole[top : top + height, left : left + width])

    @cached_property
    def motion(self) -> Motion:
        """DIS flow (medium) of the originals, both ways; needs a frame before."""
        before, now = grey(self.targets[-2]), grey(self.targets[-1])
        forward = dis_flow(before, now)
        return Motion(forward, ~occluded(forward, dis_flow(now, before)))

    @cached_property
    def low_motion(self) -> Motion:
        """The same of the low frames, enlarged."""
        before, now = grey(self.lows[-2]), grey(self.lows[-1])
        forward = dis_flow(before, now)
        hidden = occluded(forward, dis_flow(now, before)).astype(np.uint8)
        size = (forward.shape[0] * self.scale, forward.shape[1] * self.scale)
        large = cv2.resize(hidden, (size[1], size[0]), interpolation=cv2.INTER_NEAREST)
        return Motion(enlarge_flow(forward, size), large == 0)

    def still(self, count: int) -> npt.NDArray[np.bool_]:
        """(H, W) pixels that stand still in the source, cropped.

        Low pixels, and all within two of them, that change by at most one level over the last ``count`` frames.
        """
        stack = np.stack(self.lows[-count:]).astype(np.int16)
        steady = (stack.max(axis=0) - stack.min(axis=0)).max(axis=-1) <= 1
        steady = cv2.erode(steady.astype(np.uint8), np.ones((5, 5), np.uint8), borderValue=1)
        large = np.kron(steady, np.ones((self.scale, self.scale), np.uint8))
        return np.asarray(self.crop(large) > 0)


def grey(frame: Frame) -> Frame:
    """(H, W) of (H, W, C), as OpenCV makes RGB grey."""
    if frame.shape[-1] == 3:
        return np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.uint8)
    return np.ascontiguousarray(frame[..., 0])
