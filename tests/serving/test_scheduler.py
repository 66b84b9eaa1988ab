import math
import random

import pytest

from sr_lab.serving.admission import Admitted, Offer, Refused, admit
from sr_lab.serving.scheduler import Batch, TileQueue, Work


def queue(batch_size: int = 1, quantum: float = 1.0, **costs: float) -> TileQueue:
    made = TileQueue(batch_size=batch_size, quantum=quantum)
    made.costs.update(costs or {"a": 1.0})
    return made


def drain(made: TileQueue) -> list[Batch]:
    batches = []
    while (batch := made.take()) is not None:
        batches.append(batch)
        made.done(batch)
    return batches


def test_batches_mix_tiles_of_different_requests_of_one_group():
    made = queue(batch_size=4, a=1.0, b=1.0)
    for id, group, num in (("x", "a", 3), ("y", "b", 1), ("z", "a", 2)):
        made.add(Work(id=id, group=group, num_tiles=num))
    batches = drain(made)
    assert [batch.group for batch in batches] == ["a", "b", "a"]
    assert {id for id, _ in batches[0].tiles} == {"x", "z"}


def test_a_thumbnail_waits_for_one_tile_of_a_large_picture_and_not_for_all():
    made = queue()
    made.add(Work(id="large", group="a", num_tiles=1000))
    for _ in range(10):
        made.done(made.take())
    made.add(Work(id="small", group="a", num_tiles=1))
    order = [made.take().tiles[0][0] for _ in range(3)]
    assert order.index("small") <= 1


@pytest.mark.parametrize("quantum", [0.0, 0.5, 5.0])
def test_a_thumbnail_is_next_though_tiles_have_become_dearer_since_it_came(quantum):
    made = queue(quantum=quantum)
    made.add(Work(id="large", group="a", num_tiles=1000))
    for _ in range(20):
        running = made.take()
        made.add(Work(id="small", group="a", num_tiles=1))
        made.done(running)
        made.costs["a"] *= 1.05
        while made.take().tiles[0][0] != "small":
            assert quantum > 1, "the large picture has spent its share"
        made.cancel("small")


def test_within_a_round_the_earliest_deadline_goes_first():
    made = queue()
    for id, deadline in (("late", 9.0), ("soon", 2.0), ("never", math.inf)):
        made.add(Work(id=id, group="a", num_tiles=2, deadline=deadline))
    assert [batch.tiles[0][0] for batch in drain(made)] == ["soon", "late", "never"] * 2


def test_a_job_and_a_shadow_run_on_what_requests_leave():
    made = queue(batch_size=2)
    made.add(Work(id="shadow", group="a", num_tiles=1, rank=2))
    made.add(Work(id="job", group="a", num_tiles=3, rank=1))
    made.add(Work(id="request", group="a", num_tiles=3))
    order = [tuple(id for id, _ in batch.tiles) for batch in drain(made)]
    assert order == [("request",) * 2, ("request",), ("job",) * 2, ("job",), ("shadow",)]


def test_tiles_of_a_cancelled_request_are_dropped_also_those_being_computed():
    made = queue(batch_size=2)
    made.add(Work(id="gone", group="a", num_tiles=5))
    made.add(Work(id="stays", group="a", num_tiles=1))
    batch = made.take()
    assert made.cancel("gone")
    assert not made.cancel("gone")
    assert made.done(batch) == ("stays",)
    assert made.take() is None


def test_a_batch_that_failed_waits_again():
    made = queue(batch_size=2)
    made.add(Work(id="x", group="a", num_tiles=2))
    batch = made.take()
    made.give_back(batch)
    again = made.take()
    assert sorted(again.tiles) == sorted(batch.tiles)
    assert made.done(again) == ("x",)


def test_wrong_settings_are_named():
    for call in (
        lambda: TileQueue(batch_size=0),
        lambda: TileQueue(quantum=-1),
        lambda: Work(id="", group=1, num_tiles=0),
    ):
        with pytest.raises(ValueError, match=r"=(0|-1)"):
            call()
    made = queue()
    made.add(Work(id="x", group="a", num_tiles=1))
    with pytest.raises(ValueError, match="already"):
        made.add(Work(id="x", group="a", num_tiles=1))


@pytest.mark.parametrize("seed", range(30))
def test_no_tile_is_lost_or_computed_twice_and_the_estimate_is_what_happens(seed):
    draw = random.Random(seed)
    made = queue(batch_size=draw.choice([1, 2, 5]), quantum=draw.choice([0.0, 1.0, 3.0]), a=1.0, b=0.25, c=2.5)
    works = [
        Work(
            id=str(number), group=draw.choice("abc"), num_tiles=draw.randint(1, 12), rank=draw.choice([0, 0, 1, 2]),
            deadline=draw.choice([math.inf, draw.uniform(0, 50)]),
        )
        for number in range(draw.randint(1, 8))
    ]  # fmt: skip
    for work in works[:-1]:
        made.add(work)
    running = made.take()
    left = 0.0 if running is None else len(running.tiles) * made.cost(running.group)
    expected = made.finishes(works[-1], running=running, left=left)
    made.add(works[-1])
    now, computed, ends = left, list(running.tiles if running else ()), {}
    ends |= dict.fromkeys(made.done(running) if running else (), now)
    while (batch := made.take()) is not None:
        now += len(batch.tiles) * made.cost(batch.group)
        computed += batch.tiles
        ends |= dict.fromkeys(made.done(batch), now)
    assert sorted(computed) == sorted((work.id, number) for work in works for number in range(work.num_tiles))
    assert ends == expected
    assert len(made) == 0


@pytest.mark.parametrize("seed", range(5))
def test_nobody_is_served_much_more_than_another_that_waits(seed):
    draw = random.Random(seed)
    made = queue(batch_size=1, quantum=2.0, a=1.0, b=0.5, c=2.0)
    for number in range(5):
        made.add(Work(id=str(number), group=draw.choice("abc"), num_tiles=400, deadline=draw.uniform(0, 9)))
    spent = dict.fromkeys("01234", 0.0)
    for _ in range(300):
        batch = made.take()
        spent[batch.tiles[0][0]] += made.cost(batch.group)
        made.done(batch)
    assert max(spent.values()) - min(spent.values()) <= 2 * 2.0


def offer(tier: str, tiles: int, deadline: float, group: str = "a") -> Offer:
    return Offer(tier=tier, work=Work(id="new", group=group, num_tiles=tiles, deadline=deadline))


def test_a_request_is_taken_if_it_and_all_others_are_in_time():
    made = queue()
    made.add(Work(id="old", group="a", num_tiles=4, deadline=104.0))
    assert isinstance(admit(made, [offer("best", 2, 103.0)], now=100.0), Refused)  # old would end at 6
    taken = admit(made, [offer("best", 2, 108.0)], now=100.0)
    assert isinstance(taken, Refused)
    assert taken.retry_after == 4  # as old would be late by 2 seconds, and is so as long as it has more than one tile
    made.cancel("old")
    made.add(Work(id="old", group="a", num_tiles=4, deadline=106.0))
    taken = admit(made, [offer("best", 2, 104.0)], now=100.0)
    assert isinstance(taken, Admitted)
    assert taken.seconds == 3.0  # its two tiles are the first and third, as its deadline is the earlier


def test_a_smaller_tier_meets_the_deadline():
    made = queue(a=4.0, b=0.5)
    made.add(Work(id="old", group="a", num_tiles=1))
    offers = [offer("best", 3, 10.0), offer("fast", 3, 10.0, "b")]
    taken = admit(made, offers, now=0.0)
    assert isinstance(taken, Admitted)
    assert taken.offer.tier == "fast"
    assert isinstance(admit(made, offers[:1], now=0.0), Refused)


def test_waiting_as_long_as_was_said_is_enough():
    made = queue()
    made.add(Work(id="old", group="a", num_tiles=30))
    refused = admit(made, [offer("best", 3, 8.0)], now=0.0)
    assert isinstance(refused, Admitted)  # as its share of each round is enough
    for number in range(9):
        made.add(Work(id=str(number), group="a", num_tiles=3, deadline=31.0))
    refused = admit(made, [offer("best", 3, 20.0)], now=0.0)
    assert isinstance(refused, Refused)
    for _ in range(refused.retry_after):
        made.done(made.take())
    now = float(refused.retry_after)
    assert isinstance(admit(made, [offer("best", 3, now + 20.0)], now=now), Admitted)


def test_what_can_never_be_in_time_is_told_so():
    assert admit(queue(), [offer("best", 9, 5.0)], now=0.0) == Refused(seconds=9.0, retry_after=None)
    assert isinstance(admit(queue(), [offer("best", 4, 5.0)], now=0.0, headroom=1.5), Refused)


def test_one_that_is_late_anyway_keeps_nobody_out():
    made = queue()
    made.add(Work(id="late", group="a", num_tiles=5, deadline=1.0))
    assert isinstance(admit(made, [offer("best", 1, 50.0)], now=0.0), Admitted)
