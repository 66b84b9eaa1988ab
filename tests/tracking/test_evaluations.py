"""What is recorded of an evaluation belongs to the run whose weights were measured."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sr_lab.artefacts.artefact import save_artefact
from sr_lab.cli import main
from sr_lab.images import write_image
from sr_lab.networks.srcnn import SRCNN
from sr_lab.tracking.evaluations import ForeignWeights, name_of, require_own_weights, weights_of
from sr_lab.tracking.run import Run

pytestmark = pytest.mark.usefixtures("forked")

NODE = {"_target_": "sr_lab.networks.srcnn.SRCNN", "scale": 2, "num_channels": 3}


def run(folder: Path, *, seed: int) -> Path:
    """A finished run with ``best`` and ``model``, which is sent nowhere."""
    torch.manual_seed(seed)
    network = SRCNN(scale=2, num_channels=3)
    for name in ("best", "model"):
        save_artefact(folder / name, network, config={"model": {"network": NODE}}, metadata={})
    (folder / "model" / "MLmodel").write_text("flavors: {}\n")
    tracked = Run(
        uri=f"sqlite:///{folder}/mlflow.db", experiment="e", name="r", directory=folder / "tracking", ship=False,
        system_seconds=0, observe=False,
    )  # fmt: skip
    tracked.log_model(folder / "model")
    tracked.finish()
    return folder


def weights(folder: Path) -> str:
    return str(json.loads((folder / "best" / "metadata.json").read_text())["sha256"]["weights.safetensors"])


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Path, Path]:
    return run(tmp_path / "A", seed=0), run(tmp_path / "B", seed=1)


def test_only_a_runs_own_weights_are_recorded_in_it(runs: tuple[Path, Path]) -> None:
    one, other = runs
    assert weights_of(one) == weights(one)
    require_own_weights(one, restorer="x", weights=weights(one))
    for foreign in (weights(other), None):
        with pytest.raises(ForeignWeights, match=r"restorer=x has .*run=.*A has recorded"):
            require_own_weights(one, restorer="x", weights=foreign)
    with pytest.raises(ValueError, match="holds no tracked run"):
        require_own_weights(one / "best", restorer="x", weights=weights(one))


def test_weights_that_a_cache_put_in_the_runs_place_are_not_the_runs(runs: tuple[Path, Path]) -> None:
    one, other = runs
    for name in ("best", "model"):
        (one / name).rename(one / f"{name}.own")
        (other / name).rename(one / name)
    with pytest.raises(ForeignWeights):
        require_own_weights(one, restorer=str(one / "best"), weights=weights(one))


def test_the_command_refuses_before_it_measures(
    runs: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, other = runs
    write_image(tmp_path / "photos" / "a.png", np.zeros((32, 32, 3), np.uint8))
    words = [
        f"benchmark={tmp_path / 'photos'}",
        "scale=2",
        f"report={tmp_path / 'out'}",
        "metrics=[psnr]",
        f"run={one}",
    ]
    before = (one / "tracking" / "events.jsonl").read_bytes()
    for restorer, extra in ((other / "best", []), ("bicubic", []), (one / "best", ["self_ensemble=true"])):
        assert main(["evaluate", f"restorer={restorer}", "device=cpu", *words, *extra]) == 1
        error = capsys.readouterr().err
        assert str(one) in error
        assert extra or f"restorer={restorer}" in error
    assert not (tmp_path / "out" / "summary.json").exists()
    assert (one / "tracking" / "events.jsonl").read_bytes() == before


def test_names_tell_folder_and_scale(tmp_path: Path) -> None:
    assert name_of(tmp_path / "Bench" / "Set5" / "x4", 4) == "set5_x4"


def test_projected_images_are_recorded_beside_the_models_own(runs: tuple[Path, Path], tmp_path: Path) -> None:
    one, _ = runs
    noise = np.random.default_rng(0).integers(0, 256, (48, 48, 3), np.uint8)
    write_image(tmp_path / "photos" / "a.png", noise)
    words = [f"restorer={one / 'best'}", f"benchmark={tmp_path / 'photos'}", "scale=2", "metrics=[lr_consistency]"]
    for more in ([], ["consistency=exact"]):
        assert main(["evaluate", *words, f"report={tmp_path / 'report'}", f"run={one}", *more]) == 0
    written = "".join(file.read_text() for file in (one / "tracking").rglob("*.jsonl"))
    name = name_of(tmp_path / "photos", 2)
    assert f"test/{name}/lr_consistency" in written
    assert f"test/{name}_consistent/lr_consistency" in written
