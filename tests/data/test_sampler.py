from itertools import pairwise

import numpy as np
import pytest

from sr_lab.data.sampler import KeyedBatchSampler, draw_integers, epoch_order


def batches(**kwargs: int) -> list[list[tuple[int, int]]]:
    return list(KeyedBatchSampler(**{"num_images": 7, "batch_size": 3, "num_batches": 20, "seed": 1, **kwargs}))


def test_every_epoch_shows_every_sample_once_and_none_is_dropped() -> None:
    keys = [key for batch in batches(repeats=2, num_batches=14) for key in batch]
    assert len(keys) == 42
    assert sorted(keys) == [(epoch, index) for epoch in range(3) for index in range(14)]
    assert [epoch for epoch, _ in keys] == sorted(epoch for epoch, _ in keys)


def test_orders_differ_between_epochs_and_seeds_and_repeat_for_one_key() -> None:
    orders = {tuple(epoch_order(50, seed=seed, epoch=epoch)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9
    assert batches() == batches()
    assert batches() != batches(seed=2)


def test_a_start_continues_the_same_batches_and_keeps_the_length() -> None:
    assert batches(start=8) == batches()[8:]
    assert len(KeyedBatchSampler(num_images=7, batch_size=3, num_batches=20, seed=1, start=8)) == 20
    assert batches(start=20) == []


def test_processes_share_out_the_single_process_stream() -> None:
    parts = [batches(rank=rank, world_size=2, num_batches=10) for rank in range(2)]
    together = [batch for pair in zip(*parts, strict=True) for batch in pair]
    assert together == batches(num_batches=20)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"batch_size": 0}, "batch_size=0: must be at least 1"),
        ({"start": 21}, "start=21: must lie between 0 and num_batches=20"),
        ({"rank": 2, "world_size": 2}, "rank=2 is not a process of world_size=2"),
    ],
)
def test_refuses(wrong: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        batches(**wrong)


def splitmix64(state: int) -> int:
    """The generator's output function on Python's integers, written down from the paper."""
    state = (state + 0x9E3779B97F4A7C15) % 2**64
    state = ((state ^ (state >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    state = ((state ^ (state >> 27)) * 0x94D049BB133111EB) % 2**64
    return state ^ (state >> 31)


def test_draws_equal_an_independent_implementation() -> None:
    assert splitmix64(0) == 0xE220A8397B1DCDAF  # published first output for seed 0
    seed, keys, high = 42, [(0, 0), (3, 17), (10**9, 2**40)], 1000
    expected = []
    for epoch, index in keys:
        state = splitmix64((splitmix64((splitmix64(seed) + epoch) % 2**64) + index) % 2**64)
        expected.append([(splitmix64((state + j * 0x9E3779B97F4A7C15) % 2**64) >> 32) * high >> 32 for j in (1, 2, 3)])
    assert draw_integers(keys, np.full((3, 3), high), seed=seed).tolist() == expected


def test_draws_are_uniform_and_independent_over_keys() -> None:
    keys = [(epoch, index) for epoch in range(100) for index in range(100)]
    draws = draw_integers(keys, np.full((len(keys), 3), 8), seed=0)
    counts = np.stack([np.bincount(draws[:, column], minlength=8) for column in range(3)])
    assert ((counts - 1250) ** 2 / 1250).sum(axis=1).max() < 24.3  # chi-square, 7 degrees of freedom, p = .001
    neighbours = [np.corrcoef(a, b)[0, 1] for a, b in pairwise([*draws.T.astype(float), np.roll(draws[:, 0], 1)])]
    assert np.abs(neighbours).max() < 0.04
    assert len({tuple(row) for row in draw_integers(keys, np.full((len(keys), 3), 2**30), seed=0)}) == len(keys)


def test_draws_respect_each_bound_and_do_not_depend_on_the_batch() -> None:
    keys = [(0, index) for index in range(500)]
    highs = np.stack([np.arange(500) % 5 + 1, np.full(500, 1), np.full(500, 1000)], axis=1)
    draws = draw_integers(keys, highs, seed=9)
    assert (draws >= 0).all()
    assert (draws < highs).all()
    assert (draws[:, 0] == highs[:, 0] - 1).sum() > 100
    alone = np.concatenate([draw_integers([key], highs[i : i + 1], seed=9) for i, key in enumerate(keys)])
    assert np.array_equal(alone, draws)
    assert not np.array_equal(draw_integers(keys, highs, seed=10), draws)
