"""Figures that cross a clip in front of one another: each of its own photo, outline and exactly known motion."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sr_lab.data.waves import NUM_DRAWS as WAVE_DRAWS
from sr_lab.data.waves import Points, Waves

NUM_DRAWS = 24 + WAVE_DRAWS
_NONE = 1e-6


class Figure:
    """A piece of a photo with a soft, irregular outline that moves, turns, grows and bends.

    Its points are those of the photo's piece, from its middle: outline and colours bend together, as a limb does. It
    turns back where its middle would leave the frame.

    Args:
        photo: (1, C, H, W).
        size: Height and width of a frame.
        draws: ``NUM_DRAWS`` numbers from 0 to 1.
        speed: Most pixels a frame, in each direction.
    """

    def __init__(self, photo: Tensor, size: tuple[int, int], draws: list[float], speed: float) -> None:
        drawn = np.array(draws[:NUM_DRAWS], np.float64)
        signed = 2 * drawn - 1
        self.photo, self.room = photo, np.array(size[::-1], np.float64) - 1
        self.radius = min(size) * (0.07 + 0.18 * drawn[0])
        self.stretch = 1 + drawn[1]  # longer than wide, or wider than long
        self.upright = drawn[2] < 0.7
        self.softness = 0.7 + 2 * drawn[3]
        self.start, self.velocity = drawn[4:6] * self.room, signed[6:8] * speed
        self.angle, self.turning, self.growing = 0.5 * signed[8], 0.02 * signed[9], 0.008 * signed[10]
        self.bumps, self.phases = 0.12 * drawn[11:15], 2 * np.pi * drawn[15:19]
        place = np.array(photo.shape[:1:-1], np.float64)
        margin = np.minimum(2 * self.radius, place / 2)
        self.middle = margin + drawn[19:21] * (place - 1 - 2 * margin).clip(0)
        self.waves = Waves(draws[24:], lengths=(self.radius, 4 * self.radius))

    def _pose(self, time: float) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Middle in the frame, and the matrix from the figure's points to the frame's."""
        place = np.mod(self.start + self.velocity * time, 2 * self.room)
        place = np.minimum(place, 2 * self.room - place)
        angle, scale = self.angle + self.turning * time, np.exp(0.3 * np.sin(self.growing * time / 0.3))
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        return place, scale * turn

    def inside(self, points: Points, time: float) -> Points:
        """The figure's points that the frame's points show."""
        middle, matrix = self._pose(time)
        return self.waves.moved((points - middle) @ np.linalg.inv(matrix).T, time)

    def outside(self, points: Points, time: float) -> Points:
        """Where the frame shows the figure's points."""
        middle, matrix = self._pose(time)
        return self.waves.back(points, time) @ matrix.T + middle

    def alpha(self, points: Points) -> npt.NDArray[np.float64]:
        """How much the figure hides at its points, 0 to 1."""
        across = np.array([self.stretch, 1.0]) if self.upright else np.array([1.0, self.stretch])
        x, y = np.moveaxis(points * across, -1, 0)
        apart = np.hypot(x, y)
        shown: npt.NDArray[np.float64] = np.zeros(apart.shape)
        soft = self.softness * self.stretch
        near = apart < self.radius * (1 + self.bumps.sum()) + soft
        angle = np.arctan2(y[near], x[near])
        outline = np.full_like(angle, self.radius)
        for order, (bump, phase) in enumerate(zip(self.bumps, self.phases, strict=True), start=2):
            outline += self.radius * bump * np.cos(order * angle + phase)
        shown[near] = np.clip((outline - apart[near]) / soft + 0.5, 0, 1)
        return shown

    def seen(self, time: float) -> tuple[slice, slice, Tensor, Tensor] | None:
        """What a frame shows of it: rows, columns, colours times alpha (C, h, w) and alpha (h, w); None if nothing.

        Rendered at twice the size and reduced.
        """
        middle, matrix = self._pose(time)
        farthest = self.radius * (1 + self.bumps.sum()) + self.softness + self.waves.farthest
        reach = farthest * np.sqrt(abs(np.linalg.det(matrix))) + 2
        low = np.floor(middle - reach).clip(0).astype(int)
        high = np.ceil(middle + reach + 1).clip(max=self.room + 1).astype(int)
        if (low >= high).any():
            return None
        x, y = (np.arange(2 * (b - a)) / 2 - 0.25 + a for a, b in zip(low, high, strict=True))
        points = self.inside(np.stack(np.meshgrid(x, y), axis=-1), time)
        alpha = torch.from_numpy(self.alpha(points)).to(self.photo)
        whole = torch.cat([photo_at(self.photo, points + self.middle) * alpha, alpha[None]])
        small = torch.nn.functional.avg_pool2d(whole[None], 2)[0]
        return slice(int(low[1]), int(high[1])), slice(int(low[0]), int(high[0])), small[:-1], small[-1]


def photo_at(photo: Tensor, points: Points) -> Tensor:
    """A photo's colours (C, h, w) at points (h, w, 2), by cubic interpolation, in [0, 1]; its edges go on outside."""
    last = np.array(photo.shape[:1:-1], np.float64) - 1
    grid = torch.from_numpy(2 * points / last - 1)[None].to(photo)
    found = torch.nn.functional.grid_sample(photo, grid, mode="bicubic", padding_mode="border", align_corners=True)
    return found[0].clamp(0, 1)


class Crowd:
    """A figure of each photo before a clip, the last one in front of all.

    Args:
        photos: (1, C, H, W) each.
        size: Height and width of a frame.
        draws: ``NUM_DRAWS`` numbers from 0 to 1 a photo.
        speed: Most pixels a frame, in each direction.
    """

    def __init__(self, photos: Sequence[Tensor], size: tuple[int, int], draws: list[float], speed: float) -> None:
        self.figures = [Figure(photo, size, draws[place * NUM_DRAWS :], speed) for place, photo in enumerate(photos)]

    def before(self, clip: Tensor) -> tuple[Tensor, npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """The clip (T, C, H, W) with the figures, which one fills most of each pixel (T, H, W), and whether all of it.

        The figures are counted from 1; 0 is what lies behind all.
        """
        clip = clip.clone()
        front = np.zeros((len(clip), *clip.shape[-2:]), np.int64)
        whole = np.ones(front.shape, np.bool_)
        for time in range(len(clip)):
            for number, figure in enumerate(self.figures, start=1):
                seen = figure.seen(time)
                if seen is None:
                    continue
                rows, columns, colours, alpha = seen
                clip[time, :, rows, columns] = clip[time, :, rows, columns] * (1 - alpha) + colours
                share = alpha.numpy()
                front[time, rows, columns][share > 0.5] = number
                whole[time, rows, columns] &= share < _NONE
                whole[time, rows, columns] |= share > 1 - _NONE
        return clip, front, whole

    def motion(
        self, front: npt.NDArray[np.int64], whole: npt.NDArray[np.bool_], flow: Any, covered: Any
    ) -> tuple[Any, Any]:
        """Flow and covered pixels with the figures, from those without.

        A pixel that shows two of them, as soft edges do, is covered; so is one whose place in the next frame, or one of
        the four pixels around it, shows anything else.
        """
        height, width = front.shape[1:]
        flow, covered = flow.copy(), covered.copy()
        points = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1).astype(np.float64)
        labels = np.where(whole, front, -1)
        for time in range(len(flow)):
            for number, figure in enumerate(self.figures, start=1):
                shown = front[time] == number
                flow[time][shown] = figure.outside(figure.inside(points[shown], time), time + 1) - points[shown]
            there = points + flow[time]
            lost = (labels[time] < 0) | (there < 0).any(axis=-1) | (there > [width - 1, height - 1]).any(axis=-1)
            for way_x in (np.floor, np.ceil):
                for way_y in (np.floor, np.ceil):
                    column = way_x(there[..., 0]).clip(0, width - 1).astype(int)
                    row = way_y(there[..., 1]).clip(0, height - 1).astype(int)
                    lost |= labels[time + 1][row, column] != labels[time]
            covered[time] = np.where(front[time] > 0, lost, covered[time] | lost)
        return flow, covered
