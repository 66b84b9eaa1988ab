"""The public command line: a sweep of tiny trainings, its winner, and what it refuses."""

import csv
import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from sr_lab.cli import main
from sr_lab.config.compose import compose, plain
from sr_lab.config.experiment import winner_text, write_winner
from sr_lab.config.tree import config_dir
from sr_lab.images import write_image

pytestmark = pytest.mark.usefixtures("forked")


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp("photos")
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[0:64, 0:72] / 10
    for split, count in (("train", 2), ("val", 1)):
        for index in range(count):
            phases = generator.uniform(0, 6, (3, 2))
            waves = [np.sin(rows * (1 + c) + p) * np.cos(columns + q) for c, (p, q) in enumerate(phases)]
            write_image(root / split / f"{index}.png", ((np.stack(waves, -1) + 1) * 127.5).astype(np.uint8))
    return root


def overrides(photos: Path, folder: Path, *more: str, key: str = "val/psnr_y") -> list[str]:
    data = ["data=folder", f"data.train.roots={photos / 'train'}", f"data.val.roots={photos / 'val'}", "data.crop=24"]
    tiny = ["data.batch_size=2", f"data.cache={folder / 'cache'}", "model.network.num_features=8", "pictures=0"]
    steps = ["max_steps=4", "val_every=2", "checkpoint_every=2", "scheduler.num_warmup=0", "preflight=false"]
    train = "train=[" + ",".join(f"'{word}'" for word in [*data, *tiny, *steps]) + "]"
    space = "+space.lr={_target_: sr_lab.sweeps.space.Choice, key: optimizer.lr, values: [0.003, 1.0e+30]}"
    how = ["sampler=grid", "num_trials=null", "pruner=median"]
    where = [f"output={folder / 'sweep'}", "name=tiny", "tracking.ship=false", "tracking.system_seconds=0"]
    store = [f"tracking.uri=sqlite:///{folder / 'm.db'}", "launcher.num_workers=1", "heartbeat=1", "grace=60"]
    return [
        "sweep",
        "experiment=edsr_tiny_x2_photos",
        train,
        space,
        *how,
        *where,
        *store,
        "policies=[]",
        *more,
        f"+objectives={{{key}: maximize}}",
    ]


@pytest.mark.slow
def test_a_sweep_ends_with_report_winner_and_the_error_of_the_trial_that_failed(photos, tmp_path, capsys):
    assert main(overrides(photos, tmp_path)) == 0
    said = capsys.readouterr()
    assert "2 trials: 1 complete, 1 failed" in said.out
    assert "trial 1 failed" in said.err
    folder = tmp_path / "sweep"
    with (folder / "trials.csv").open() as stream:
        first, second = csv.DictReader(stream)
    assert (first["state"], second["state"]) == ("complete", "failed")
    assert "Lower optimizer.lr" in second["error"]
    result = json.loads((folder / "trials" / "0000" / "result.json").read_text())
    assert float(first["val/psnr_y"]) == pytest.approx(result["best"])
    page = (folder / "report.html").read_text()
    assert "Lower optimizer.lr" in page
    assert "src=" not in page.replace("src='data:", "")
    assert 'href="http' not in page
    winner = yaml.safe_load((folder / "experiment" / "edsr_tiny_x2_photos_tiny.yaml").read_text())
    assert winner["optimizer"]["lr"] == 0.003
    assert {"override /data": "folder"} in winner["defaults"]
    assert winner["selected_on"] == [hashlib.sha256((photos / "val" / "0.png").read_bytes()).hexdigest()]
    images = json.loads((folder / "trials" / "0000" / "best" / "metadata.json").read_text())["images"]
    assert images["val"] == winner["selected_on"]
    spools = [json.loads(file.read_text()) for file in sorted(tmp_path.rglob("spool.json"))]
    parent = next(spool["uid"] for spool in spools if spool["name"] == "tiny")
    events = (folder / "trials" / "0000" / "tracking" / "events.jsonl").read_text().splitlines()
    assert json.loads(events[0])["tags"]["srlab.parent"] == parent
    done = (folder / "trials" / "0000" / "result.json").stat().st_mtime_ns
    assert main(overrides(photos, tmp_path)) == 0, "the same command again does nothing anew"
    assert (folder / "trials" / "0000" / "result.json").stat().st_mtime_ns == done
    assert main(overrides(photos, tmp_path, key="val/ssim_y")) == 1
    assert "objectives was" in capsys.readouterr().err


def test_a_sweep_that_gives_up_shows_what_failed(photos, tmp_path, capsys):
    given = overrides(photos, tmp_path, "space.lr.values=[1.0e+30,2.0e+30,3.0e+30]", "give_up=2")
    assert main(given) == 1
    said = capsys.readouterr()
    assert "every trial of the first 2 failed, so the remaining 1 will not be done" in said.err
    assert "Lower optimizer.lr" in said.err
    assert "Lower optimizer.lr" in (tmp_path / "sweep" / "report.html").read_text()
    with (tmp_path / "sweep" / "trials.csv").open() as stream:
        assert [row["state"] for row in csv.DictReader(stream)][:2] == ["failed", "failed"]
    assert "trials.csv" in said.out


def test_a_sweep_does_not_select_on_the_hold_out(photos, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("sr_lab.commands.sweep._holdouts", lambda policies: {"default.scans": photos / "val"})
    assert main(overrides(photos, tmp_path, "policies=[default]")) == 1
    said = capsys.readouterr().err
    assert "would select on the hold-out of policy default" in said
    assert f"{photos / 'val' / '0.png'} is " in said
    assert not (tmp_path / "sweep" / "trials").exists()


@pytest.mark.parametrize(
    ("word", "key", "message"),
    [
        (
            "+space.a={_target_: sr_lab.sweeps.space.Choice, key: optimizer.rl, values: [1]}",
            "val/psnr_y",
            "optimizer.rl",
        ),
        ("seed=0", "val/lpips", "val/lpips is not measured: there are val/psnr_y, val/ssim_y"),
        ("seed=0", "val/latency_ms", "callbacks=[cost]"),
        ("policies=[defualt]", "val/psnr_y", "Did you mean 'default'"),
        ("~space.lr", "val/psnr_y", "space is empty"),
        ("num_trials=abc", "val/psnr_y", "num_trials=abc: give a number"),
        ("+space.a={low: 1, high: 2}", "val/psnr_y", "space.a is no parameter"),
        (
            "+space.a={_target_: sr_lab.sweeps.space.Float, key: optimizer.lr, low: low, high: 1}",
            "val/psnr_y",
            "space.a.low=low: give a number",
        ),
        (
            "+space.a={_target_: sr_lab.sweeps.space.Choice, key: losses, values: l1}",
            "val/psnr_y",
            "values=l1: give a list",
        ),
    ],
)
def test_what_cannot_work_is_refused_before_a_trial_starts(photos, tmp_path, capsys, word, key, message):
    assert main(overrides(photos, tmp_path, word, key=key)) != 0
    assert message in capsys.readouterr().err
    assert not (tmp_path / "sweep" / "trials").exists()


def test_the_winner_stands_alone_and_composes_to_what_the_trial_had(tmp_path, monkeypatch):
    words = ["losses=[l1,frequency]", "optimizer.lr=0.002", "model/network=fsrcnn", "model.ema_decay=null"]
    experiment = "fsrcnn_x2_t91_bsds400"
    text = winner_text(experiment, "winner_x2", words, comment=["The best."])
    write_winner(tmp_path, "winner_x2", text)
    write_winner(tmp_path, "winner_x2", text)
    with pytest.raises(ValueError, match="left as it is"):
        write_winner(tmp_path, "winner_x2", text + "x")
    shutil.copytree(config_dir(), tmp_path / "conf")
    write_winner(tmp_path / "conf" / "experiment", "winner_x2", text)
    expected = plain(compose("train", [f"experiment={experiment}", *words, "name=winner_x2"]))
    monkeypatch.setattr("sr_lab.config.compose.config_dir", lambda: tmp_path / "conf")
    assert plain(compose("train", ["experiment=winner_x2"])) == expected
