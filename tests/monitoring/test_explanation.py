import pandas as pd
import pytest

from sr_lab.monitoring import Profile, compare, measure_folder


@pytest.mark.parametrize(
    ("how", "name", "text"),
    [({"quality": 55}, "quality", "JPEG quality 9"), ({"noise": 12, "quality": 90}, "noise", "noise sigma")],
)
def test_the_change_that_was_made_is_named_first(reference, make_folder, extractor, how, name, text):
    drift = compare(reference, measure_folder(make_folder(60, 90, **how), extractor))
    assert drift.test.p_value <= 0.001
    change = drift.changes[0]
    assert (change.name, change.trainable, change.certain) == (name, True, True)
    assert change.text.startswith(text)
    assert name in {shift.name for shift in drift.moved()}


def test_other_photos_in_the_same_state_are_no_drift(reference, make_folder, extractor):
    drift = compare(reference, measure_folder(make_folder(60, 90), extractor))
    assert drift.test.p_value > 0.01
    assert [change for change in drift.changes if change.certain] == []


def test_a_few_changed_images_are_found_and_their_change_is_guessed(reference, make_folder, extractor):
    same = measure_folder(make_folder(60, 84), extractor)
    changed = measure_folder(make_folder(84, 96, quality=35), extractor)
    mixed = Profile(pd.concat([same.table, changed.table], ignore_index=True), same.settings, same.facts)
    drift = compare(reference, mixed)
    assert drift.test.p_value <= 0.01
    assert drift.changes[0].name == "quality"
    assert drift.changes[0].after == pytest.approx(35, abs=4)
    assert drift.changes[0].share == pytest.approx(1 / 3, abs=0.03)
    assert "% of the images" in drift.changes[0].text
