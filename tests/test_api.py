"""``import sr_lab``: light, complete, and every example in a docstring runs."""

import doctest
import importlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

import sr_lab
from sr_lab import api
from sr_lab.images import to_uint8

PACKAGE = Path(sr_lab.__file__).parent
WITH_EXAMPLES = sorted(
    ".".join(["sr_lab", *file.relative_to(PACKAGE).with_suffix("").parts]).removesuffix(".__init__")
    for file in PACKAGE.rglob("*.py")
    if ">>> " in file.read_text(encoding="utf-8")
)


@pytest.mark.parametrize("module", WITH_EXAMPLES)
def test_the_examples_run(module: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = doctest.testmod(
        importlib.import_module(module), optionflags=doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    )
    assert result.attempted > 0
    assert result.failed == 0


def test_every_function_of_the_api_has_an_example() -> None:
    needs_more = {"lpips"}  # weights that may not be there
    functions = [name for name in sr_lab.__all__ if name[0].islower() and name not in needs_more]
    assert [name for name in functions if ">>> " not in (getattr(sr_lab, name).__doc__ or "")] == []


def test_importing_costs_nothing() -> None:
    code = (
        "import sr_lab, sys; print(sorted({'torch', 'numpy', 'hydra', 'mlflow', 'pytorch_lightning'} & {*sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_every_name_is_there_and_others_are_named() -> None:
    for name in sr_lab.__all__:
        assert getattr(sr_lab, name) is not None
        assert name in dir(sr_lab)
    with pytest.raises(AttributeError, match="no attribute 'evalute'"):
        _ = sr_lab.evalute


def test_degradations_take_each_form_of_an_image_and_replay(tmp_path: Path) -> None:
    photo = np.random.default_rng(3).integers(0, 256, (34, 49, 3), dtype=np.uint8)
    sr_lab.write(tmp_path / "photo.png", photo)
    degrade = sr_lab.degradation("realesrgan", scale=4)
    low = degrade(photo, seed=5)
    assert low.shape == (8, 12, 3)
    assert np.array_equal(degrade(tmp_path / "photo.png", seed=5), low)
    tensor = degrade(torch.from_numpy(photo).permute(2, 0, 1) / 255, seed=5)
    assert np.array_equal(to_uint8(tensor)[:].permute(1, 2, 0).numpy(), low)
    assert not np.array_equal(degrade(photo, seed=6), low)
    assert np.array_equal(degrade.replay(photo, degrade.record(degrade.draw(seed=5))), low)
    with pytest.raises(ValueError, match="2 records for 1 image"):
        degrade.replay(photo, degrade.record(degrade.draw(2)))
    deep = sr_lab.degradation("bicubic", scale=2)(photo.astype(np.uint16) * 257)
    assert deep.dtype == np.uint16


def test_settings_and_names_are_checked() -> None:
    assert sr_lab.degradation("blind_gaussian", scale=2).scale == 2
    with pytest.raises(sr_lab.ConfigError, match="realesrgan"):
        sr_lab.degradation("realesgan")
    with pytest.raises(sr_lab.SRLabError, match="unknown key"):
        sr_lab.policy("default", alhpa=0.1)
    with pytest.raises(sr_lab.ConfigError, match="ssmi"):
        sr_lab.policy("default", without=["ssmi"])


def test_tasks_and_further_restorers_stand_in_one_table(tmp_path: Path) -> None:
    from sr_lab.tasks.detectors import Cascade
    from sr_lab.tasks.objects import Face

    sr_lab.write(tmp_path / "grey.png", np.full((48, 48, 3), 128, np.uint8))

    def nearest(low: torch.Tensor) -> torch.Tensor:
        return low.repeat_interleave(2, -1).repeat_interleave(2, -2)

    own = Face(detector=Cascade(), name="own")
    scores = sr_lab.evaluate("bicubic", tmp_path, scale=2, metrics=["psnr"], tasks=["face", own], beside=[nearest])
    assert scores.names == ("bicubic", "nearest")
    assert set(scores.tasks["metric"]) == {"face_precision", "own_precision"}, "of a page without faces no recall"
    assert list(scores.tasks["source"].unique()) == ["low", "bicubic", "nearest", "original"]
    with pytest.raises(ValueError, match="two restorers are called nearest"):
        sr_lab.evaluate("bicubic", tmp_path, scale=2, beside=[nearest, nearest])
    with pytest.raises(sr_lab.ConfigError, match="barcode"):
        sr_lab.evaluate("bicubic", tmp_path, scale=2, tasks=["barcod"])


def test_settings_of_restoring_are_heeded(tmp_path: Path) -> None:
    sr_lab.write(tmp_path / "noise.png", np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8))
    plain, projected = (
        sr_lab.evaluate("edge", tmp_path, scale=2, metrics=["lr_consistency"], consistency=wish)
        for wish in (None, "exact")
    )
    assert projected.mean("lr_consistency") > plain.mean("lr_consistency") + 10


def test_a_comparison_goes_through_the_gate(tmp_path: Path) -> None:
    for number in range(3):
        noise = np.random.default_rng(number).integers(0, 256, (12, 12, 3), dtype=np.uint8)
        sr_lab.write(tmp_path / f"{number}.png", noise.repeat(4, 0).repeat(4, 1))
    found = sr_lab.compare("bicubic", lambda low: low.repeat_interleave(2, -1).repeat_interleave(2, -2) * 0.5, tmp_path,
                           scale=2, metrics=["psnr", "ssim"])  # fmt: skip
    ours, theirs = found.measurements
    assert isinstance(ours, sr_lab.Measurement)
    assert (ours.seen, theirs.seen) == (frozenset(), None), "of a function nobody knows what it has learnt from"
    policy = sr_lab.policy("default", without=["latency", "memory"])
    assert isinstance(policy, sr_lab.Policy)
    decision = sr_lab.gate(ours, None, policy, baseline=theirs)
    assert isinstance(decision, sr_lab.Decision)
    assert not {"latency", "memory"} & {reason.check for reason in decision.reasons}


def test_where_no_store_is_named_the_environment_s_is_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sr_lab.workflows.history import history
    from sr_lab.workflows.load import load_restorer

    monkeypatch.chdir(tmp_path)
    for variable, place in (("sqlite:///elsewhere.db", "elsewhere.db"), (None, "mlflow.db")):
        if variable is None:
            monkeypatch.delenv("MLFLOW_TRACKING_URI")
        else:
            monkeypatch.setenv("MLFLOW_TRACKING_URI", variable)
        for call in (lambda: load_restorer("models:/photos@champion"), lambda: history(name="photos")):
            with pytest.raises(ValueError, match=f"there is no tracking store at .*{place}"):
                call()


def test_metrics_are_those_of_the_protocol(shared: Path) -> None:
    folder = shared / "datasets" / "benchmark" / "Set5" / "x4"
    high = sorted((folder / "HR").iterdir())[0]
    target = sr_lab.read(high)
    height, width = (side - side % 4 for side in target.shape[:2])
    target = target[:height, :width]
    low = sr_lab.degradation("bicubic", scale=4)(target)
    restored = api.load("bicubic", scale=4)(low)
    assert restored.shape == target.shape
    assert sr_lab.psnr(restored, target, protocol="y_crop", scale=4) == pytest.approx(31.78, abs=0.02)
    assert 0.8 < sr_lab.ssim(restored, target, scale=4) < 0.9
    assert sr_lab.lpips(restored, target, weights=shared / "weights") > 0.2
