"""The sampler of a full grid; the others are Optuna's own."""

import itertools
from collections.abc import Mapping

import optuna

from sr_lab.sweeps.space import Parameter, Value


class Grid(optuna.samplers.RandomSampler):
    """Every combination once. The combinations are put into the queue, so nothing is left to be drawn.

    Optuna's own grid sampler draws among what is left without a lock, so that two workers may take the same.

    Args:
        seed: Seed that every sampler takes; a grid draws nothing and does not use it.
    """

    def __init__(self, *, seed: int | None = None) -> None:
        super().__init__(seed=seed)

    @staticmethod
    def points(space: Mapping[str, Parameter]) -> list[dict[str, Value]]:
        """The combinations; the last parameter changes fastest.

        Raises:
            ValueError: if a parameter has infinitely many values.
        """
        columns = [parameter.grid(label) for label, parameter in space.items()]
        return [dict(zip(space, values, strict=True)) for values in itertools.product(*columns)]
