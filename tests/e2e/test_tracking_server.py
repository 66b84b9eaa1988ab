"""Tracking with real processes: a server that is killed, one that never answers, many runs at once, a killed run."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import forking
import pytest
from services import Server

from sr_lab.tracking.run import Run
from sr_lab.tracking.store import connect
from sr_lab.tracking.sync import sync

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    server = Server(tmp_path)
    server.start()
    yield server
    server.kill()


def _wait(condition: Any, what: str, seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def _history(client: Any, run_id: str | None, key: str) -> list[tuple[int, float]]:
    return sorted((metric.step, metric.value) for metric in client.get_metric_history(run_id, key))


def test_a_server_killed_in_mid_run_costs_nothing(
    server: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    slowest = 0.0

    def start(name: str, drain_seconds: float) -> Run:
        folder = tmp_path / "runs" / name / "tracking"
        options = {"drain_seconds": drain_seconds, "system_seconds": 0.5}
        return Run(uri=server.uri, experiment="e2e", name=name, directory=folder, **options)

    def log(run: Run, steps: range) -> None:
        nonlocal slowest
        for step in steps:
            start = time.perf_counter()
            run.log_metrics({"train/loss": 1 / (step + 1), "val/psnr_y": 30 + step / 1000}, step)
            slowest = max(slowest, time.perf_counter() - start)

    survivor, unlucky = start("survivor", 60), start("unlucky", 0.5)
    for run in (survivor, unlucky):
        run.log_config({"seed": 1})
        log(run, range(500))
    _wait(lambda: min(survivor.spool.state.offset, unlucky.spool.state.offset) > 0, "nothing was sent")
    for name in ("survivor", "unlucky"):
        events = tmp_path / "runs" / name / "tracking" / "events.jsonl"
        _wait(lambda events=events: "system/cpu" in events.read_text(encoding="utf-8"), "no load was sampled", 240)
    server.kill()
    for run in (survivor, unlucky):
        log(run, range(500, 1000))
        run.log_text("written while the server was dead", "dead.txt")
    _wait(lambda: survivor.spool.state.error, "the outage was not noticed")

    # One ends while the server is away: it says so, and is sent by sync, which fails as long as it cannot.
    left = unlucky.finish()
    told = capsys.readouterr().err
    assert left >= 502
    assert f"{left:,} events of run 'unlucky' did not reach {server.uri}" in told
    outcomes = {outcome.name: outcome for outcome in sync(tmp_path / "runs", seconds=30)}
    assert (outcomes["unlucky"].state, outcomes["unlucky"].left) == ("unsent", left)
    assert outcomes["survivor"].state == "running"

    # The other one sees the server come back, and catches up by itself.
    server.start()
    log(survivor, range(1000, 1200))
    assert survivor.flush(90) == 0, survivor.spool.state
    page = f"{server.uri}/#/experiments/{survivor.spool.state.experiment_id}/runs/{survivor.run_id}"
    assert str(survivor.url).startswith(page)
    assert survivor.finish() == 0
    outcomes = {outcome.name: outcome for outcome in sync(tmp_path / "runs")}
    assert (outcomes["unlucky"].state, outcomes["unlucky"].sent) == ("sent", left)
    assert (outcomes["survivor"].state, outcomes["survivor"].sent) == ("sent", 0)

    client = connect(server.uri)
    for run, steps in ((survivor, 1200), (unlucky, 1000)):
        stored = client.get_run(str(run.run_id))
        assert stored.info.status == "FINISHED"
        assert _history(client, run.run_id, "train/loss") == [(step, 1 / (step + 1)) for step in range(steps)]
        assert _history(client, run.run_id, "val/psnr_y") == [(step, 30 + step / 1000) for step in range(steps)]
        assert "system/cpu_utilization_percentage" in stored.data.metrics
        files = [item.path for item in client.list_artifacts(str(run.run_id))]
        assert {"config.yaml", "dead.txt", "environment"} <= set(files)
    assert len(client.search_runs([stored.info.experiment_id])) == 2
    with capsys.disabled():
        print(f"\nslowest of 2,200 log calls: {1000 * slowest:.2f} ms")


@pytest.fixture
def black_hole() -> Iterator[tuple[str, list[socket.socket]]]:
    """A server that accepts every connection and never answers."""
    listener = socket.create_server(("127.0.0.1", 0))
    accepted: list[socket.socket] = []

    def accept() -> None:
        try:
            while True:
                accepted.append(listener.accept()[0])
        except OSError:
            return

    thread = threading.Thread(target=accept, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}", accepted
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    for connection in accepted:
        connection.close()


def test_no_log_call_waits_for_a_server_that_never_answers(
    black_hole: tuple[str, list[socket.socket]], tmp_path: Path
) -> None:
    uri, accepted = black_hole
    run = Run(uri=uri, experiment="e2e", name="hole", directory=tmp_path / "hole" / "tracking", drain_seconds=2)
    _wait(lambda: accepted, "the shipping process did not try")
    for step in range(5000):
        run.log_metrics({"train/loss": 1.0}, step)
    # 5,000 calls were made while the first request still waits for its answer: none of them can have waited for one.
    assert len(accepted) == 1
    assert run.spool.state.error is None
    before = time.monotonic()
    assert run.finish() >= 5002
    assert time.monotonic() - before < 20


STARTER = """
import sys, time
from sr_lab.tracking.run import Run
number, folder = int(sys.argv[1]), sys.argv[2]
while time.time() < float(sys.argv[3]):
    time.sleep(0.001)
with Run(uri=f"sqlite:///{folder}/fresh.db", experiment="crowd", name=f"run-{number}", drain_seconds=240,
         directory=f"{folder}/runs/{number}/tracking", system_seconds=0, observe=False) as run:
    run.log_params({"number": number})
    for step in range(200):
        run.log_metrics({"a": float(number), "b": step * 0.5}, step)
    run.log_text(str(number), "number.txt")
sys.exit(0 if run.spool.remaining() == 0 and run.spool.state.rejected == 0 else 1)
"""


def test_eight_runs_that_start_at_once_on_a_fresh_file_lose_nothing(tmp_path: Path) -> None:
    begin = time.time() + 3
    lines = [[sys.executable, "-c", STARTER, str(number), str(tmp_path), str(begin)] for number in range(8)]
    processes = [forking.Popen(line, stderr=subprocess.PIPE) for line in lines]
    errors = [process.communicate()[1].decode() for process in processes]
    assert [process.returncode for process in processes] == [0] * 8, errors
    assert "".join(errors) == ""
    client = connect(f"sqlite:///{tmp_path}/fresh.db")
    experiment = client.get_experiment_by_name("crowd")
    runs = {run.info.run_name: run for run in client.search_runs([experiment.experiment_id])}
    assert sorted(runs) == [f"run-{number}" for number in range(8)]
    for number in range(8):
        run = runs[f"run-{number}"]
        assert run.info.status == "FINISHED"
        assert run.data.params == {"number": str(number)}
        assert _history(client, run.info.run_id, "a") == [(step, float(number)) for step in range(200)]
        assert _history(client, run.info.run_id, "b") == [(step, step * 0.5) for step in range(200)]
        assert [item.path for item in client.list_artifacts(run.info.run_id)] == ["number.txt"]


VICTIM = """
import sys
from sr_lab.tracking.run import Run
run = Run(uri=sys.argv[1], experiment="victims", name="victim", directory=sys.argv[2], system_seconds=0, observe=False)
step = 0
while True:
    run.log_metrics({"a": float(step)}, step)
    step += 1
    if step == 50:
        print(run.flush(120), flush=True)
        sys.stdin.readline()
"""


def _kill_a_run(uri: str, directory: Path, *, with_its_shipping: bool) -> None:
    """Start a run, kill -9 it (and the process that ships for it) when it has sent something."""
    victim = subprocess.Popen(
        [sys.executable, "-c", VICTIM, uri, str(directory)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert victim.stdout is not None
    assert victim.stdout.readline().strip() == b"0"
    shipping = subprocess.run(["pgrep", "-P", str(victim.pid)], capture_output=True, text=True, check=True)
    (child,) = [int(line) for line in shipping.stdout.split()]
    if with_its_shipping:
        os.kill(child, signal.SIGKILL)
    victim.kill()
    victim.wait()
    victim.stdout.close()
    if not with_its_shipping:
        _wait(lambda: not Path(f"/proc/{child}").exists(), "the shipping process outlived its run")


def test_a_killed_run_does_not_stay_running(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = connect(uri)

    def status(folder: Path) -> str:
        run_id = json.loads((folder / "state.json").read_text())["run_id"]
        return str(client.get_run(run_id).info.status)

    # Its shipping process sees that it is gone, and closes it.
    first = tmp_path / "first" / "tracking"
    _kill_a_run(uri, first, with_its_shipping=False)
    assert status(first) == "KILLED"

    # Both are gone, as after a power cut: the next run on the store closes it, although its folder is lost.
    second = tmp_path / "second" / "tracking"
    _kill_a_run(uri, second, with_its_shipping=True)
    assert status(second) == "RUNNING"
    with Run(
        uri=uri, experiment="other", name="next", directory=tmp_path / "next" / "tracking", drain_seconds=60
    ) as following:
        _wait(lambda: status(second) == "KILLED", "the next run did not close the killed one")
    assert client.get_run(str(following.run_id)).info.status == "FINISHED"

    # The killed run goes on as the same MLflow run, and repeats no step.
    with Run(uri=uri, experiment="victims", name="victim", directory=second, drain_seconds=60) as resumed:
        for step in range(30, 60):
            resumed.log_metrics({"a": float(step)}, step)
    assert resumed.spool.remaining() == 0
    assert status(second) == "FINISHED"
    assert _history(client, resumed.run_id, "a") == [(step, float(step)) for step in range(60)]
    experiment = client.get_experiment_by_name("victims").experiment_id
    assert len(client.search_runs([experiment])) == 2
