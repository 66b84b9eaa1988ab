"""What a report shows of a clip: side by side in motion, one line of it over time, and its worst moments."""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from PIL import Image

from sr_lab.evaluation.pictures import Array, Pictures, take_pictures
from sr_lab.evaluation.scores import ImageScores
from sr_lab.images import to_tensor

_MOST_BYTES, _MOST_FRAMES = 2**28, 64
_SIDE, _WIDTH = 160, 256
_THICK = 3
"""Rows of a profile that a frame takes."""


@dataclass(frozen=True)
class Film:
    """Pictures of a clip.

    Attributes:
        clip: Its name.
        panels: What stands side by side, from left to right.
        video: Animated WebP of the square where the first restorer errs most.
        profile: One line of every frame, stacked from top to bottom; a panel for each of ``panels``, (T, W, 3).
        line: Number of that line, the one that changes most in the original.
        shown: Number of frames that the pictures hold.
        moments: Row of the table to its crops: the frame that is worst, and where the step to it is.
    """

    clip: str
    panels: tuple[str, ...]
    video: bytes = field(repr=False)
    profile: Array = field(repr=False)
    line: int
    shown: int
    moments: Mapping[str, Pictures]


class Reel:
    """Gathers a clip's frames, as many as memory allows, and makes pictures of them.

    Args:
        clip: Its name.
        names: Restorers, the first one is the one in question, the second one stands in bicubic's place.
        scale: Enlargement factor.
    """

    def __init__(self, clip: str, names: Sequence[str], *, scale: int) -> None:
        self.clip, self.names, self.scale = clip, list(names[:2]), scale
        self._kept: list[tuple[ImageScores, Array, Array, dict[str, Array]]] = []
        self._bytes = 0

    def add(self, row: ImageScores, low: Array, target: Array, restored: Mapping[str, Array]) -> None:
        """A frame that was scored; not kept where it is too much, or a restorer failed."""
        kept = {name: restored[name] for name in self.names if name in restored}
        size = low.nbytes + target.nbytes * (1 + len(kept))
        if len(kept) < len(self.names) or len(self._kept) >= _MOST_FRAMES or self._bytes + size > _MOST_BYTES:
            return
        self._kept.append((row, low, target, kept))
        self._bytes += size

    def film(self) -> Film | None:
        """The pictures; None where no frame was kept."""
        if not self._kept:
            return None
        ours, theirs = self.names[0], self.names[-1]
        alone = len(self.names) == 1
        panels = ("LR", ours, "HR, original") if alone else ("LR", theirs, ours, "HR, original")
        frames = [
            (enlarged(low, self.scale), *([] if alone else [kept[theirs]]), kept[ours], target)
            for _, low, target, kept in self._kept
        ]
        top, left, side = self._worst_square(ours)
        square = slice(top, top + side), slice(left, left + side)
        strips = [side_by_side([panel[square] for panel in each]) for each in frames]
        line = busiest_line([target for _, _, target, _ in self._kept])
        width = frames[0][-1].shape[1]
        start = max(0, min(left + side // 2 - _WIDTH // 2, width - _WIDTH))
        across = slice(start, min(width, start + _WIDTH))
        profile = temporal_profile([[panel[:, across] for panel in each] for each in frames], line)
        return Film(
            clip=self.clip,
            panels=panels,
            video=animated(strips),
            profile=profile,
            line=line,
            shown=len(frames),
            moments=self._moments(ours, theirs),
        )

    def _error(self, name: str) -> Any:
        return np.mean(
            [
                np.square(kept[name].astype(np.float32) - target.astype(np.float32)).mean(axis=-1)
                for _, _, target, kept in self._kept
            ],
            axis=0,
        )

    def _worst_square(self, name: str) -> tuple[int, int, int]:
        import cv2

        error = self._error(name)
        side = min(_SIDE, *error.shape) // self.scale * self.scale
        sums = cv2.boxFilter(error, -1, (side, side), anchor=(0, 0), normalize=False, borderType=cv2.BORDER_CONSTANT)
        inside = sums[: error.shape[0] - side + 1, : error.shape[1] - side + 1]
        top, left = np.unravel_index(int(np.argmax(inside)), inside.shape)
        return int(top), int(left), side

    def _moments(self, ours: str, theirs: str) -> dict[str, Pictures]:
        """The worst frame by squared error, and the one behind the step that changes most unlike the original's."""
        errors = [float(np.square(kept[ours].astype(np.float32) - target).mean()) for _, _, target, kept in self._kept]
        steps = [0.0]
        for (_, _, t0, k0), (_, _, t1, k1) in pairwise(self._kept):
            ours_by = k1[ours].astype(np.float32) - k0[ours]
            steps.append(float(np.abs(ours_by - (t1.astype(np.float32) - t0)).mean()))
        found = {}
        for place in dict.fromkeys((int(np.argmax(errors)), int(np.argmax(steps)))):
            row, low, target, kept = self._kept[place]
            with torch.inference_mode():
                found[row.name] = take_pictures(
                    low=to_tensor(low), bicubic=to_tensor(kept[theirs]), restored=to_tensor(kept[ours]),
                    target=to_tensor(target), scale=self.scale,
                )  # fmt: skip
        return found


def side_by_side(panels: Sequence[Array]) -> Array:
    """Pictures of one height, grey or RGB, (H, W, C), in one row."""
    return np.concatenate([_rgb(panel) for panel in panels], axis=1)


def temporal_profile(frames: Sequence[Sequence[Array]], line: int) -> Array:
    """One line of every frame, the first on top; panels side by side.

    Args:
        frames: The panels (H, W, C) of each frame.
        line: Number of the line.
    """
    rows = [side_by_side([panel[line : line + 1] for panel in each]) for each in frames]
    return np.repeat(np.concatenate(rows), _THICK, axis=0)


def busiest_line(targets: Sequence[Array]) -> int:
    """The line of (H, W, C) frames that changes most from frame to frame."""
    greys = [target.mean(axis=-1, dtype=np.float32) for target in targets]
    if len(greys) < 2:
        return int(greys[0].shape[0]) // 2
    change = np.mean([np.abs(b - a) for a, b in pairwise(greys)], axis=0)
    return int(np.argmax(change.mean(axis=1)))


def enlarged(low: Array, scale: int) -> Array:
    """Every pixel as a square."""
    return np.repeat(np.repeat(low, scale, axis=0), scale, axis=1)


def _rgb(frame: Array) -> Array:
    return frame if frame.shape[-1] == 3 else np.repeat(frame[..., :1], 3, axis=-1)


def animated(strips: Sequence[Array]) -> bytes:
    """Pictures of one size as an animated WebP, 12 a second."""
    stream = io.BytesIO()
    first, *others = [Image.fromarray(np.ascontiguousarray(strip)) for strip in strips]
    first.save(stream, "WEBP", save_all=True, append_images=others, duration=80, loop=0, quality=82, method=2)
    return stream.getvalue()
