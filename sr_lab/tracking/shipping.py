"""The sending side: takes events from a spool and brings them to MLflow, each exactly once.

While a run is alive this is a process of its own (``python -m sr_lab.tracking.shipping``): the training process never
imports mlflow, shares no interpreter lock with it, and notices nothing of a server that is slow, silent or gone.
"""

import contextlib
import logging
import os
import select
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sr_lab.base.words import line, setting
from sr_lab.tracking.answers import sentence
from sr_lab.tracking.delivery import GoneSourceError, RefusedError, deliver
from sr_lab.tracking.marks import HEARTBEAT_TAG, UID_TAG, run_of
from sr_lab.tracking.reaper import reap
from sr_lab.tracking.spool import Event, Spool
from sr_lab.tracking.store import (
    DeletedError,
    connect,
    experiment_id,
    prepare_mlflow,
    restore_command,
    without_password,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from sr_lab.tracking.sending import TrackerShipper

POLL_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
HEARTBEAT_SECONDS = 60.0
BATCHED = ("metrics", "params", "tags")
NEVER = ("INVALID_PARAMETER_VALUE", "BAD_REQUEST", "MALFORMED_REQUEST", "RESOURCE_ALREADY_EXISTS")


class AwayError(Exception):
    """The server did not take the events now; try again later."""


class GoneError(AwayError):
    """The store does not have the run any more: trying again by itself is pointless."""


class Shipper:
    """Sends one spool. Hold ``spool.shipper_lock`` while using it.

    Args:
        spool: the queue.
    """

    def __init__(self, spool: Spool) -> None:
        self.spool = spool
        self.identity = spool.identity
        self.uri = str(self.identity.uri)
        self.state = spool.state
        self._client: MlflowClient | None = None
        self._heartbeat = 0.0
        self._ended = spool.history().status is not None

    def ship(self, *, deadline: float = float("inf")) -> int:
        """Send what is in the queue.

        Args:
            deadline: value of ``time.monotonic()`` after which no further request is begun.

        Returns:
            How many events were sent.

        Raises:
            AwayError: if the store does not answer; the reason is kept in the state.
            GoneError: if the store does not have the run or its experiment any more.
        """
        sent = 0
        try:
            self._connect()
            while (batch := self.spool.read(self.state.offset)) and time.monotonic() < deadline:
                sent += self._send_front(batch)
        except Exception as error:
            gone = self._gone(error)
            reason = gone or sentence(error, self.uri)
            with contextlib.suppress(OSError):
                self._remember(error=reason)
            raise (GoneError if gone else AwayError)(f"{without_password(self.uri)}: {reason}") from error
        return sent

    def finish(self) -> None:
        """Nothing: MLflow acknowledges every request."""

    def beat(self) -> None:
        """Tell the server, now and then, that the run is alive; takes back a hasty KILLED of another machine."""
        now = time.monotonic()
        if self._client is None or self.state.run_id is None or self._ended:
            return
        if now - self._heartbeat < HEARTBEAT_SECONDS:
            return
        with contextlib.suppress(Exception):
            self._client.set_tag(self.state.run_id, HEARTBEAT_TAG, str(int(time.time() * 1000)))
            self._client.update_run(self.state.run_id, status="RUNNING")
        self._heartbeat = now

    def reap(self) -> None:
        """Close the runs of processes that are gone, of any spool, in this run's store."""
        if self._client is not None:
            with contextlib.suppress(Exception):
                reap(self._client, spare=self.state.run_id)

    def _connect(self) -> None:
        if self._client is None:
            self._client = connect(self.uri)
        if self.state.run_id is None:
            self._find_or_create_run(self._client)

    def _find_or_create_run(self, client: "MlflowClient") -> None:
        identity = self.identity
        experiment = experiment_id(client, self.uri, identity.experiment)
        offset = self.state.offset
        run = run_of(client, experiment, identity.uid)
        if run is None:
            tags = {**identity.tags, UID_TAG: identity.uid}
            run = client.create_run(experiment, start_time=identity.time, tags=tags, run_name=identity.name)
            offset = 0
        self._remember(run_id=run.info.run_id, experiment_id=experiment, offset=offset)

    def _send_front(self, batch: list[tuple[int, Event]]) -> int:
        """Send the events at the front that go together, or the first event alone."""
        group = _front(batch)
        events = [event for _, event in group]
        try:
            assert self._client is not None
            deliver(self._client, self.spool, self.state, events)
        except Exception as error:
            if not self._is_final(error):
                raise
            if len(group) > 1:
                return self._send_front(batch[: len(group) // 2])
            if isinstance(error, GoneSourceError) and self.identity.trackers:
                self._remember(offset=group[-1][0], error=None)
                return 1  # sent to others, before the run was given to this store
            self.spool.reject(events[0], sentence(error, self.uri))
            self._remember(rejected=self.state.rejected + 1)
        self._remember(offset=group[-1][0], error=None)
        for end, event in group:
            if event["kind"] in ("session", "status") and not event.get("reopened"):
                self._ended = event["kind"] == "status"
            self.spool.release(event, end)
        return len(group)

    def _is_final(self, error: Exception) -> bool:
        """Whether sending the event again is pointless. A run that was deleted is not the event's fault."""
        from mlflow.exceptions import MlflowException

        if isinstance(error, RefusedError):
            return True
        if not (isinstance(error, MlflowException) and error.error_code in NEVER):
            return False
        if gone := self._gone(error):
            raise LookupError(gone)
        return True

    def _gone(self, error: Exception) -> str:
        """Why no further attempt can help, where the run or its experiment was deleted in the store; else empty."""
        from mlflow.exceptions import MlflowException

        if isinstance(error, LookupError | DeletedError):
            return str(error)
        asked = self._client is not None and self.state.run_id is not None
        if not (
            asked and isinstance(error, MlflowException) and error.error_code in (*NEVER, "RESOURCE_DOES_NOT_EXIST")
        ):
            return ""
        assert self._client is not None
        remedy = f"or delete {self.spool.directory}"
        try:
            run = self._client.get_run(str(self.state.run_id))
        except MlflowException as missing:
            if missing.error_code != "RESOURCE_DOES_NOT_EXIST":
                return ""
            again = line("sync", setting("directory", self.spool.directory.parent), setting("uri", "sqlite:///FILE.db"))
            return f"there is no run {self.state.run_id} there any more: record it in another store ({again}), {remedy}"
        if run.info.lifecycle_stage != "active":
            restore = restore_command("runs", str(run.info.run_id), self.uri)
            return f"run {self.state.run_id} was deleted there: restore it ({restore}), {remedy}"
        return ""

    def _remember(self, **changes: Any) -> None:
        state = replace(self.state, **changes)
        if state != self.state:
            self.spool.acknowledge(state)
            self.state = state


def _front(batch: list[tuple[int, Event]]) -> list[tuple[int, Event]]:
    """The events at the front that fit into one request, within MLflow's limits."""
    room = {"metrics": 1000, "params": 100, "tags": 100, "all": 1000}
    group: list[tuple[int, Event]] = []
    for end, event in batch:
        kind = event["kind"]
        if kind not in BATCHED:
            return group or [(end, event)]
        size = len(event["values"])
        room[kind] -= size
        room["all"] -= size
        if group and (room[kind] < 0 or room["all"] < 0):
            break
        group.append((end, event))
    return group


def close_if_dead(spool: Spool) -> bool:
    """Record KILLED for a run whose process ended without a word. Needs the writer's lock to be free.

    Returns:
        False if a process writes the spool.
    """
    from filelock import Timeout

    try:
        spool.writer_lock.acquire(timeout=0)
    except Timeout:
        return False
    try:
        history = spool.history()
        if history.status is None and history.sessions > 0:
            spool.open_for_writing()
            spool.append({"kind": "status", "status": "KILLED", "time": history.time})
    finally:
        spool.close()
    return True


def shipper_of(spool: Spool) -> "Shipper | TrackerShipper":
    """What sends this queue.

    Raises:
        ValueError: if its tracker cannot be made.
    """
    if spool.tracker is None:
        return Shipper(spool)
    from sr_lab.tracking.sending import TrackerShipper

    return TrackerShipper(spool)


def serve(spool: Spool, *, parent: int, drain_seconds: float) -> int:
    """Send a run's events until its process says that it is done, or is gone, and the queue is empty.

    The process says so by writing to our standard input, or by closing it.

    Args:
        spool: the queue.
        parent: process id of the run.
        drain_seconds: how long to go on after the end.

    Returns:
        How many events remain unsent.
    """
    shipper = shipper_of(spool)
    pause, deadline, reaped = 0.0, float("inf"), False
    while True:
        ending = deadline < float("inf")
        if not ending and (_closed(pause) or os.getppid() != parent):
            deadline = time.monotonic() + drain_seconds
            with contextlib.suppress(OSError):
                ending = True
                if spool.history().status is None and not _settle(spool):
                    return spool.remaining()
        elif ending:
            time.sleep(min(pause, POLL_SECONDS))
        try:
            shipper.ship(deadline=deadline)
            pause = POLL_SECONDS
            if ending:
                shipper.finish()
            if not ending:
                shipper.beat()
            if not reaped:
                shipper.reap()
                reaped = True
        except GoneError:
            if ending:
                return spool.remaining()
            pause = LONGEST_PAUSE_SECONDS
        except AwayError:
            pause = min(max(2 * pause, POLL_SECONDS), LONGEST_PAUSE_SECONDS)
        if ending and (time.monotonic() > deadline or spool.remaining() == 0):
            return spool.remaining()


def _settle(spool: Spool) -> bool:
    """``close_if_dead`` with patience: data workers of a killed process hold its lock for some seconds."""
    for _ in range(10):
        if close_if_dead(spool):
            return True
        time.sleep(1)
    return False


def _closed(timeout: float) -> bool:
    """Whether the run said on standard input that it is done, waiting for it at most ``timeout`` seconds."""
    readable, _, _ = select.select([sys.stdin], [], [], timeout)
    return bool(readable)


def main(arguments: list[str]) -> int:
    """``python -m sr_lab.tracking.shipping SPOOL PARENT_PID DRAIN_SECONDS [TRACKER]``, started by ``Run``."""
    directory, parent, drain_seconds, *tracker = arguments
    logging.basicConfig(level=logging.WARNING)
    with contextlib.suppress(OSError):
        os.nice(5)
    if not tracker:
        prepare_mlflow()
    spool = Spool(Path(directory), *tracker)
    with spool.shipper_lock:
        return 0 if serve(spool, parent=int(parent), drain_seconds=float(drain_seconds)) == 0 else 3


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
