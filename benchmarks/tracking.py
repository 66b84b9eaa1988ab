"""What tracking costs the training loop: ``python benchmarks/tracking.py``.

A loop that issues many small tensor operations (as a small network on a GPU does: bound by the interpreter) logs four
metrics every step, in one process a row. ``log call`` is the time inside the call; ``loop`` is the whole, with what
goes on beside it in the background, as a ratio to the loop that logs nothing. ``start`` is what making the run costs
before the first step. ``server gone`` repeats it against an address where nobody answers, with 3 retries of MLflow's
client instead of its default of 7 (which end the training after minutes).
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROWS = {
    "nothing": "sqlite",
    "Run (own process ships)": "sqlite",
    "Run, shipping in a thread": "sqlite",
    "MlflowClient.log_batch": "sqlite",
    "MlflowClient.log_batch, asynchronous": "sqlite",
    "Run (own process ships), server gone": "gone",
    "MlflowClient.log_batch, server gone": "gone",
}
KEYS = ("train/loss", "train/lr", "train/gradient_norm", "train/images_per_second")


def make_logger(row: str, uri: str, folder: Path) -> tuple[Callable[[int], None], Callable[[], object]]:
    """The function that logs a step, and the one that ends the run."""
    values = dict.fromkeys(KEYS, 0.5)
    if row == "nothing":
        return lambda step: None, lambda: None
    if row.startswith("Run"):
        from sr_lab.tracking.run import Run

        threaded = "thread" in row
        run = Run(
            uri=uri, experiment="benchmark", name=row, directory=folder / "run", ship=not threaded, drain_seconds=0.5
        )
        if threaded:
            threading.Thread(target=ship_for_ever, args=(run.spool,), daemon=True).start()
        return lambda step: run.log_metrics(values, step), run.finish
    from mlflow import MlflowClient
    from mlflow.entities import Metric

    client = MlflowClient(uri)
    state: dict[str, Any] = {}

    def log(step: int) -> None:
        if "run_id" not in state:
            state["run_id"] = client.create_run("0").info.run_id
        now = int(time.time() * 1000)
        metrics = [Metric(key, value, now, step) for key, value in values.items()]
        client.log_batch(state["run_id"], metrics, synchronous="asynchronous" not in row)

    return log, lambda: None


def ship_for_ever(spool: Any) -> None:
    from sr_lab.tracking.shipping import Shipper

    shipper = Shipper(spool)
    while True:
        shipper.ship()
        time.sleep(1)


def measure(row: str, uri: str, seconds: float) -> None:
    """Print start, median, slowest log call in ms and steps per second; runs in a process of its own."""
    import torch

    torch.set_num_threads(1)
    weight = torch.rand(16, 16)

    def step_of_training() -> None:
        value = weight
        for _ in range(300):
            value = (value * 0.5 + 0.1).relu()

    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        log, end = make_logger(row, uri, Path(folder))
        start = time.perf_counter() - begin
        calls, step = [], 0
        begin = time.perf_counter()
        try:
            while time.perf_counter() - begin < seconds:
                step_of_training()
                before = time.perf_counter()
                log(step)
                calls.append(time.perf_counter() - before)
                step += 1
            note = "-"
        except Exception as error:
            note = f"training-ended-by-{type(error).__name__}-after-{time.perf_counter() - begin:.0f}-s"
        total = time.perf_counter() - begin
        calls = calls or [float("nan")]
        print(start, 1e3 * statistics.median(calls), 1e3 * max(calls), step / total, note, flush=True)
        sys.stderr = open(os.devnull, "w")  # noqa: PTH123, SIM115
        end()
        os._exit(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=15)
    parser.add_argument("--row", help=argparse.SUPPRESS)
    parser.add_argument("--uri", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.row:
        measure(arguments.row, arguments.uri, arguments.seconds)
        return
    print(f"{'':38}{'start s':>9}{'log call ms':>13}{'slowest ms':>12}{'steps/s':>9}{'loop':>7}")
    baseline = None
    with tempfile.TemporaryDirectory() as folder:
        sqlite = f"sqlite:///{folder}/mlflow.db"
        from sr_lab.tracking.store import connect

        connect(sqlite)
        environment = {**os.environ, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3", "OMP_NUM_THREADS": "1"}
        for row, target in ROWS.items():
            uri = sqlite if target == "sqlite" else "http://127.0.0.1:9"
            command = [sys.executable, __file__, "--row", row, "--uri", uri, "--seconds", str(arguments.seconds)]
            done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
            start, median, slowest, rate, note = done.stdout.split()
            baseline = baseline or float(rate)
            text = f"{row:38}{float(start):9.2f}"
            if note == "-":
                ratio = baseline / float(rate)
                text += f"{float(median):13.3f}{float(slowest):12.1f}{float(rate):9.0f}{ratio:7.2f}"
            print(text if note == "-" else f"{text}  {note.replace('-', ' ')}", flush=True)


if __name__ == "__main__":
    main()
