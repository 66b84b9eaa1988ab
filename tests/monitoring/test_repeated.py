import numpy as np
import pytest

from sr_lab.monitoring.repeated import Check, RepeatedChecks, read_checks, write_checks


def follow(watch: RepeatedChecks, p_values: list[float]) -> list[Check]:
    checks: list[Check] = []
    for index, p_value in enumerate(p_values):
        checks.append(watch.next(checks, p_value=p_value, images_sha256=str(index), num_images=50))
    return checks


def test_alpha_is_spent_evenly_and_an_alarm_neither_flickers_nor_storms():
    checks = follow(
        RepeatedChecks(alpha=0.06, horizon=60, clear_after=3),
        [0.01, 0.001, 0.2, 0.001, 0.2, 0.3, 0.01, 0.4, 0.5, 0.6, 0.02],
    )
    assert [check.level for check in checks] == pytest.approx([0.001] * 11)
    assert [check.alarm for check in checks] == [False] + [True] * 8 + [False] * 2
    assert [index for index, check in enumerate(checks) if check.new] == [1]
    assert [check.quiet for check in checks] == [0, 0, 1, 0, 1, 2, 0, 1, 2, 0, 0]


def test_periods_without_drift_hold_an_alarm_with_probability_alpha_at_most():
    random, watch = np.random.default_rng(0), RepeatedChecks(alpha=0.05, horizon=60)
    alarms = sum(any(check.alarm for check in follow(watch, random.random(60).tolist())) for _ in range(400))
    assert alarms / 400 < 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)


def test_the_same_images_are_the_same_check():
    watch = RepeatedChecks()
    first = watch.next([], p_value=1e-4, images_sha256="a", num_images=9)
    assert watch.next([first], p_value=0.9, images_sha256="a", num_images=9) is first
    assert first.new


def test_a_state_is_kept_and_belongs_to_one_reference(tmp_path):
    checks = follow(RepeatedChecks(), [0.5, 1e-4])
    write_checks(tmp_path / "state.json", checks, reference="r")
    assert read_checks(tmp_path / "state.json", reference="r") == checks
    assert read_checks(tmp_path / "state.json", reference="other") == []
    assert read_checks(tmp_path / "none.json", reference="r") == []
    (tmp_path / "state.json").write_text("[]")
    with pytest.raises(ValueError, match=r"state\.json is no state"):
        read_checks(tmp_path / "state.json", reference="r")


@pytest.mark.parametrize("settings", [{"alpha": 0}, {"alpha": 0.6}, {"horizon": 0}, {"clear_after": 0}])
def test_rules_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match=next(iter(settings))):
        RepeatedChecks(**settings)
