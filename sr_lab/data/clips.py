"""Clips to train on: pieces of clips whose frames are the images, or camera paths over photos; every sample by its key.

Both are cut from the decoded cache of images, and keyed as crops are: sample (epoch, index) depends on that key and the
seed alone.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from itertools import groupby
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from sr_lab.base.randomness import digest64
from sr_lab.base.words import counted
from sr_lab.data.cache import DecodedCache, Part
from sr_lab.data.camera import Event, Motion, camera_clip
from sr_lab.data.datasets import Batch, CropDataset, copy_turned, degrade, to_float
from sr_lab.data.sampler import SampleKey, draw_integers
from sr_lab.degradations.base import Degradation


class Clips(ABC):
    """How clips are made of images; ``SRDataModule(clips=...)`` takes one.

    Args:
        frames: Frames of a training clip.
        val_frames: Most frames of a validation clip.
        reverse: Whether half of the training clips run backwards.

    Attributes:
        margin: Pixels by which an image has to be larger than a crop.
        cuts: Whether clips are cut out of images as they are, so that a cache of low images fits them.

    Raises:
        ValueError: If there is no frame.
    """

    margin: int = 0
    cuts: bool = True

    def __init__(self, *, frames: int, val_frames: int = 16, reverse: bool = True) -> None:
        for name, value in {"frames": frames, "val_frames": val_frames}.items():
            if value < 1:
                raise ValueError(f"{name}={value}: a clip has at least 1 frame")
        self.frames, self.val_frames, self.reverse = frames, val_frames, reverse

    @abstractmethod
    def problems(self, label: str, names: Sequence[str], sizes: Sequence[tuple[int, int]]) -> list[str]:
        """What makes the images of a part (train or val) unfit for clips, a message each.

        Args:
            label: ``train`` or ``val``.
            names: Of the images, in their order.
            sizes: (height, width) of each.
        """

    @abstractmethod
    def train(self, crops: dict[str, Any]) -> "ClipDataset":
        """The training clips; ``crops`` are the arguments of ``CropDataset``."""

    @abstractmethod
    def val(self, cache: DecodedCache, *, degradation: Degradation | None, seed: int, scale: int) -> "ValClips":
        """The validation clips."""


class FrameClips(Clips):
    """The images are frames: those in one folder are a clip, in the order of their names.

    Arguments are those of ``Clips``.
    """

    def problems(self, label: str, names: Sequence[str], sizes: Sequence[tuple[int, int]]) -> list[str]:
        """Clips that are too short, or of frames of different sizes."""
        found = []
        for first, count in runs(names):
            folder = names[first].rpartition("/")[0] or "."
            if len(set(sizes[first : first + count])) > 1:
                found.append(f"the {label} clip {folder} has frames of different sizes: put each clip into its folder")
            if label == "train" and count < self.frames:
                found.append(
                    f"the training clip {folder} has {counted(count, 'frame')}: set data.clips.frames={count} or less, "
                    "or leave it out"
                )
        return found

    def train(self, crops: dict[str, Any]) -> "ClipDataset":
        """Pieces of the clips: place in time and picture are drawn."""
        kept = set(crops["images"])
        clips = [run for run in runs(crops["cache"].names) if run[0] in kept]
        return FramePieces(clips=clips, settings=self, **{**crops, "images": [first for first, _ in clips]})

    def val(self, cache: DecodedCache, *, degradation: Degradation | None, seed: int, scale: int) -> "ValClips":
        """The first frames of each clip, whole."""
        clips = [(first, min(count, self.val_frames)) for first, count in runs(cache.names)]

        def high(index: int, part: Part) -> np.ndarray:
            first, count = clips[index]
            return np.stack([cache.image(number, part) for number in range(first, first + count)])

        names = [cache.names[first].rpartition("/")[0] or cache.names[first] for first, _ in clips]
        return ValClips(names=names, read=high, has_low=cache.has_low, degradation=degradation, seed=seed)


class CameraClips(Clips):
    """A camera moves over each photo; see ``camera_clip``. Frames have the image's depth.

    Args:
        frames: See ``Clips``.
        val_frames: See ``Clips``.
        reverse: See ``Clips``.
        motions: Kinds of path, drawn alike.
        events: What happens beside, drawn alike; one that is named twice is drawn twice as often.
        speed: Most pixels a frame.
        val_crop: Side of the square frames of validation; a smaller photo gives what it has.
        figures: Most figures of a crowd; their number is drawn from 2 on.

    Raises:
        ValueError: If there is no frame, no motion or event, or a crowd of less than two figures.
    """

    margin = 8
    cuts = False

    def __init__(
        self,
        *,
        frames: int,
        val_frames: int = 16,
        reverse: bool = True,
        motions: Sequence[Motion] = ("pan",),
        events: Sequence[Event] = ("none",),
        speed: float = 6.0,
        val_crop: int = 192,
        figures: int = 4,
    ) -> None:
        super().__init__(frames=frames, val_frames=val_frames, reverse=reverse)
        if not motions or not events:
            raise ValueError("motions and events are empty: name at least one of each, as motions=[pan] events=[none]")
        if figures < 2:
            raise ValueError(f"figures={figures}: a crowd has at least 2")
        self.motions, self.events, self.speed = list(motions), list(events), speed
        self.val_crop, self.figures = val_crop, figures

    def problems(self, label: str, names: Sequence[str], sizes: Sequence[tuple[int, int]]) -> list[str]:
        """None: photos are looked at alone."""
        return []

    def train(self, crops: dict[str, Any]) -> "ClipDataset":
        """A path over each photo."""
        return CameraPaths(settings=self, **crops)

    def val(self, cache: DecodedCache, *, degradation: Degradation | None, seed: int, scale: int) -> "ValClips":
        """A path over each photo, the same at every validation."""

        def high(index: int, part: Part) -> np.ndarray:
            sides = [min(self.val_crop, side - self.margin) for side in cache.shape(index)[1:]]
            height, width = (side // scale * scale for side in sides)
            return self.path(
                cache, index, range(len(cache)), key=(seed, -1, index), count=self.val_frames, size=(height, width)
            )

        return ValClips(names=cache.names, read=high, has_low=False, degradation=degradation, seed=seed)

    def path(
        self,
        cache: DecodedCache,
        image: int,
        images: Sequence[int],
        *,
        key: tuple[int, int, int],
        count: int,
        size: tuple[int, int],
    ) -> np.ndarray:
        """A path over an image, its kind and what happens beside drawn by the key.

        Args:
            cache: The decoded images.
            image: Number of the photo in it.
            images: Numbers of those of which other photos are drawn; one that is too small for the frame is replaced by
                the photo itself.
            key: (seed, epoch, index).
            count: Number of frames.
            size: Height and width of a frame.

        Returns:
            (T, C, H, W) of the cache's type.
        """
        seed, sample = key[0], [key[1:]]
        choices = len(self.motions), len(self.events), len(images)
        motion, event, other = _draw(seed, sample, "camera", *choices)[0].tolist()
        others: list[int] = []
        if self.events[event] == "crowd":
            more, *drawn = _draw(seed, sample, "crowd", self.figures - 1, *[len(images)] * self.figures)[0].tolist()
            others = drawn[: 2 + more]
        photo = self._photo(cache, image)
        second, *crowd = (
            found if min(a - b for a, b in zip(found.shape[-2:], size, strict=True)) >= self.margin else photo
            for found in (self._photo(cache, int(images[number])) for number in (other, *others))
        )
        found = camera_clip(
            photo,
            key=key,
            count=count,
            size=size,
            motion=self.motions[motion],
            speed=self.speed,
            event=self.events[event],
            other=second,
            others=crowd,
        ).frames
        top = int(np.iinfo(cache.dtype).max)
        return (found * top).round().clamp(0, top).to(torch.int32).numpy().astype(cache.dtype)

    @staticmethod
    def _photo(cache: DecodedCache, image: int) -> Tensor:
        return to_float(torch.from_numpy(cache.image(image).copy()))[None]


class ClipDataset(CropDataset):
    """Random clips (T, C, crop, crop); a clip is flipped, turned and played backwards as a whole.

    Arguments are those of ``CropDataset``, whose ``images`` stand for the clips, and

    Args:
        settings: How clips are made.
    """

    def __init__(self, *, settings: Clips, **crops: Any) -> None:
        super().__init__(**crops)
        self.settings = settings

    def draws(self, keys: Sequence[SampleKey]) -> np.ndarray:
        """What is cut for each key: see ``CropDataset``, then whether it runs backwards, then epoch and index."""
        backwards = _draw(self.seed, keys, "backwards", 2) * int(self.settings.reverse)
        return np.concatenate([super().draws(keys), backwards, np.array(keys, dtype=np.int64)], axis=1)

    def _cut(self, draws: list[list[int]], part: Part, step: int, side: int) -> Tensor:
        shape = (len(draws), self.settings.frames, self.num_channels, side, side)
        out = np.empty(shape, dtype=self.cache.dtype)
        for (row, top, left, operation, backwards, *key), target in zip(draws, out, strict=True):
            found = self.piece(row, (key[0], key[1]), part, (top * step, left * step), side)
            for frame, place in zip(found, target[::-1] if backwards else target, strict=True):
                copy_turned(frame, place, operation)
        return torch.from_numpy(out)

    @abstractmethod
    def piece(self, row: int, key: SampleKey, part: Part, corner: tuple[int, int], side: int) -> Sequence[np.ndarray]:
        """The frames (C, side, side) of one sample."""


class FramePieces(ClipDataset):
    """Pieces of clips that are images in the cache, one after another.

    Args:
        clips: First image and number of frames of each clip.
    """

    def __init__(self, *, clips: Sequence[tuple[int, int]], **crops: Any) -> None:
        super().__init__(**crops)
        self.clips = list(clips)

    def piece(self, row: int, key: SampleKey, part: Part, corner: tuple[int, int], side: int) -> Sequence[np.ndarray]:
        """See ``ClipDataset``."""
        (first, count), (top, left) = self.clips[row], corner
        start = first + int(_draw(self.seed, [key], "clip", count - self.settings.frames + 1)[0, 0])
        return [
            self.cache.image(number, part)[:, top : top + side, left : left + side]
            for number in range(start, start + self.settings.frames)
        ]


class CameraPaths(ClipDataset):
    """Camera paths over photos."""

    settings: CameraClips

    def piece(self, row: int, key: SampleKey, part: Part, corner: tuple[int, int], side: int) -> Sequence[np.ndarray]:
        """See ``ClipDataset``; the path takes the place of the corner."""
        return list(
            self.settings.path(
                self.cache,
                int(self.images[row]),
                self.images.tolist(),
                key=(self.seed, *key),
                count=self.settings.frames,
                size=(side, side),
            )
        )


class ValClips(Dataset[Batch]):
    """Whole clips with their low versions, one at a time.

    Args:
        names: Of the clips.
        read: Gives the frames (T, C, H, W) of a clip by its index, and of the low ones where the cache has them.
        has_low: Whether it has.
        degradation: Makes them where it has not, one draw a clip.
        seed: Of the draws.
    """

    def __init__(
        self, *, names: Sequence[str], read: Any, has_low: bool, degradation: Degradation | None, seed: int
    ) -> None:
        self.names, self.read, self.has_low, self.degradation, self.seed = list(names), read, has_low, degradation, seed

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Batch:
        """``high`` (1, T, C, H, W), ``low`` (1, T, C, h, w) and ``name``, a list of one."""
        high = torch.from_numpy(self.read(index, "high").copy())[None]
        batch: Batch = {"high": high, "name": [self.names[index]]}
        if self.has_low:
            return {**batch, "low": torch.from_numpy(self.read(index, "low").copy())[None]}
        assert self.degradation is not None
        key = {"epoch": torch.tensor([-1]), "index": torch.tensor([index])}
        low, batch["high"] = degrade(self.degradation, to_float(high), key, seed=self.seed)
        top = torch.iinfo(high.dtype).max  # as files would hold them
        return {**batch, "low": low.mul(top).round().clamp(0, top).div(top)}


def runs(names: Sequence[str]) -> list[tuple[int, int]]:
    """First index and number of the names that follow one another in one folder.

    Example:
        >>> runs(["a/0.png", "a/1.png", "b/0.png"])
        [(0, 2), (2, 1)]
    """
    found, start = [], 0
    for _, group in groupby(names, key=lambda name: name.rpartition("/")[0]):
        count = sum(1 for _ in group)
        found.append((start, count))
        start += count
    return found


def _draw(seed: int, keys: Sequence[SampleKey], name: str, *highs: int) -> np.ndarray:
    """(B, N) numbers below each of ``highs``, by seed, key and name alone."""
    keyed = [(epoch % 2**63, index) for epoch, index in keys]
    return draw_integers(keyed, np.tile(np.array(highs), (len(keys), 1)), seed=digest64(seed, name))
