from datetime import UTC, datetime, timedelta

import pytest

from sr_lab.promotion.retraining import RetrainingPolicy, Situation, should_retrain
from sr_lab.workflows.retrain.logbook import Logbook

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def policy(**changes: object) -> RetrainingPolicy:
    given = {"cooldown_hours": 24, "prices": {"cpu": 0.01, "cuda": 0.1}, "currency": "EUR", "max_cost": 5}
    return RetrainingPolicy(**(given | {"max_cost_30_days": 8} | changes))


def situation(**changes: object) -> Situation:
    given = {"alarm": True, "trainable": True, "hours_since_last": None, "minutes": 40, "device": "cuda", "spent": 0.0}
    return Situation(**(given | changes))


def test_drift_that_a_preset_imitates_is_answered_and_its_cost_is_told():
    verdict = should_retrain(situation(), policy())
    assert verdict.retrain
    assert verdict.cost == pytest.approx(4)
    assert all(reason.startswith("yes") for reason in verdict.reasons)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"alarm": False}, "there is no drift"),
        ({"trainable": False}, "other data are needed"),
        ({"unusable": True}, "no training mends that, look at their source"),
        ({"hours_since_last": 23.9}, "cool-down: the last retraining was 23.9 hours ago, less than 24"),
        ({"minutes": 51}, "budget: 51.0 minutes of cuda cost 5.10 EUR, more than max_cost=5"),
        ({"spent": 4.5}, "4.50 EUR were spent in 30 days and 4.00 would be added, more than max_cost_30_days=8"),
    ],
)
def test_every_condition_stops_it_alone_and_says_why(changes, words):
    verdict = should_retrain(situation(**changes), policy())
    assert not verdict.retrain
    (stopped,) = [reason for reason in verdict.reasons if reason.startswith("NO")]
    assert words in stopped


def test_limits_are_met_exactly():
    assert should_retrain(situation(minutes=50, hours_since_last=24, spent=3.0), policy()).retrain


def test_a_device_without_a_price_and_impossible_numbers_are_refused():
    with pytest.raises(ValueError, match=r"give retraining\.prices\.tpu"):
        should_retrain(situation(device="tpu"), policy())
    with pytest.raises(ValueError, match=r"retraining\.prices\.cpu=-1"):
        policy(prices={"cpu": -1})


def test_the_logbook_knows_what_was_spent_and_when(tmp_path):
    file = tmp_path / "logbook.json"
    book = Logbook.read(file)
    assert book.hours_since_last(NOW) is None
    for days, cost in ((31, 100.0), (29, 2.0), (1, 3.0)):
        then = NOW - timedelta(days=days)
        book.begin(book.following(then), champion=1, cost=cost, reasons=[])
        book.end("rejected", now=then)
    again = Logbook.read(file)
    assert again.spent(NOW) == pytest.approx(5)
    assert again.hours_since_last(NOW) == pytest.approx(24)
    names = [again.begin(again.following(NOW), champion=1, cost=0, reasons=["why"]).name]
    assert Logbook.read(file).attempt == again.attempt
    again.end("promoted", now=NOW)
    names.append(again.begin(again.following(NOW), champion=2, cost=0, reasons=[]).name)
    assert names == ["20260131-1", "20260131-2"]
    file.write_text('{"attempt": 3}')
    with pytest.raises(ValueError, match="is no logbook"):
        Logbook.read(file)
