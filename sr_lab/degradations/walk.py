"""Parameters that wander from frame to frame of a clip, as a camera's do."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from sr_lab.base.randomness import Streams, child, frame_seed, seeds, uniforms
from sr_lab.degradations.base import Degradation
from sr_lab.degradations.operation import Array, Columns, Operation, Sample, Size, as_operation, flat, nest


class Walk(Operation):
    """An operation whose parameters do a random walk over the frames of a clip (Chan et al., CVPR 2022, RealBasicVSR).

    They are drawn once for a clip, as without a walk; from frame to frame each is moved by a uniform step and kept in
    its range. What is not named stays, kinds among it. The walk is a function of one drawn seed, so a record replays
    it. An image is a clip of one frame. What looks at neighbouring frames (a video codec) does not belong in here: its
    frames would be coded one by one.

    Args:
        op: The operation.
        steps: Parameter to ``[step, lowest, highest]``; the parameters of a choice are named ``name.parameter``.
        probability: Probability that a clip goes through the operation.

    Raises:
        ValueError: If a step is no such three numbers.

    Example:
        >>> import torch
        >>> from sr_lab.degradations.noise import GaussianNoise
        >>> noise = Walk(op=GaussianNoise(sigma=[1, 30], colours={"colour": 1}), steps={"sigma": [5.0, 1.0, 30.0]})
        >>> params = noise.draw_keyed([(0, 0, 0)])
        >>> low, _ = noise.pair_clip(torch.full((1, 3, 3, 8, 8), 0.5), params)
        >>> tuple(low.shape), sorted(params)
        ((1, 3, 3, 8, 8), ['op.colour', 'op.mixture', 'op.seed', 'op.sigma', 'walk'])
    """

    def __init__(self, *, op: Degradation, steps: Mapping[str, Sequence[float]], probability: float = 1.0) -> None:
        super().__init__(probability=probability)
        self.op = as_operation(op)
        self.steps = {name: [float(number) for number in step] for name, step in steps.items()}
        for name, step in self.steps.items():
            if len(step) != 3 or step[0] < 0 or step[1] > step[2]:
                raise ValueError(f"steps.{name}={list(step)}: give [step, lowest, highest]")
        self.deterministic = False

    def draw_streams(self, streams: Streams) -> dict[str, npt.NDArray[Any]]:
        """The operation's own parameters behind ``op.``, and the seed of the walk."""
        own = self.op.draw_streams(child(streams, "op"))
        drawn = {f"op.{name}": values for name, values in own.items()}
        return super().draw_streams(streams) | drawn | {"walk": seeds(uniforms(child(streams, "walk"), 1)[:, 0])}

    def check(self, columns: Columns, batch_size: int, *, where: str) -> None:
        """Checks the operation's parameters, and that there are those that walk."""
        super().check(columns, batch_size, where=where)
        own = columns.get("op", {})
        self.op.check(own, batch_size, where=f"{where}op.")
        if missing := [name for name in self.steps if name not in flat(own)]:
            raise ValueError(f"steps.{missing[0]}: the operation has {', '.join(flat(own))}")
        if not isinstance(columns.get("walk"), np.ndarray):
            raise ValueError(f"parameter {where}walk is missing: draw the parameters by the same pipeline")

    def degrade(self, image: Array, sample: Sample, *, high: Size) -> Array:
        """The first frame of the walk."""
        return self.op.run(image, sample["op"], high=high)

    def degrade_clip(self, frames: list[Array], sample: Sample, *, high: Size) -> list[Array]:
        """Every frame by the parameters that the walk has there."""
        samples = self.walked(sample, len(frames))
        return [self.op.run(frame, own, high=high) for frame, own in zip(frames, samples, strict=True)]

    def walked(self, sample: Sample, count: int) -> list[dict[str, Any]]:
        """The operation's parameters at each of ``count`` frames; the first has those that were drawn."""
        here = flat(sample["op"])
        names = list(self.steps)
        leads = {  # what is equal at first stays so: the two widths of a round kernel
            name: next(
                place
                for place, other in enumerate(names)
                if (here[other], self.steps[other]) == (here[name], self.steps[name])
            )
            for name in names
        }
        found = []
        for number in range(count):
            if number:
                moves = uniforms(np.array([frame_seed(int(sample["walk"]), number)], np.uint64), len(self.steps))[0]
                for name, (step, low, high) in self.steps.items():
                    value, move = here[name], moves[leads[name]]
                    wandered = float(np.clip(value + step * (2 * move - 1), min(low, value), max(high, value)))
                    here[name] = round(wandered) if isinstance(value, int) else wandered
            own = {
                name: frame_seed(value, number) if name.rpartition(".")[2] == "seed" else value
                for name, value in here.items()
            }
            found.append(nest(own))
        return found

    def scale_after(self, before: float | None) -> float | None:
        """As the operation's own; unknown where the walk may not be taken."""
        after = self.op.scale_after(before)
        return after if self.probability == 1 or after == before else None

    def smallest_after(self, side: float, *, high: float) -> float:
        """As the operation's own."""
        return self.op.smallest_after(side, high=high)
