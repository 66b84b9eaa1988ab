"""The same run in MLflow, wandb and TensorBoard: what each recorded is read back and compared."""

import math
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tracked import Recorded, of_mlflow, of_tensorboard, of_wandb

from sr_lab.tracking.run import Run
from sr_lab.tracking.spool import Spool
from sr_lab.tracking.store import connect
from sr_lab.tracking.sync import sync
from sr_lab.tracking.tensorboard import TensorBoard
from sr_lab.tracking.trackers import Tracker
from sr_lab.tracking.wandb import Wandb

pytestmark = pytest.mark.usefixtures("forked")

pytest.importorskip("wandb")
pytest.importorskip("tensorboard")
PICTURE = np.random.default_rng(0).integers(0, 256, (12, 10, 3), np.uint8)


def _offline() -> dict[str, Tracker]:
    return {"wandb": Wandb(mode="offline"), "tensorboard": TensorBoard()}


def _open(folder: Path, **options: Any) -> Run:
    return Run(
        directory=folder / "runs" / "a" / "tracking", name="a", experiment="trackers", ship=False, system_seconds=0,
        observe=False, tags={"network": "EDSR", "srlab.parent": "f" * 32},
        **{"uri": f"sqlite:///{folder}/mlflow.db", "trackers": _offline()} | options,
    )  # fmt: skip


def _log_first(run: Run, folder: Path) -> None:
    run.log_config({"model": {"num_blocks": 4}, "seed": 1})
    for step in range(0, 30, 10):
        run.log_metrics({"train/loss": 1 / (step + 1)}, step)
        run.log_metrics({"system/cpu": 50.0 + step}, step // 10)
        run.log_metrics({"val/psnr_y": 30.0 + step / 8}, step)
        run.log_image(PICTURE // (step + 1), "val/butterfly", step)
    run.log_tags({"protocol": "y_crop"})
    run.log_text("hello", "notes/hello.txt")
    run.log_table([{"image": "a", "psnr_y": 30.5}, {"image": "b", "psnr_y": math.inf}], "tables/one.json")
    run.log_dataset("photos", "d" * 64, "data/photos", "training", {"num_images": 3})
    model = folder / "model"
    if not model.exists():
        model.mkdir()
        (model / "MLmodel").write_text("flavors: {}\nmodel_uuid: x\n")
        (model / "weights.safetensors").write_bytes(b"weights")
    run.log_model(model, step=10)


def _log_later(run: Run) -> None:
    """A resume repeats a step that was recorded, and an evaluation of the best weights comes after the last step."""
    run.log_metrics({"train/loss": 9.0}, 20)
    run.log_metrics({"train/loss": 0.03125}, 40)
    run.log_metrics({"test/set5_x4/psnr_y": 31.5}, 10)
    run.log_image(PICTURE // 50, "val/butterfly", 40)


def _killed(script: str) -> None:
    ended = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], check=False, capture_output=True, text=True)
    assert ended.returncode == 9, ended.stderr


def _send(folder: Path) -> None:
    outcomes = sync(folder / "runs")
    assert [(outcome.tracker, outcome.state) for outcome in outcomes] == [
        (None, "sent"), ("wandb", "sent"), ("tensorboard", "sent")
    ], outcomes  # fmt: skip


def _read(folder: Path) -> dict[str, Recorded]:
    run = folder / "runs" / "a"
    spool = Spool(run / "tracking")
    (folder / "down").mkdir(exist_ok=True)
    client = connect(f"sqlite:///{folder}/mlflow.db")
    return {
        "mlflow": of_mlflow(client, str(spool.state.run_id), folder / "down"),
        "wandb": of_wandb(run / "wandb", spool.identity.uid),
        "tensorboard": of_tensorboard(run / "tensorboard"),
    }


def test_three_trackers_record_the_same_run(tmp_path: Path) -> None:
    with _open(tmp_path) as run:
        _log_first(run, tmp_path)
        assert len(run.page_commands) == 3
    _send(tmp_path)
    with _open(tmp_path) as run:  # resumed, for trackers that have the first part already
        _log_later(run)
    _send(tmp_path)
    spool = Spool(tmp_path / "runs" / "a" / "tracking")
    assert list((spool.directory / "files").iterdir()) == []  # each copy goes when all have it
    found = _read(tmp_path)
    expected = found["mlflow"]
    losses = [(0, 1.0), (10, 1 / 11), (20, 1 / 21), (40, 0.03125)]
    assert sorted(expected.metrics["train/loss"]) == losses
    assert expected.images.keys() == {("val/butterfly", step) for step in (0, 10, 20, 40)}
    for name, got in found.items():
        assert (got.name, got.status) == ("a", "FINISHED"), name
        assert got.params == expected.params, name
        assert {"network": "EDSR", "protocol": "y_crop"}.items() <= got.tags.items(), name
        assert got.metrics.keys() == expected.metrics.keys() | ({"system/step"} if name == "wandb" else set()), name
        for key in expected.metrics:
            steps, values = zip(*sorted(got.metrics[key]), strict=True)
            wanted_steps, wanted = zip(*sorted(expected.metrics[key]), strict=True)
            assert values == pytest.approx(wanted, rel=1e-6), (name, key)
            assert (name == "wandb" and key.startswith("system/")) or steps == wanted_steps, (name, key)
        assert got.images.keys() == expected.images.keys(), name
        for key, picture in expected.images.items():
            assert np.array_equal(got.images[key], picture), (name, key)
        rows = [[str(cell) for cell in row] for row in expected.tables["tables/one.json"]]
        assert [[str(cell) for cell in row] for row in got.tables["tables/one.json"]] == rows, name
        assert got.data == {"training": "d" * 64}, name
        assert {"config.yaml", "notes/hello.txt", "tables/one.json"} <= got.files, name
        assert {"MLmodel", "weights.safetensors"} <= got.model, name
    assert found["wandb"].group == "f" * 32  # the trials of a sweep stand together


def test_a_cut_off_delivery_is_written_once(tmp_path: Path) -> None:
    with _open(tmp_path) as run:
        _log_first(run, tmp_path)
    for queue in run.spool.queues()[1:]:  # the process dies when everything is written and nothing acknowledged
        _killed(f"""
            import os, pathlib
            from sr_lab.tracking.sending import TrackerShipper
            from sr_lab.tracking.spool import Spool

            TrackerShipper._acknowledge = lambda self, details: None
            TrackerShipper(Spool(pathlib.Path({str(run.spool.directory)!r}), {queue.tracker!r})).ship()
            os._exit(9)
        """)
        assert queue.remaining() == 21
    _send(tmp_path)
    found = _read(tmp_path)
    expected = sorted(found["mlflow"].metrics["train/loss"])
    for name in ("wandb", "tensorboard"):
        got = sorted(found[name].metrics["train/loss"])
        assert [step for step, _ in got] == [0, 10, 20], name
        assert [value for _, value in got] == pytest.approx([value for _, value in expected]), name
    assert len(list((tmp_path / "runs" / "a" / "wandb").glob("offline-run-*"))) == 1


def test_a_dead_server_of_wandb_costs_nothing_and_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    online = {"wandb": Wandb(patience=2), "tensorboard": TensorBoard()}
    with _open(tmp_path, uri=None, trackers=online) as run:
        _log_first(run, tmp_path)
    away, there = sync(tmp_path / "runs", seconds=20)
    assert (away.state, away.left, there.state) == ("unsent", run.spool.queues()[0].remaining(), "sent")
    assert away.reason is not None
    assert away.reason.startswith("wandb: ")
    with _open(tmp_path, uri=None, trackers=_offline()) as run:  # the machine stays without a network
        pass
    assert [outcome.state for outcome in sync(tmp_path / "runs")] == ["sent", "sent"]
    got = of_wandb(tmp_path / "runs" / "a" / "wandb", run.uid)
    assert [step for step, _ in got.metrics["train/loss"]] == [0, 10, 20]
    assert len(got.images) == 3


def test_a_store_that_comes_later_gets_all_but_the_copies_that_are_gone(tmp_path: Path) -> None:
    from sr_lab.tracking.registry.versions import locate

    with _open(tmp_path, uri=None, trackers={"tensorboard": TensorBoard()}) as run:
        _log_first(run, tmp_path)
    folder = tmp_path / "runs"
    assert [outcome.state for outcome in sync(folder)] == ["sent"]
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    with pytest.raises(ValueError, match=r"recorded by tensorboard only.*srlab sync directory=.*uri=") as error:
        locate(str(folder / "a"), uri=None, default_uri=uri)
    assert uri in str(error.value)
    assert [outcome.state for outcome in sync(folder, uri=uri)] == ["sent", "sent"]
    store, run_id = locate(str(folder / "a"), uri=None, default_uri=None)
    assert store == uri
    history = connect(uri).get_metric_history(run_id, "train/loss")
    assert [item.step for item in history] == [0, 10, 20]


def test_what_cannot_be_is_refused_before_the_training(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="sent nowhere"):
        _open(tmp_path, uri=None, trackers={})
    with pytest.raises(ValueError, match="mode=live"):
        _open(tmp_path, trackers={"wandb": Wandb(mode="live")})  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"trackers\.W&B"):
        _open(tmp_path, trackers={"W&B": TensorBoard()})


@pytest.mark.parametrize("choice", ["wandb", "tensorboard", "[mlflow,wandb]", "[tensorboard,mlflow,wandb]"])
def test_one_line_switches(choice: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sr_lab.commands.sweep import _tracking
    from sr_lab.config.compose import build, compose

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    node = compose("train", ["experiment=edsr_tiny_x2_photos", f"tracking={choice}", "tracking.ship=false"]).tracking
    with build(node, name="a", directory=tmp_path / "tracking", observe=False) as run:
        names = {queue.tracker or "mlflow" for queue in run.spool.queues()}
    assert names == set(choice.strip("[]").split(","))
    again = compose("train", ["experiment=edsr_tiny_x2_photos", *_tracking(node, "f" * 32)])  # as a sweep's trial
    assert again.tracking == node
