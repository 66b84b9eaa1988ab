"""Checkpoints: a resumed run equals the uninterrupted one, and a failing disk ends the run."""

import resource

import pytest
import pytorch_lightning as pl
import torch

from sr_lab.training.checkpoint import CheckpointError, KeepBest, KeepLast, load_checkpoint
from sr_lab.training.schedule import warmup_cosine


class StopAt(pl.Callback):
    """Ends the process' run as a kill would: after a step, without any further hook of ours."""

    def __init__(self, step):
        self.step = step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step >= self.step:
            raise KeyboardInterrupt


class Validations(pl.Callback):
    def __init__(self):
        self.seen = {}

    def on_validation_end(self, trainer, pl_module):
        assert trainer.global_step not in self.seen, "validated twice at one step"
        self.seen[trainer.global_step] = float(trainer.callback_metrics["val/psnr_rgb"])


def fit(make_module, make_trainer, data, directory, *, stop=None, resume=False, accumulate=1, block=1):
    data.accumulate, data.block = accumulate, block
    module = make_module(
        scheduler=lambda optimizer: warmup_cosine(optimizer, num_steps=12, num_warmup=3),
    )
    validations, kept = Validations(), []
    best = KeepBest(monitor="val/psnr_rgb", mode="max", save=lambda network, numbers: kept.append(numbers["step"]))
    last = KeepLast(directory=directory, every=2, provenance={"config": {"a": 1}})
    trainer = make_trainer(
        12,
        val_check_interval=4 // block,
        callbacks=[*([StopAt(stop)] if stop else []), validations, best, last],
    )
    path = directory / "last.ckpt" if resume else None
    if stop:
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            trainer.fit(module, data, ckpt_path=path)
    else:
        trainer.fit(module, data, ckpt_path=path)
        assert trainer.global_step == 12
    return module, validations.seen, best


@pytest.mark.parametrize(
    ("stop", "accumulate", "block"),
    [(stop, accumulate, 1) for stop in (3, 4, 5, 8, 11) for accumulate in (1, 2)] + [(5, 1, 2), (8, 1, 2), (5, 2, 4)],
)
def test_resumed_run_equals_the_uninterrupted_one_to_the_last_bit(
    make_module, make_trainer, data, tmp_path, stop, accumulate, block
):
    """Also where the uninterrupted one goes step by step and the other in blocks of several."""
    whole, seen, best = fit(make_module, make_trainer, data, tmp_path / "whole", accumulate=accumulate)
    directory = tmp_path / "parts"
    blocks = {"accumulate": accumulate, "block": block}
    _, first, _ = fit(make_module, make_trainer, data, directory, stop=stop, **blocks)
    resumed, second, best_resumed = fit(make_module, make_trainer, data, directory, resume=True, **blocks)
    for (name, ours), expected in zip(resumed.state_dict().items(), whole.state_dict().values(), strict=True):
        assert torch.equal(ours, expected), name
    assert seen == first | second
    assert (best_resumed.best, best_resumed.best_step) == (best.best, best.best_step)


def test_checkpoint_holds_raw_weights_ema_optimizer_schedule_and_provenance(make_module, make_trainer, data, tmp_path):
    fit(make_module, make_trainer, data, tmp_path)
    content = load_checkpoint(tmp_path / "last.ckpt")
    names = set(content["state_dict"])
    assert {"network.head.weight", "ema.module.head.weight", "ema.n_averaged"} <= names
    assert content["optimizer_states"][0]["state"]
    assert content["lr_schedulers"]
    assert content["sr_lab"] == {"config": {"a": 1}}
    assert "cpu" in content["random"]


def test_failing_disk_ends_the_run_naming_step_and_file_and_keeps_the_former_checkpoint(
    make_module, make_trainer, data, tmp_path
):
    fit(make_module, make_trainer, data, tmp_path, stop=5)
    before = (tmp_path / "last.ckpt").read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, limits[1]))
    try:
        with pytest.raises(CheckpointError, match=r"step 6: cannot write checkpoint .*last\.ckpt.*Free some disk"):
            fit(make_module, make_trainer, data, tmp_path, resume=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (tmp_path / "last.ckpt").read_bytes() == before
    assert [file.name for file in tmp_path.iterdir() if "ckpt" in file.name] == ["last.ckpt"]


def test_torn_checkpoint_is_named(tmp_path):
    (tmp_path / "last.ckpt").write_bytes(b"PK\x03\x04 torn")
    with pytest.raises(ValueError, match=r"last\.ckpt is not a whole checkpoint"):
        load_checkpoint(tmp_path / "last.ckpt")


def test_checkpoint_with_code_in_it_is_not_executed(tmp_path):
    class Evil:
        def __reduce__(self):
            return (exec, ("raise SystemExit('executed')",))

    torch.save({"state_dict": {}, "evil": Evil()}, tmp_path / "last.ckpt")
    with pytest.raises(ValueError, match="not a whole checkpoint"):
        load_checkpoint(tmp_path / "last.ckpt")


def test_monitor_that_is_not_logged(make_module, make_trainer, data):
    best = KeepBest(monitor="val/ssim_y", mode="max", save=lambda *_: None)
    with pytest.raises(ValueError, match="monitor=val/ssim_y was not logged; logged: val/psnr_rgb"):
        make_trainer(1, callbacks=[best]).fit(make_module(), data)
