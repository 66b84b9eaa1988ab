"""What arrives in a real MLflow store, and that sending it twice changes nothing."""

import json
import math
import os
import shutil
import sqlite3
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sr_lab.tracking import delivery
from sr_lab.tracking.embedded import MovedError, relocate
from sr_lab.tracking.marks import HEARTBEAT_TAG, PROCESS_TAG, UID_TAG, mark, names_of, run_of
from sr_lab.tracking.run import Run
from sr_lab.tracking.shipping import AwayError, GoneError, Shipper, serve
from sr_lab.tracking.spool import Spool, State
from sr_lab.tracking.store import connect

MakeRun = Callable[..., Run]


def send(spool: Spool) -> Shipper:
    """Ship what is recorded, in this process."""
    shipper = Shipper(spool)
    shipper.ship()
    return shipper


def _history(client: Any, run_id: str, key: str) -> list[tuple[int, float]]:
    return [(metric.step, metric.value) for metric in client.get_metric_history(run_id, key)]


def _log_everything(run: Run, folder: Path) -> None:
    run.log_config({"network": {"num_blocks": 4}, "seed": 1})
    for step in range(1500):
        run.log_metrics({"train/loss": 1 / (step + 1)}, step)
    run.log_metrics({"train/nan": math.nan, "train/inf": math.inf}, 3)
    run.log_tags({"protocol": "y_crop"})
    run.log_text("hello", "notes/hello.txt")
    (folder / "a.txt").write_text("a")
    run.log_file(folder / "a.txt", "some")
    for step in (0, 100):
        run.log_image(np.full((300, 600, 3), step, np.uint8), "val/butterfly", step)
    run.log_image(np.zeros((8, 8, 1), np.uint8), "val/grey", 0)
    run.log_table([{"image": "a", "psnr_y": 30.0}], "tables/one.json")
    run.log_table([{"image": "b", "psnr_y": 31.0}], "tables/two.json")
    run.log_dataset("photos", "d" * 64, "data/photos", "training", {"num_images": 3})
    run.log_dataset("photos", "e" * 64, "data/photos", "validation")


def _artifacts(client: Any, run_id: str, path: str = "") -> list[str]:
    found: list[str] = []
    for item in client.list_artifacts(run_id, path):
        found += _artifacts(client, run_id, item.path) if item.is_dir else [item.path]
    return found


def test_everything_arrives_once_even_when_it_is_sent_twice(make_run: MakeRun, client: Any, tmp_path: Path) -> None:
    run = make_run(tags={"colour": "blue"})
    _log_everything(run, tmp_path)
    run.finish()
    spool = run.spool
    copies = {path: path.read_bytes() for path in (spool.directory / "files").rglob("*") if path.is_file()}
    send(spool)
    assert list((spool.directory / "files").iterdir()) == []
    run_id = spool.state.run_id
    first = _artifacts(client, str(run_id))
    # The acknowledgement got lost, for instance with the power: all of it is sent again, and the run looked for.
    for path, content in copies.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    spool.acknowledge(State())
    send(spool)
    assert spool.remaining() == 0
    assert spool.state.rejected == 0
    assert spool.state.run_id == run_id
    stored = client.get_run(run_id)
    assert _history(client, str(run_id), "train/loss") == [(step, 1 / (step + 1)) for step in range(1500)]
    assert len(_history(client, str(run_id), "train/inf")) == 1
    assert [math.isnan(value) for _, value in _history(client, str(run_id), "train/nan")] == [True]
    assert stored.info.status == "FINISHED"
    assert stored.info.run_name == run.name
    assert stored.data.params == {"network.num_blocks": "4", "seed": "1"}
    assert {"colour": "blue", "protocol": "y_crop", "data.training": "d" * 64}.items() <= stored.data.tags.items()
    contexts = {item.dataset.digest: [tag.value for tag in item.tags] for item in stored.inputs.dataset_inputs}
    assert contexts == {"d" * 36: ["training"], "e" * 36: ["validation"]}
    names = _artifacts(client, str(run_id))
    assert names == first
    assert len([name for name in names if name.startswith("images/")]) == 6
    assert {"config.yaml", "notes/hello.txt", "some/a.txt", "tables/one.json", "tables/two.json"} <= set(names)
    experiments = [stored.info.experiment_id]
    assert len(client.search_runs(experiments, f"tags.`{UID_TAG}` = '{spool.identity.uid}'")) == 1


def test_tables_and_pictures_are_where_mlflows_page_looks_for_them(
    make_run: MakeRun, client: Any, tmp_path: Path
) -> None:
    from PIL import Image

    run = make_run()
    run.log_table([{"image": "a", "psnr_y": 30.0}, {"image": "b", "psnr_y": math.inf}], "tables/per_image.json")
    picture = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    run.log_image(picture, "val/butterfly", 100)
    run_id = str(send(run.spool).state.run_id)
    stored = client.get_run(run_id)
    where = """tags.mlflow.loggedArtifacts LIKE '%"path"%:%"tables/per_image.json",%"type"%:%"table"%'"""
    assert run_id in [found.info.run_id for found in client.search_runs([stored.info.experiment_id], where)]
    local = client.download_artifacts(run_id, "tables/per_image.json", str(tmp_path))
    table = pd.read_json(local, orient="split")  # as MlflowClient.load_table reads it
    assert table["image"].tolist() == ["a", "b"]
    assert table["psnr_y"].astype(float).tolist() == [30.0, math.inf]
    assert stored.data.tags["mlflow.loggedImages"] == "True"
    (name,) = [path for path in _artifacts(client, run_id) if path.endswith(".png")]
    assert name.startswith("images/val~butterfly+step+100+timestamp+")
    loaded = np.asarray(Image.open(client.download_artifacts(run_id, name, str(tmp_path))))
    assert np.array_equal(loaded, picture)


def test_mlflows_own_image_names_are_still_those(make_run: MakeRun, client: Any) -> None:
    run_id = str(send(make_run().spool).state.run_id)
    client.log_image(run_id, np.zeros((8, 8, 3), np.uint8), key="val/a", step=3, timestamp=17)
    names = sorted(_artifacts(client, run_id, "images"))
    assert [name.rsplit("+", 1)[0] for name in names][-1] == "images/val~a+step+3+timestamp+17"
    assert any(name.endswith("+compressed.webp") for name in names)


def test_an_event_that_is_refused_does_not_hold_up_the_others(
    make_run: MakeRun, client: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run()
    run.log_metrics({"a": 1.0}, 0)
    run.spool.append({"kind": "metrics", "time": 1, "step": 1, "values": {"bad,name": 1.0}})
    run.log_metrics({"a": 2.0}, 2)
    run.spool.append({"kind": "artefact", "time": 1, "source": "files/gone", "folder": "", "name": "gone.txt"})
    run.log_metrics({"a": 3.0}, 3)
    state = send(run.spool).state
    assert _history(client, str(state.run_id), "a") == [(0, 1.0), (2, 2.0), (3, 3.0)]
    assert state.rejected == 2
    rejected = [json.loads(line) for line in (run.spool.directory / "rejected.jsonl").read_text().splitlines()]
    assert "bad,name" in rejected[0]["reason"]
    assert "gone.txt" in rejected[1]["reason"]
    run.finish()
    assert "refused 2 events" in capsys.readouterr().err


def test_a_fault_while_sending_keeps_everything(
    make_run: MakeRun, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run()
    run.log_metrics({"a": 1.0}, 0)
    run.log_text("x", "x.txt")
    run.log_metrics({"a": 2.0}, 1)
    calls = []

    def break_down(*_: Any) -> None:
        calls.append(1)
        raise ConnectionError("the cable was pulled")

    with monkeypatch.context() as patch:
        patch.setitem(delivery._SINGLE, "artefact", break_down)
        with pytest.raises(AwayError, match="the cable was pulled"):
            send(run.spool)
    assert len(calls) == 1
    assert run.spool.remaining() == 2
    assert "cable" in str(run.spool.state.error)
    state = send(run.spool).state
    assert state.error is None
    assert _history(client, str(state.run_id), "a") == [(0, 1.0), (1, 2.0)]


def test_a_deleted_run_is_named_and_loses_nothing(make_run: MakeRun, client: Any) -> None:
    run = make_run()
    run_id = str(send(run.spool).state.run_id)
    client.delete_run(run_id)
    run.log_metrics({"a": 1.0}, 0)
    with pytest.raises(GoneError, match=f"run {run_id} was deleted .*runs restore --run-id {run_id}"):
        send(run.spool)
    run.finish()
    before = time.monotonic()
    with Path(os.devnull).open() as closed, pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", closed)
        assert serve(run.spool, parent=-1, drain_seconds=600) == 2  # nobody waits for what is known to be gone
    assert time.monotonic() - before < 300
    client.restore_run(run_id)
    send(run.spool)
    assert _history(client, run_id, "a") == [(0, 1.0)]


@pytest.mark.parametrize("status", ["FINISHED", "FAILED", "KILLED"])
def test_a_run_that_is_evaluated_later_keeps_its_end(make_run: MakeRun, client: Any, status: Any) -> None:
    run = make_run()
    run.finish(status)
    run_id = str(send(run.spool).state.run_id)
    ended = client.get_run(run_id).info
    with Run.reopen(run.spool.directory, drain_seconds=0) as again:
        again.log_metrics({"test/psnr_y": 31.0}, 7)
    send(again.spool)
    info = client.get_run(run_id).info
    assert (info.status, info.end_time) == (status, ended.end_time)
    assert _history(client, run_id, "test/psnr_y") == [(7, 31.0)]


def test_a_resumed_run_is_the_same_run_and_runs_again(make_run: MakeRun, client: Any) -> None:
    with make_run() as first:
        first.log_params({"lr": 0.1})
        first.log_metrics({"a": 1.0}, 0)
    run_id = send(first.spool).state.run_id
    assert client.get_run(run_id).info.status == "FINISHED"
    second = make_run()
    second.log_params({"lr": 0.2})
    send(second.spool)
    stored = client.get_run(run_id)
    assert second.run_id == run_id
    assert stored.info.status == "RUNNING"
    assert stored.data.params == {"lr": "0.1", "resume.1.lr": "0.2"}
    assert stored.data.tags["srlab.sessions"] == "2"
    second.finish("FAILED")
    send(second.spool)
    assert client.get_run(run_id).info.status == "FAILED"


def test_what_the_program_keeps_for_itself_is_hidden_and_found_under_its_former_names_too(
    make_run: MakeRun, client: Any
) -> None:
    run = make_run()
    run.log_metrics({"a": 1.0}, 0)
    state = send(run.spool).state
    uid = run.spool.identity.uid
    tags = client.get_run(state.run_id).data.tags
    assert mark(tags, UID_TAG) == uid
    shown = {key for key in tags if not key.startswith("mlflow.")}  # MLflow's pages leave these out
    assert {key for key in shown if key.startswith("srlab.")} == {"srlab.sessions"}
    for tag in (UID_TAG, PROCESS_TAG, HEARTBEAT_TAG):
        client.set_tag(state.run_id, names_of(tag)[1], tags[tag])
        client.delete_tag(state.run_id, tag)
    again = run_of(client, str(state.experiment_id), uid)
    assert again is not None
    assert again.info.run_id == state.run_id
    assert run_of(client, str(state.experiment_id), "another") is None


def test_a_run_moves_to_another_store_with_all_its_metrics(
    make_run: MakeRun, client: Any, store: str, tmp_path: Path
) -> None:
    run = make_run()
    run.log_metrics({"a": 1.0}, 0)
    send(run.spool)
    moved = tmp_path / "moved.db"
    with sqlite3.connect(store.removeprefix("sqlite:///")) as source, sqlite3.connect(moved) as target:
        source.backup(target)
    shutil.copytree(Path(store.removeprefix("sqlite:///")).parent / "mlruns", tmp_path / "mlruns")
    with pytest.raises(MovedError, match=r"srlab relocate tracking_uri=sqlite:////.*moved.db"):
        connect(f"sqlite:///{moved}")
    relocate(moved)
    run.log_metrics({"a": 2.0}, 1)
    run_id = run.run_id
    run.spool.readdress(f"sqlite:///{moved}")
    shipper = send(run.spool)
    assert shipper.state.run_id == run_id
    assert shipper._client is not None
    assert _history(shipper._client, str(run_id), "a") == [(0, 1.0), (1, 2.0)]
    assert _history(client, str(run_id), "a") == [(0, 1.0)]


def test_a_sign_of_life_does_not_bring_a_finished_run_back(make_run: MakeRun, client: Any) -> None:
    run = make_run()
    shipper = send(run.spool)
    client.set_terminated(run.run_id, "KILLED")
    shipper.beat()
    assert client.get_run(run.run_id).info.status == "RUNNING"
    run.finish()
    shipper.ship()
    shipper._heartbeat = 0
    shipper.beat()
    assert client.get_run(run.run_id).info.status == "FINISHED"
    again = Shipper(run.spool)
    again.ship()
    again.beat()
    assert client.get_run(run.run_id).info.status == "FINISHED"
