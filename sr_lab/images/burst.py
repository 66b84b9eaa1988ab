"""Many low frames of one still scene, shifted by parts of a pixel: registration, and the classical solution.

No network: the frames' aliasing carries the detail, and the sensor's model is inverted. What it gains is measured, and
nothing in it was learnt.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Masks = Sequence[npt.NDArray[np.bool_]] | None
MOST_RESIDUAL = 0.1
"""Low pixels of registration error from which on a burst is refused: at x4 that is 0.4 of a high pixel."""

_ACROSS, _DOWN, _FALLING, _RISING = (0, 1), (1, 0), (1, 1), (1, -1)
_PRIOR = (
    (0.6, (((_ACROSS,), 1), ((_DOWN,), 1))),
    (0.4 / math.sqrt(2), (((_FALLING,), 1), ((_RISING,), 1))),
    (0.3, (((_ACROSS, _ACROSS), 1), ((_DOWN, _DOWN), 1), ((_ACROSS, _DOWN), 2))),
)
"""What an image has little of: the length of its gradient, by straight and by diagonal differences (total variation;
Rudin et al. 1992), and of its second derivatives (Lysaker et al. 2003), so that slopes do not become stairs. Each with
how much it counts, and its differences (steps to a neighbour, one after the other) with how often each is there."""
_SMOOTH = 5e-3


@dataclass(frozen=True)
class Sampling:
    """What one frame sees of the scene: shifted, then each low pixel is the mean of its square (an area sensor).

    Separable: ``low = rows @ high @ columns.T``, so that the adjoint is the transpose.

    Attributes:
        rows: (h, H).
        columns: (w, W).
    """

    rows: Floats
    columns: Floats

    @classmethod
    def of(cls, shift: tuple[float, float], size: tuple[int, int], scale: int) -> "Sampling":
        """The sampling of a frame.

        Args:
            shift: Right and down, in low pixels: where the frame's scene lies to the left and above of the first one's.
            size: Height and width of the high image, multiples of ``scale``.
            scale: High pixels a low one.
        """
        x, y = shift
        return cls(_side(size[0], round(y * scale, 6), scale), _side(size[1], round(x * scale, 6), scale))

    def see(self, high: Floats) -> Floats:
        """(H, W) to (h, w)."""
        return np.asarray(self.rows @ high @ self.columns.T, np.float32)

    def back(self, low: Floats) -> Floats:
        """The adjoint: (h, w) to (H, W)."""
        return np.asarray(self.rows.T @ low @ self.columns, np.float32)


@lru_cache(maxsize=256)
def _side(length: int, shift: float, scale: int) -> Floats:
    """(length / scale, length): a Fourier shift on the mirrored line, then means of ``scale``."""
    whole = np.eye(length)
    mirrored = np.concatenate([whole, whole[::-1]])
    turn = np.exp(2j * np.pi * np.fft.rfftfreq(2 * length) * shift)[:, None]
    shifted = np.fft.irfft(np.fft.rfft(mirrored, axis=0) * turn, n=2 * length, axis=0)[:length]
    return np.asarray(shifted.reshape(length // scale, scale, length).mean(axis=1), np.float32)


def register(
    frames: Sequence[Floats], *, masks: Masks = None, names: Sequence[str] | None = None
) -> tuple[list[tuple[float, float]], list[float]]:
    """Where each frame's scene lies relative to the first one's, by ECC (Evangelidis and Psarakis, PAMI 2008).

    Args:
        frames: (h, w), values in [0, 1].
        masks: (h, w) of each: False where it shows something else, which has no say; None where all show the scene.
        names: What each is called in messages; None: ``frame 0`` and so on.

    Returns:
        Shifts (right, down) in low pixels, as ``Sampling.of`` takes them, and for each the distance, in low pixels,
        between its estimates from the two halves of the frame: what the registration can be trusted by.

    Raises:
        ValueError: If a frame cannot be registered, or the halves disagree by more than a tenth of a low pixel.
    """
    shifts, residuals = [(0.0, 0.0)], [0.0]
    filled = without_masked(frames, masks)
    for number, frame in enumerate(filled[1:], start=1):
        both = None if masks is None else _inside(masks[0] & masks[number])
        middle, name = frame.shape[1] // 2, f"frame {number}" if names is None else names[number]
        try:
            whole, *halves = [
                _translation(filled[0][:, part], frame[:, part], None if both is None else both[:, part])
                for part in (slice(None), slice(0, middle), slice(middle, None))
            ]
        except cv2.error as error:
            raise ValueError(f"{name} could not be registered: it does not show the first one's scene") from error
        residual = math.dist(*halves) / 2
        if residual > MOST_RESIDUAL:
            raise ValueError(
                f"{name}: its halves are moved apart by {2 * residual:.2f} low pixels, so it is no mere shift: "
                "leave it out"
            )
        shifts.append(whole)
        residuals.append(residual)
    return shifts, residuals


def without_masked(frames: Sequence[Floats], masks: Masks) -> list[Floats]:
    """The frames, with what is masked replaced by the mean of the frames that see the place: what lay there is gone.

    Where none does, it becomes the mean of all that is seen.

    Args:
        frames: (h, w) or (h, w, C).
        masks: (h, w) of each, False where it is masked; None: the frames as they are.
    """
    if masks is None:
        return list(frames)
    fitting = [mask.reshape(*mask.shape, *[1] * (frame.ndim - 2)) for mask, frame in zip(masks, frames, strict=True)]
    kept = [np.where(mask, frame, np.float32(0)) for mask, frame in zip(fitting, frames, strict=True)]
    times = np.sum(fitting, axis=0).astype(np.float32)
    total = np.sum(kept, axis=0)
    mean = np.where(times > 0, total / np.maximum(times, 1), total.sum() / max(1.0, float((times + 0 * total).sum())))
    return [np.asarray(np.where(mask, frame, mean), np.float32) for mask, frame in zip(fitting, frames, strict=True)]


def _inside(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """The mask without the pixels that the registration, which blurs and moves, mixes with masked ones."""
    inner = cv2.erode(mask.astype(np.uint8), np.ones((9, 9), np.uint8), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(inner, np.uint8)


def within(size: tuple[int, int], shift: tuple[float, float]) -> npt.NDArray[np.bool_]:
    """(h, w), False at a frame's pixels that lie outside of the first one's picture: nothing else tells of them."""
    height, width = size
    x, y = (round(each, 3) for each in shift)
    inside = np.zeros(size, np.bool_)
    inside[
        max(0, math.ceil(-y)) : height - max(0, math.ceil(y)), max(0, math.ceil(-x)) : width - max(0, math.ceil(x))
    ] = 1
    return inside


def _translation(first: Floats, frame: Floats, mask: Any = None) -> tuple[float, float]:
    """By ECC, which begins where the windowed phase correlation points if that is more than a pixel away."""
    warp = np.eye(2, 3, dtype=np.float32)
    window = cv2.createHanningWindow((first.shape[1], first.shape[0]), cv2.CV_32F)
    coarse, _ = cv2.phaseCorrelate(first - first.mean(), frame - frame.mean(), window)
    if max(map(abs, coarse)) > 1:
        warp[:, 2] = coarse
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 200, 1e-6)
    template, image = np.ascontiguousarray(first), np.ascontiguousarray(frame)
    mask = None if mask is None else np.ascontiguousarray(mask)
    _, found = cv2.findTransformECC(template, image, warp, cv2.MOTION_TRANSLATION, criteria, mask, 5)
    return -float(found[0, 2]), -float(found[1, 2])


def solve(
    frames: Sequence[Floats],
    shifts: Sequence[tuple[float, float]],
    *,
    scale: int,
    noise: float,
    masks: Masks = None,
    strength: float = 1.0,
    rounds: int = 8,
    iterations: int = 12,
) -> Floats:
    """The high image that explains all frames, with little variation: conjugate gradients, reweighted.

    Minimises sum_k |M_k (A_k x - y_k)|^2 + weight * variation(x), total variation of first and second order; the weight
    grows with the noise.

    Args:
        frames: (h, w), values in [0, 1].
        shifts: Of each, as ``register`` gives them.
        scale: High pixels a low one.
        noise: Standard deviation of the frames' noise, in [0, 1]: of ``srlab degrade estimate``, or of the sensor.
        masks: (h, w) of each: False where it shows something else (a cloud, something that moves). What lies there
            changes no bit of the result; what no frame sees is filled in smoothly.
        strength: Factor of the weight.
        rounds: Times that the weights of the variation are renewed.
        iterations: Of conjugate gradients in each round.

    Returns:
        (h * scale, w * scale), not clamped.

    Raises:
        ValueError: If numbers or sizes differ.
    """
    if len({frame.shape for frame in frames}) != 1 or len(frames) != len(shifts):
        raise ValueError("a burst is of frames of one size, each with its shift")
    height, width = frames[0].shape
    size = height * scale, width * scale
    views = [Sampling.of(shift, size, scale) for shift in shifts]
    weights = [
        np.ones_like(frame) if masks is None else masks[place].astype(np.float32) for place, frame in enumerate(frames)
    ]
    weight = np.float32(strength * (2e-5 + 12 * noise**2))
    filled = without_masked(frames, masks)
    right = sum(view.back(mask * frame) for view, mask, frame in zip(views, weights, filled, strict=True))
    x = cv2.resize(filled[0], (size[1], size[0]), interpolation=cv2.INTER_CUBIC)
    for _ in range(rounds):
        inverses = [np.float32(share * weight / 2) / _length(x, differences) for share, differences in _PRIOR]

        def normal(image: Floats, inverses: list[Floats] = inverses) -> Floats:
            seen = sum(view.back(mask * view.see(image)) for view, mask in zip(views, weights, strict=True))
            for (_, differences), inverse in zip(_PRIOR, inverses, strict=True):
                for steps, times in differences:
                    seen = seen + _derived_back(np.float32(times) * inverse * _derived(image, steps), steps)
            return np.asarray(seen, np.float32)

        x = _conjugate_gradients(normal, np.asarray(right, np.float32), x, iterations)
    return np.asarray(x, np.float32)


def _length(image: Floats, differences: Sequence[tuple[Sequence[tuple[int, int]], int]]) -> Floats:
    """At each pixel, the length of the vector of all differences; above 0."""
    squares = sum(np.float32(times) * _derived(image, steps) ** 2 for steps, times in differences)
    return np.asarray(np.sqrt(squares + np.float32(_SMOOTH) ** 2), np.float32)


def _derived(image: Floats, steps: Sequence[tuple[int, int]]) -> Floats:
    """Difference after difference."""
    for step in steps:
        image = _difference(image, step)
    return image


def _derived_back(slope: Floats, steps: Sequence[tuple[int, int]]) -> Floats:
    """The adjoint of ``_derived``."""
    for step in reversed(steps):
        slope = _difference_back(slope, step)
    return slope


def _difference(image: Floats, step: tuple[int, int]) -> Floats:
    """The image's neighbour ``step`` (down, right) away minus itself; 0 where there is none."""
    found = np.zeros_like(image)
    here, there = _overlap(image.shape, step)
    found[here] = image[there] - image[here]
    return found


def _difference_back(slope: Floats, step: tuple[int, int]) -> Floats:
    """The adjoint of ``_difference``."""
    found = np.zeros_like(slope)
    here, there = _overlap(slope.shape, step)
    found[here] -= slope[here]
    found[there] += slope[here]
    return found


def _overlap(shape: tuple[int, ...], step: tuple[int, int]) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where both a pixel and its neighbour are: the pixels, and their neighbours."""
    down, right = step
    here = slice(0, shape[0] - down), slice(max(0, -right), shape[1] - max(0, right))
    there = slice(down, shape[0]), slice(max(0, right), shape[1] + min(0, right))
    return here, there


def _conjugate_gradients(normal: Any, right: Floats, x: Floats, iterations: int) -> Floats:
    residual = right - normal(x)
    direction, power = residual.copy(), float(np.vdot(residual, residual))
    for _ in range(iterations):
        if power < 1e-12:
            break
        along = normal(direction)
        step = np.float32(power / float(np.vdot(direction, along)))
        x = x + step * direction
        residual = residual - step * along
        after = float(np.vdot(residual, residual))
        direction = residual + np.float32(after / power) * direction
        power = after
    return np.asarray(x, np.float32)
