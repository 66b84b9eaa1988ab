"""What people said, as evidence: bound to the weights, expiring, required or not."""

from dataclasses import replace

import pytest

from sr_lab.promotion import Policy, gate
from sr_lab.promotion.people import People, Preference, Preferred
from sr_lab.promotion.quality import NonInferior

NEW, OLD, OTHER = "a" * 64, "b" * 64, "c" * 64


def study(**changes) -> People:
    pair = Preference(first=OLD, second=NEW, share=0.3, low=0.2, high=0.4, num_votes=400)
    given = People(
        study="20261129-abc", seal="s", ballots="t", made="2026-11-01T00:00:00+00:00", age_days=28.0, candidate=NEW,
        champion=OLD, preferences=[pair], num_raters=20, num_images=12,
    )  # fmt: skip
    return replace(given, **changes)


def judged(pair, people, **settings):
    checks = {
        "psnr": NonInferior(metric="psnr_y", better="higher", margin=0.1),
        "people": Preferred(**settings),
    }
    candidate, champion = pair(0.1)
    policy = Policy(name="own", checks=checks)
    decision = gate(candidate, champion, policy, people=people)
    (reason,) = [reason for reason in decision.reasons if reason.check == "people"]
    return decision, reason


def test_people_who_prefer_the_candidate_let_it_pass_whichever_way_round_they_were_asked(pair):
    decision, reason = judged(pair, study())
    assert (decision.outcome, reason.verdict) == ("promote", "pass")
    assert (reason.estimate, reason.low, reason.high) == (pytest.approx(0.7), pytest.approx(0.6), pytest.approx(0.8))
    assert "preferred in 70% of the decisions, 90% interval [60%, 80%], must exceed 45%" in reason.text
    assert "400 votes, 20 raters, 12 images, 28 days old" in reason.text
    turned = Preference(first=NEW, second=OLD, share=0.7, low=0.6, high=0.8, num_votes=400)
    assert judged(pair, study(preferences=[turned]))[1].text == reason.text


@pytest.mark.parametrize("required", [True, False])
def test_people_who_prefer_the_champion_stop_it_required_or_not(pair, required):
    worse = Preference(first=NEW, second=OLD, share=0.4, low=0.35, high=0.45, num_votes=400)
    decision, reason = judged(pair, study(preferences=[worse]), required=required)
    assert (decision.outcome, reason.verdict) == ("reject", "fail")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (None, "no study was given: people=STUDY"),
        ({"age_days": 91.0}, "has expired: it was made 91 days ago, the policy takes 90"),
        ({"candidate": OTHER}, "it is of other weights"),
        ({"champion": OTHER}, "it is of other weights"),
        ({"candidate": None}, "have no hash to bind it to"),
        ({"num_raters": 4}, "4 raters and 12 images that count, the policy asks for 5 and 5"),
        ({"seen": ["cat"]}, "shows 1 image that the candidate has learnt from (cat)"),
    ],
)
def test_a_study_that_does_not_count_is_said_and_the_policy_decides(pair, changes, said):
    people = None if changes is None else study(**changes)
    for required, outcome, verdict in ((True, "reject", "fail"), (False, "promote", "skip")):
        decision, reason = judged(pair, people, required=required)
        assert (decision.outcome, reason.verdict) == (outcome, verdict)
        assert said in reason.text


def test_a_bound_that_nobody_knows_does_not_count(pair):
    unknown = Preference(first=NEW, second=OLD, share=0.9, low=None, high=None, num_votes=3)
    assert judged(pair, study(preferences=[unknown]), required=True)[1].verdict == "fail"


def test_what_people_said_is_a_part_of_the_evidence(pair):
    without, one, other = (judged(pair, people)[0] for people in (None, study(), study(ballots="u")))
    assert len({decision.evidence_sha256 for decision in (without, one, other)}) == 3
    assert without.evidence_sha256 == gate(*pair(0.1), Policy(name="own", checks={"p": Preferred()})).evidence_sha256


def test_evidence_is_read_as_it_was_written():
    assert People.from_dict(study(seen=("cat",), notes=("few",)).as_dict()) == study(seen=["cat"], notes=["few"])


def test_settings_out_of_range_are_refused():
    with pytest.raises(ValueError, match="least=1"):
        Preferred(least=1)
    with pytest.raises(ValueError, match="max_age_days=0"):
        Preferred(max_age_days=0)
