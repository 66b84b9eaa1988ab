"""From ballots to a ranking: who is counted, what is refused, what stays fixed."""

import json
import math
from dataclasses import asdict, replace

import numpy as np
import pytest

from sr_lab.study.ballots import BallotBox, Refused, read_answers
from sr_lab.study.plan import PLAN, Plan
from sr_lab.study.ranking import rank
from sr_lab.study.rules import Rules, check_of
from sr_lab.study.selection import information, pairs_of
from sr_lab.study.stopping import stopping
from sr_lab.workflows import study

ORDER = {"original": 0, "secret-net": 1, "bicubic": 2, "other": 3, "blur": 9}


def careful(left, right):
    return "tie" if left == right else "left" if ORDER[left] < ORDER[right] else "right"


@pytest.fixture
def made(tmp_path, make_study):
    return make_study(tmp_path / "study", raters=4)


def send(made, ballots, name):
    content = {"study": made.plan.id, "seal": made.plan.seal, "ballots": [asdict(ballot) for ballot in ballots]}
    (made.folder / "answers" / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")


def test_blocks_are_balanced_and_blind(made):
    plan = made.plan
    assert (made.trials, made.checks) == (10, 4)
    for code in plan.codes:
        trials = plan.order(code)
        kinds = [trial.kind for trial in trials]
        assert (kinds.count("pair"), kinds.count("blur"), kinds.count("identical"), kinds.count("repeat")) == (
            6,
            2,
            1,
            1,
        )
        repeat = next(trial for trial in trials if trial.kind == "repeat")
        before = next(trial for trial in trials if trial.id == repeat.key)
        assert repeat.sides(plan.seed, code) == before.sides(plan.seed, code)[::-1], "a repeat swaps the sides"
    dealt = [plan.pictures[plan.trials[id].first].image for block in plan.blocks for id in block
             if plan.trials[id].kind == "pair"]  # fmt: skip
    assert [dealt.count(image) for image in plan.images] == [3] * 8
    lefts = [trial.sides(plan.seed, code)[0] == trial.first for code in plan.codes for trial in plan.order(code)]
    assert 0.2 < np.mean(lefts) < 0.8
    files = {file.stem for file in (made.folder / "page" / "pictures").iterdir()}
    assert files == {name for trial in plan.trials.values() for name in (trial.first, trial.second)}


def test_careful_raters_and_cheaters(made, answer):
    for code in made.codes[:3]:
        send(made, answer(made.plan, code, careful), code)
    send(made, answer(made.plan, made.codes[3], lambda left, right: "left"), "cheater")
    found = study.analyse(made.folder, num_draws=50)
    ranking = found.ranking
    assert {rater.code: bool(rater.reasons) for rater in ranking.raters} == {
        code: code == made.codes[3] for code in made.codes
    }
    assert "points on check pairs" in ranking.raters[-1].reasons[0]
    assert ranking.num_votes == 18
    assert [standing.name for standing in ranking.standings] == ["secret-net", "bicubic"]
    assert ranking.duel("bicubic", "secret-net").wins < 0.5 < ranking.duel("secret-net", "bicubic").wins
    assert ranking.duel("bicubic", "secret-net").lost == 18
    assert any("never or always preferred" in note for note in ranking.notes)
    assert ranking.stopping is not None
    share, decisions = ranking.metrics["psnr_y"]
    assert decisions == 18
    assert share < 0.5, "bicubic is nearer to the original, and these raters like it sharp"
    assert ranking.dissents[0].preferred == "secret-net"
    first, *others = found.text.splitlines()
    assert first.startswith("18 votes of 3 raters on ")
    assert first.endswith("; 1 left out by the rules")
    assert [line.split(":")[0].strip() for line in others[:2]] == ["secret-net", "bicubic"]
    page = found.report.read_text(encoding="utf-8")
    assert "secret-net" in page
    assert made.plan.seal in page
    numbers = json.loads(found.result.read_text(encoding="utf-8"))
    assert numbers["standings"][0]["name"] == "secret-net"
    assert study.analyse(made.folder, num_draws=50).ranking == ranking, "the same answers give the same numbers"


def test_what_raters_hurry_through_or_favour_does_not_count(made, answer):
    quick = rank(
        made.plan,
        [*answer(made.plan, made.codes[0], careful), *answer(made.plan, made.codes[1], careful, seconds=0.1)],
        num_draws=10,
    )
    assert "least_seconds" in quick.raters[1].reasons[0]
    rules = Rules(min_votes=3)
    one_sided = rules.reasons(checks=[], seconds=[2.0] * 30, answers=["left"] * 29 + ["right"], ratios=[1.0])
    assert "for one side" in one_sided[0]
    assert rules.reasons(checks=[], seconds=[2.0], answers=["tie"] * 2, ratios=[1.0])[0].startswith("2 votes")
    assert Rules(whole_pixels=True, min_votes=1).reasons(checks=[], seconds=[2.0], answers=["tie"], ratios=[1.25])
    assert check_of("blur", "tie", good="left").points == 1
    assert check_of("blur", "right", good="left").points == 2
    assert check_of("repeat", "a", before="b").points == 1
    assert check_of("repeat", "tie", before="b").points == 0
    with pytest.raises(ValueError, match="max_suspicion"):
        Rules(max_suspicion=2)


def test_the_box_only_grows(made, answer):
    box = BallotBox(made.folder, made.plan)
    first, *others = answer(made.plan, made.codes[0], careful)
    assert box.add(asdict(first))
    assert not box.add(asdict(first)), "the same answer again is no error"
    with pytest.raises(Refused, match="first answer counts"):
        box.add({**asdict(first), "answer": "tie" if first.answer != "tie" else "left"})
    wrong = {
        "another's pair": {"trial": next(id for id in made.plan.blocks[1] if id not in made.plan.blocks[0])},
        "no code": {"rater": "000-aaaaaa"},
        "sides": {"left": first.right, "right": first.left},
        "answer": {"answer": "both"},
        "time": {"seconds": math.inf},
        "text": {"trial": ["a"]},
    }
    for change in wrong.values():
        with pytest.raises(Refused):
            box.add({**asdict(first), **change})
    for more in ({**asdict(first), "name": "Ann"}, [1], None):
        with pytest.raises(Refused):
            box.add(more)
    with box.file.open("a") as stream:
        stream.write('{"rater": "broken off')  # a power cut
    assert BallotBox(made.folder, made.plan).add(asdict(others[0]))
    assert box.add(asdict(others[1]))
    assert sorted(box.answered(made.codes[0])) == sorted([first.trial, others[0].trial, others[1].trial])
    ballots, refused = read_answers(made.folder, made.plan)
    assert ballots == [first, *others[:2]]
    assert len(refused) == 1


def test_rules_and_restorers_cannot_be_changed_afterwards(made, answer):
    send(made, answer(made.plan, made.codes[0], careful), "a")
    kept = json.loads((made.folder / PLAN).read_text(encoding="utf-8"))
    (made.folder / PLAN).write_text(json.dumps({**kept, "rules": {**kept["rules"], "min_votes": 1}}), encoding="utf-8")
    with pytest.raises(ValueError, match="fixed beforehand"):
        study.analyse(made.folder)
    changed = replace(made.plan, rules=Rules(min_votes=1))  # with a seal of its own
    changed.write(made.folder)
    with pytest.raises(ValueError, match="under other rules"):
        study.analyse(made.folder)


def test_restorers_that_were_never_compared_are_said(tmp_path, make_study, answer):
    made = make_study(tmp_path / "study", names=("secret-net", "other", "bicubic"), votes=12, raters=2)
    ballots = [b for code in made.codes for b in answer(made.plan, code, careful)]
    shows = {name: picture.shows for name, picture in made.plan.pictures.items()}
    apart = [
        b for b in ballots if made.plan.trials[b.trial].kind != "pair" or "other" not in (shows[b.left], shows[b.right])
    ]
    found = rank(made.plan, apart, num_draws=10)
    assert not found.connected
    assert any("other" in note and "not connected" in note for note in found.notes)
    assert rank(made.plan, ballots, num_draws=10).connected


def test_information_asks_for_close_pairs_of_many():
    random = np.random.default_rng(0)
    mean = np.array([3.0, 2.9, 0.0, -1.0, -2.0, -3.0, -3.1])
    told = information(mean, np.eye(7) * 0.2)
    assert told[0, 1] > told[0, 6] > 0
    assert told[0, 0] == 0
    assert np.allclose(told, told.T)
    asked = pairs_of(7, random, mean=mean, covariance=np.eye(7) * 0.2)
    first = [next(asked) for _ in range(60)]
    for start in range(0, 60, 6):
        assert len({node for pair in first[start : start + 6] for node in pair}) == 7, "every round connects all"
    assert first.count((0, 1)) > first.count((0, 6))
    few = pairs_of(3, random)
    assert sorted(next(few) for _ in range(3)) == [(0, 1), (0, 2), (1, 2)]


def test_more_than_six_restorers_are_asked_about_by_information(tmp_path, make_study, answer, monkeypatch):
    names = tuple(f"net-{k}" for k in range(7))
    made = make_study(tmp_path / "study", names=names, votes=12, raters=2, checks=0.0)
    by_number = lambda left, right: "left" if left < right else "right"  # noqa: E731
    for code in made.codes:
        send(made, answer(made.plan, code, by_number), code)
    seen = {}
    ours = study.pairs_of
    monkeypatch.setattr(study, "pairs_of", lambda *a, **more: seen.update(more) or ours(*a, **more))
    later = study.more(made.folder, raters=1)
    assert seen["mean"][0] > seen["mean"][6]
    plan = Plan.read(made.folder)
    assert plan.seal == made.plan.seal
    assert plan.codes == [*made.codes, *later.codes]
    assert len(plan.block_of(later.codes[0])) == 12
    assert rank(plan, read_answers(made.folder, plan)[0], num_draws=10).num_votes == 24


def test_two_may_stop_early_at_any_time():
    random = np.random.default_rng(1)
    wrong = [stopping(np.clip(0.5 + 0.2 * random.standard_normal(40), 0, 1).tolist()).outcome for _ in range(60)]
    assert np.mean([outcome in ("first", "second") for outcome in wrong]) < 0.05
    assert stopping([0.3] * 40).outcome == "second"
    alike = stopping(np.clip(0.5 + 0.02 * random.standard_normal(300), 0, 1).tolist())
    assert (alike.outcome, alike.low > 0.45, alike.high < 0.55) == ("alike", True, True)
    with pytest.raises(ValueError, match="no rater"):
        stopping([])


def test_no_vote_is_an_error(made):
    with pytest.raises(ValueError, match="no vote counts"):
        study.analyse(made.folder)


@pytest.mark.parametrize(
    ("settings", "says"),
    [({"names": ("a",)}, "two restorers"), ({"raters": 0}, "raters=0"), ({"display": "film"}, "display=film"),
     ({"as_input": True, "show_original": True}, "show_original")],
)  # fmt: skip
def test_studies_that_cannot_be_made(tmp_path, make_study, settings, says):
    with pytest.raises(ValueError, match=says):
        make_study(tmp_path / "study", **settings)
    assert not (tmp_path / "study").exists()


def test_inputs_without_originals_and_one_file(tmp_path, make_study):
    made = make_study(tmp_path / "study", as_input=True, embedded=True)
    assert not (made.page.parent / "pictures").exists()
    assert "data:image/png;base64," in made.page.read_text(encoding="utf-8")
    assert not made.plan.measured
    with pytest.raises(FileExistsError):
        make_study(tmp_path / "study")
