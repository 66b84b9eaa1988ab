"""What happens between the frames of a clip: tOF, tLP and the warping error.

A frame's value is of the step from the frame before to it; the first frame has none. A blurred clip does well in all
three, so none of them says anything without PSNR beside it.
"""

from typing import Any, ClassVar, Literal

import cv2
import numpy as np
import torch
from torch import Tensor

from sr_lab.images import to_tensor
from sr_lab.images.flow import Flow, warp
from sr_lab.images.moment import Frame, Motion, grey
from sr_lab.metrics.base import Context, PerImageMetric
from sr_lab.metrics.lpips import LPIPSMetric, lpips
from sr_lab.metrics.protocol import Protocol

CLIPS_ONLY = "protocol {} compares single images, and this is measured between the frames of a clip: give vid4_y"


def farneback(before: Frame, now: Frame) -> Flow:
    """Farneback's flow from one frame to the next, with the parameters of TecoGAN's metrics.

    Args:
        before: (H, W, C), RGB or grey, 8 bits.
        now: The same.

    Returns:
        (H, W, 2), pixels to the right and down.
    """
    start: Any = None
    return np.asarray(
        cv2.calcOpticalFlowFarneback(grey(before), grey(now), start, 0.5, 3, 15, 3, 5, 1.2, 0), np.float32
    )


def tof(restored: Flow, target: Flow) -> float:
    """Mean length of the difference of two flows, in pixels: tOF as TecoGAN's code has it.

    The paper (Chu et al., ACM TOG 2020) writes an L1 norm, which is about 1.2 times as large; its table is made by the
    code, and shows ten times this number.

    Args:
        restored: (H, W, 2), of the restored frames; see ``farneback``.
        target: The same of the originals.

    Example:
        >>> tof(np.full((2, 2, 2), 3.0, np.float32), np.zeros((2, 2, 2), np.float32)) == 18**0.5
        True
    """
    return float(np.sqrt(np.square(restored - target).sum(axis=-1, dtype=np.float64)).mean())


def warping_error(before: Frame, now: Frame, motion: Motion) -> float:
    """What a clip changes by that its motion does not explain: mean squared difference, images in [0, 1].

    Frame t + 1 is brought back to t by the flow from t, and compared where t + 1 shows what t shows (Lai et al., ECCV
    2018; mask of Ruder et al.). The flow must not be of the frames that are judged: a restorer whose output stands
    still would have none.

    Args:
        before: (H, W, C) of 8 bits.
        now: The next frame.
        motion: Flow and visible pixels, of the originals or of the input.

    Returns:
        Mean over the visible pixels and the channels; NaN where no pixel is visible.

    Example:
        >>> still = Motion(np.zeros((4, 4, 2), np.float32), np.ones((4, 4), bool))
        >>> warping_error(np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 51, np.uint8), still)
        0.04...
    """
    if not motion.seen.any():
        return float("nan")
    moved = warp(now.astype(np.float32), motion.flow)
    apart = np.square((before.astype(np.float32) - moved) / 255).mean(axis=-1, dtype=np.float64)
    return float(apart[motion.seen].mean())


class TemporalMetric(PerImageMetric):
    """A metric of the step from one frame of a clip to the next."""

    higher_is_better = False
    frames_before: ClassVar[int] = 1

    def unavailable(self, protocol: Protocol) -> str | None:
        """Images have no frames before them."""
        return self.reason or (None if protocol.clips else CLIPS_ONLY.format(protocol.name))

    def per_image(self, restored: Tensor, target: Tensor) -> Tensor:
        """(B,) NaN: an image alone has no step."""
        return restored.new_full((len(restored),), float("nan"))

    def measure(self, restored: Tensor, target: Tensor, context: Context) -> Tensor:
        """(1,) value of the step to this frame; NaN where frames before are missing."""
        if context.moment is None or len(context.shown) <= self.frames_before:
            return self.per_image(restored, target)
        return torch.tensor([self.step(context)])

    def step(self, context: Context) -> float:
        """The value of one step."""
        raise NotImplementedError


class TOF(TemporalMetric):
    """tOF: how far the motion that the restored clip shows is from the original's, in pixels; see ``tof``."""

    unit = "px"
    definition: ClassVar[str] = (
        "tOF as TecoGAN's code has it: mean end-point difference of Farneback's flows (0.5, 3 levels, window 15, 3 "
        "iterations, 5, 1.2) of the restored and original 8-bit frames, searched in whole frames, then cropped; papers "
        "print ten times this. Farneback breaks above about 4 pixels a frame. A blurred clip has a low one."
    )

    @property
    def key(self) -> str:
        """``tof``."""
        return "tof"

    @property
    def label(self) -> str:
        """As papers write it."""
        return "tOF"

    def step(self, context: Context) -> float:
        """Flow of the last two restored frames against that of the originals."""
        moment = context.moment
        assert moment is not None
        truth = moment.once("farneback", lambda: farneback(moment.targets[-2], moment.targets[-1]))
        ours = farneback(context.shown[-2], context.shown[-1])
        return tof(moment.crop(ours), moment.crop(truth))


class TLP(LPIPSMetric):
    """tLP: how far the perceptual change from frame to frame is from the original's (TecoGAN).

    |LPIPS(b[t-1], b[t]) - LPIPS(g[t-1], g[t])| of the restored frames b and the originals g; papers print a hundred
    times this. Arguments are those of ``LPIPSMetric``.
    """

    frames_before: ClassVar[int] = 1
    definition: ClassVar[str] = (
        "tLP (TecoGAN): difference of the LPIPS distances between neighbouring frames, restored and original; papers "
        "print a hundred times this."
    )
    digits = ".5f"

    @property
    def key(self) -> str:
        """``tlp``."""
        return "tlp"

    @property
    def label(self) -> str:
        """As papers write it."""
        return "tLP"

    def unavailable(self, protocol: Protocol) -> str | None:
        """Without weights, and of single images."""
        return super().unavailable(protocol) or (None if protocol.clips else CLIPS_ONLY.format(protocol.name))

    def measure(self, restored: Tensor, target: Tensor, context: Context) -> Tensor:
        """(1,) value of the step to this frame; NaN where there is no frame before."""
        moment = context.moment
        if moment is None or len(context.shown) < 2:
            return restored.new_full((1,), float("nan"))
        network = self._network[0].to(restored.device)

        def change(before: Frame, now: Frame) -> Tensor:
            pair = (to_tensor(moment.crop(frame)).to(restored.device) for frame in (before, now))
            return lpips(next(pair), next(pair), network=network)

        truth = moment.once(f"lpips {self.net}", lambda: change(moment.targets[-2], moment.targets[-1]))
        return (change(context.shown[-2], context.shown[-1]) - truth).abs()


class WarpingError(TemporalMetric):
    """Lai's warping error of the restored clip, with the flow of the original or of the input; see ``warping_error``.

    The original's own value stands beside it: it is above that of every blurred clip, so lower is not better by
    itself. The distance to it counts, together with PSNR.

    Args:
        flow_from: Frames that the motion is searched in by DIS (medium): ``target``, the originals, or ``low``, the
            input; never the restored ones.
    """

    own: ClassVar[bool] = True
    digits = ".5f"
    definition: ClassVar[str] = (
        "Lai et al. (ECCV 2018): mean squared difference, in [0, 1], between a frame and the next one brought back "
        "along the motion of the original (DIS), where both show the same. The original itself has one, shown beside; "
        "a blurred clip has a lower one, so it says nothing without PSNR."
    )

    def __init__(self, *, flow_from: Literal["target", "low"] = "target") -> None:
        super().__init__()
        if flow_from not in ("target", "low"):
            raise ValueError(f"flow_from={flow_from!r}: target or low, never the restored frames")
        self.flow_from = flow_from

    @property
    def key(self) -> str:
        """``warping_error``."""
        return "warping_error"

    @property
    def label(self) -> str:
        """In words."""
        return "warping error"

    def step(self, context: Context) -> float:
        """Of the last two restored frames."""
        moment = context.moment
        assert moment is not None
        motion = moment.motion if self.flow_from == "target" else moment.low_motion
        inside = Motion(moment.crop(motion.flow), moment.crop(motion.seen))
        return warping_error(moment.crop(context.shown[-2]), moment.crop(context.shown[-1]), inside)
