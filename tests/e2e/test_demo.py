"""The main job, shortened: photos -> train -> evaluate -> track -> register -> gate, and back from the registry."""

import json
from pathlib import Path

import pytest

from sr_lab.cli import main
from sr_lab.tracking.store import connect, download

pytestmark = pytest.mark.usefixtures("forked")

FEW_STEPS = ["max_steps=6", "val_every=6", "checkpoint_every=6", "scheduler.num_warmup=1"]
SHORT = f"train={json.dumps([*FEW_STEPS, 'trainer.enable_progress_bar=false'])}"


def _without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is fetched: the proxy of every address is a port that nobody listens on."""
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")


@pytest.mark.e2e
@pytest.mark.slow
def test_demo_ends_with_a_gated_candidate_that_gives_the_recorded_numbers_again(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    _without_a_network(monkeypatch)
    assert main(["demo", "name=short", SHORT]) == 0
    said = capsys.readouterr().out
    assert "models:/demo@candidate" in said
    assert "mlflow ui --backend-store-uri" in said
    report = Path("runs/short/report")
    for name in ("report.html", "comparison.png"):
        assert str(report / name) in said
        assert (report / name).stat().st_size > 1000
    recorded = json.loads((report / "summary.json").read_text())
    assert (recorded["protocol"], recorded["num_images"]) == ("y_crop", 3)
    assert "demo/1 with no champion yet" in said
    assert "fail  baseline: " in said, "six steps make no model that beats bicubic"
    assert "gate        rejected" in said
    again = ["restorer=models:/demo@candidate", "benchmark=data/photos/test", "scale=2", "report=again", "missing=skip"]
    assert main(["evaluate", *again]) == 0
    loaded = json.loads(Path("again/summary.json").read_text())
    assert loaded["psnr_y"] == pytest.approx(recorded["psnr_y"], abs=1e-3)
    assert loaded["ssim_y"] == pytest.approx(recorded["ssim_y"], abs=1e-4)
    version = connect("sqlite:///mlflow.db").get_model_version_by_alias("demo", "candidate")
    assert float(version.tags["test/photos_test_x2/psnr_y"]) == pytest.approx(recorded["psnr_y"], abs=1e-3)
    folder = download("models:/demo@candidate", tracking_uri="sqlite:///mlflow.db", directory=tmp_path / "model")
    card = (folder / "MODEL_CARD.md").read_text()
    assert card[:5000] == version.description
    for words in (
        "invented detail",
        "The weights have seen 6 images to train on",
        "On the 3 images of photos_test_x2, under the protocol `y_crop`, it reached:",
        "Bicubic",
    ):
        assert words in card
    assert f"| psnr_y | {recorded['psnr_y']:.4f} | " in card
    assert (folder / "environment" / "packages.txt").read_text().count("torch==") == 1


def test_demo_stops_at_the_first_step_that_fails(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    _without_a_network(monkeypatch)
    assert main(["demo", "name=short", 'train=["max_steps=10", "val_every=3"]']) == 1
    assert "val_every=3 does not divide max_steps=10" in capsys.readouterr().err
    assert not Path("runs/short/report").exists()
