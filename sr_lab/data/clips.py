"""Clips to train on: pieces of folders of frames, or synthetic camera paths over photos; every sample by its key."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from sr_lab.base.randomness import digest64
from sr_lab.base.words import counted
from sr_lab.data.camera import Event, Motion, camera_clip
from sr_lab.data.sampler import SampleKey, draw_integers
from sr_lab.degradations.base import Degradation
from sr_lab.images import read_image, to_tensor
from sr_lab.images.clips import Clip


class FolderClips:
    """Pieces of clips that lie as frames in folders; only the frames of a piece are read.

    Args:
        clips: By name; see ``images.clips.find_clips``. Video files are taken as frames: extract them first.
        count: Frames of a piece.
        crop: Side of the square that is cut, in pixels.

    Raises:
        ValueError: If a clip is a video file, or is shorter than a piece.
    """

    def __init__(self, *, clips: Mapping[str, Clip], count: int, crop: int) -> None:
        for name, clip in clips.items():
            if clip.video:
                raise ValueError(f"{name} is a video file, which cannot be read from its middle exactly: give frames")
            if clip.timing.count < count:
                raise ValueError(
                    f"{name} has {counted(clip.timing.count, 'frame')}: give count={clip.timing.count} or less"
                )
        self.clips, self.count, self.crop = list(clips.values()), count, crop

    def __len__(self) -> int:
        """Number of clips."""
        return len(self.clips)

    def piece(self, index: int, key: SampleKey, seed: int) -> Tensor:
        """(T, C, crop, crop) of clip ``index``, its place in time and picture by the key."""
        clip = self.clips[index]
        start, top, left = _draw(seed, key, "clip", clip.timing.count - self.count + 1, 2**30, 2**30)
        frames = []
        for file in clip.files[start : start + self.count]:
            frame = to_tensor(read_image(file))
            height, width = frame.shape[-2:]
            if min(height, width) < self.crop:
                raise ValueError(f"{file} is {width}x{height}, smaller than crop={self.crop}")
            y, x = top % (height - self.crop + 1), left % (width - self.crop + 1)
            frames.append(frame[..., y : y + self.crop, x : x + self.crop])
        return torch.cat(frames)


class CameraClips:
    """Camera paths over photos; see ``camera_clip``.

    Args:
        photos: (1, C, H, W), values in [0, 1].
        count: Frames of a clip.
        crop: Side of a frame.
        motions: Kinds of path, drawn alike.
        events: What happens beside, drawn alike.
        speed: Most pixels a frame.
    """

    def __init__(
        self,
        *,
        photos: Sequence[Tensor],
        count: int,
        crop: int,
        motions: Sequence[Motion] = ("pan",),
        events: Sequence[Event] = ("none",),
        speed: float = 6.0,
    ) -> None:
        self.photos, self.count, self.crop, self.speed = list(photos), count, crop, speed
        self.motions, self.events = list(motions), list(events)

    def __len__(self) -> int:
        """Number of photos."""
        return len(self.photos)

    def piece(self, index: int, key: SampleKey, seed: int) -> Tensor:
        """(T, C, crop, crop) over photo ``index``."""
        motion, event = _draw(seed, key, "camera", len(self.motions), len(self.events))
        return camera_clip(
            self.photos[index],
            key=(seed, *key),
            count=self.count,
            size=(self.crop, self.crop),
            motion=self.motions[motion],
            event=self.events[event],
            speed=self.speed,
            other=self.photos[(index + 1) % len(self.photos)],
        ).frames


class ClipDataset(Dataset[dict[str, Any]]):
    """Low and high clips; sample (epoch, index) depends on that key and ``seed`` alone, whoever asks and in what order.

    A clip is flipped, turned and played backwards as a whole, and has one draw of the degradation.

    Args:
        source: Where clips come from.
        degradation: Makes the low clips.
        seed: Of all draws.
        repeats: Samples of a clip or photo in an epoch.
        reverse: Whether half of the clips run backwards.
    """

    def __init__(
        self,
        *,
        source: FolderClips | CameraClips,
        degradation: Degradation,
        seed: int,
        repeats: int = 1,
        reverse: bool = True,
    ) -> None:
        self.source, self.degradation = source, degradation
        self.seed, self.repeats, self.reverse = seed, repeats, reverse

    def __len__(self) -> int:
        """Samples of an epoch."""
        return len(self.source) * self.repeats

    def __getitem__(self, key: SampleKey) -> dict[str, Any]:
        """``low`` (T, C, h, w), ``high`` (T, C, H, W) and the key."""
        epoch, index = key
        clip = self.source.piece(index // self.repeats, key, self.seed)
        turn, backwards = _draw(self.seed, key, "turn", 8, 2)
        if turn & 1:
            clip = clip.flip(-1)
        if turn & 2:
            clip = clip.flip(-2)
        if turn & 4:
            clip = clip.transpose(-1, -2)
        if self.reverse and backwards:
            clip = clip.flip(0)
        params = self.degradation.draw_keyed([(self.seed, epoch, index)])
        low, high = self.degradation.pair_clip(clip[None].contiguous(), params)
        return {"low": low[0], "high": high[0], "epoch": epoch, "index": index}


def _draw(seed: int, key: SampleKey, name: str, *highs: int) -> list[int]:
    """A number below each of ``highs``, by seed, key and name alone."""
    drawn: list[int] = draw_integers([key], np.array([highs]), seed=digest64(seed, name))[0].tolist()
    return drawn
