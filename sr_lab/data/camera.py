"""Synthetic clips: a camera moves over a photo, and the motion of every pixel is known exactly."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sr_lab.data.crowd import NUM_DRAWS, Crowd, photo_at
from sr_lab.data.waves import NUM_DRAWS as WAVE_DRAWS
from sr_lab.data.waves import Points, Waves
from sr_lab.degradations.base import keyed_generator

Motion = Literal["pan", "similarity", "homography", "bend"]
Event = Literal["none", "foreground", "still", "cut", "ramp", "repeat", "crowd"]
_WAVES = (32.0, 128.0)


@dataclass(frozen=True)
class CameraClip:
    """A clip and its motion, which is computed when it is asked for.

    Attributes:
        frames: (T, C, H, W), values in [0, 1].
        measure: Gives flow and covered pixels.
    """

    frames: Tensor
    measure: Callable[[], tuple[Any, Any]] = field(repr=False)

    @cached_property
    def _motion(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        flow, covered = self.measure()
        return np.asarray(flow, np.float32), np.asarray(covered, np.bool_)

    @property
    def flow(self) -> npt.NDArray[np.float32]:
        """(T - 1, H, W, 2), pixels to the right and down from a frame to the next one; NaN over a cut."""
        return self._motion[0]

    @property
    def covered(self) -> npt.NDArray[np.bool_]:
        """(T - 1, H, W), pixels of a frame that the next one does not show: out of the picture, or hidden."""
        return self._motion[1]


def camera_clip(
    photo: Tensor,
    *,
    key: tuple[int, ...],
    count: int,
    size: tuple[int, int],
    motion: Motion = "pan",
    speed: float = 6.0,
    event: Event = "none",
    other: Tensor | None = None,
    others: Sequence[Tensor] = (),
) -> CameraClip:
    """A camera path over a photo.

    A ``pan`` moves by whole pixels, so that its frames are plain crops, with nothing lost by interpolation; the other
    paths turn, zoom and tilt, too, and are rendered at twice the size and reduced. A ``bend`` is a similarity path over
    a photo that waves run through.

    Args:
        photo: (1, C, H, W), values in [0, 1].
        key: The path depends on it alone: by custom (seed, epoch, index).
        count: Number of frames.
        size: Height and width of a frame.
        motion: Kind of path.
        speed: Most pixels a frame, in each direction.
        event: What happens beside: a ``foreground`` of ``other`` moves across; the camera stands ``still`` in the
            second half; a ``cut`` to ``other``; a ``ramp`` of brightness; every third frame is a ``repeat``; a
            ``crowd`` of bending figures, one out of each of ``others``, crosses in front of one another.
        other: Another photo, for a foreground or a cut.
        others: Photos of a crowd.

    Raises:
        ValueError: If the photo is smaller than a frame and its margin of 4 pixels, or another one is needed.

    Example:
        >>> photo = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
        >>> clip = camera_clip(photo, key=(0, 0, 0), count=3, size=(48, 48), speed=4)
        >>> x, y = clip.flow[0, 20, 20].astype(int)
        >>> bool(torch.equal(clip.frames[0][:, 20, 20], clip.frames[1][:, 20 + y, 20 + x]))
        True
    """
    if event in ("foreground", "cut") and other is None:
        raise ValueError(f"event={event} needs another photo: give other")
    if event == "crowd" and not others:
        raise ValueError("event=crowd needs a photo for each figure: give others")
    height, width = size
    for image in [photo] if other is None else [photo, other]:
        if image.shape[-2] < height + 8 or image.shape[-1] < width + 8:
            raise ValueError(
                f"a photo of {image.shape[-1]}x{image.shape[-2]} is too small for frames of {width}x{height} that move"
            )
    draws = torch.rand(64, generator=keyed_generator("camera", *key), dtype=torch.float64).tolist()
    times = [max(0, number - (number % 3 == 2)) if event == "repeat" else number for number in range(count)]
    if event == "still":
        times = [min(number, count // 2) for number in times]
    split = count // 2 if event == "cut" else count
    path = _path(photo, size, times, motion, speed, draws)
    waves = Waves(_more(WAVE_DRAWS, "waves", *key), lengths=_WAVES) if motion == "bend" else None
    frames, matrices = _render(photo, size, path, motion, waves, times)
    if event == "cut" and other is not None:
        late_path = _path(other, size, times, motion, speed, draws[8:])
        late, late_matrices = _render(other, size, late_path, motion, waves, times)
        frames = [*frames[:split], *late[split:]]
        matrices = [*matrices[:split], *late_matrices[split:]]
    behind = torch.cat(frames)

    clip = behind
    if event == "crowd":
        crowd = Crowd(others, size, _more(len(others) * NUM_DRAWS, "crowd", *key), speed)
        clip, front, whole = crowd.before(behind)
    if event == "foreground" and other is not None:
        clip, masks, step = _foreground(behind, other, draws[24:], speed)
    if event == "ramp":
        gain = torch.linspace(1, 0.6 + 0.6 * draws[40], count, dtype=clip.dtype)
        clip = (clip * gain[:, None, None, None]).clamp(0, 1)

    def measure() -> tuple[Any, Any]:
        steps = zip(pairwise(matrices), pairwise(times), strict=True)
        flow = np.array([_flow(*ends, size, waves, when) for ends, when in steps]).reshape(-1, *size, 2)
        x, y = np.arange(width) + flow[..., 0], np.arange(height)[:, None] + flow[..., 1]
        covered = (x < 0) | (x > width - 1) | (y < 0) | (y > height - 1)
        if event == "cut" and split < count:
            flow[split - 1], covered[split - 1] = np.nan, True
        if event == "foreground":
            return _foreground_motion(masks, step, flow, covered)
        return crowd.motion(front, whole, flow, covered) if event == "crowd" else (flow, covered)

    return CameraClip(clip, measure)


def _more(count: int, *key: int | str) -> list[float]:
    found: list[float] = torch.rand(count, generator=keyed_generator(*key), dtype=torch.float64).tolist()
    return found


def _path(
    photo: Tensor, size: tuple[int, int], times: list[int], motion: Motion, speed: float, draws: list[float]
) -> npt.NDArray[np.float64]:
    """(T, 6): left, top, angle, logarithm of the zoom, and two tilts of each frame."""
    room = np.array([photo.shape[-1] - size[1], photo.shape[-2] - size[0]], np.float64)
    if motion != "pan":
        room = np.maximum(room - 2 * 0.12 * max(size), 0)
    velocity = (2 * np.array(draws[:2]) - 1) * speed
    velocity = np.round(velocity) if motion == "pan" else velocity
    start = np.array(draws[2:4]) * room
    start = np.floor(start) if motion == "pan" else start
    place = start + velocity * np.array(times, np.float64)[:, None]
    turned = np.mod(place, 2 * np.maximum(room, 1))  # reflected at the edges of the photo
    place = np.minimum(turned, 2 * np.maximum(room, 1) - turned)
    place = np.minimum(np.floor(place) if motion == "pan" else place, room)
    if motion != "pan":
        place += 0.12 * max(size) * (room > 0)
    rates = (2 * np.array(draws[4:8]) - 1) * np.array([0.01, 0.006, 1e-4 / 3, 1e-4 / 3])
    more = rates * (np.array(times, np.float64) - times[-1] / 2)[:, None]
    if motion in ("similarity", "bend"):
        more[:, 2:] = 0
    return np.concatenate([place, more], axis=1)


def _render(
    photo: Tensor,
    size: tuple[int, int],
    path: npt.NDArray[np.float64],
    motion: Motion,
    waves: Waves | None,
    times: list[int],
) -> tuple[list[Tensor], list[npt.NDArray[np.float64]]]:
    """The frames, and the matrix of each from its pixels to the photo's."""
    height, width = size
    frames, matrices = [], []
    for (left, top, angle, zoom, tilt_x, tilt_y), time in zip(path, times, strict=True):
        if motion == "pan":
            matrices.append(np.array([[1, 0, left], [0, 1, top], [0, 0, 1.0]]))
            frames.append(photo[..., int(top) : int(top) + height, int(left) : int(left) + width])
            continue
        cx, cy = (width - 1) / 2, (height - 1) / 2
        scale = np.exp(zoom)
        turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        matrix = np.eye(3)
        matrix[:2, :2] = turn
        matrix[2, :2] = tilt_x, tilt_y
        centre, back = np.eye(3), np.eye(3)
        centre[:2, 2], back[:2, 2] = (-cx, -cy), (cx + left, cy + top)
        matrices.append(back @ matrix @ centre)
        shown = _bent(photo, matrices[-1], size, waves, time) if waves else _seen(photo, matrices[-1], size)
        frames.append(shown)
    return frames, matrices


def _seen(photo: Tensor, matrix: npt.NDArray[np.float64], size: tuple[int, int]) -> Tensor:
    """What a frame shows, rendered at twice its size and reduced."""
    from kornia.geometry.transform import warp_perspective

    half = np.array([[0.5, 0, -0.25], [0, 0.5, -0.25], [0, 0, 1]])  # a pixel of twice the size, in the frame's
    inverse = torch.from_numpy(np.linalg.inv(matrix @ half))[None].to(photo)
    large = warp_perspective(
        photo, inverse, (2 * size[0], 2 * size[1]), mode="bicubic", padding_mode="border", align_corners=True
    )
    return torch.nn.functional.avg_pool2d(large, 2).clamp(0, 1)


def _bent(photo: Tensor, matrix: npt.NDArray[np.float64], size: tuple[int, int], waves: Waves, time: int) -> Tensor:
    """What a frame shows of a photo that bends, rendered at twice its size and reduced."""
    y, x = np.mgrid[: 2 * size[0], : 2 * size[1]] / 2 - 0.25
    large = photo_at(photo, _projected(waves.moved(np.stack([x, y], axis=-1), time), matrix))
    return torch.nn.functional.avg_pool2d(large[None], 2)


def _projected(points: Points, matrix: npt.NDArray[np.float64]) -> Points:
    found = np.concatenate([points, np.ones_like(points[..., :1])], axis=-1) @ matrix.T
    return found[..., :2] / found[..., 2:]


def _flow(
    now: npt.NDArray[np.float64],
    then: npt.NDArray[np.float64],
    size: tuple[int, int],
    waves: Waves | None,
    times: tuple[int, int],
) -> Any:
    """(H, W, 2) from a frame to another one of the same photo."""
    y, x = np.mgrid[: size[0], : size[1]].astype(np.float64)
    points = np.stack([x, y], axis=-1)
    moved = _projected(waves.moved(points, times[0]) if waves else points, np.linalg.inv(then) @ now)
    return (waves.back(moved, times[1]) if waves else moved) - points


def _foreground(clip: Tensor, other: Tensor, draws: list[float], speed: float) -> tuple[Tensor, Any, Any]:
    """The clip with a soft ellipse of another photo that moves by whole pixels before it, where it is, and its step."""
    count, _, height, width = clip.shape
    across, down = max(8, width // 3), max(8, height // 3)
    patch = other[0, :, :down, :across]
    y, x = np.mgrid[:down, :across]
    apart = np.hypot((x - (across - 1) / 2) / (across / 2), (y - (down - 1) / 2) / (down / 2))
    alpha = np.clip((1 - apart) * min(across, down) / 6, 0, 1)
    step = np.round((2 * np.array(draws[:2]) - 1) * speed).astype(int)
    start = (np.array(draws[2:4]) * [width - across, height - down]).astype(int)
    masks = np.zeros((count, height, width))
    clip = clip.clone()
    for number in range(count):
        left, top = start + step * number
        rows, columns = slice(max(0, top), min(height, top + down)), slice(max(0, left), min(width, left + across))
        if rows.start >= rows.stop or columns.start >= columns.stop:
            continue
        inside = slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left)
        masks[number, rows, columns] = alpha[inside]
        share = torch.from_numpy(alpha[inside]).to(clip)
        below = clip[number, :, rows, columns]
        clip[number, :, rows, columns] = below + share * (patch[:, inside[0], inside[1]] - below)
    return clip, masks, step


def _foreground_motion(masks: Any, step: Any, flow: Any, covered: Any) -> tuple[Any, Any]:
    """Flow and covered pixels with the foreground, from those without."""
    count, height, width = masks.shape
    for number in range(count - 1):
        front = masks[number] > 0.5
        flow[number][front] = step
        x, y = np.arange(width) + flow[number, ..., 0], np.arange(height)[:, None] + flow[number, ..., 1]
        gone = (x < 0) | (x > width - 1) | (y < 0) | (y > height - 1)
        column, row = (np.round(np.clip(each, 0, top)).astype(int) for each, top in ((x, width - 1), (y, height - 1)))
        hidden = (masks[number + 1][row, column] > 0) & ~front
        soft = (masks[number] > 0) & (masks[number] < 1)  # its edge shows both
        covered[number] = gone | hidden | soft
    return flow, covered
