"""Two processes (DDP over gloo, CPU) train as one with the same global batch, through the command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from holding import PATIENCE, environment, signalled

from sr_lab.cli import main
from sr_lab.data.sampler import KeyedBatchSampler
from sr_lab.images import write_image
from sr_lab.training.checkpoint import load_checkpoint

# six processes train: a busy machine takes minutes
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800), pytest.mark.usefixtures("forked")]


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    for split, count in (("train", 3), ("val", 3)):
        for index in range(count):
            write_image(root / split / f"{index}.png", generator.integers(0, 255, (40, 48, 3), dtype=np.uint8))
    return root


def line(name: str, photos: Path, folder: Path, batch_size: int, *more: str) -> list[str]:
    data = ["data=folder", f"data.train.roots={photos / 'train'}", f"data.val.roots={photos / 'val'}", "data.crop=16"]
    tiny = [f"data.batch_size={batch_size}", f"data.cache={folder / 'cache'}", "model.network.num_features=8"]
    plain = ["optimizer._target_=torch.optim.SGD", "~optimizer.betas", "optimizer.lr=1.0", "scheduler=constant"]
    steps = ["max_steps=4", "val_every=2", "checkpoint_every=1", "model.ema_decay=0.5", "preflight=false"]
    quiet = ["trainer.enable_progress_bar=false", "trainer.log_every_n_steps=1", "trainer.accelerator=cpu"]
    store = ["tracking.ship=false", "tracking.system_seconds=0", f"tracking.uri=sqlite:///{folder / 'm.db'}"]
    return ["train", *data, *tiny, *plain, *steps, *quiet, *store, f"name={name}", f"output={folder / name}", *more]


def begun_in_two(words: list[str], env: dict[str, str]) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "sr_lab.cli", *words, "trainer=ddp", "trainer.devices=2"]
    return subprocess.Popen(command, env=env | {"OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE, text=True)


def run_in_two(words: list[str]) -> int:
    process = begun_in_two(words, dict(os.environ))
    print(process.communicate()[1])
    return process.returncode


def stopped_in_two(words: list[str], folder: Path, *, step: int) -> tuple[int, str]:
    """Exit code and words of a run whose first process gets SIGTERM while both are held before ``step``."""
    hold = ["+callbacks.hold._target_=held.Hold", f"+callbacks.hold.folder={folder}", f"+callbacks.hold.step={step}"]
    process = begun_in_two([*words, *hold], environment(folder))
    try:
        signalled(process, folder, "0", "1")
        told = process.communicate(timeout=PATIENCE)[1]
    finally:
        process.kill()
    return process.returncode, told


@pytest.fixture(scope="module")
def runs(photos, tmp_path_factory) -> tuple[Path, Path]:
    """Folders of a run by one process with batches of 4, and by two with 2 each, paused and stopped on the way."""
    folder = tmp_path_factory.mktemp("runs")
    assert main(line("one", photos, folder, 4)) == 0
    two, last = line("two", photos, folder, 2), folder / "two" / "checkpoints" / "last.ckpt"
    assert run_in_two([*two, "max_seconds=0.001"]) == 75
    assert load_checkpoint(last)["global_step"] == 1
    code, told = stopped_in_two(two, folder / "held", step=2)
    assert code == 143, told
    assert "stopped by SIGTERM: the checkpoint of step 3 of 4 is written" in told
    assert load_checkpoint(last)["global_step"] == 3
    assert run_in_two(two) == 0
    return folder / "one", folder / "two"


def recorded(run: Path) -> dict[str, dict[int, float]]:
    numbers: dict[str, dict[int, float]] = {}
    for text in (run / "tracking" / "events.jsonl").read_text().splitlines():
        event = json.loads(text)
        if event["kind"] == "metrics":
            for key, value in event["values"].items():
                assert event["step"] not in numbers.setdefault(key, {}), f"{key} is recorded twice"
                numbers[key][event["step"]] = value
    return numbers


def test_weights_and_average_are_those_of_one_process_after_a_pause_and_a_signal(runs):
    one, two = (load_checkpoint(run / "checkpoints" / "last.ckpt") for run in runs)
    assert one["global_step"] == two["global_step"] == 4
    for key, value in one["state_dict"].items():
        assert torch.allclose(two["state_dict"][key], value, atol=1e-5), key
    average, weights = one["state_dict"]["ema.module.head.weight"], one["state_dict"]["network.head.weight"]
    assert (average - weights).abs().max() > 1e-6, "the run moved nothing: nothing was compared"


def test_metrics_are_those_of_one_process_and_recorded_once(runs):
    one, two = map(recorded, runs)
    for key in ("val/psnr_y", "val/ssim_y", "train/loss"):
        assert one[key].keys() == two[key].keys()
        for step, value in one[key].items():
            assert two[key][step] == pytest.approx(value, abs=1e-4), (key, step)


def test_there_is_one_tracked_run_and_one_result(runs):
    folder = runs[0].parent
    events = [json.loads(text) for text in (runs[1] / "tracking" / "events.jsonl").read_text().splitlines()]
    assert [event["status"] for event in events if event["kind"] == "status"][-2:] == ["KILLED", "FINISHED"]
    assert len(list((folder / "two").rglob("spool.json"))) == 1
    results = [json.loads((run / "result.json").read_text()) for run in runs]
    assert results[0]["best"] == pytest.approx(results[1]["best"], abs=1e-4)
    assert not list(folder.glob("two.*"))


def test_processes_share_the_global_batches_out_without_repeats():
    settings = {"num_images": 7, "num_batches": 14, "seed": 3}
    whole = list(KeyedBatchSampler(**settings, batch_size=4))
    parts = [list(KeyedBatchSampler(**settings, batch_size=2, rank=rank, world_size=2)) for rank in range(2)]
    assert whole == [first + second for first, second in zip(*parts, strict=True)]
    epoch = [key for keys in whole for key in keys][:7]
    assert len(set(epoch)) == 7
