"""From a trained network to smaller, larger-scaled and foreign ones: every way through the public commands."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from sr_lab.artefacts.artefact import load_artefact
from sr_lab.cli import main
from sr_lab.images import write_image
from sr_lab.networks.community import Community
from sr_lab.networks.compact import Compact
from sr_lab.networks.keys import public_state_dict


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Two pictures to train on, one to validate on, and a network that was trained for a few steps."""
    folder = tmp_path_factory.mktemp("smaller")
    rows, columns = np.mgrid[0:48, 0:56] / 6
    for index, name in enumerate(["train/0.png", "train/1.png", "val/2.png"]):
        waves = [np.sin(rows * (1 + c) + index) * np.cos(columns + c * index) for c in range(3)]
        write_image(folder / name, ((np.stack(waves, -1) + 1) * 127.5).astype(np.uint8))
    train(folder, "big", "model.network.num_features=16", "model.network.num_blocks=2")
    return folder


def train(root: Path, name: str, *more: str) -> dict:
    data = ["data=folder", f"data.train.roots={root / 'train'}", f"data.val.roots={root / 'val'}", "data.crop=24"]
    quiet = ["tracking=none", "trainer.enable_progress_bar=false", "pictures=0", f"data.cache={root / 'cache'}"]
    steps = ["data.batch_size=2", "max_steps=4", "val_every=4", "checkpoint_every=4", "scheduler.num_warmup=1"]
    assert main(["train", *data, *quiet, *steps, f"name={name}", f"output={root / name}", *more]) == 0
    return json.loads((root / name / "result.json").read_text())


def test_pruned_and_fine_tuned(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["prune", f"artefact={root / 'big' / 'best'}", f"output={root / 'pruned'}", "amount=0.5"]
    assert main([*line, "criterion=taylor", f"criterion.photos={root / 'train'}"]) == 0
    assert "parameters" in capsys.readouterr().out
    big, pruned = load_artefact(root / "big" / "best"), load_artefact(root / "pruned")
    assert pruned.config["model"]["network"]["widths"] == [8, 8]
    assert pruned.network.num_parameters < big.network.num_parameters
    assert pruned.metadata["images"] == big.metadata["images"]
    assert pruned.metadata["parents"][0]["weights"] == big.metadata["sha256"]["weights.safetensors"]
    train(root, "tuned", "model/network=artefact", f"initial={root / 'pruned'}", "optimizer.lr=0.0")
    tuned = load_artefact(root / "tuned" / "best")
    assert tuned.config["model"]["network"]["widths"] == [8, 8]
    for key, value in pruned.network.state_dict().items():
        torch.testing.assert_close(tuned.network.state_dict()[key], value)
    assert set(big.metadata["images"]["train"]) <= set(tuned.metadata["images"]["train"])


def test_an_artefact_that_nobody_named(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "model/network=artefact", f"output={root / 'none'}", "tracking=none"]) == 1
    assert "model/network=artefact takes initial=PATH" in capsys.readouterr().err


def test_distilled(root: Path) -> None:
    teacher = f"losses.distillation.teacher.path={root / 'big' / 'best'}"
    train(root, "student", "losses=[l1,distillation]", teacher, "model.network.num_features=8")
    student = load_artefact(root / "student" / "best")
    assert student.config["model"]["network"]["num_features"] == 8
    assert student.metadata["images"] == load_artefact(root / "big" / "best").metadata["images"]


def test_what_the_teacher_has_seen_is_part_of_the_history(root: Path) -> None:
    folder = root / "other"
    write_image(folder / "train" / "9.png", np.random.default_rng(9).integers(0, 255, (48, 48, 3), dtype=np.uint8))
    teacher = f"losses.distillation.teacher.path={root / 'big' / 'best'}"
    more = ["losses=[distillation]", teacher, f"data.train.roots={folder / 'train'}", "model.network.num_features=8"]
    train(root, "apart", *more)
    seen = load_artefact(root / "apart" / "best").metadata["images"]["train"]
    assert len(seen) == 3
    assert set(load_artefact(root / "big" / "best").metadata["images"]["train"]) < set(seen)


def test_x4_starts_from_x2(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = ["model.network.num_features=16", "model.network.num_blocks=2", "optimizer.lr=0.0", "scale=4"]
    train(root, "four", *sizes, f"initial={root / 'big' / 'best'}")
    assert "of another scale; these start anew: upsampler.2.weight" in capsys.readouterr().out
    two, four = (load_artefact(root / name / "best").network.state_dict() for name in ("big", "four"))
    for key in ("head.weight", "body.1.body.0.weight", "upsampler.0.weight", "tail.weight"):
        torch.testing.assert_close(four[key], two[key])


def test_fine_tuning_a_community_network_from_its_weights(root: Path) -> None:
    pytest.importorskip("spandrel")
    torch.manual_seed(0)
    weights = root / "public.pth"
    torch.save({"params": public_state_dict(Compact(scale=2, num_features=8, num_convs=2), "Real-ESRGAN")}, weights)
    train(root, "community", "model/network=community", f"model.network.path={weights}", "optimizer.lr=0.001")
    weights.rename(root / "moved.pth")
    tuned = load_artefact(root / "community" / "best").network
    assert isinstance(tuned, Community)
    for restorer in (root / "community" / "best", root / "community" / "model", root / "moved.pth"):
        where = [f"benchmark={root / 'val'}", "scale=2", f"report={root / 'report'}", "metrics=[psnr]", "device=cpu"]
        assert main(["evaluate", f"restorer={restorer}", *where]) == 0
    again = ["model/network=artefact", f"initial={root / 'community' / 'best'}", "optimizer.lr=0.0"]
    train(root, "again", *again)
    state = load_artefact(root / "again" / "best").network.state_dict()
    for key, value in tuned.state_dict().items():
        torch.testing.assert_close(state[key], value)
