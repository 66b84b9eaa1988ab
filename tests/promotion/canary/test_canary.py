"""The canary's decisions: what counts as one observation, what stops, what promotes, and that it can be replayed."""

import json
from dataclasses import replace

import numpy as np
import pytest

from sr_lab.promotion.canary import Burst, Bursts, Evidence, Pair, PairCheck, RolloutPolicy, Stage, Standing, next_move


def policy(**changes):
    settings = {
        "name": "test",
        "alpha": 0.05,
        "releases": 1,
        "checks": {
            "sharp": PairCheck(low=-1, high=1, margin=0.1),
            "errors": PairCheck(low=-1, high=1, margin=0.05),
            "rare": PairCheck(low=-1, high=1, margin=0.1, required=False),
        },
        "stages": {"shadow": Stage(share=0, bursts=20), "canary": Stage(share=0.1, bursts=20)},
        "holdback": Stage(share=0.99, bursts=20),
        "pause": 60.0,
        "most_pairs": 3,
        "most_bursts": 2,
    }
    return RolloutPolicy(**settings | changes)


def burst(stage="shadow", **gains):
    return Burst(client="c", stage=stage, num_pairs=1, gains=gains, last=1)


def judged(own, rows, stage="shadow"):
    return Evidence(own).extend(burst(stage, **row) for row in rows)


def pair(number, time, client="a", stage="shadow", **gains):
    return Pair(number=number, time=time, client=client, stage=stage, served="champion", gains=gains)


def noise(num, mean=0.0, seed=0):
    return np.random.default_rng(seed).normal(mean, 0.1, num)


def test_the_images_of_one_burst_are_one_observation():
    counter = Bursts(pause=60, most_pairs=3, most_bursts=2)
    assert list(counter.add(pair(1, 0, x=1.0))) == []
    assert list(counter.add(pair(2, 50, x=2.0, y=5.0))) == []
    assert list(counter.add(pair(3, 55, client="b", x=9.0))) == []
    assert list(counter.until(109)) == []
    first, second = counter.until(120)
    assert (first.client, first.num_pairs, first.gains, first.last) == ("a", 2, {"x": 1.5, "y": 5.0}, 2)
    assert (second.client, second.gains) == ("b", {"x": 9.0})


def test_a_long_burst_ends_with_the_pairs_that_count_and_one_client_does_not_decide_alone():
    counter = Bursts(pause=60, most_pairs=3, most_bursts=2)
    ended = [burst for number in range(50) for burst in counter.add(pair(number, number, x=float(number)))]
    assert [burst.gains for burst in ended] == [{"x": 1.0}]
    assert list(counter.until(500)) == []
    for start in (1000, 2000, 3000):
        ended += [burst for number in range(2) for burst in counter.add(pair(number, start + number, x=7.0))]
    ended += counter.until(9000)
    assert [burst.gains["x"] for burst in ended] == [1.0, 7.0]


def test_a_clock_that_goes_back_stands_still():
    counter = Bursts(pause=60, most_pairs=3, most_bursts=9)
    assert list(counter.add(pair(1, 1000, x=1.0))) == []
    assert list(counter.add(pair(2, 0, client="b", x=1.0))) == []
    assert [ended.client for ended in counter.until(1060)] == ["a", "b"]


def test_a_burst_belongs_to_the_stage_in_which_it_began():
    counter = Bursts(pause=60, most_pairs=3, most_bursts=9)
    list(counter.add(pair(1, 0, stage="shadow", x=1.0)))
    list(counter.add(pair(2, 1, stage="canary", x=1.0)))
    assert [ended.stage for ended in counter.until(100)] == ["shadow"]


def test_harm_stops_at_once_and_names_the_check():
    own = policy()
    evidence = Evidence(own)
    rows = [{"sharp": value, "errors": 0.0} for value in noise(200, -0.3)]
    number = 0
    while evidence.judge().outcome != "harm":
        evidence.add(burst(**rows[number]))
        number += 1
    judgement = evidence.judge()
    assert judgement.harmed_at == number
    assert number < 40
    assert judgement.blamed == ("sharp",)
    for paused in (False, True):
        move = next_move(Standing(stage="shadow", paused=paused), judgement, number, own)
        assert move.kind == "stop"
        assert move.reason.startswith("harm in sharp: ")
    assert next_move(Standing(stage="holdback"), judgement, number, own).kind == "take back"
    evidence.extend(burst(sharp=1.0, errors=0.0) for _ in range(500))
    assert evidence.judge().outcome == "harm", "what was shown once stays shown"


def test_a_candidate_that_crashes_is_stopped_within_a_few_bursts():
    assert judged(policy(), [{"errors": -1.0}] * 14).judge().outcome == "harm"


def test_an_equal_candidate_is_no_harm_and_is_promoted_once_every_margin_is_excluded():
    own = policy()
    evidence = judged(own, [{"sharp": value, "errors": 0.0} for value in noise(20)])
    early = evidence.judge()
    assert early.outcome == "open"
    assert next_move(Standing(stage="shadow"), early, 20, own).stage == "canary"
    assert next_move(Standing(stage="canary"), early, 5, own).kind == "wait"
    assert next_move(Standing(stage="canary"), early, 25, own).reason.startswith("not shown yet: ")
    evidence.extend(burst("canary", sharp=value, errors=0.0) for value in noise(200, seed=1))
    late = evidence.judge()
    assert late.outcome == "proven"
    states = {finding.check: finding.state for finding in late.findings}
    assert states == {"sharp": "shown", "errors": "shown", "rare": "not seen"}
    assert next_move(Standing(stage="canary"), late, 200, own).kind == "promote"
    assert next_move(Standing(stage="canary", paused=True), late, 200, own).kind == "wait"
    assert next_move(Standing(stage="holdback"), late, 5, own).kind == "wait"
    assert next_move(Standing(stage="holdback"), late, 20, own).kind == "finish"
    strict = policy(stages={"shadow": Stage(share=0, bursts=0, proven=True), "canary": Stage(share=0.1, bursts=20)})
    assert next_move(Standing(stage="shadow"), late, 20, strict).kind == "advance"
    assert next_move(Standing(stage="shadow"), early, 20, strict).kind == "wait"


def test_a_check_that_is_not_required_is_asked_for_once_enough_came():
    own = policy()
    rows = [{"sharp": 0.0, "errors": 0.0, "rare": value} for value in noise(150)]
    assert judged(own, rows[:19]).judge().findings[2].state == "not seen"
    assert judged(own, rows[:25]).judge().findings[2].state == "open"
    assert judged(own, rows).judge().findings[2].state == "shown"


def test_harm_that_begins_late_is_not_hidden_by_a_good_past():
    own = policy(checks={"sharp": PairCheck(low=-1, high=1, margin=0.1)})
    good = [{"sharp": value} for value in noise(600, 0.3)]
    evidence = judged(own, good)
    assert evidence.judge().outcome == "proven"
    for value in noise(60, -0.3, seed=3):
        evidence.add(burst("canary", sharp=value))
    assert evidence.judge().outcome == "harm"


def test_who_waits_too_long_asks_a_person():
    own = policy(patience=30)
    evidence = judged(own, [{"sharp": 0.0} for _ in range(30)])
    move = next_move(Standing(stage="canary"), evidence.judge(), 30, own)
    assert (move.kind, "a person decides" in move.reason) == ("pause", True)
    assert next_move(Standing(stage="canary", since=30), evidence.judge(), 30, own).kind == "wait"


def test_the_evidence_goes_on_from_what_was_written_down_and_a_replay_comes_to_the_same():
    own = policy()
    rows = [{"sharp": value, "errors": 0.0} for value in noise(120, -0.02)]
    whole = judged(own, rows)
    half = judged(own, rows[:60])
    kept = Evidence.from_dict(own, json.loads(json.dumps(half.as_dict())))
    kept.extend(burst(**row) for row in rows[60:])
    assert kept.judge() == whole.judge() == judged(own, rows).judge()
    assert kept.as_dict() == whole.as_dict()
    assert json.loads(json.dumps(whole.judge().as_dict()))["num_bursts"] == 120


def test_an_outlier_counts_as_the_bound():
    rows = [{"sharp": 0.0}, {"sharp": -1e9}, {"sharp": 0.0}]
    assert judged(policy(), rows).judge() == judged(policy(), [{"sharp": 0.0}, {"sharp": -1.0}, {"sharp": 0.0}]).judge()


def test_alpha_is_spent_over_the_releases():
    assert policy(releases=10).level == pytest.approx(0.005)
    rows = [{"sharp": value, "errors": 0.0} for value in noise(55, -0.12)]
    assert judged(policy(), rows).judge().harm_needed == pytest.approx(20)
    assert judged(policy(releases=10), rows).judge().harm_needed == pytest.approx(200)


def test_the_hash_of_a_policy_covers_every_value():
    hashes = {policy().sha256, policy(pause=61).sha256, policy(holdback=Stage(share=0.9, bursts=20)).sha256}
    hashes.add(policy(checks={"sharp": PairCheck(low=-1, high=1, margin=0.2)}).sha256)
    assert len(hashes) == 4
    assert policy().sha256 == policy().sha256


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"checks": {}}, "has no check"),
        ({"checks": {"x": PairCheck(low=-1, high=1, margin=0.1, required=False)}}, "requires none"),
        ({"stages": {}}, "has no stage"),
        ({"stages": {"a": Stage(share=0.5, bursts=1), "b": Stage(share=0.1, bursts=1)}}, "fall"),
        ({"stages": {"holdback": Stage(share=0.5, bursts=1)}}, "no stage may be called"),
        ({"sample": 0}, "sample=0"),
        ({"pause": 0}, "pause=0"),
        ({"alpha": 0.6}, "between 0 and 0.5"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(changes, words):
    with pytest.raises(ValueError, match=words):
        policy(**changes)


def test_a_check_or_stage_that_makes_no_sense_is_refused():
    for numbers in ({"margin": 2}, {"margin": 0}, {"margin": 0.1, "tolerance": 0.2}, {"margin": float("nan")}):
        with pytest.raises(ValueError, match="margin="):
            PairCheck(**{"low": -1, "high": 1} | numbers)
    with pytest.raises(ValueError, match="share=2"):
        Stage(share=2, bursts=1)
    with pytest.raises(ValueError, match="no stage canary_9"):
        next_move(replace(Standing(stage="shadow"), stage="canary_9"), Evidence(policy()).judge(), 0, policy())
