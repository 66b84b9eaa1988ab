"""Restoring a burst: register, invert the sensor, and let a network take off what the solution leaves behind."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from sr_lab.base.words import counted
from sr_lab.degradations.estimate import estimate_image
from sr_lab.images.burst import register, solve, within, without_masked
from sr_lab.inference.restorers import Restorer

Image = npt.NDArray[np.float32]
LEAST_SEEN = 0.25
"""Share of its pixels that a frame has to see of the scene, or it is left out."""


@dataclass(frozen=True, eq=False)
class RestoredBurst:
    """The image of a burst, and what it rests on.

    Attributes:
        image: (h * scale, w * scale, C), values in [0, 1].
        used: Number of each frame that was used; the first one's grid is the image's.
        shifts: Of these, right and down, in low pixels.
        residuals: Of these, how far their halves disagree, in low pixels.
        noise: Standard deviation of the noise that was counted with, in [0, 1].
        unseen: Share of the low pixels of the first of these that no frame sees.
    """

    image: Image
    used: Sequence[int]
    shifts: Sequence[tuple[float, float]]
    residuals: Sequence[float]
    noise: float
    unseen: float


def restore_burst(
    frames: Sequence[Image],
    *,
    scale: int,
    masks: Sequence[npt.NDArray[np.bool_]] | None = None,
    noise: float | None = None,
    refine: Restorer | None = None,
    names: Sequence[str] | None = None,
) -> RestoredBurst:
    """One image of several low ones of a still scene.

    The frame that sees most gives the grid; one that sees less than a quarter is left out. Channels are solved one by
    one. What is masked changes no bit of the image.

    Args:
        frames: (h, w, C), values in [0, 1].
        scale: Enlargement factor.
        masks: (h, w) of each: False where it does not show the scene; None where all show it everywhere.
        noise: Standard deviation of the frames' noise, in [0, 1]; None estimates it (median over the frames).
        refine: What takes off the artefacts of the solution, at its own size: maps (1, C, H, W) to the same. None keeps
            the solution.
        names: Of the frames, for messages.

    Raises:
        ValueError: If frames differ in size, none sees enough, or one is no mere shift of the first one.
    """
    if not frames or len({frame.shape for frame in frames}) != 1:
        raise ValueError("a burst is of one frame or more, all of one size")
    seen = [np.ones(frame.shape[:2], np.bool_) for frame in frames] if masks is None else list(masks)
    order = sorted(range(len(frames)), key=lambda number: -float(seen[number].mean()))
    used = [number for number in order if seen[number].mean() >= LEAST_SEEN]
    if not used:
        raise ValueError(
            f"no frame of {counted(len(frames), 'frame')} sees {LEAST_SEEN:.0%} of the scene: look at the masks"
        )
    chosen, kept = [frames[number] for number in used], [seen[number] for number in used]
    given = None if masks is None else kept
    filled = without_masked(chosen, given)
    told = [f"frame {number}" if names is None else f"frame {names[number]}" for number in used]
    greys = [np.asarray(frame.mean(axis=2), np.float32) for frame in filled]
    shifts, residuals = register(greys, masks=given, names=told)
    if max(max(map(abs, shift)) for shift in shifts) > 1:  # what lies beyond the first frame, no other frame tells of
        given = [mask & within(mask.shape, shift) for mask, shift in zip(kept, shifts, strict=True)]
    if noise is None:
        noise = _noise_of(filled)
    height, width, channels = chosen[0].shape
    planes = [
        solve(
            [np.ascontiguousarray(frame[..., channel]) for frame in filled],
            shifts,
            scale=scale,
            noise=noise,
            masks=given,
        )
        for channel in range(channels)
    ]
    image = np.stack(planes, axis=2).clip(0, 1)
    if refine is not None:
        given_image = torch.from_numpy(np.ascontiguousarray(np.moveaxis(image, -1, 0)))[None]
        with torch.inference_mode():
            image = np.moveaxis(refine(given_image)[0].clamp(0, 1).cpu().numpy(), 0, -1)
    unseen = float((~np.logical_or.reduce(kept)).mean()) if height * width else 0.0
    return RestoredBurst(np.asarray(image, np.float32), used, shifts, residuals, noise, unseen)


def _noise_of(frames: Sequence[Image]) -> float:
    """The median of what each frame's noise is estimated to be."""
    found = []
    for frame in frames:
        levels = np.round(frame[..., :3] * 65535).clip(0, 65535).astype(np.uint16)
        found.append(estimate_image(levels if levels.shape[2] == 3 else levels[..., :1]).noise.guess / 255)
    return float(np.median(found))
