"""A burst: each frame of a still scene falls on an area sensor that has moved by a part of a pixel."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from sr_lab.base.randomness import Floats, frame_seed, seeds, uniforms
from sr_lab.degradations.operation import Array, Operation, Sample, Size
from sr_lab.images.burst import Sampling

_SEED = (0, 2.0**53)


class BurstSensor(Operation):
    """Shifts each frame of a clip by its own sub-pixel shift and takes the mean of each low pixel's square.

    The model of ``images.burst.Sampling``, which ``images.burst.solve`` inverts. The first frame, and an image, are not
    shifted. Noise comes behind it in a pipeline: ``conf/degradation/burst.yaml``. On a GPU samples make a detour
    through the host.

    Args:
        scale: High pixels a low one.
        reach: Most low pixels that a frame is shifted, in each direction.

    Raises:
        ValueError: If ``reach`` is negative.
    """

    num_uniforms: ClassVar[int] = 1
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {"seed": _SEED}

    def __init__(self, *, scale: int, reach: float = 1.0) -> None:
        super().__init__(scale=scale)
        if reach < 0:
            raise ValueError(f"reach={reach}: must be at least 0 low pixels")
        self.reach = reach

    def parameters(self, uniform: Floats) -> dict[str, npt.NDArray[Any]]:
        """The seed of the shifts."""
        return {"seed": seeds(uniform[:, 0])}

    def shifts(self, seed: int, count: int) -> list[tuple[float, float]]:
        """Right and down of each frame of a burst, in low pixels, as ``Sampling.of`` takes them.

        Example:
            >>> BurstSensor(scale=4).shifts(7, 3)[0]
            (0.0, 0.0)
        """
        streams = np.array([frame_seed(seed, number) for number in range(1, count)], dtype=np.uint64)
        drawn = (2 * uniforms(streams, 2) - 1) * self.reach
        return [(0.0, 0.0), *((float(x), float(y)) for x, y in drawn)]

    def degrade(self, image: Array, sample: Sample, *, high: Size) -> Array:
        """The first frame: (H, W, C) to (H / scale, W / scale, C)."""
        return self.degrade_clip([image], sample, high=high)[0]

    def degrade_clip(self, frames: list[Array], sample: Sample, *, high: Size) -> list[Array]:
        """Each frame by its shift, cut to [0, 1]."""
        found = []
        for frame, shift in zip(frames, self.shifts(int(sample["seed"]), len(frames)), strict=True):
            height, width = frame.shape[:2]
            view = Sampling.of(shift, (height, width), self.scale)
            planes = [view.see(frame[:, :, channel]) for channel in range(frame.shape[2])]
            found.append(np.clip(np.stack(planes, axis=2), 0, 1))
        return found
