"""Restoring the frames of a clip, one after the other."""

from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sr_lab.images.plain import as_float
from sr_lab.images.yuv import PixelLayout, Planes, planes_to_rgb, rgb_to_planes
from sr_lab.inference.clips import CausalRestorer, ClipNetworkRestorer, StreamedRestorer, WindowedRestorer
from sr_lab.inference.stream import Restorer, Target, restored_bands
from sr_lab.inference.video.reading import Frame
from sr_lab.inference.video.segments import State
from sr_lab.inference.video.smoothing import DetailSmoother

_STEP, _PAST, _NUMBER = "step", "past", "number"
"""Names of what a network for clips has in its state: tensors of a causal one by their numbers; frames before."""


class ClipRestorer:
    """Planes of frames to planes of the restored ones; a frame that equals its predecessor gets what that one got.

    Args:
        restorer: What enlarges an image (1, C, h, w), or a restorer of clips.
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
        self.streamed: StreamedRestorer | None = None
        self.windowed: WindowedRestorer | None = None
        if isinstance(restorer, CausalRestorer):
            self.streamed = StreamedRestorer(restorer, tile=tile)
        elif isinstance(restorer, ClipNetworkRestorer):
            self.windowed = WindowedRestorer(restorer)
        self.restorer, self.layout, self.made, self.target = self.streamed or restorer, layout, made, target
        self.device, self.tile, self.smoother = device, tile, smoother
        self.begin_segment()

    def begin_segment(self) -> None:
        """Forgets the last picture, as a run would that goes on from here."""
        self.reused, self.cuts = 0, list[int]()
        self._last: tuple[str, Planes] | None = None

    def state(self) -> State:
        """What the next frame depends on; see ``resume``."""
        kept: dict[str, npt.NDArray[Any]] = {} if self.smoother is None else self.smoother.state()
        for number, part in enumerate((self.streamed and self.streamed.state) or ()):
            kept[f"{_STEP}{number}"] = part.float().cpu().numpy()
        if self.windowed is not None:
            kept[_NUMBER] = np.array(self.windowed.number)
            kept[_PAST] = torch.cat(self.windowed.past).cpu().numpy()
        return kept

    def resume(self, state: State) -> None:
        """Goes on from a state."""
        if self.smoother is not None:
            self.smoother.resume(state)
        if self.streamed is not None:
            count = sum(name.startswith(_STEP) for name in state)
            parts = (torch.from_numpy(state[f"{_STEP}{number}"]).to(self.device) for number in range(count))
            self.streamed.state = tuple(parts) or None
        if self.windowed is not None:
            self.windowed.number = int(state[_NUMBER])
            self.windowed.past = list(torch.from_numpy(state[_PAST]).to(self.device)[:, None].unbind())

    @torch.inference_mode()
    def restored(self, frames: Iterable[Frame]) -> Iterator[tuple[Frame, Planes]]:
        """Each frame and its restored planes; frames are taken as they are needed."""
        if self.windowed is None:
            for frame in frames:
                yield frame, self._of_frame(frame, self.restorer)
            return
        waiting = deque[Frame]()

        def lows() -> Iterator[Tensor]:
            for frame in frames:
                waiting.append(frame)
                low = as_float(planes_to_rgb(frame.planes, self.layout))[None]
                yield torch.from_numpy(low).to(self.device)

        for image in self.windowed.frames(lows()):
            frame = waiting.popleft()
            yield frame, self._of_frame(frame, _Given(image, self.windowed.scale))

    def _of_frame(self, frame: Frame, restorer: Restorer) -> Planes:
        if self._last is not None and self._last[0] == frame.digest:
            self.reused += 1
            return self._last[1]
        low = planes_to_rgb(frame.planes, self.layout)
        bands = restored_bands(low, restorer, alpha=False, target=self.target, device=self.device, tile=self.tile)
        restored: Any = np.concatenate(list(bands))
        if self.smoother is not None:
            smoothed = self.smoother(_floats(restored), _floats(low))
            restored = torch.from_numpy(smoothed)
            if self.smoother.cut:
                self.cuts.append(frame.number)
        planes = rgb_to_planes(restored, self.made)
        self._last = (frame.digest, planes)
        return planes


class _Given:
    """A restorer of the one image that is there already."""

    def __init__(self, image: Tensor, scale: int) -> None:
        self.image, self.scale = image, scale

    def __call__(self, low: Tensor) -> Tensor:
        """The image."""
        return self.image


def _floats(image: npt.NDArray[np.uint16]) -> npt.NDArray[np.float32]:
    return np.asarray(image / np.float32(65535), np.float32)
