"""Blocks: the batches of several optimizer steps, loaded and sent to the device together, made one at a time."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from torch import Tensor

Batch = dict[str, Any]


class Batches(Sequence[Batch]):
    """The batches of one optimizer step, each made when it is asked for.

    Args:
        content: tensors whose first dimension holds the samples of all batches, one batch after another.
        batch_size: samples a batch.
        make: turns the samples of one batch into what the network gets.
    """

    def __init__(self, content: Batch, *, batch_size: int, make: Callable[[Batch], Batch]) -> None:
        self.content, self.batch_size, self.make = content, batch_size, make

    def __len__(self) -> int:
        return len(self.content["index"]) // self.batch_size

    def __getitem__(self, number: Any) -> Any:
        if not 0 <= number < len(self):
            raise IndexError(f"batch {number} of {len(self)}")
        return self.make(_rows(self.content, number, self.batch_size))


class Block:
    """Several optimizer steps.

    Args:
        content: as in :class:`Batches`.
        batch_size: samples a batch.
        accumulate: batches a step.
        make: as in :class:`Batches`.
    """

    def __init__(self, content: Batch, *, batch_size: int, accumulate: int, make: Callable[[Batch], Batch]) -> None:
        self.content, self.batch_size, self.accumulate, self.make = content, batch_size, accumulate, make

    def __len__(self) -> int:
        return len(self.content["index"]) // (self.batch_size * self.accumulate)

    def __iter__(self) -> Iterator[Batches]:
        size = self.batch_size * self.accumulate
        for step in range(len(self)):
            yield Batches(_rows(self.content, step, size), batch_size=self.batch_size, make=self.make)


def _rows(content: Batch, number: int, size: int) -> Batch:
    """Samples ``number * size`` and following."""
    return {
        name: values[number * size : (number + 1) * size] if isinstance(values, Tensor) else values
        for name, values in content.items()
    }
