import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from sr_lab.commands.sync import run as sync_command
from sr_lab.tracking.marks import HEARTBEAT_TAG, PROCESS_TAG, UID_TAG, names_of
from sr_lab.tracking.reaper import REAPED_TAG, Process, reap
from sr_lab.tracking.run import Run
from sr_lab.tracking.sync import sync

MakeRun = Callable[..., Run]


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def _command(directory: Path) -> int:
    defaults = OmegaConf.load(Path(__file__).parents[2] / "conf" / "sync.yaml")
    return sync_command(OmegaConf.merge(defaults, {"directory": str(directory)}))  # type: ignore[arg-type]


def test_runs_are_sent_and_closed(
    make_run: MakeRun, client: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with make_run(directory=tmp_path / "a" / "tracking", name="done") as done:
        done.log_metrics({"a": 1.0}, 0)
    dead = make_run(directory=tmp_path / "b" / "tracking", name="dead")
    dead.log_metrics({"a": 2.0}, 0)
    dead.spool.close()
    assert _command(tmp_path) == 0
    assert client.get_run(done.run_id).info.status == "FINISHED"
    assert client.get_run(dead.run_id).info.status == "KILLED"
    assert [metric.value for metric in client.get_metric_history(dead.run_id, "a")] == [2.0]
    assert "done: sent, 3 events" in capsys.readouterr().out
    assert {outcome.sent for outcome in sync(tmp_path)} == {0}
    assert len(client.get_metric_history(done.run_id, "a")) == 1


def test_a_live_run_is_left_alone(make_run: MakeRun, tmp_path: Path) -> None:
    run = make_run()
    (outcome,) = sync(tmp_path)
    assert (outcome.state, outcome.left) == ("running", 1)
    assert run.run_id is None
    run.log_metrics({"a": 1.0}, 0)


def test_an_absent_server_is_a_failure_that_names_runs_and_is_asked_once(
    make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    uri = f"http://127.0.0.1:{_free_port()}"
    for name in ("a", "b", "c"):
        make_run(directory=tmp_path / name / "tracking", name=f"run-{name}", uri=uri).finish()
    capsys.readouterr()
    start = time.monotonic()
    assert _command(tmp_path) == 1
    told = capsys.readouterr().err
    for name in ("a", "b", "c"):
        assert f"run-{name}: unsent, 0 events sent, 2 left" in told
    assert uri in told
    assert time.monotonic() - start < 60


def test_a_damaged_record_is_named(make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run()
    run.finish()
    (run.spool.directory / "spool.json").write_text("{")
    assert _command(tmp_path) == 1
    assert "not the record of a run" in capsys.readouterr().err


def test_refused_events_are_a_failure(make_run: MakeRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = make_run()
    run.spool.append({"kind": "metrics", "time": 1, "step": 1, "values": {"bad,name": 1.0}})
    run.finish()
    assert _command(tmp_path) == 1
    assert "rejected.jsonl" in capsys.readouterr().err


def _running(client: Any, experiment: str, **tags: str) -> str:
    run = client.create_run(experiment, tags={UID_TAG: "x", **tags})
    return str(run.info.run_id)


def test_only_runs_that_nobody_feeds_are_reaped(client: Any) -> None:
    experiment = client.create_experiment("reaper")
    now = str(int(time.time() * 1000))
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    me = Process.current()
    dead = replace(me, pid=child.pid)
    child.wait()
    recycled = replace(me, started=me.started - 1000)
    elsewhere = replace(me, host="another", pid=1)
    long_ago = str(int((time.time() - 3600) * 1000))
    runs = {
        "dead": _running(client, experiment, **{PROCESS_TAG: dead.text(), HEARTBEAT_TAG: now}),
        "recycled": _running(client, experiment, **{PROCESS_TAG: recycled.text(), HEARTBEAT_TAG: now}),
        "silent": _running(client, experiment, **{PROCESS_TAG: elsewhere.text(), HEARTBEAT_TAG: long_ago}),
        "alive": _running(client, experiment, **{PROCESS_TAG: me.text(), HEARTBEAT_TAG: now}),
        "elsewhere": _running(client, experiment, **{PROCESS_TAG: elsewhere.text(), HEARTBEAT_TAG: now}),
        "spared": _running(client, experiment, **{PROCESS_TAG: dead.text(), HEARTBEAT_TAG: now}),
        "of an earlier release": str(
            client.create_run(
                experiment,
                tags={
                    names_of(tag)[1]: value
                    for tag, value in {UID_TAG: "y", PROCESS_TAG: dead.text(), HEARTBEAT_TAG: now}.items()
                },
            ).info.run_id
        ),
        "foreign": str(client.create_run(experiment, start_time=1).info.run_id),
    }
    reap(client, spare=runs["spared"])
    status = {name: client.get_run(run_id).info.status for name, run_id in runs.items()}
    assert status == {
        "dead": "KILLED",
        "recycled": "KILLED",
        "silent": "KILLED",
        "alive": "RUNNING",
        "elsewhere": "RUNNING",
        "spared": "RUNNING",
        "of an earlier release": "KILLED",
        "foreign": "RUNNING",
    }
    assert "is gone" in client.get_run(runs["dead"]).data.tags[REAPED_TAG]
    assert client.get_run(runs["silent"]).info.end_time == int(long_ago)


def test_this_process_is_recognised() -> None:
    me = Process.current()
    assert me.pid == os.getpid()
    assert not me.is_gone()
    assert Process.parse(me.text()) == me
    assert Process.parse(json.dumps({"pid": 1})) is None
    assert Process.parse("") is None
