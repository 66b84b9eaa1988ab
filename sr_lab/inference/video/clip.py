"""Restoring the frames of a clip, one after the other."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from sr_lab.images.yuv import PixelLayout, Planes, planes_to_rgb, rgb_to_planes
from sr_lab.inference.clips import CausalRestorer, FramesRestorer, StreamedRestorer
from sr_lab.inference.stream import Restorer, Target, restored_bands
from sr_lab.inference.video.reading import Frame
from sr_lab.inference.video.segments import State
from sr_lab.inference.video.smoothing import DetailSmoother

_STEP = "step"
"""Before the number of each tensor of a causal network's state."""


class ClipRestorer:
    """Planes of one frame to planes of the restored one; a frame that equals its predecessor gets what that one got.

    Args:
        restorer: What enlarges an image (1, C, h, w), or a causal restorer of clips.
        layout: How the input's planes hold colours.
        made: How the output's planes do.
        target: Size and factors of the restored picture.
        device: Where the restorer wants its images.
        tile: Side of a tile; None for the restorer's own.
        smoother: Temporal smoothing; None for none.

    Attributes:
        reused: Frames that equalled their predecessor, since ``begin_segment``.
        cuts: Numbers of frames at which a scene began, since then; only smoothing looks for them.
    """

    def __init__(
        self,
        restorer: Restorer,
        *,
        layout: PixelLayout,
        made: PixelLayout,
        target: Target,
        device: str = "cpu",
        tile: int | None = None,
        smoother: DetailSmoother | None = None,
    ) -> None:
        self.streamed = StreamedRestorer(restorer, tile=tile) if isinstance(restorer, CausalRestorer) else None
        if self.streamed is None and isinstance(restorer, FramesRestorer):
            raise ValueError(
                "this network looks at later frames, too, and would need the whole video in memory: give a causal one "
                "(RecurrentEDSR), or a restorer of images; srlab evaluate takes it on clips"
            )
        self.restorer, self.layout, self.made, self.target = self.streamed or restorer, layout, made, target
        self.device, self.tile, self.smoother = device, tile, smoother
        self.begin_segment()

    def begin_segment(self) -> None:
        """Forgets the last picture, as a run would that goes on from here."""
        self.reused, self.cuts = 0, list[int]()
        self._last: tuple[str, Planes] | None = None

    def state(self) -> State:
        """What the next frame depends on; see ``resume``."""
        kept = {} if self.smoother is None else self.smoother.state()
        for number, part in enumerate((self.streamed and self.streamed.state) or ()):
            kept[f"{_STEP}{number}"] = part.float().cpu().numpy()
        return kept

    def resume(self, state: State) -> None:
        """Goes on from a state."""
        if self.smoother is not None:
            self.smoother.resume(state)
        if self.streamed is not None:
            count = sum(name.startswith(_STEP) for name in state)
            parts = (torch.from_numpy(state[f"{_STEP}{number}"]).to(self.device) for number in range(count))
            self.streamed.state = tuple(parts) or None

    @torch.inference_mode()
    def __call__(self, frame: Frame) -> Planes:
        """The restored planes."""
        if self._last is not None and self._last[0] == frame.digest:
            self.reused += 1
            return self._last[1]
        low = planes_to_rgb(frame.planes, self.layout)
        bands = restored_bands(low, self.restorer, alpha=False, target=self.target, device=self.device, tile=self.tile)
        restored: Any = np.concatenate(list(bands))
        if self.smoother is not None:
            smoothed = self.smoother(_floats(restored), _floats(low))
            restored = torch.from_numpy(smoothed)
            if self.smoother.cut:
                self.cuts.append(frame.number)
        planes = rgb_to_planes(restored, self.made)
        self._last = (frame.digest, planes)
        return planes


def _floats(image: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
    return np.asarray(image / np.float32(65535), np.float32)
