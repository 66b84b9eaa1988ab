"""``srlab evaluate`` as CI calls it: files, numbers and exit codes."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sr_lab.artefacts.artefact import load_artefact, save_artefact
from sr_lab.cli import main
from sr_lab.networks.fsrcnn import FSRCNN

pytestmark = pytest.mark.usefixtures("forked")

NETWORK = {"scale": 2, "num_channels": 3, "num_features": 8, "num_shrunk": 4, "num_mapping": 1}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Folder of two originals."""
    folder = tmp_path / "photos"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for name in ("one", "two"):
        coarse = generator.integers(0, 256, (8, 9, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((73, 65), Image.Resampling.BICUBIC).save(folder / f"{name}.png")
    return folder


@pytest.fixture
def artefact(tmp_path: Path) -> Path:
    """A tiny network's artefact."""
    torch.manual_seed(0)
    node = {"_target_": "sr_lab.networks.fsrcnn.FSRCNN", **NETWORK}
    config = {"model": {"network": node}, "scale": 2}
    return save_artefact(tmp_path / "best", FSRCNN(**NETWORK), config=config, metadata={"data_version": "abc"})


def arguments(photos: Path, report: Path, *more: str, restorer: str = "bicubic") -> list[str]:
    return [
        "evaluate",
        f"restorer={restorer}",
        f"benchmark={photos}",
        "scale=2",
        "protocol=y_crop",
        f"report={report}",
        "missing=skip",
        "device=cpu",
        *more,
    ]


def read(report: Path) -> dict:
    return json.loads((report / "summary.json").read_text())


@pytest.mark.e2e
def test_command_line_reproduces_a_published_number(shared: Path, tmp_path: Path) -> None:
    benchmark = shared / "datasets" / "benchmark" / "Set5" / "x3"
    report = tmp_path / "out"
    line = [
        "restorer=bicubic",
        f"benchmark={benchmark}",
        "scale=3",
        "protocol=y_classic",
        f"report={report}",
        "missing=skip",
    ]
    done = subprocess.run([sys.executable, "-m", "sr_lab.cli", "evaluate", *line], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    content = read(report)
    assert content["psnr_y"] == pytest.approx(30.3922, abs=0.005)
    assert content["ssim_y"] == pytest.approx(0.8682, abs=0.0003)
    expected = {"restorer": "bicubic", "benchmark": str(benchmark), "scale": 3, "protocol": "y_classic"}
    assert expected.items() <= content.items()
    assert content["num_images"] == 5
    assert content["lpips"] is None
    assert content["lpips_reason"]
    assert content["seconds"] > 0
    assert "lpips: not measured" in done.stdout
    with (report / "per_image.csv").open() as stream:
        assert len(list(csv.DictReader(stream))) == 5
    assert (report / "report.html").stat().st_size > 10_000
    assert (report / "comparison.png").stat().st_size > 10_000


def test_artefact_on_a_folder_of_originals(photos: Path, artefact: Path, tmp_path: Path) -> None:
    assert main(arguments(photos, tmp_path / "out", "tile=24", "overlap=8", restorer=str(artefact))) == 0
    content = read(tmp_path / "out")
    assert content["degradation"] == "Bicubic"
    assert content["restorer_metadata"]["data_version"] == "abc"
    assert content["gain"]["psnr_y"] < -1, "an untrained network is worse than bicubic"
    assert main(arguments(photos, tmp_path / "bicubic")) == 0
    assert read(tmp_path / "bicubic")["psnr_y"] == pytest.approx(content["bicubic"]["psnr_y"], abs=1e-9)


def test_cautions_about_a_backbone_used_in_training_and_about_unknown_low_images(
    shared: Path, photos: Path, artefact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    node = {"_target_": "sr_lab.networks.fsrcnn.FSRCNN", **NETWORK}
    losses = {"perceptual": {"_target_": "sr_lab.losses.perceptual.Perceptual", "backbone": "alexnet"}}
    config = {"model": {"network": node}, "losses": losses}
    network, later = load_artefact(artefact).network, {"model": {"network": node}}
    seen = save_artefact(tmp_path / "seen", network, config=config, metadata={})
    tuned = save_artefact(tmp_path / "tuned", network, config=later, metadata={"perceptual_backbones": ["alex"]})
    where = [f"metrics.lpips.weights={shared / 'weights'}", "missing=error"]
    for restorer in (seen, tuned):
        assert main(arguments(photos, tmp_path / "out", *where, restorer=str(restorer))) == 0
        assert "LPIPS (alex) is no independent judge" in capsys.readouterr().out
    assert "no independent judge" in (tmp_path / "out" / "report.html").read_text()
    assert main(arguments(photos, tmp_path / "out", *where, "metrics.lpips.net=squeeze", restorer=str(seen))) == 0
    assert read(tmp_path / "out")["cautions"] == []
    assert main(arguments(photos, tmp_path / "out", *where, restorer=str(artefact))) == 0
    assert read(tmp_path / "out")["cautions"] == []


def test_given_degradation(photos: Path, tmp_path: Path) -> None:
    assert main(arguments(photos, tmp_path / "a")) == 0
    assert main(arguments(photos, tmp_path / "b", "degradation=bicubic")) == 0
    assert read(tmp_path / "a")["psnr_y"] == read(tmp_path / "b")["psnr_y"]


def test_one_unreadable_image_exits_1_and_the_others_are_written(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = (photos / "one.png").read_bytes()
    (photos / "bad.png").write_bytes(whole[: len(whole) // 2])
    assert main(arguments(photos, tmp_path / "out")) == 1
    content = read(tmp_path / "out")
    assert (content["num_images"], content["num_failed"]) == (2, 1)
    assert "bad.png" in content["failed"]["bad"]
    assert "not scored: bad" in capsys.readouterr().err
    assert "1 of 3 images could not be scored" in (tmp_path / "out" / "report.html").read_text()


def test_no_image_scored_exits_1(photos: Path, tmp_path: Path) -> None:
    for file in photos.iterdir():
        file.write_bytes(b"")
    assert main(arguments(photos, tmp_path / "out")) == 1
    assert read(tmp_path / "out")["psnr_y"] is None


def test_a_failing_evaluation_leaves_no_former_summary(photos: Path, tmp_path: Path) -> None:
    assert main(arguments(photos, tmp_path / "out")) == 0
    assert main(arguments(photos, tmp_path / "out", restorer=str(tmp_path / "nothing"))) == 1
    assert not (tmp_path / "out" / "summary.json").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("restorer=runs/none/best", "restorer=runs/none/best: no such file or folder"),
        ("benchmark=nowhere", "benchmark nowhere is not a folder"),
        ("scale=0", "scale=0: a whole number"),
        ("device=tpu", "device=tpu: auto, cpu or cuda"),
        ("tracking_uri=sqlite:///none.db restorer=models:/none@champion", "models:/none@champion"),
    ],
)
def test_errors_name_the_setting(
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    change: str,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(arguments(photos, tmp_path / "out", *change.split())) == 1
    assert message in capsys.readouterr().err


def test_artefact_of_another_scale(
    photos: Path, artefact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(photos, tmp_path / "out", "scale=4", restorer=str(artefact))) == 1
    assert "enlarges by 2, and scale=4 is asked for" in capsys.readouterr().err


def test_missing_weights_are_an_error_unless_skipped(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = tmp_path / "weights"
    line = arguments(photos, tmp_path / "out", f"metrics.lpips.weights={nowhere}", "missing=error")
    assert main(line) == 1
    error = capsys.readouterr().err
    assert error.startswith("srlab evaluate: error: LPIPS (alex) needs")
    assert str(nowhere) in error
    assert main([*line, "metrics=[psnr]"]) != 0, "a setting of a metric that is left out is a mistake"
    assert main([*line[:-2], "metrics=[psnr]"]) == 0
    content = read(tmp_path / "out")
    assert content["lpips_reason"] == "not asked for"
    assert "ssim_y" not in content


def test_misspelt_settings_are_refused(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(photos, tmp_path / "out", "protocol=y_crops")) != 0
    assert "y_crop" in capsys.readouterr().err
    assert main(arguments(photos, tmp_path / "out", "+tiles=3")) != 0
    assert "tile" in capsys.readouterr().err
