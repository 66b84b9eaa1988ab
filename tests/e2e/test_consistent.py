"""Consistent images by the command line: restored, evaluated, recorded."""

import json
from pathlib import Path

import numpy as np
import pytest

import sr_lab
from sr_lab.cli import main


@pytest.fixture
def low(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    pixels = np.random.default_rng(0).integers(105, 150, (12, 14, 3), dtype=np.uint8)
    sr_lab.write("low/noise.png", pixels)
    return tmp_path / "low"


def test_what_is_written_is_the_input_when_it_is_degraded_again(low: Path) -> None:
    words = ["restore", "input=low", "restorer=bicubic", "scale=3", "consistency=exact"]
    assert main([*words, "output=out"]) == 0
    assert main([*words, "output=sharp", "degradation=bd"]) == 0
    given = sr_lab.read("low/noise.png")
    for folder, degradation in (("out", "bicubic"), ("sharp", "bd")):
        again = sr_lab.degradation(degradation, scale=3)(sr_lab.read(f"{folder}/noise.png"))
        assert np.abs(again.astype(int) - given).max() <= 4, "rounding and what is cut to 0..255"
        assert np.abs(again.astype(int) - given).mean() < 0.4
    record = json.loads(Path("sharp/restore.json").read_text())
    assert (record["consistency"], record["input_noise"]) == ("exact", 0)
    assert record["degradation"] is not None
    assert record["written"]["image"] == "noise.png"
    assert 50 < record["written"]["least"] < 75, "rounding to 8 bits leaves so much"
    assert main([*words, "output=one.jpg", "input=low/noise.png", "quality=50"]) == 0
    told = json.loads(Path(".restored/one.jpg.consistency.json").read_text())
    assert told["decibels"] < 45, "what JPEG takes away is seen"


def test_another_setting_does_not_write_among_them(low: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["restore", "input=low", "output=out", "restorer=bicubic", "scale=2"]
    assert main([*words, "consistency=exact"]) == 0
    assert main(words) == 1
    assert "consistency was exact, is None" in capsys.readouterr().err


def test_an_evaluation_measures_and_names_it(low: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", "restorer=bicubic", "benchmark=low", "scale=2", "metrics=[psnr,lr_consistency]", "report=rep"]
    assert main([*words, "consistency=exact"]) == 0
    summary = json.loads(Path("rep/summary.json").read_text())
    assert "bicubic (consistent)" in capsys.readouterr().out
    assert "exact" in json.dumps(summary)
    assert main([*words, "consistency=exact", "degradation=dn"]) == 1
    assert "input_noise=auto" in capsys.readouterr().err
    assert main([*words, "consistency=about"]) == 1
    assert "consistency=about: exact, or null" in capsys.readouterr().err


def test_python_takes_the_same_word(low: Path) -> None:
    consistent = sr_lab.load("bicubic", scale=2, consistency="exact")
    assert np.asarray(consistent(sr_lab.read("low/noise.png"))).shape == (24, 28, 3)
