"""A service and a watcher as processes of their own, and what is seen of them from outside: for demonstrations."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sr_lab.tracking.registry.aliases import CHAMPION, aliases, history

_METRIC = re.compile(r"^(srlab_drift_\w+|srlab_model_info)(?:\{([^}]*)\})? (\S+)$", re.MULTILINE)


SRLAB = (sys.executable, "-m", "sr_lab.cli")


@contextlib.contextmanager
def process(
    command: Sequence[str], *, log: Path, threads: int, folder: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A program in a process of its own, for as long as the context lasts; then it is asked to end.

    Args:
        command: Its words; ``*SRLAB`` begins one of ours.
        log: File that gets what it says.
        threads: Threads that it computes with.
        folder: Where it works; None: here.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ, "OMP_NUM_THREADS": str(threads), "PYTHONUNBUFFERED": "1",
        "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path)),
    }  # fmt: skip
    with log.open("ab") as stream:
        child = subprocess.Popen(command, cwd=folder, stdout=stream, stderr=subprocess.STDOUT, env=environment)
    try:
        yield child
    finally:
        if child.poll() is None:
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(120)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def address_in(log: Path, child: subprocess.Popen[bytes], *, seconds: float = 600) -> str:
    """The address that a service says it answers at.

    Raises:
        RuntimeError: If it ends, or says none in time.
    """
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        text = log.read_text(encoding="utf-8", errors="replace") if log.is_file() else ""
        if found := re.search(r"answering at (http://\S+)", text):
            return found[1]
        if child.poll() is not None:
            raise RuntimeError(f"the service ended with {child.returncode}: {text[-2000:]}")
        time.sleep(0.1)
    raise RuntimeError(f"the service did not answer within {seconds:g} s: see {log}")


class TooLateError(RuntimeError):
    """Something did not come about in time."""


@dataclass
class Seen:
    """What was seen at a moment.

    Attributes:
        time: Seconds since the epoch.
        version: Version that the service serves.
        alarm: Whether its drift alarm is on.
        shifts: How far features of its last window are from the reference.
        stage: Of the watcher: ``watching``, or the stage of the retraining.
        champion: Version that is champion.
    """

    time: float
    version: str
    alarm: bool
    shifts: dict[str, float]
    stage: str
    champion: int | None = None


@dataclass
class Observer:
    """Looks at the service's metrics and at the watcher's files, about once a second.

    Attributes:
        metrics: Gives the text of ``/metrics``.
        output: Folder of the watcher.
        tracking_uri: The store that has the registry.
        name: Registered model.
        seen: Everything so far.
    """

    metrics: Callable[[], str]
    output: Path
    tracking_uri: str
    name: str
    every: float = 1.0
    seen: list[Seen] = field(default_factory=list)

    def look(self) -> Seen:
        """Looks once."""
        version, alarm, shifts = "", False, dict[str, float]()
        for metric, labels, value in _METRIC.findall(self.metrics()):
            if metric == "srlab_drift_alarm":
                alarm = float(value) == 1
            elif metric == "srlab_drift_feature_shift":
                shifts[labels.partition('"')[2].rstrip('"')] = float(value)
            elif metric == "srlab_model_info" and f'model="{self.name}"' in labels and float(value) == 1:
                version = re.search('version="([^"]*)"', labels)[1]  # type: ignore[index]
        now = Seen(time=time.time(), version=version, alarm=alarm, shifts=shifts, stage=self._stage())
        now.champion = aliases(self.tracking_uri, self.name).get(CHAMPION)
        self.seen.append(now)
        return now

    def until(self, holds: Callable[[Seen], bool], *, what: str, seconds: float, child: Any = None) -> Seen:
        """Looks until something holds.

        Raises:
            TooLateError: If it does not in time.
            RuntimeError: If the process that should bring it about has ended.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            with contextlib.suppress(OSError):
                if holds(now := self.look()):
                    return now
            if child is not None and child.poll() is not None:
                raise RuntimeError(f"while waiting for {what} a process ended with {child.returncode}")
            threading.Event().wait(self.every)
        raise TooLateError(f"{what}: not within {seconds:g} s")

    def summary(self) -> dict[str, Any]:
        """The watcher's last pass; empty before the first."""
        file = self.output / "watch.json"
        found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        return found

    def ended(self) -> list[dict[str, Any]]:
        """The retrainings that have ended."""
        file = self.output / "logbook.json"
        found = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {"ended": []}
        return list(found["ended"])

    def steps(self, after: int = 0) -> list[tuple[str, str]]:
        """Time and sentence of each record of the registry behind a number."""
        records = [record for record in history(self.tracking_uri, self.name) if record.number > after]
        return [
            (record.time, _sentence(record)) for record in records if record.phase == "done"
        ]  # fmt: skip

    def last_record(self) -> int:
        """Number of the last record of the registry."""
        return max((record.number for record in history(self.tracking_uri, self.name)), default=0)

    def _stage(self) -> str:
        file = self.output / "logbook.json"
        if not file.is_file():
            return "watching"
        attempt = json.loads(file.read_text(encoding="utf-8"))["attempt"]
        return "watching" if attempt is None else str(attempt["stage"])


def _sentence(record: Any) -> str:
    words = {
        "promote": f"version {record.target} is champion",
        "pass": f"the gate passes version {record.target}: it may answer beside the champion",
        "reject": f"the gate rejects version {record.target}",
        "rollback": f"version {record.target} is champion again",
    }
    if record.action == "rollout":
        return f"rollout of version {record.target}: {record.reason.splitlines()[0]}"
    return words.get(record.action, f"{record.action} of version {record.target}")
