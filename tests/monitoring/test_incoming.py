"""What a service keeps of its images: a bounded window of features, drift and a preset from it, and no pixels."""

import json
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from sr_lab.cli import main
from sr_lab.config.compose import build
from sr_lab.images import list_images
from sr_lab.monitoring import Extractor, Profile, measure_folder, write_profile
from sr_lab.monitoring.incoming import IncomingStore
from sr_lab.serving.rehearsal import make_version
from sr_lab.serving.watch_faults import NAME, promote_by_hand
from sr_lab.tracking.registry.references import keep_reference
from sr_lab.workflows.watch import watch

WINDOW = 20


def fill(store: IncomingStore, folder: Path, extractor: Extractor, *, start: int = 0) -> None:
    for index, file in enumerate(list_images(folder), start):
        estimate, features = extractor(file, name=store.name_of(f"r{index}"))
        store.append(f"r{index}", time=1e9 + index, features=features, estimate=estimate)


@pytest.fixture
def store(tmp_path: Path, extractor: Extractor):
    made = IncomingStore(tmp_path / "incoming.db", settings=extractor.settings(), window=WINDOW, num_windows=2)
    yield made
    made.close()


def test_a_window_is_the_profile_of_its_images(store, make_folder, extractor):
    folder = make_folder(60, 80, quality=50, noise=8)
    assert store.latest() is None
    fill(store, folder, extractor)
    window, wanted = store.latest(), measure_folder(folder, extractor)
    assert window is not None
    columns = [name for name in wanted.table.columns if name != "name"]
    assert window.table[columns].equals(wanted.table[columns])
    assert window.settings == wanted.settings
    assert [estimate.noise for estimate in window.estimates] == [estimate.noise for estimate in wanted.estimates]
    assert [estimate.jpeg for estimate in window.estimates] == [estimate.jpeg for estimate in wanted.estimates]
    assert window.facts["images_sha256"] == store.latest().facts["images_sha256"]


def test_it_is_bounded_survives_its_process_and_forgets_a_request(store, extractor, tmp_path):
    for index in range(3 * WINDOW + 5):
        store.append(f"r{index}", time=float(index), features={"noise": float(index)})
    again = IncomingStore(store.path, settings=extractor.settings(), window=WINDOW, num_windows=2)
    rows = again._database.execute("SELECT number FROM images ORDER BY number").fetchall()
    assert (rows[0][0], rows[-1][0], again.num_images) == (WINDOW + 1, 3 * WINDOW + 5, 3 * WINDOW + 5)
    assert list(again.latest().table["noise"]) == [float(value) for value in range(2 * WINDOW, 3 * WINDOW)]
    assert again.name_of("r1") == store.name_of("r1"), "the key of the names is kept"
    assert again.forget("r45")
    assert not again.forget("r45")
    assert len(again.latest()) == WINDOW - 1
    again.close()


def test_which_requests_are_measured_is_drawn_from_their_names_alone(store, tmp_path, extractor):
    chosen = [store.chosen(f"r{index}", 0.25) for index in range(2000)]
    assert chosen == [store.chosen(f"r{index}", 0.25) for index in range(2000)]
    assert 0.2 < sum(chosen) / 2000 < 0.3
    other = IncomingStore(tmp_path / "other.db", settings=extractor.settings())
    assert chosen != [other.chosen(f"r{index}", 0.25) for index in range(2000)], "nobody knows it without the key"
    other.close()


def test_features_measured_otherwise_do_not_stand_beside_those_from_before(store, extractor):
    store.append("a", time=0.0, features={"noise": 1.0})
    IncomingStore(store.path, settings={**extractor.settings(), "crop": 64}).close()
    assert store._database.execute("SELECT count(*) FROM images").fetchone() == (0,)


def test_srlab_drift_reads_it_and_makes_a_preset(store, reference: Profile, make_folder, extractor, tmp_path, capsys):
    write_profile(reference, tmp_path / "reference.parquet")

    def drift(*more: str) -> int:
        given = [f"reference={tmp_path / 'reference.parquet'}", f"current={store.path}", f"report={tmp_path / 'out'}"]
        return main(["drift", *given, "scale=2", *more])

    assert drift() == 1
    assert "holds 0 images, a window of the service 20: wait" in capsys.readouterr().err
    fill(store, make_folder(60, 80), extractor)
    state = tmp_path / "state.json"
    assert drift(f"state={state}") == 0
    fill(store, make_folder(80, 100, quality=50, noise=8), extractor, start=20)
    assert [drift(f"state={state}") for _ in range(2)] == [10, 10]
    assert len(json.loads(state.read_text())["checks"]) == 2, "the same window again spends nothing"
    found = json.loads((tmp_path / "out" / "drift.json").read_text())
    assert {"quality", "noise"} <= {change["name"] for change in found["changes"]}
    assert build(OmegaConf.load(tmp_path / "out" / "preset.yaml")).scale == 2
    assert "Drift" in (tmp_path / "out" / "drift.html").read_text()
    for index in range(20):
        store.append(f"bad{index}", time=2e9, kind="unreadable")
    assert drift(f"state={state}") == 10
    assert "20 unreadable" in capsys.readouterr().out
    assert drift("stream=s.parquet") == 1
    assert "leave stream= and num_images= out" in capsys.readouterr().err


def test_drift_is_settled_once_the_window_before_drifts_too(store, reference, make_folder, extractor, tmp_path):
    write_profile(reference, tmp_path / "reference.parquet")

    def settled(start: int, *folders: Path) -> tuple[bool, bool]:
        for folder in folders:
            fill(store, folder, extractor, start=start)
            start += len(list_images(folder))
        found = watch(
            tmp_path / "reference.parquet", store.path, report=tmp_path / "out", extractor=extractor, scale=2,
            state=tmp_path / "checks.json",
        )  # fmt: skip
        return found.alarm, found.settled

    changed = {"quality": 40, "noise": 12.0}
    assert settled(0, make_folder(0, 20)) == (False, True)
    assert settled(20, make_folder(60, 63), make_folder(63, 80, **changed)) == (True, False)
    found = store.windows(9)
    assert [window.facts["source"] for window in found] == ["requests 21 to 40", "requests 1 to 20"]
    assert settled(40, make_folder(80, 100, **changed)) == (True, True)
    assert settled(60, make_folder(20, 40)) == (True, False), "the alarm is still on, but these are as they should be"
    (tmp_path / "checks.json").unlink()
    assert settled(80, make_folder(80, 100, **changed)) == (True, False)
    store._database.execute("DELETE FROM images WHERE number <= 80")
    (tmp_path / "checks.json").unlink()
    assert settled(100) == (True, True), "there is no other kind before"


def test_srlab_drift_takes_the_reference_that_is_kept_with_the_champion(
    store, reference: Profile, make_folder, extractor, tmp_path, capsys
):
    uri, file = f"sqlite:///{tmp_path / 'mlflow.db'}", tmp_path / "reference.parquet"
    write_profile(reference, file)
    fill(store, make_folder(80, 100, quality=50, noise=8), extractor)
    words = ["drift", f"current={store.path}", f"report={tmp_path / 'out'}", f"tracking_uri={uri}"]
    assert main(words) == 1
    assert "give reference= of srlab profile, or name=" in capsys.readouterr().err
    promote_by_hand(uri, make_version(uri, NAME, folder=tmp_path / "first"))
    assert main([*words, f"name={NAME}"]) == 1
    assert f"no reference is kept with {NAME} version 1" in capsys.readouterr().err
    keep_reference(uri, NAME, 1, file)
    assert main([*words, f"name={NAME}"]) == 10
