import numpy as np
import pytest

from sr_lab.monitoring.stream import _BETS, Stream, _ranks


def test_every_bet_is_fair():
    p = (np.arange(200_000) + 0.5) / 200_000
    for bet in _BETS:
        assert bet(p).mean() == pytest.approx(1, abs=0.01)
        assert (bet(p) >= 0).all()


def test_ranks_are_uniform_without_drift_also_with_ties():
    random = np.random.default_rng(0)
    reference, stream = (np.round(random.normal(size=(size, 1)), 1) for size in (100, 400))
    ranks = np.sort(_ranks(reference, stream, random)[:, 0])
    assert np.abs(ranks - (np.arange(400) + 0.5) / 400).max() < 1.6 / np.sqrt(400)


def test_a_long_stream_without_drift_is_quiet_and_a_late_change_is_found_soon():
    random, alarms, delays = np.random.default_rng(1), 0, []
    for _ in range(40):
        reference = random.normal(size=(100, 5))
        quiet = Stream(alpha=0.1)(reference, random.normal(size=(400, 5)), list("abcde"))
        alarms += quiet.alarm_at is not None
        changed = random.normal(size=(260, 5))
        changed[200:, 3] += 2
        found = Stream(alpha=0.1)(reference, changed, list("abcde"))
        assert found.alarm_at is not None
        delays.append(found.alarm_at - 199)
        assert int(found.log_capital[found.alarm_at].argmax()) == 3 or found.alarm_at < 200
    assert alarms <= 40 * 0.1 + 3 * np.sqrt(40 * 0.09)
    assert np.median(delays) < 20


def test_the_p_value_is_where_the_alarm_begins():
    random = np.random.default_rng(2)
    reference, stream = random.normal(size=(100, 2)), random.normal(1, 1, size=(60, 2))
    result = Stream(alpha=0.05)(reference, stream, ["a", "b"])
    assert (result.p_value <= 0.05) == (result.alarm_at is not None)
    assert Stream(alpha=min(result.p_value * 1.01, 0.49))(reference, stream, ["a", "b"]).alarm_at is not None
    assert Stream(alpha=result.p_value * 0.99)(reference, stream, ["a", "b"]).alarm_at is None
