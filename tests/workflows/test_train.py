"""Training as a workflow over live objects: what it gives back, and what a signal leaves."""

import json
import os
import signal
from collections import Counter
from functools import partial

import pytest
import pytorch_lightning as pl
import torch

from sr_lab.base.signals import Stopped
from sr_lab.data.datamodule import SRDataModule
from sr_lab.data.sources import FolderSource
from sr_lab.degradations.resize import Bicubic
from sr_lab.images import write_image
from sr_lab.losses.pixel import L1
from sr_lab.metrics.protocol import RGBCrop
from sr_lab.metrics.psnr import PSNR
from sr_lab.networks.edsr import EDSR
from sr_lab.tracking.none import NoRun
from sr_lab.tracking.run import Run as TrackedRun
from sr_lab.training.checkpoint import load_checkpoint
from sr_lab.training.regression import Regression
from sr_lab.workflows.train import train

NETWORK = {"_target_": "sr_lab.networks.edsr.EDSR", "scale": 2, "num_blocks": 1, "num_features": 4}


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    root, generator = tmp_path_factory.mktemp("photos"), torch.Generator().manual_seed(3)
    for name in ("train/a.png", "train/b.png", "val/c.png"):
        write_image(root / name, torch.randint(0, 256, (32, 36, 3), generator=generator, dtype=torch.uint8).numpy())
    return root


def data(photos, folder) -> SRDataModule:
    return SRDataModule(
        name="tiny",
        train=FolderSource(roots=photos / "train"),
        val=FolderSource(roots=photos / "val"),
        degradation=Bicubic(scale=2),
        scale=2,
        crop=16,
        batch_size=2,
        seed=0,
        cache=folder / "cache",
        augment="none",
    )


def module() -> Regression:
    return Regression(
        network=EDSR(scale=2, num_blocks=1, num_features=4),
        losses={"l1": L1()},
        metrics={"psnr": PSNR(protocol=RGBCrop(), scale=2)},
        optimizer=partial(torch.optim.Adam, lr=1e-3),
        ema_decay=0.9,
    )


def run(photos, folder, name="run", **changes):
    arguments = {
        "module": module,
        "data": lambda: data(photos, folder),
        "trainer": partial(pl.Trainer, accelerator="cpu", log_every_n_steps=1),
        "tracking": NoRun,
        "output": folder / name,
        "config": {"model": {"network": NETWORK}},
        "name": name,
        "protocol": "rgb_crop",
        "max_steps": 6,
        "val_every": 3,
        "checkpoint_every": 6,
        "monitor": "val/psnr_rgb",
        "preflight": False,
    }
    return train(**(arguments | changes))


@pytest.fixture(scope="module")
def whole(photos, tmp_path_factory):
    """The folder of a run that nothing stopped."""
    folder = tmp_path_factory.mktemp("whole")
    run(photos, folder)
    return folder / "run"


def weights(folder):
    return load_checkpoint(folder / "checkpoints" / "last.ckpt")["state_dict"]


class Signal(pl.Callback):
    """Sends a signal to this process during a step."""

    def __init__(self, signum, *, at):
        self.signum, self.at = signum, at

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.at:
            os.kill(os.getpid(), self.signum)


def test_a_run_says_where_its_weights_are_and_how_it_ended_and_prints_nothing(photos, tmp_path, capsys):
    done = run(photos, tmp_path)
    assert done.best == tmp_path / "run" / "best"
    assert (done.ended, done.result.steps, done.paused, done.was_finished) == ("steps", 6, None, False)
    assert done.metrics["val/psnr_rgb"] == pytest.approx(done.result.best)
    assert done.benchmark == photos / "val"
    assert run(photos, tmp_path).was_finished
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_writes_a_checkpoint_and_the_run_ends_as_if_it_had_not_come(photos, tmp_path, whole, signum):
    """It comes during a step without validation: the checkpoint is of that step, though none was due."""
    tracked = partial(
        TrackedRun, uri=f"sqlite:///{tmp_path}/m.db", experiment="e", ship=False, system_seconds=0, observe=False
    )
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with pytest.raises(Stopped, match="the checkpoint of step 4 of 6 is written") as stop:
        run(photos, tmp_path, tracking=tracked, callbacks=[Signal(signum, at=3)])
    assert stop.value.goes_on
    assert stop.value.exit_code == 128 + signum
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
    assert load_checkpoint(tmp_path / "run" / "checkpoints" / "last.ckpt")["global_step"] == 4
    if signum == signal.SIGINT:
        return
    assert run(photos, tmp_path, tracking=tracked).ended == "steps"
    for key, value in weights(whole).items():
        assert torch.equal(weights(tmp_path / "run")[key], value), key
    lines = (tmp_path / "run" / "tracking" / "events.jsonl").read_text().splitlines()
    events = [json.loads(line) for line in lines]
    assert [event["status"] for event in events if event["kind"] == "status"] == ["KILLED", "FINISHED"]
    metrics = [event for event in events if event["kind"] == "metrics"]
    counts = Counter((event["step"], key) for event in metrics for key in event["values"])
    assert set(counts.values()) == {1}, "each metric once"
    assert sorted(step for step, key in counts if key == "train/loss") == [1, 2, 3, 4, 5, 6]
    tags = next(event["tags"] for event in events if event["kind"] == "session")
    assert {key: tags[key] for key in ("network", "losses", "degradation", "algorithm")} == {
        "network": "EDSR",
        "losses": "l1",
        "degradation": "Bicubic",
        "algorithm": "Regression",
    }


def test_a_finished_run_is_trained_longer_where_that_is_asked_for(photos, tmp_path):
    first = run(photos, tmp_path)
    config = {"model": {"network": NETWORK}, "max_steps": 9}
    with pytest.raises(ValueError, match=r"longer=true goes on from step 6 under the schedule of max_steps=9"):
        run(photos, tmp_path, max_steps=9, config=config)
    done = run(photos, tmp_path, max_steps=9, config=config, longer=True)
    assert (done.result.steps, done.ended) == (9, "steps")
    assert done.result.best >= first.result.best
    run(photos, tmp_path, "whole", max_steps=9, config=config)  # without a schedule they are the same training
    for key, value in weights(tmp_path / "whole").items():
        assert torch.equal(weights(tmp_path / "run")[key], value), key


@pytest.mark.parametrize(
    "setting", [{"max_epochs": 3}, {"use_distributed_sampler": True}, {"enable_checkpointing": True}]
)
def test_a_trainer_that_would_not_do_what_is_configured_is_refused(photos, tmp_path, setting):
    with pytest.raises(ValueError, match=rf"trainer\.{next(iter(setting))}=.*must be"):
        run(photos, tmp_path, trainer=partial(pl.Trainer, accelerator="cpu", **setting))


def test_a_folder_in_use_is_refused(photos, tmp_path):
    from filelock import FileLock

    (tmp_path / "run").mkdir()
    with FileLock(tmp_path / "run" / ".lock"), pytest.raises(ValueError, match="is in use by another run"):
        run(photos, tmp_path)


class Breaks(L1):
    """Is no number from its third call on."""

    calls = 0

    def forward(self, restored, target):
        self.calls += 1
        return super().forward(restored, target) * (float("nan") if self.calls > 2 else 1.0)


@pytest.mark.parametrize(
    ("every", "said"), [(6, "no checkpoint was written before"), (2, "the checkpoint of step 2 holds finite weights")]
)
def test_a_loss_that_is_not_finite_names_the_checkpoint_that_there_is(photos, tmp_path, every, said):
    def breaking() -> Regression:
        made = module()
        made.losses["l1"] = Breaks()
        return made

    with pytest.raises(RuntimeError, match=f"step 2: l1=nan.*; {said}$"):
        run(photos, tmp_path, module=breaking, checkpoint_every=every)
    assert (tmp_path / "run" / "checkpoints").exists() == (every == 2)
