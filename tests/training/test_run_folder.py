"""A run's folder: results of this and earlier releases, and what may change when a run goes on."""

import json

import pytest

from sr_lab.config.compose import compose, plain
from sr_lab.training.resume import changes
from sr_lab.training.run_folder import RunFolder, RunResult

OLD = {
    "max_steps": 12,
    "steps": 8,
    "seconds": 1.5,
    "monitor": "val/psnr_y",
    "best": 31.0,
    "best_step": 4,
    "run_id": "a",
}


@pytest.mark.parametrize(
    ("said", "ended_by"),
    [
        (None, "steps"),
        ("pruning on val/psnr_y ended the run at step 8 of 12", "early_end"),
        ("early stopping on val/psnr_y ended the run at step 8 of 12", "early_stopping"),
    ],
)
def test_results_of_earlier_releases_are_read(tmp_path, said, ended_by):
    (tmp_path / "result.json").write_text(json.dumps({**OLD, "ended": said}))
    result = RunFolder(tmp_path).result()
    assert result == RunResult(**OLD, ended=said, ended_by=ended_by)
    RunFolder(tmp_path).write_result(result)
    assert RunFolder(tmp_path).result() == result
    assert json.loads((tmp_path / "result.json").read_text())["ended_by"] == ended_by


def test_a_run_without_an_end_and_a_damaged_result(tmp_path):
    assert RunFolder(tmp_path).result() is None
    for text in ("{", "[]", '{"max_steps": 1} more'):
        (tmp_path / "result.json").write_text(text)
        with pytest.raises(ValueError, match=r"result\.json is damaged"):
            RunFolder(tmp_path).result()


def config(*overrides: str) -> dict:
    return plain(compose("train", ["data=folder", "data.train.roots=a", "data.val.roots=b", *overrides]))


@pytest.mark.parametrize(
    "override",
    [
        *("data.num_workers=3", "data.cache=elsewhere", "val_every=500", "checkpoint_every=7", "data.train.roots=c"),
        *("data.val.roots=[c,d]", "data.holdout=[e]", "data.pin_memory=true", "data.images_on=device", "max_seconds=9"),
        *("trainer.devices=2", "trainer=ddp", "callbacks=[early_stopping]", "tracking=none", "name=other", "output=z"),
        *("model.tile=99", "pictures=0", "+tags.study=x", "longer=true", "preflight=false"),
    ],
)
def test_what_changes_no_weight_may_change(override):
    assert changes(config(), config(override)) == []


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("optimizer.lr=0.5", "optimizer.lr was 0.0001, is 0.5"),
        ("data.batch_size=3", "data.batch_size was 16, is 3"),
        ("seed=4", "seed was 0, is 4"),
        ("model.ema_decay=0.5", "model.ema_decay was 0.999, is 0.5"),
        ("data.train.channels=y", "data.train.channels was keep, is y; data.val.channels was keep, is y"),
        ("monitor=val/ssim_y", "monitor was val/psnr_y, is val/ssim_y"),
        ("initial=x", "initial was None, is x"),
    ],
)
def test_what_changes_the_weights_or_their_choice_is_told_once(override, said):
    assert "; ".join(changes(config(), config(override))) == said
    assert changes(config(), config(override), longer=True), "longer=true allows a longer schedule, nothing else"


def test_more_steps_are_allowed_where_they_are_asked_for():
    before, now = config(), config("max_steps=5000")
    assert "max_steps was 1000, is 5000" in changes(before, now)
    assert changes(before, now, longer=True) == []


def test_a_configuration_of_an_earlier_release_is_the_same_one():
    """Dotted paths that have moved, and arguments that did not exist: at their default they change nothing."""
    now = config("losses=[l1,distillation]", "losses.distillation.teacher.path=t")
    before = json.loads(json.dumps(now).replace("sr_lab.artefacts.artefact.", "sr_lab.inference.artefact."))
    assert "sr_lab.inference.artefact.load_network" in json.dumps(before)
    assert changes(before, now) == []
    for key in ("repeats", "accumulate"):
        del before["data"][key]
    assert changes(before, now) == []
    now["data"]["accumulate"] = 4
    assert changes(before, now) == ["data.accumulate was None, is 4"]
