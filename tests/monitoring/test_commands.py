"""``srlab profile`` and ``srlab drift`` through ``sr_lab.cli.main``."""

import json
import re
import shutil
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from sr_lab.cli import main
from sr_lab.config.compose import build
from sr_lab.monitoring import read_profile

pytestmark = pytest.mark.e2e


def command(name: str, **settings: object) -> int:
    return main([name, *(f"{key}={value}" for key, value in settings.items())])


@pytest.fixture(scope="module")
def profile(reference_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("profile") / "reference.parquet"
    assert command("profile", input=reference_folder, output=path) == 0
    return path


def content(report: Path) -> dict:
    return json.loads((report / "drift.json").read_text())


def test_no_drift_is_0_and_drift_is_10_with_an_explanation_and_a_preset(profile, make_folder, tmp_path, capsys):
    report = tmp_path / "report"
    assert (
        command("drift", reference=profile, current=make_folder(60, 90, quality=50, noise=8), report=report, scale=2)
        == 10
    )
    files = {file.name for file in report.iterdir()}
    assert files == {"drift.html", "drift.json", "drift.png", "preset.yaml", "current.parquet"}
    found = content(report)
    assert found["drift"] is True
    assert {"quality", "noise"} <= {change["name"] for change in found["changes"]}
    assert found["p_value"] <= found["level"] == 0.05
    preset = build(OmegaConf.load(report / "preset.yaml"))
    assert preset.scale == 2
    assert "quality: [4" in (report / "preset.yaml").read_text()
    page = (report / "drift.html").read_text()
    assert re.search("JPEG quality 9[01] -&gt; 5[01]", page)
    assert page.count("<figure>") == 12
    assert "http" not in page.replace("http-equiv", "")
    assert len(read_profile(report / "current.parquet")) == 30
    assert "drift: p = " in capsys.readouterr().out

    assert command("drift", reference=profile, current=make_folder(60, 90), report=report, alpha=0.01, scale=2) == 0
    assert content(report)["drift"] is False
    assert content(report)["changes"] == []
    assert not (report / "preset.yaml").exists()


def test_repeated_checks_keep_a_state(profile, make_folder, tmp_path):
    report, state = tmp_path / "report", tmp_path / "state.json"
    worse, same = make_folder(60, 90, quality=40), make_folder(60, 90)

    def check(current: Path) -> tuple[int, bool, int]:
        code = command("drift", reference=profile, current=current, report=report, state=state, clear_after=1)
        return code, content(report)["new"], len(json.loads(state.read_text())["checks"])

    assert check(worse) == (10, True, 1)
    assert check(worse) == (10, True, 1)  # the same images are the same check
    assert check(make_folder(90, 120, quality=40)) == (10, False, 2)
    assert check(same) == (0, False, 3)


def test_a_stream_is_watched_image_by_image(profile, make_folder, tmp_path):
    folder, report, state = tmp_path / "incoming", tmp_path / "report", tmp_path / "stream.parquet"
    folder.mkdir()

    def come(source: Path, start: int, stop: int) -> int:
        for file in sorted(source.iterdir())[start:stop]:
            shutil.copy(file, folder)
        return command("drift", reference=profile, current=folder, report=report, stream=state)

    same, worse = make_folder(60, 90), make_folder(90, 120, quality=50)
    assert come(same, 0, 3) == 0
    assert come(same, 3, 30) == 0
    assert len(read_profile(state)) == 30
    assert come(worse, 0, 30) == 10
    assert content(report)["new"] is True
    assert len(read_profile(state)) == 60
    assert come(worse, 0, 30) == 10
    assert content(report)["new"] is False


def test_a_profile_with_a_restorer_measures_its_outputs(make_folder, tmp_path):
    path, restorer = tmp_path / "p.parquet", {"restorer": "bicubic", "scale": 2, "side": 48}
    assert command("profile", input=make_folder(0, 24), output=path, **restorer) == 0
    assert {"consistency", "naturalness"} <= set(read_profile(path).table.columns)
    report = {"current": make_folder(24, 48), "report": tmp_path / "report"}
    assert command("drift", reference=path, **report, **restorer) in (0, 10)
    assert command("drift", reference=path, **report) == 1


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"current": "EMPTY"}, "holds no image file"),
        ({"current": "FEW"}, "there are 4 usable images, fewer than min_images=20"),
        ({"current": "missing"}, "missing is not a folder"),
        ({"reference": "missing.parquet"}, "missing.parquet does not exist"),
        ({"crop": 128}, "crop is 128, in the profile 512"),
        ({"embedding.dims": 3}, "dims is 3, in the profile 6"),
        ({"state": "STATE", "num_permutations": 99}, "give 2400 or more"),
        ({"state": "STATE", "stream": "b"}, "state= and stream= are given"),
        ({"scale": 0}, "scale=0"),
    ],
)
def test_errors_say_what_is_wrong_and_are_not_10(profile, make_folder, tmp_path, capsys, settings, message):
    (tmp_path / "empty").mkdir()
    places = {"EMPTY": tmp_path / "empty", "STATE": tmp_path / "s.json"}
    few = make_folder(0, 4)
    given = {"reference": profile, "current": few, "report": tmp_path / "report", **settings}
    code = command(
        "drift", **{key: few if value == "FEW" else places.get(value, value) for key, value in given.items()}
    )
    assert code == 1
    assert message in capsys.readouterr().err
    assert not (tmp_path / "report").exists()
