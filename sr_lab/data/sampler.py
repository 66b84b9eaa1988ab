"""Which samples a batch holds, and what is drawn for each: pure functions of (seed, epoch, index)."""

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch.utils.data import Sampler

from sr_lab.base.randomness import mix
from sr_lab.degradations.base import keyed_generator

SampleKey = tuple[int, int]  # (epoch, index in the epoch)


class KeyedBatchSampler(Sampler[list[SampleKey]]):
    """A fixed number of batches of (epoch, index) keys, given in blocks; epochs follow one another without a gap.

    Sample ``index`` shows image ``index // repeats``. Each epoch holds every sample once, in an order keyed by
    (seed, epoch); a batch may reach over the end of one epoch into the next, so that no sample is dropped. Batch b
    is the same whether the iteration began at 0 or at ``start``, and whatever the block: a resumed run goes on where it
    stopped.

    Args:
        num_images: images in the data set.
        batch_size: samples a batch and process.
        num_batches: batches in all, also where ``start`` is above 0.
        seed: of the orders.
        start: first batch to give.
        rank: this process; processes share the epochs out among themselves.
        world_size: number of processes.
        repeats: samples (crops) of an image in an epoch.
        block: batches given together, as one list; the last list may hold fewer.
    """

    def __init__(
        self,
        *,
        num_images: int,
        batch_size: int,
        num_batches: int,
        seed: int,
        start: int = 0,
        rank: int = 0,
        world_size: int = 1,
        repeats: int = 1,
        block: int = 1,
    ) -> None:
        counts = {"num_images": num_images, "batch_size": batch_size, "num_batches": num_batches, "repeats": repeats}
        counts["block"] = block
        for name, value in counts.items():
            if value < 1:
                raise ValueError(f"{name}={value}: must be at least 1")
        if not 0 <= rank < world_size:
            raise ValueError(f"rank={rank} is not a process of world_size={world_size}")
        if not 0 <= start <= num_batches:
            raise ValueError(f"start={start}: must lie between 0 and num_batches={num_batches}")
        self.batch_size, self.num_batches, self.seed, self.start = batch_size, num_batches, seed, start
        self.rank, self.world_size = rank, world_size
        self.num_samples, self.block = num_images * repeats, block

    def __len__(self) -> int:
        return -(-self.num_batches // self.block)

    def __iter__(self) -> Iterator[list[SampleKey]]:
        epoch, order = -1, np.empty(0, dtype=np.int64)
        keys: list[SampleKey] = []
        for batch in range(self.start, self.num_batches):
            first = (batch * self.world_size + self.rank) * self.batch_size
            for position in range(first, first + self.batch_size):
                here, offset = divmod(position, self.num_samples)
                if here != epoch:
                    epoch, order = here, epoch_order(self.num_samples, seed=self.seed, epoch=here)
                keys.append((epoch, int(order[offset])))
            if (batch + 1) % self.block == 0 or batch + 1 == self.num_batches:
                yield keys
                keys = []


def epoch_order(num_samples: int, *, seed: int, epoch: int) -> np.ndarray:
    """The permutation of 0..num_samples-1 of an epoch, (num_samples,) int64."""
    return torch.randperm(num_samples, generator=keyed_generator("order", seed, epoch)).numpy()


def draw_integers(keys: Sequence[SampleKey], highs: np.ndarray, *, seed: int) -> np.ndarray:
    """Uniform integers for each sample, the same for a key whatever its neighbours are.

    A hash of a counter (SplitMix64, Steele et al. 2014) instead of a ``torch.Generator`` a sample: the draws of a
    whole batch take microseconds.

    Args:
        keys: (epoch, index) of B samples.
        highs: (B, N) exclusive upper bounds, each at least 1 and below 2**31.
        seed: of the run.

    Returns:
        (B, N) int64, values in [0, highs).
    """
    epochs, indices = np.array(keys, dtype=np.uint64).T
    with np.errstate(over="ignore"):
        state = _mix(_mix(_mix(np.full_like(epochs, seed % 2**64)) + epochs) + indices)
        counters = np.arange(1, highs.shape[1] + 1, dtype=np.uint64) * GOLDEN
        bits = _mix(state[:, None] + counters[None]) >> np.uint64(32)
        return (bits * highs.astype(np.uint64) >> np.uint64(32)).astype(np.int64)


GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(state: np.ndarray) -> np.ndarray:
    """A step of SplitMix64: its constant is added, and mixed in."""
    return mix(state + GOLDEN)
