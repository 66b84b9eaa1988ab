"""Closing the runs of processes that are gone: ``kill -9`` and power cuts leave them RUNNING for ever."""

import json
import os
import socket
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from sr_lab.tracking.marks import HEARTBEAT_TAG, PROCESS_TAG, UID_TAG, mark

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

REAPED_TAG = "srlab.reaped"
STALE_MINUTES = 30.0


@dataclass(frozen=True, kw_only=True)
class Process:
    """A process, told apart from a later one with the same number by the time of its start (seconds since 1970).

    ``host`` includes the space of process numbers: a container that shares its host's name has its own.
    """

    host: str
    pid: int
    started: float

    @classmethod
    def current(cls) -> "Process":
        """This process."""
        return cls(host=this_host(), pid=os.getpid(), started=psutil.Process().create_time())

    @classmethod
    def parse(cls, text: str) -> "Process | None":
        """The process that a tag describes, None if it does not describe one."""
        try:
            return cls(**json.loads(text))
        except (TypeError, ValueError):
            return None

    def text(self) -> str:
        """As a tag."""
        return json.dumps(asdict(self))

    def is_gone(self) -> bool:
        """Whether it is known to be dead; False for a process of another machine, about which nothing is known."""
        if self.host != this_host():
            return False
        try:
            process = psutil.Process(self.pid)
            return abs(process.create_time() - self.started) > 5 or process.status() == psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return True
        except psutil.AccessDenied:
            return False


def this_host() -> str:
    """Name of this machine and of its space of process numbers."""
    space = ""
    with suppress(OSError):
        space = str(Path("/proc/self/ns/pid").readlink())
    return f"{socket.gethostname()} {space}".strip()


def reap(client: "MlflowClient", *, spare: str | None = None, stale_minutes: float = STALE_MINUTES) -> list[str]:
    """Mark runs KILLED that nobody feeds any more: of a dead process of this machine, or long without a heartbeat.

    A run that was only cut off from the server takes the mark back with its next heartbeat.

    Args:
        client: connected client; all its experiments are looked at.
        spare: a run id to leave alone.
        stale_minutes: age of the last heartbeat that counts as dead.

    Returns:
        The run ids that were marked.

    Raises:
        mlflow.MlflowException: if the store does not answer.
    """
    marked = []
    for run in _running(client):
        if run.info.run_id == spare or mark(run.data.tags, UID_TAG) is None:
            continue
        process = Process.parse(mark(run.data.tags, PROCESS_TAG) or "")
        beat = int(mark(run.data.tags, HEARTBEAT_TAG) or run.info.start_time)
        minutes = (time.time() - beat / 1000) / 60
        if process is not None and process.is_gone():
            reason = f"process {process.pid} on {process.host} is gone"
        elif minutes > stale_minutes:
            reason = f"no sign of life for {minutes:.0f} minutes"
        else:
            continue
        client.set_tag(run.info.run_id, REAPED_TAG, reason)
        client.set_terminated(run.info.run_id, "KILLED", end_time=beat)
        marked.append(str(run.info.run_id))
    return marked


def _running(client: "MlflowClient") -> "list[MlflowRun]":
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]
    runs, token = [], None
    while experiments:
        page = client.search_runs(experiments, "attributes.status = 'RUNNING'", page_token=token)
        runs += page
        token = page.token
        if not token:
            break
    return runs
