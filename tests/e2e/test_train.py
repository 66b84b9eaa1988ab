"""The public command line on tiny data: train, kill -9, go on, evaluate."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch

from sr_lab.artefacts.artefact import load_artefact, save_artefact
from sr_lab.cli import main
from sr_lab.images import write_image
from sr_lab.training.checkpoint import load_checkpoint

pytestmark = pytest.mark.usefixtures("forked")


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    """Four smooth pictures to train on, two to validate on."""
    root = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[0:64, 0:72] / 10
    for split, count in (("train", 4), ("val", 2)):
        for index in range(count):
            phases = generator.uniform(0, 6, (3, 2))
            waves = [np.sin(rows * (1 + c) + p) * np.cos(columns + q) for c, (p, q) in enumerate(phases)]
            write_image(root / split / f"{index}.png", ((np.stack(waves, -1) + 1) * 127.5).astype(np.uint8))
    return root


def overrides(name: str, photos: Path, folder: Path, *more: str) -> list[str]:
    data = ["data=folder", f"data.train.roots={photos / 'train'}", f"data.val.roots={photos / 'val'}", "data.crop=24"]
    tiny = ["data.batch_size=2", f"data.cache={folder / 'cache'}", "model.network.num_features=8", "tracking=none"]
    steps = ["max_steps=12", "val_every=4", "checkpoint_every=2", "trainer.enable_progress_bar=false"]
    return ["train", *data, *tiny, *steps, f"name={name}", f"output={folder / name}", *more]


def test_killed_run_ends_with_the_weights_of_the_uninterrupted_one(photos, tmp_path, capsys):
    long = ["max_steps=160", "val_every=80"]  # the kill at the first checkpoint leaves it seconds of work
    assert main(overrides("whole", photos, tmp_path, *long)) == 0
    line = overrides("killed", photos, tmp_path, *long)
    process = subprocess.Popen([sys.executable, "-m", "sr_lab.cli", *line], stdout=subprocess.DEVNULL)
    checkpoint = tmp_path / "killed" / "checkpoints" / "last.ckpt"
    deadline = time.monotonic() + 240
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    stopped = load_checkpoint(checkpoint)["global_step"]
    assert stopped < 160, "the run ended before it was killed: nothing was tested"
    assert main(line) == 0
    assert f"going on from step {stopped}" in capsys.readouterr().out
    ours, expected = (load_checkpoint(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("killed", "whole"))
    for key, value in expected["state_dict"].items():
        assert torch.equal(ours["state_dict"][key], value), key
    results = [json.loads((tmp_path / name / "result.json").read_text()) for name in ("killed", "whole")]
    assert results[0]["best"] == results[1]["best"]
    assert main(line) == 0
    assert "is finished" in capsys.readouterr().out
    assert main([*line, "optimizer.lr=0.5"]) == 1
    assert "optimizer.lr was 0.0001, is 0.5" in capsys.readouterr().err
    assert main([*line, "optimizer.lr=0.5", "fresh=true", "max_steps=4", "val_every=4"]) == 0
    assert (tmp_path / "killed.1" / "checkpoints" / "last.ckpt").exists(), "the former run is kept"


def test_preflight_names_every_problem_in_one_message_and_trains_nothing(photos, tmp_path, capsys):
    bad = tmp_path / "photos"
    shutil.copytree(photos, bad)
    (bad / "train" / "0.png").write_bytes(b"not an image")
    wrong = ["data.crop=100", "val_every=5", "monitor=val/lpips", "scheduler.num_warmup=99"]
    assert main(overrides("bad", bad, tmp_path, *wrong)) == 1
    said = capsys.readouterr().err
    for problem in ("0.png", "crop=100", "val_every=5 does not divide", "val/lpips is not measured", "num_warmup=99"):
        assert problem in said
    assert not (tmp_path / "bad" / "checkpoints").exists()


def test_a_step_that_cannot_run_is_found_by_the_preflight(photos, tmp_path, capsys):
    assert main(overrides("grey", photos, tmp_path, "num_channels=1")) == 1
    assert "the network takes 1 channel, but train images have 3" in capsys.readouterr().err


def test_four_bands_are_one_message_whose_settings_train(tmp_path, capsys):
    generator = np.random.default_rng(0)
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        pixels = generator.integers(0, 256, (32, 32, 4), dtype=np.uint8)
        tifffile.imwrite(tmp_path / split / "a.tif", pixels, photometric="minisblack", planarconfig="contig")
    line = overrides("bands", tmp_path, tmp_path, "max_steps=2", "val_every=2")
    assert main(line) == 1
    settings = capsys.readouterr().err.partition("add num_channels")[2].splitlines()[0]
    assert settings == "=4 protocol=rgb_crop monitor=val/psnr_rgb"
    assert main([*line, *f"num_channels{settings}".split()]) == 0


def test_nan_ends_the_run_non_zero_naming_step_and_samples(photos, tmp_path, capsys):
    assert main(overrides("nan", photos, tmp_path, "optimizer.lr=1e30")) == 1
    assert "batch of (epoch, sample): [(" in capsys.readouterr().err
    assert not (tmp_path / "nan" / "result.json").exists()


def test_multirun_runs_every_combination_in_its_own_folder(photos, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = [part for part in overrides("grid", photos, tmp_path, "max_steps=4") if not part.startswith("output=")]
    assert main([*line, "optimizer.lr=0.001,0.002", "-m"]) == 0
    assert len(list((tmp_path / "runs" / "grid").rglob("result.json"))) == 2


def test_fine_tuning_starts_from_the_given_weights(photos, tmp_path):
    assert main(overrides("first", photos, tmp_path, "max_steps=4")) == 0
    start = [f"initial={tmp_path / 'first' / 'best'}", "optimizer.lr=0.0", "max_steps=4"]
    assert main(overrides("tuned", photos, tmp_path, *start)) == 0
    first, second = (json.loads((tmp_path / name / "result.json").read_text()) for name in ("first", "tuned"))
    assert second["best"] == pytest.approx(first["best"], abs=1e-4)


def metadata(folder: Path) -> dict:
    return json.loads((folder / "best" / "metadata.json").read_text())


def test_the_images_that_the_weights_have_seen_are_recorded_through_every_generation(photos, tmp_path):
    def hashes(folder: Path) -> list[str]:
        return sorted(hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir())

    assert main(overrides("first", photos, tmp_path, "max_steps=4")) == 0
    seen = {"train": hashes(photos / "train"), "val": hashes(photos / "val")}
    assert metadata(tmp_path / "first")["images"] == seen
    assert load_checkpoint(tmp_path / "first" / "checkpoints" / "last.ckpt")["sr_lab"]["images"] == seen
    assert "images" not in (tmp_path / "first" / "model" / "MLmodel").read_text()
    other = tmp_path / "other"
    shutil.copytree(photos / "train", other / "train")
    write_image(other / "val" / "0.png", np.full((64, 72, 3), 99, np.uint8))
    ours = load_artefact(tmp_path / "first" / "best")
    bare = {key: value for key, value in ours.metadata.items() if key != "images"}
    save_artefact(tmp_path / "bare", ours.network, config=ours.config, metadata=bare)
    for name, ancestor, images in (
        ("second", tmp_path / "first" / "best", {**seen, "val": sorted([*seen["val"], *hashes(other / "val")])}),
        ("third", tmp_path / "bare", None),
    ):
        assert main(overrides(name, other, tmp_path, "max_steps=4", f"initial={ancestor}")) == 0
        assert metadata(tmp_path / name)["images"] == images


def test_early_stopping_ends_the_run_and_says_so(photos, tmp_path, capsys):
    stop = ["callbacks=[early_stopping]", "callbacks.early_stopping.patience=1", "optimizer.lr=0.0"]
    assert main(overrides("early", photos, tmp_path, *stop)) == 0
    assert "early stopping on val/psnr_y ended the run at step 8 of 12" in capsys.readouterr().out
    assert json.loads((tmp_path / "early" / "result.json").read_text())["steps"] == 8


def test_a_run_does_not_go_on_with_other_data(photos, tmp_path, capsys):
    mine = tmp_path / "photos"
    shutil.copytree(photos, mine)
    assert main(overrides("data", mine, tmp_path, "max_steps=4")) == 0
    (tmp_path / "data" / "result.json").unlink()
    shutil.copy(mine / "val" / "0.png", mine / "val" / "again.png")
    assert main(overrides("data", mine, tmp_path, "max_steps=4")) == 1
    assert "was made on other data" in capsys.readouterr().err


def test_evaluating_the_last_checkpoint_and_the_artefact_gives_the_validated_number(photos, tmp_path):
    assert main(overrides("both", photos, tmp_path, "max_steps=4")) == 0
    run = tmp_path / "both"
    best = json.loads((run / "result.json").read_text())["best"]
    for restorer in (run / "best", run / "checkpoints" / "last.ckpt", run / "model"):
        where = [f"restorer={restorer}", f"benchmark={photos / 'val'}", "scale=2", f"report={tmp_path / 'report'}"]
        assert main(["evaluate", *where, "metrics=[psnr]"]) == 0
        found = json.loads((tmp_path / "report" / "summary.json").read_text())["psnr_y"]
        assert found == pytest.approx(best, abs=1e-3)


def test_draws_of_chosen_batches_are_recorded_with_the_run(photos, tmp_path):
    tracked = [
        "tracking=mlflow",
        "tracking.ship=false",
        "tracking.system_seconds=0",
        f"tracking.uri=sqlite:///{tmp_path}/m.db",
    ]
    line = overrides("drawn", photos, tmp_path, "max_steps=8", "degradation=blind_gaussian", "data.degrade_in=worker")
    assert main([*[part for part in line if part != "tracking=none"], *tracked]) == 0
    kept = (tmp_path / "drawn" / "tracking" / "files").iterdir()
    texts = [file.read_text(errors="replace") for file in kept if file.is_file()]
    recorded = [json.loads(text) for text in texts if text.lstrip().startswith("[") and '"draw"' in text]
    assert len(recorded) == 2, "one batch at step 0, one at step 4"
    assert all(len(batch) == 2 and batch[0]["draw"] for batch in recorded)
    samples = [sample for batch in recorded for sample in batch]
    assert {sample["file"] for sample in samples} <= {f"{number}.png" for number in range(4)}
    assert all("sigma" in " ".join(sample["words"].values()) for sample in samples), samples[0]["words"]


def test_a_degradation_that_the_data_do_not_use_is_refused_where_it_was_chosen(tmp_path, capsys):
    pairs = [f"data.{split}.{part}={tmp_path}" for split in ("train", "val") for part in ("high", "low")]
    line = ["train", "data=paired", *pairs, f"output={tmp_path / 'run'}"]
    assert main([*line, "degradation=realesrgan"]) == 2
    assert "degradation=... is used by nothing" in capsys.readouterr().err
    assert main(line) == 1, "the default one is composed, and refuses nothing"
    assert "holds no image file" in capsys.readouterr().err


def test_images_on_the_device_and_blocks_of_steps_give_the_same_weights(photos, tmp_path):
    assert main(overrides("plain", photos, tmp_path)) == 0
    fast = ["data.images_on=device", "data.steps_per_batch=2"]
    assert main(overrides("fast", photos, tmp_path, *fast)) == 0
    ours, expected = (load_checkpoint(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("fast", "plain"))
    assert ours["global_step"] == expected["global_step"] == 12
    for key, value in expected["state_dict"].items():
        assert torch.equal(ours["state_dict"][key], value), key


def test_blocks_that_do_not_divide_the_run_are_refused(photos, tmp_path, capsys):
    assert main(overrides("odd", photos, tmp_path, "data.steps_per_batch=8")) == 1
    said = capsys.readouterr().err
    for name in ("max_steps=12", "val_every=4", "checkpoint_every=2"):
        assert f"data.steps_per_batch=8 does not divide {name}" in said


def test_a_run_pauses_when_its_time_is_over_and_the_same_command_ends_with_the_same_weights(photos, tmp_path, capsys):
    assert main(overrides("whole", photos, tmp_path)) == 0
    line = overrides("paused", photos, tmp_path, "max_seconds=0.001", "data.steps_per_batch=4", "checkpoint_every=4")
    codes = [main(line)]
    while codes[-1] == 75 and len(codes) < 4:
        codes.append(main(line))
    said = capsys.readouterr().out
    assert codes == [75, 75, 0], "three blocks of four steps, a pause after each but the last"
    assert "paused at step 8 of 12; the same command goes on" in said
    ours, expected = (load_checkpoint(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("paused", "whole"))
    for key, value in expected["state_dict"].items():
        assert torch.equal(ours["state_dict"][key], value), key
