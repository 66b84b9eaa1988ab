from pathlib import Path

import numpy as np
import pytest
from hydra.utils import instantiate
from omegaconf import OmegaConf

from sr_lab.degradations.resize import Bicubic
from sr_lab.promotion import Holdout, Policy, gate
from sr_lab.promotion.cost import RatioLimit
from sr_lab.promotion.people import People, Preference
from sr_lab.promotion.quality import Floor, NonInferior, Superior

CONF = Path(__file__).resolve().parents[2] / "conf" / "policy"
OLD_HASH = "ae87dd1092361c52c7daec9adb798c58ba281fb751ba943dfd6a6c8a3177d7b5"
NAMES = ["default", "strict_medical", "fast_edge", "retrain"]
PSNR = {"metric": "psnr_y", "better": "higher"}


def load(name: str, *changes: str) -> Policy:
    config = OmegaConf.load(CONF / f"{name}.yaml")
    for part in config.holdout:
        config.holdout[part].benchmark = "benchmark"
    return instantiate(OmegaConf.merge(config, OmegaConf.from_dotlist(list(changes))))


def test_every_policy_is_tested():
    other = {
        "rollout",
        "rollout_retrained",
        "document",
        "clips",
        "perceptual",
    }  # of another class or other metrics, tested elsewhere
    assert sorted({path.stem for path in CONF.glob("*.yaml")} - other) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_policy_of_conf(name):
    policy = load(name)
    assert policy.name == name
    assert {"psnr_y", "ssim_y"} <= policy.metrics.keys()
    assert policy.resources.keys() == {"latency_s", "memory_bytes"}
    assert any(isinstance(check, Floor) for check in policy.checks.values()), "a first champion needs a floor"
    slices = {check.slice for check in policy.checks.values() if isinstance(check, NonInferior)}
    careful = {"benchmark_old"} if name == "retrain" else {"all", "worst_decile", "content_texture"}
    assert careful <= slices


@pytest.mark.parametrize(
    ("errors", "digits", "outcome", "failed"),
    [(0.0, 0.0, "promote", []), (0.03, 0.0, "reject", ["ocr_cer"]), (0.0, 1.0, "reject", ["ocr_invented_digits"])],
)
def test_document_policy_holds_text_and_digits(errors, digits, outcome, failed, measurement):
    random = np.random.default_rng(0)
    policy = load("document")
    noise = random.standard_normal((3, 40))
    slices = {name: range(40) for name in ("with_ocr_cer", "with_ocr_invented", "with_ocr_invented_digits")}

    def costs():
        return {"latency_s": (1 + 0.01 * random.standard_normal(16)).tolist(), "memory_bytes": [1.0]}

    def model(name, cer, invented):
        values = {
            "ocr_cer": 0.1 + cer + 0.002 * noise[0], "ocr_invented": 0.5 + 0.01 * noise[1],
            "ocr_invented_digits": 0.2 + invented + 0.01 * noise[2], "psnr_y": 25 + noise[0],
        }  # fmt: skip
        more = {"ocr_cer": 0.002, "ocr_invented": 0.02, "ocr_invented_digits": 0.02, "psnr_y": 0.05}
        values = {key: column + more[key] * random.standard_normal(40) for key, column in values.items()}
        return measurement(name, values, slices=slices, resources=costs())

    decision = gate(model("n/2", errors, digits), model("n/1", 0.0, 0.0), policy)
    assert decision.outcome == outcome, decision.text
    assert [reason.check for reason in decision.failed] == failed


@pytest.mark.parametrize(
    ("share", "age", "invented", "failed"),
    [
        (0.6, 10, 0.0, []),
        (0.4, 10, 0.0, ["people"]),
        (0.6, 91, 0.0, ["people"]),
        (None, 0, 0.0, ["people"]),
        (0.6, 10, 0.05, ["hallucination"]),
    ],
)
def test_perceptual_policy_wants_people_and_holds_invented_detail(share, age, invented, failed, measurement):
    random = np.random.default_rng(0)
    policy = load("perceptual")
    noise = random.standard_normal((4, 40))

    def model(name, detail):
        values = {
            "lpips": 0.2 + 0.01 * noise[0], "hallucination": 0.03 + detail + 0.002 * noise[1],
            "lr_consistency": 45 + noise[2], "psnr_y": 25 + noise[3],
        }  # fmt: skip
        values = {key: column + 0.001 * random.standard_normal(40) for key, column in values.items()}
        costs = {"latency_s": (1 + 0.01 * random.standard_normal(16)).tolist(), "memory_bytes": [1.0]}
        return measurement(name, values, resources=costs)

    said = None
    if share is not None:
        pair = Preference(first="n", second="o", share=share, low=share - 0.05, high=share + 0.05, num_votes=400)
        said = People(
            study="s", seal="s", ballots="b", made="2026-11-01T00:00:00+00:00", age_days=age, candidate="n",
            champion="o", preferences=[pair], num_raters=20, num_images=12,
        )  # fmt: skip
    decision = gate(model("n/2", invented), model("n/1", 0.0), policy, people=said)
    assert [reason.check for reason in decision.failed] == failed, decision.text


def test_policies_differ_as_their_names_say():
    default, strict, edge = (load(name) for name in NAMES[:3])
    assert strict.alpha < default.alpha
    assert strict.approval
    assert not default.approval
    assert strict.checks["psnr"].margin < default.checks["psnr"].margin < edge.checks["psnr"].margin
    assert edge.checks["latency"].limit < 1 < default.checks["latency"].limit
    assert any(isinstance(check, Superior) for check in strict.checks.values())


@pytest.mark.parametrize(
    "change",
    [
        "alpha=0.04",
        "approval=true",
        "checks.psnr.margin=0.06",
        "holdout.photos.benchmark=x",
        "checks.latency.limit=1.2",
    ],
)
def test_every_value_changes_the_hash(change):
    assert load("default", change).sha256 != load("default").sha256


def test_hash_is_the_same_for_the_same_policy():
    assert load("default").sha256 == load("default").sha256


def test_degradation_of_the_holdout_is_in_the_hash():
    check = {"psnr": NonInferior(**PSNR, margin=0.05)}
    hashes = {
        Policy(name="a", checks=check, holdout={"x": Holdout(benchmark="x", degradation=degradation)}).sha256
        for degradation in (None, Bicubic(scale=2), Bicubic(scale=4))
    }
    assert len(hashes) == 3


def numbers(measurement, model, shift, *, num_images=120, slower=1.0):
    random = np.random.default_rng(0)
    psnr = 28 + 2 * random.standard_normal(num_images)
    noise = np.random.default_rng([1, int(model[-1])]).standard_normal((2, num_images))
    names = ("content_texture", "content_flat", "content_face", "content_text")
    times = 0.1 * slower * np.exp(0.01 * np.random.default_rng([2, int(model[-1])]).standard_normal(16))
    return measurement(
        model,
        {"psnr_y": (psnr + shift + 0.03 * noise[0]).tolist(), "ssim_y": (0.9 + shift / 50 + 1e-3 * noise[1]).tolist()},
        slices={name: range(k, num_images, 4) for k, name in enumerate(names)},
        resources={"latency_s": times.tolist(), "memory_bytes": [1e9]},
    )


@pytest.mark.parametrize(
    ("shift", "slower", "outcome"), [(0.02, 1.0, "promote"), (-0.2, 1.0, "reject"), (0.02, 1.3, "reject")]
)
def test_default_policy_decides(measurement, shift, slower, outcome):
    champion = numbers(measurement, "net/1", 0.0)
    candidate = numbers(measurement, "net/2", shift, slower=slower)
    decision = gate(candidate, champion, load("default"))
    assert decision.outcome == outcome, decision.text


def test_first_champion_under_the_default_policy(measurement):
    numbers_of_three = numbers(measurement, "net/1", 0.0, num_images=3)
    assert gate(numbers_of_three, None, load("default", "first_champion=passes_floors")).outcome == "promote"
    decision = gate(numbers_of_three, None, load("default"))
    assert (decision.outcome, "bicubic was not measured" in decision.text) == ("reject", True)


@pytest.mark.parametrize(("gain", "outcome"), [(1.0, "promote"), (-7.0, "reject"), (-0.2, "reject")])
@pytest.mark.parametrize("num_images", [3, 40])
def test_a_first_champion_has_to_beat_bicubic(measurement, gain, outcome, num_images):
    candidate = numbers(measurement, "net/1", 4.0, num_images=num_images)
    bicubic = numbers(measurement, "bicubic0", 4.0 - gain, num_images=num_images)
    decision = gate(candidate, None, load("default"), baseline=bicubic)
    assert decision.outcome == outcome, decision.text
    (reason,) = (reason for reason in decision.reasons if reason.check == "baseline")
    assert reason.estimate == pytest.approx(gain, abs=0.03)
    assert "psnr_y against bicubic0: gain" in reason.text
    assert gate(candidate, None, load("default", "first_champion=passes_floors"), baseline=bicubic).outcome == "promote"
    assert gate(candidate, candidate, load("default"), baseline=bicubic).sha256 == (
        gate(candidate, candidate, load("default")).sha256
    ), "with a champion the baseline decides nothing"


def test_what_was_changed_in_a_policy_is_named(measurement):
    original = load("default")
    config = OmegaConf.load(CONF / "default.yaml")
    for key in ("ssim", "lpips"):
        del config.checks[key]
    config.checks.psnr.margin, config.checks.latency.max_runs, config.alpha = 5, None, 0.2
    config.checks.mine = dict(config.checks.psnr_floor, value=10)
    config.holdout.photos.benchmark = "elsewhere"
    policy = instantiate(config)
    assert set(policy.changes(original)) == {
        "checks.ssim removed",
        "checks.lpips removed",
        "checks.mine added",
        "checks.psnr.margin 0.05 -> 5",
        "checks.latency.max_runs 64 -> null",
        "alpha 0.05 -> 0.2",
    }
    decision = gate(numbers(measurement, "net/1", 0.0), None, policy, original=original)
    (note, holdout, *_) = decision.reasons
    assert (note.check, note.verdict, holdout.check, holdout.verdict) == ("policy", "note", "holdout", "note")
    assert "not default as its file has it: checks.ssim removed" in note.text
    assert "photos: elsewhere (120 images of 120 scenes, " in holdout.text
    assert "policy default, changed in 6" in decision.text
    assert len(decision.as_dict()["policy_changes"]) == 6
    assert load("default", "holdout.photos.benchmark=x").changes(original) == ()
    unchanged = gate(numbers(measurement, "net/1", 0.0), None, original, original=original)
    assert "policy" not in {reason.check for reason in unchanged.reasons}
    assert "policy_changes" not in unchanged.as_dict()


def test_settings_that_came_later_leave_the_hash_of_a_policy():
    """Computed by the version before them: a decision that waits for approval goes on to wait."""
    checks = {"psnr": NonInferior(**PSNR, margin=0.05), "time": RatioLimit(resource="latency_s", limit=1.1)}
    assert Policy(name="old", checks=checks).sha256 == OLD_HASH
    assert Policy(name="old", checks=checks, first_champion="passes_floors").sha256 != OLD_HASH


def test_psnr_and_ssim_are_those_of_the_protocol(measurement):
    policy = load("default", "protocol=rgb_crop")
    assert {"psnr_rgb", "ssim_rgb"} <= policy.metrics.keys()
    assert not {"psnr_y", "psnr", "ssim"} & policy.metrics.keys()
    assert policy.baseline == ("psnr_rgb", "higher")
    assert load("default", "baseline_metric=psnr").baseline == ("psnr_y", "higher")
    bands = measurement("net/1", {"psnr_rgb": [28.0] * 30})
    decision = gate(bands, None, load("default"))
    assert "give policy.protocol=rgb_crop protocol=rgb_crop" in decision.text
    with pytest.raises(ValueError, match="no check has baseline_metric=dists; there are psnr_y"):
        Policy(name="a", checks={"psnr": NonInferior(**PSNR, margin=0.05)}, baseline_metric="dists")


def test_edge_policy_wants_speed(measurement):
    champion = numbers(measurement, "net/1", 0.0)
    fast = numbers(measurement, "net/2", -0.05, slower=0.8)
    same = numbers(measurement, "net/3", -0.05, slower=1.01)
    assert gate(fast, champion, load("fast_edge")).outcome == "promote"
    assert gate(same, champion, load("fast_edge")).outcome == "reject"


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: Policy(name="p", checks={}), "no check"),
        (lambda: Policy(name="p", checks={"a": Floor(**PSNR, value=1)}, alpha=0.5), "alpha=0.5"),
        (
            lambda: Policy(
                name="p",
                checks={"a": Floor(**PSNR, value=1), "b": Floor(metric="psnr_y", better="lower", value=1)},
            ),
            "check b: psnr_y is better lower here and higher",
        ),
        (lambda: NonInferior(**PSNR, margin=0.0), "margin=0.0"),
        (lambda: NonInferior(**PSNR, margin=float("nan")), "margin=nan"),
        (lambda: NonInferior(metric="lpips", better="up", margin=0.1), "better='up'"),
        (lambda: NonInferior(**PSNR, margin=0.1, min_scenes=1), "min_scenes=1"),
        (lambda: Superior(**PSNR, gain=-0.1), "gain=-0.1"),
        (lambda: Floor(**PSNR, value=float("inf")), "value=inf"),
        (lambda: Floor(**PSNR, value=1, over="median"), "over='median'"),
        (lambda: RatioLimit(resource="latency_s", limit=0), "limit=0"),
        (lambda: RatioLimit(resource="latency_s", limit=1.1, min_runs=1), "min_runs=1"),
    ],
)
def test_policy_that_makes_no_sense_is_refused(build, message):
    with pytest.raises(ValueError, match=message):
        build()
