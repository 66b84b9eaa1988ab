"""What live video decides, on a simulated clock: nothing here waits."""

import heapq
import itertools
from collections import deque
from fractions import Fraction

import pytest

from sr_lab.inference.video.live.decisions import Level, Rules, Timeline, expected, is_late, next_level

RULES = Rules(latency=0.25, window=2.0, most_late=0.1, patience=10.0)
CLASSICAL = 0.005


def run(costs, *, seconds, models, fps=25, rules=RULES):
    """Frames that come every 1/fps seconds, one worker; ``costs(model, now)`` tells what a model takes.

    Gives each frame's time, latency, level and whether it was late.
    """
    now, level, told = 0.0, Level.first(0.0, rules), [None] * models
    done = []
    for number in range(int(seconds * fps)):
        arrived = number / fps
        now = max(now, arrived)
        index = level.index
        late = is_late(now - arrived, (told[index] or 0.0) if index < models else 0.0, rules)
        decided = now
        now += CLASSICAL
        if index < models and not late:
            taken = costs(index, now)
            now += taken
            told[index] = expected(told[index], taken)
        level = next_level(level, late=late, now=decided, lowest=models, rules=rules)
        done.append((arrived, now - arrived, index, late))
    return done


def test_a_model_that_keeps_up_is_never_late_and_never_left():
    done = run(lambda model, now: 0.03, seconds=60, models=2)
    assert {(index, late) for _, _, index, late in done} == {(0, False)}
    assert max(latency for _, latency, _, _ in done) < 0.05


def test_no_frame_takes_longer_than_the_bound_and_one_call_of_a_model():
    done = run(lambda model, now: 0.09, seconds=30, models=1)
    assert max(latency for _, latency, _, _ in done) <= RULES.latency + CLASSICAL + 0.001
    assert any(late for *_, late in done)


def test_a_model_that_is_too_slow_is_left_for_the_smaller_one_and_all_is_well_then():
    done = run(lambda model, now: (0.08, 0.02)[model], seconds=9, models=2)
    left = next(at for at, _, index, _ in done if index == 1)
    assert RULES.window - RULES.latency <= left < 2 * RULES.window
    assert not any(late for at, _, _, late in done if at > left + 1)
    assert {index for at, _, index, _ in done if at > left} == {1}


def test_below_the_smallest_model_there_is_the_classical_enlargement():
    done = run(lambda model, now: 0.2, seconds=9, models=2)
    assert done[-1][2] == 2
    assert done[-1][1] == pytest.approx(CLASSICAL)


def test_a_disturbance_that_ends_lets_the_large_model_back():
    done = run(lambda model, now: (0.3, 0.02)[model] if 20 < now < 30 else (0.03, 0.01)[model], seconds=80, models=2)
    levels = [index for _, _, index, _ in done]
    assert levels[: 19 * 25] == [0] * (19 * 25)
    assert levels[-1] == 0
    assert 1 in levels


def test_tries_of_a_model_that_stays_too_slow_become_rarer():
    done = run(lambda model, now: (0.08, 0.02)[model], seconds=600, models=2)
    levels = [index for _, _, index, _ in done]
    ups = [at for at in range(1, len(levels)) if levels[at] < levels[at - 1]]
    pauses = [after - before for before, after in itertools.pairwise(ups)]
    assert len(ups) <= 6
    assert pauses == sorted(pauses)
    assert pauses[-1] > 3 * pauses[0]
    late = sum(late for *_, late in done)
    assert late / len(done) < 0.03


def test_patience_is_the_usual_one_again_after_a_long_good_stay():
    level = Level(index=0, share=0.5, seen=100.0, since=0.0, late=100.0, patience=80.0)
    down = next_level(level, late=True, now=100.04, lowest=1, rules=RULES)
    assert (down.index, down.patience) == (1, RULES.patience)
    soon = Level(index=0, share=0.5, seen=100.0, since=95.0, late=100.0, patience=20.0)
    assert next_level(soon, late=True, now=100.04, lowest=1, rules=RULES).patience == 40.0
    never = Level(index=0, share=0.5, seen=100.0, since=95.0, late=100.0, patience=300.0)
    assert next_level(never, late=True, now=100.04, lowest=1, rules=RULES).patience == RULES.longest


def test_one_late_frame_is_not_enough():
    level = Level.first(0.0, RULES)
    for number in range(1, 500):
        level = next_level(level, late=number % 50 == 0, now=number / 25, lowest=1, rules=RULES)
    assert level.index == 0


@pytest.mark.parametrize("bad", [{"latency": 0}, {"latency": float("inf")}, {"most_late": 1}, {"patience": -1}])
def test_rules_that_decide_nothing_are_refused(bad):
    with pytest.raises(ValueError, match=next(iter(bad))):
        Rules(**bad)


def written(packets, leap=5.0):
    line = Timeline(leap)
    return [float(line.at(stream, Fraction(time), Fraction(1, 4))) for stream, time in packets], line.jumps


@pytest.mark.parametrize(
    ("times", "expected_times", "jumps"),
    [
        ([10, 11, 12], [0, 1, 2], 0),
        ([0, 1, 5.5, 6], [0, 1, 5.5, 6], 0),
        ([0, 1, 500, 501], [0, 1, 1.25, 2.25], 1),
        ([100, 101, 3, 4], [0, 1, 1.25, 2.25], 1),
        ([0, 1, 1, 2], [0, 1, 1.25, 2.25], 1),
        ([100, 101, 3, 4, 100, 101], [0, 1, 1.25, 2.25, 2.5, 3.5], 2),
    ],
)
def test_times_go_on_over_a_jump_of_the_clock(times, expected_times, jumps):
    assert written([(0, time) for time in times]) == (expected_times, jumps)


def test_sound_follows_the_picture_over_a_jump_by_the_same_shift():
    packets = [(0, 100), (1, 100), (0, 101), (0, 7), (1, 101), (0, 8), (1, 7), (1, 8)]
    times, jumps = written(packets)
    picture = {source: time for (stream, source), time in zip(packets, times, strict=True) if stream == 0}
    sound = {source: time for (stream, source), time in zip(packets, times, strict=True) if stream == 1}
    assert jumps == 1
    assert sound[101] == picture[101] == 1
    assert (sound[7], sound[8]) == (picture[7], picture[8])


def test_a_pause_that_passed_here_is_left_out_at_a_jump():
    line = Timeline()
    line.at(0, Fraction(50), Fraction(1, 25))
    assert line.at(0, Fraction(0), Fraction(1, 25), elapsed=3.0) == 3


def test_simulated_queue_never_grows_when_late_frames_are_enlarged_classically():
    """Frames of a burst wait in a queue; with the rule of lateness it is empty again soon."""
    arrivals = [0.5] * 25 + [0.5 + number / 25 for number in range(100)]
    waiting, events, now, longest = deque(), list(arrivals), 0.0, 0
    heapq.heapify(events)
    while events or waiting:
        if not waiting:
            now = max(now, events[0])
        while events and events[0] <= now:
            waiting.append(heapq.heappop(events))
        longest = max(longest, len(waiting))
        arrived = waiting.popleft()
        now += CLASSICAL + (0.0 if is_late(now - arrived, 0.03, RULES) else 0.03)
    assert longest < 32
    assert now < arrivals[-1] + 0.1
