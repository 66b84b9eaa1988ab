"""The gate's decisions, case by case."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from sr_lab.promotion import Approval, ImageRow, Measurement, Policy, gate
from sr_lab.promotion.cost import RatioLimit
from sr_lab.promotion.quality import Floor, NonInferior, Superior

PSNR = {"metric": "psnr_y", "better": "higher"}


def policy(**changes):
    settings = {"name": "test", "alpha": 0.05, "checks": {"psnr": NonInferior(**PSNR, margin=0.05)}}
    settings["first_champion"] = "passes_floors"
    return Policy(**{**settings, **changes})


def only(decision, check):
    (reason,) = [reason for reason in decision.reasons if reason.check == check]
    return reason


@pytest.mark.parametrize(
    ("gain", "check", "outcome"),
    [
        (0.00, NonInferior(**PSNR, margin=0.05), "promote"),
        (-0.03, NonInferior(**PSNR, margin=0.05), "promote"),
        (-0.05, NonInferior(**PSNR, margin=0.05), "reject"),
        (-0.10, NonInferior(**PSNR, margin=0.05), "reject"),
        (-0.10, NonInferior(**PSNR, margin=0.15), "promote"),
        (0.05, Superior(**PSNR), "promote"),
        (0.00, Superior(**PSNR), "reject"),
        (0.05, Superior(**PSNR, gain=0.03), "promote"),
        (0.05, Superior(**PSNR, gain=0.05), "reject"),
        (-0.20, NonInferior(metric="psnr_y", better="lower", margin=0.05), "promote"),
        (0.20, NonInferior(metric="psnr_y", better="lower", margin=0.05), "reject"),
        (0.00, NonInferior(**PSNR, margin=0.05, min_scenes=40), "promote"),
        (0.00, NonInferior(**PSNR, margin=0.05, min_scenes=41), "reject"),
        (5.00, Floor(**PSNR, value=32), "promote"),
        (0.00, Floor(**PSNR, value=32), "reject"),
        (0.00, Floor(**PSNR, value=10, over="worst"), "promote"),
        (0.00, Floor(**PSNR, value=27, over="worst"), "reject"),
        (0.00, Floor(metric="psnr_y", better="lower", value=32), "promote"),
        (0.00, Floor(metric="psnr_y", better="lower", value=20), "reject"),
    ],
)
def test_outcome_by_true_gain_and_check(pair, gain, check, outcome):
    decision = gate(*pair(gain), policy(checks={"check": check}))
    assert decision.outcome == outcome
    assert decision.exit_code == {"promote": 0, "reject": 3}[outcome]
    assert only(decision, "check").verdict == ("pass" if outcome == "promote" else "fail")


def spoiled(rows, index, value):
    rows = list(rows)
    row = rows[index]
    metrics = {} if value is None else {"psnr_y": value}
    rows[index] = ImageRow(name=row.name, scene=row.scene, slices=row.slices, metrics=metrics)
    return rows


def with_rows(model, rows):
    return Measurement(model=model.model, holdout=model.holdout, protocol="y_crop", rows=rows, seen=frozenset())


@pytest.mark.parametrize("who", [0, 1])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, None])
@pytest.mark.parametrize("slice", ["all", "worst_decile", "half"])
def test_one_unusable_value_rejects_and_names_the_image(pair, who, value, slice):
    models = list(pair(1.0, num_images=200, slices={"half": range(100)}))
    models[who] = with_rows(models[who], spoiled(models[who].rows, 17, value))
    decision = gate(*models, policy(checks={"psnr": NonInferior(**PSNR, margin=0.05, slice=slice)}))
    assert decision.outcome == "reject"
    assert "017" in only(decision, "psnr").text
    json.dumps(decision.as_dict(), allow_nan=False)


def test_both_infinite_is_not_a_tie(pair):
    models = [with_rows(model, spoiled(model.rows, 3, math.inf)) for model in pair(1.0)]
    assert gate(*models, policy()).outcome == "reject"


def test_unusable_value_outside_the_named_slices_does_not_matter(pair):
    models = list(pair(0.0, slices={"half": range(20)}))
    models[0] = with_rows(models[0], spoiled(models[0].rows, 30, math.nan))
    checks = {"half": NonInferior(**PSNR, margin=0.05, slice="half")}
    assert gate(*models, policy(checks=checks)).outcome == "promote"


def test_missing_slice_rejects_and_is_named(pair):
    decision = gate(*pair(1.0), policy(checks={"text": NonInferior(**PSNR, margin=0.05, slice="content_text")}))
    assert decision.outcome == "reject"
    assert "content_text" in only(decision, "text").text


def test_every_slice_has_to_pass(pair, measurement):
    champion = pair(0.0)[1]
    gain = np.where(np.arange(40) < 10, -0.2, 0.3) + 0.03 * np.random.default_rng(1).standard_normal(40)
    values = [row.metrics["psnr_y"] + gain[i] for i, row in enumerate(champion.rows)]
    slices = {"text": range(10), "other": range(10, 40)}
    candidate = measurement("net/2", {"psnr_y": values}, slices=slices)
    champion = measurement("net/1", {"psnr_y": [r.metrics["psnr_y"] for r in champion.rows]}, slices=slices)
    checks = {name: NonInferior(**PSNR, margin=0.05, slice=name) for name in ("all", "other", "text")}
    decision = gate(candidate, champion, policy(checks=checks))
    verdicts = {reason.check: reason.verdict for reason in decision.reasons}
    assert {name: verdicts[name] for name in checks} == {"all": "pass", "other": "pass", "text": "fail"}
    assert decision.outcome == "reject"
    assert decision.text.endswith("REJECT: text failed")


@pytest.mark.parametrize("num_images", [1, 2, 7])
def test_tiny_samples_cannot_pass(pair, num_images):
    decision = gate(*pair(3.0, num_images=num_images), policy())
    assert decision.outcome == "reject"
    assert "the policy asks for 8 scenes" in only(decision, "psnr").text


def test_images_of_one_scene_are_one_observation(pair):
    reason = only(gate(*pair(3.0, num_images=70, frames=10), policy()), "psnr")
    assert (reason.verdict, reason.num_images, reason.num_scenes) == ("fail", 70, 7)


def test_many_frames_of_a_scene_do_not_narrow_the_interval(measurement):
    random = np.random.default_rng(0)
    shared = np.repeat(0.1 * random.standard_normal(10), 20)
    gains = {20: shared + 1e-4 * random.standard_normal(200), 1: shared}
    widths = {}
    for frames, gain in gains.items():
        champion = measurement("a", {"psnr_y": [28.0] * 200}, frames=frames)
        candidate = measurement("b", {"psnr_y": (28 + gain).tolist()}, frames=frames)
        reason = only(gate(candidate, champion, policy()), "psnr")
        widths[frames] = reason.high - reason.low
    assert widths[20] > 4 * widths[1]


@pytest.mark.parametrize(("accept", "outcome"), [(False, "reject"), (True, "promote")])
def test_identical_numbers_pass_only_where_the_policy_says_so(pair, accept, outcome):
    _, champion = pair()
    candidate = with_rows(champion, champion.rows)
    decision = gate(candidate, champion, policy(accept_identical=accept))
    assert decision.outcome == outcome
    assert "same on every image" in only(decision, "psnr").text


@pytest.mark.parametrize(("check", "verdict"), [(NonInferior, "pass"), (Superior, "fail")])
def test_models_that_differ_may_share_the_ceiling_of_one_metric(measurement, check, verdict):
    random = np.random.default_rng(0)

    def model(name):
        return measurement(name, {"psnr_y": 28 + 0.01 * random.standard_normal(30), "lr_consistency": [60.0] * 30})

    margin = {"margin": 0.5} if check is NonInferior else {}
    checks = {"consistent": check(metric="lr_consistency", better="higher", **margin)}
    reason = only(gate(model("b"), model("a"), policy(checks=checks)), "consistent")
    assert (reason.verdict, "other metrics differ" in reason.text) == (verdict, True)


def test_identical_numbers_are_never_an_improvement(pair):
    _, champion = pair()
    checks = {"gain": Superior(**PSNR)}
    assert gate(champion, champion, policy(checks=checks, accept_identical=True)).outcome == "reject"


@pytest.mark.parametrize("gain", [0.3, -0.01, -0.3])
def test_the_same_gain_everywhere_is_refused(measurement, gain):
    values = np.linspace(25, 35, 30).astype(np.float32)
    champion = measurement("a", {"psnr_y": values.tolist()})
    candidate = measurement("b", {"psnr_y": (values + np.float32(gain)).tolist()})
    decision = gate(candidate, champion, policy(accept_identical=True))
    assert decision.outcome == "reject"
    assert "every scene alike" in only(decision, "psnr").text


def test_some_ties_are_ordinary(measurement):
    random = np.random.default_rng(0)
    gain = np.where(np.arange(40) % 2, 0.0, 0.02 * random.standard_normal(40))
    champion = measurement("a", {"psnr_y": [28.0] * 40})
    candidate = measurement("b", {"psnr_y": (28 + gain).tolist()})
    assert gate(candidate, champion, policy()).outcome == "promote"


def test_differing_images_are_not_compared(pair):
    candidate, champion = pair(1.0)
    decision = gate(with_rows(candidate, candidate.rows[1:]), champion, policy())
    assert decision.outcome == "reject"
    assert "net/2 lacks 1 of the images (000)" in only(decision, "images").text
    assert [reason.check for reason in decision.reasons] == ["protocol", "history", "images"]
    decision = gate(candidate, with_rows(champion, champion.rows[:-5]), policy())
    assert "net/1 lacks 5 of the images (035, 036, 037, ...)" in only(decision, "images").text


def test_differing_scenes_or_slices_are_not_compared(pair):
    candidate, _ = pair(1.0)
    for others in ({"frames": 2}, {"slices": {"text": [0]}}):
        _, champion = pair(1.0, **others)
        assert only(gate(candidate, champion, policy()), "images").verdict == "fail"


def test_differing_holdouts_are_not_compared(pair):
    candidate, _ = pair(1.0)
    _, champion = pair(1.0, holdout="holdout-2")
    assert "hold-outs differ" in only(gate(candidate, champion, policy()), "images").text


def test_other_protocol_is_refused(pair):
    decision = gate(*pair(1.0), policy(protocol="rgb_crop"))
    assert decision.outcome == "reject"
    assert "y_crop" in only(decision, "protocol").text


@pytest.mark.parametrize(
    ("seen", "verdict"),
    [
        (frozenset(), "pass"),
        (frozenset({"003", "007"}), "fail"),
        (None, "fail"),
    ],
)
@pytest.mark.parametrize("first", [False, True])
def test_holdout_that_was_seen_or_whose_history_is_unknown_is_refused(pair, seen, verdict, first):
    candidate, _ = pair(1.0, seen=seen)
    champion = None if first else pair(1.0)[1]
    decision = gate(candidate, champion, policy(checks={"floor": Floor(**PSNR, value=20)}))
    assert only(decision, "history").verdict == verdict
    if seen:
        assert "on 2 of 40 images (003, 007)" in only(decision, "history").text
    assert decision.outcome == ("promote" if verdict == "pass" else "reject")


def test_first_champion_has_to_pass_the_floors_only(pair):
    candidate, _ = pair()
    checks = {"psnr": NonInferior(**PSNR, margin=0.05), "floor": Floor(**PSNR, value=20), "time": latency()}
    decision = gate(candidate, None, policy(checks=checks))
    assert decision.outcome == "promote"
    assert {r.check: r.verdict for r in decision.reasons if r.check in checks} == {
        "psnr": "skip",
        "floor": "pass",
        "time": "skip",
    }
    assert "no champion yet" in decision.text
    checks["floor"] = Floor(**PSNR, value=40)
    assert gate(candidate, None, policy(checks=checks)).outcome == "reject"


def test_first_champion_is_not_promoted_unchecked(pair):
    decision = gate(pair()[0], None, policy())
    assert decision.outcome == "reject"
    assert "Floor" in only(decision, "policy").text


@pytest.mark.parametrize(
    ("ours", "theirs", "where_measured", "verdict"),
    [
        (True, True, True, "pass"),
        (False, False, True, "skip"),
        (False, False, False, "fail"),
        (True, False, True, "fail"),
        (False, True, True, "fail"),
    ],
)
def test_metric_that_not_every_model_has(measurement, ours, theirs, where_measured, verdict):
    random = np.random.default_rng(0)

    def model(name, has):
        columns = {"psnr_y": 28 + 0.02 * random.standard_normal(30)}
        if has:
            columns["hallucination"] = 0.1 + 1e-3 * random.standard_normal(30)
        return measurement(name, columns)

    check = NonInferior(metric="hallucination", better="lower", margin=0.01, where_measured=where_measured)
    checks = {"psnr": NonInferior(**PSNR, margin=0.05), "invented": check}
    decision = gate(model("b", ours), model("a", theirs), policy(checks=checks))
    assert only(decision, "invented").verdict == verdict
    assert decision.outcome == ("reject" if verdict == "fail" else "promote")


def test_floor_on_a_metric_that_only_the_champion_has(pair, measurement):
    candidate, _ = pair()
    champion = measurement("net/1", {"psnr_y": [28.0] * 40, "lr_consistency": [50.0] * 40})
    checks = {"floor": Floor(metric="lr_consistency", better="higher", value=40, where_measured=True)}
    assert "has not" in only(gate(candidate, champion, policy(checks=checks)), "floor").text


def test_worst_decile_is_where_both_together_are_worst(measurement):
    champion = np.linspace(20, 40, 100)
    gain = np.full(100, 0.3)
    gain[:10] = -0.3
    gain += 0.01 * np.random.default_rng(0).standard_normal(100)
    models = [measurement(n, {"psnr_y": v.tolist()}) for n, v in (("b", champion + gain), ("a", champion))]
    checks = {slice: NonInferior(**PSNR, margin=0.05, slice=slice) for slice in ("all", "worst_decile")}
    decision = gate(*models, policy(checks=checks))
    assert only(decision, "all").verdict == "pass"
    hardest = only(decision, "worst_decile")
    assert (hardest.verdict, hardest.num_images) == ("fail", 10)
    assert hardest.estimate == pytest.approx(gain[:10].mean())


def test_worst_decile_favours_neither_model(measurement):
    """Chosen by the champion's own score, an equal candidate would seem to gain where the champion had bad luck."""
    random = np.random.default_rng(0)
    estimates = []
    for _ in range(200):
        columns = 28 + random.standard_normal((2, 100))
        models = [measurement(str(i), {"psnr_y": column.tolist()}) for i, column in enumerate(columns)]
        check = NonInferior(**PSNR, margin=0.05, slice="worst_decile")
        estimates.append(only(gate(*models, policy(checks={"hardest": check})), "hardest").estimate)
    assert abs(np.mean(estimates)) < 4 * np.std(estimates) / np.sqrt(200) < 0.15


def test_worst_decile_of_a_metric_that_is_better_lower(measurement):
    columns = np.linspace(0.1, 0.5, 100)
    candidate = measurement("b", {"lpips": columns.tolist()})
    floor = Floor(metric="lpips", better="lower", value=0.3, slice="worst_decile", min_scenes=2)
    reason = only(gate(candidate, None, policy(checks={"floor": floor})), "floor")
    assert reason.verdict == "fail"
    assert reason.estimate == pytest.approx(columns[-10:].mean())


def latency(**changes):
    return RatioLimit(**{"resource": "latency_s", "limit": 1.1, **changes})


def runs(ratio, *, count=12, noise=0.02, seed=0):
    random = np.random.default_rng(seed)
    drift = np.linspace(1, 2, count)
    theirs = 0.1 * drift
    return (theirs * ratio * np.exp(noise * random.standard_normal(count))).tolist(), theirs.tolist()


@pytest.mark.parametrize(
    ("ours", "theirs", "check", "verdict"),
    [
        (*runs(1.00), latency(), "pass"),
        (*runs(1.20), latency(), "fail"),
        (*runs(1.10), latency(), "fail"),
        (*runs(0.80), latency(limit=0.9), "pass"),
        (*runs(1.00, count=7), latency(), "fail"),
        (*runs(1.00, noise=0.0), latency(), "fail"),
        ([], [0.1] * 8, latency(), "fail"),
        ([0.1] * 9, [0.1] * 8, latency(), "fail"),
        ([math.nan] * 8, [0.1] * 8, latency(), "fail"),
        ([0.1] * 8, [0.0] * 8, latency(), "fail"),
        ([100.0], [100.0], latency(limit=1.0, noisy=False, min_runs=1), "pass"),
        ([100.0, 111.0], [100.0, 100.0], latency(noisy=False, min_runs=1), "fail"),
    ],
)
def test_cost_in_paired_runs(measurement, ours, theirs, check, verdict):
    values = {"psnr_y": [28.0 + i for i in range(10)]}
    candidate = measurement("b", values, resources={"latency_s": ours})
    champion = measurement("a", values, resources={"latency_s": theirs})
    decision = gate(candidate, champion, policy(checks={"time": check}))
    assert only(decision, "time").verdict == verdict
    json.dumps(decision.as_dict(), allow_nan=False)


def costly(measurement, ours, theirs, check, *, work=(1.0, 1.0), same=False):
    """The answer on latency of two models with so many times the parameters and operations."""
    values = {"psnr_y": [28.0 + i for i in range(10)]}
    counted = {"parameters": [1e6 * work[0]], "operations": [1e9 * work[1]]} if work else {}
    before = {"parameters": [1e6], "operations": [1e9]} if work else {}
    candidate = measurement("b", values, resources={"latency_s": ours, **counted})
    champion = measurement("a", values, resources={"latency_s": theirs, **before})
    if same:
        candidate, champion = (replace(model, architecture="edsr") for model in (candidate, champion))
    rules = policy(checks={"time": check})
    return only(gate(candidate, champion, rules), "time"), rules.wants_more_runs(candidate, champion)


@pytest.mark.parametrize("ratio", [0.5, 1.0, 1.3])
def test_one_architecture_cannot_fail_by_a_busy_machine(measurement, ratio):
    reason, more = costly(measurement, *runs(ratio, noise=0.3), latency(max_runs=64), same=True)
    assert (reason.verdict, more) == ("pass", False)
    assert "the same architecture does the same work" in reason.text
    reason, _ = costly(measurement, *runs(ratio, noise=0.01), latency(), same=True, work=(1.0, 2.0))
    assert (reason.verdict == "pass") == (ratio < 1.1), "one name, but other work: the time decides"
    reason, _ = costly(measurement, *runs(1.0, noise=0.01), latency(limit=0.9), same=True)
    assert reason.verdict == "fail", "nothing becomes faster by being the same"


@pytest.mark.parametrize(
    ("work", "undecided", "verdict", "words"),
    [
        ((1.0, 1.05), "work", "pass", "so the work decides: parameters x1.000, operations x1.050"),
        ((1.0, 1.4), "work", "fail", "it is more work (parameters x1.000, operations x1.400); measure again where"),
        (None, "work", "fail", "not known to decide by; measure again where nothing else runs"),
        ((1.0, 1.0), "fail", "fail", "undecided, measure again where nothing else runs"),
    ],
)
def test_a_time_that_noise_leaves_undecided_is_measured_on_and_then_decided_by_the_work(
    measurement, work, undecided, verdict, words
):
    ours, theirs = runs(1.057, count=16, noise=0.3)
    reason, more = costly(measurement, ours, theirs, latency(max_runs=64, undecided=undecided), work=work)
    assert reason.low < 1.1 < reason.high
    assert (reason.verdict, more) == (verdict, True)
    assert words in reason.text
    *_, more = costly(measurement, *runs(1.057, count=64, noise=0.3), latency(max_runs=64), work=work)
    assert not more, "there is an end to it"


@pytest.mark.parametrize("ratio", [1.0, 1.2])
def test_outliers_do_not_decide_over_a_time(measurement, ratio):
    ours, theirs = runs(ratio, count=32, noise=0.01)
    ours[3], ours[17], theirs[8] = 9 * ours[3], 20 * ours[17], 5 * theirs[8]
    reason, more = costly(measurement, ours, theirs, latency(max_runs=64), work=None)
    assert (reason.verdict, more) == (("pass", False) if ratio == 1 else ("fail", True)), "a failure is looked at again"
    assert reason.estimate == pytest.approx(ratio, rel=0.02)


@pytest.mark.parametrize(
    ("face", "verdict", "words"),
    [
        (6.0, "skip", "no loss beyond the limit is shown (6 images, 6 scenes, too few for the policy's 8"),
        (0.0, "skip", "too few for the policy's 8 to show that nothing is lost"),
        (-1.0, "fail", "a loss beyond -0.100 is shown"),
    ],
)
def test_a_slice_too_small_to_clear_a_model_may_still_convict_it(measurement, face, verdict, words):
    random = np.random.default_rng(0)
    gain = np.where(np.arange(40) < 6, face, 3.0) + 0.05 * random.standard_normal(40)
    slices = {"content_face": range(6), "content_text": [39]}
    champion = measurement("net/1", {"psnr_y": [28.0] * 40}, slices=slices)
    candidate = measurement("net/2", {"psnr_y": (28 + gain).tolist()}, slices=slices)
    checks = {
        name: NonInferior(**PSNR, margin=0.1, slice=f"content_{name}", too_few="allow")
        for name in ("face", "text", "plot")
    }
    decision = gate(candidate, champion, policy(checks={"all": NonInferior(**PSNR, margin=0.05), **checks}))
    assert only(decision, "face").verdict == verdict
    assert words in only(decision, "face").text
    assert only(decision, "text").verdict == "skip", "one image shows nothing"
    assert "no image of the hold-out is in slice content_plot (there are content_face, content_text)" in decision.text
    assert decision.outcome == ("reject" if verdict == "fail" else "promote")
    strict = NonInferior(**PSNR, margin=0.1, slice="content_face")
    assert "add images to the hold-out" in gate(candidate, champion, policy(checks={"face": strict})).text


def test_pairs_cancel_the_drift_of_the_machine(measurement):
    values = {"psnr_y": [28.0 + i for i in range(10)]}
    ours, theirs = runs(1.0)
    candidate = measurement("b", values, resources={"latency_s": ours})
    champion = measurement("a", values, resources={"latency_s": theirs})
    reason = only(gate(candidate, champion, policy(checks={"time": latency()})), "time")
    assert reason.high - reason.low < 0.05, "the runs themselves differ by a factor of two"


def test_unmeasured_cost_rejects(pair):
    assert only(gate(*pair(1.0), policy(checks={"time": latency()})), "time").verdict == "fail"


def test_approval_is_for_one_decision(pair):
    asks = policy(approval=True)
    models = pair(0.0)
    waiting = gate(*models, asks)
    assert (waiting.outcome, waiting.exit_code) == ("needs_approval", 4)
    approval = Approval(by="anna", decision=waiting.sha256)
    agreed = gate(*models, asks, approval=approval)
    assert (agreed.outcome, agreed.approved_by, agreed.sha256) == ("promote", "anna", waiting.sha256)
    assert gate(*pair(0.001), asks, approval=approval).outcome == "needs_approval"
    assert gate(*models, policy(approval=True, alpha=0.04), approval=approval).outcome == "needs_approval"
    text = gate(*pair(0.001), asks, approval=approval).text
    assert "another decision" in text


def test_approval_does_not_save_what_failed(pair):
    asks = policy(approval=True)
    models = pair(-1.0)
    rejected = gate(*models, asks)
    assert rejected.outcome == "reject"
    again = gate(*models, asks, approval=Approval(by="anna", decision=rejected.sha256))
    assert (again.outcome, again.approved_by) == ("reject", None)


def test_decision_is_a_function_of_numbers_and_policy(pair):
    candidate, champion = pair(0.01)
    reversed_rows = with_rows(candidate, list(reversed(candidate.rows)))
    decision = gate(candidate, champion, policy())
    assert gate(reversed_rows, champion, policy()) == decision
    stored = [
        Measurement.from_dict(json.loads(json.dumps(m.as_dict(), allow_nan=False))) for m in (candidate, champion)
    ]
    assert gate(*stored, policy()) == decision
    assert gate(*pair(0.02), policy()).evidence_sha256 != decision.evidence_sha256


def test_unusable_numbers_survive_the_record(pair):
    candidate, _ = pair()
    candidate = with_rows(candidate, spoiled(spoiled(candidate.rows, 0, math.nan), 1, -math.inf))
    again = Measurement.from_dict(json.loads(json.dumps(candidate.as_dict(), allow_nan=False)))
    assert math.isnan(again.rows[0].metrics["psnr_y"])
    assert again.rows[1].metrics["psnr_y"] == -math.inf
    assert again.as_dict() == candidate.as_dict()


def test_every_line_carries_its_numbers(pair):
    decision = gate(*pair(-0.01), policy())
    reason = only(decision, "psnr")
    assert reason.estimate == pytest.approx(-0.01)
    assert reason.low < -0.01 < reason.high
    assert (reason.limit, reason.num_images, reason.num_scenes) == (-0.05, 40, 40)
    assert reason.line == (
        f"pass  psnr: psnr_y on all: gain -0.010, 90% interval [{reason.low:+.3f}, {reason.high:+.3f}], "
        "must exceed -0.050 (40 images, 40 scenes)"
    )
    assert decision.text.splitlines()[0].startswith("net/2 against net/1, policy test (")
    assert decision.text.splitlines()[-1] == "PROMOTE: every check passed"
    assert decision.as_dict()["reasons"][-1]["line"] == reason.line


def test_two_images_of_one_name_are_refused():
    row = ImageRow(name="a", scene="a", metrics={"psnr_y": 28.0})
    with pytest.raises(ValueError, match="'a' occurs 2 times"):
        Measurement(model="net/1", holdout="h", protocol="y_crop", rows=[row, row])


def test_no_image_is_refused():
    with pytest.raises(ValueError, match="no image"):
        Measurement(model="net/1", holdout="h", protocol="y_crop", rows=[])


@pytest.mark.parametrize("slice", ["all", "worst_decile"])
def test_reserved_slices_are_refused(slice):
    with pytest.raises(ValueError, match=slice):
        ImageRow(name="a", scene="a", slices=frozenset({slice}), metrics={})
