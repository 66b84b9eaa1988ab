"""Sending what did not reach the server while the runs were alive."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import Timeout

from sr_lab.base.words import counted
from sr_lab.tracking.places import settle
from sr_lab.tracking.reaper import reap
from sr_lab.tracking.shipping import AwayError, GoneError, close_if_dead, shipper_of
from sr_lab.tracking.spool import Identity, Spool, find_spools
from sr_lab.tracking.store import call, connect, resolve_uri, without_password

LOCK_SECONDS = 20.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one run at one of its trackers; ``tracker`` is None for MLflow.

    ``state``: ``sent`` (nothing left), ``unsent`` (``left`` events did not get there, for the ``reason``), ``refused``
    (sent, but for events that the server will never take), ``running`` (its own process sends it).
    """

    directory: Path
    name: str
    uri: str | None = None
    tracker: str | None = None
    state: Literal["sent", "unsent", "refused", "running"]
    sent: int = 0
    left: int = 0
    reason: str | None = None

    @property
    def complete(self) -> bool:
        """Whether nothing is left that its store could take."""
        return self.state not in ("unsent", "refused")

    @property
    def text(self) -> str:
        """What became of it, in a line."""
        where = "" if self.tracker is None else f" ({self.tracker})"
        line = f"{self.directory}  {self.name}{where}: {self.state}, {counted(self.sent, 'event')} sent"
        line += f", {self.left} left" if self.left else ""
        return line if self.complete else f"{line}: {self.reason}"


def sync(directory: Path, *, uri: str | None = None, seconds: float = 300.0) -> list[Outcome]:
    """Send every run at or below a folder, and close those whose process died.

    Each event is sent once, whatever was interrupted before. A store that does not answer is asked once.

    Args:
        directory: folder of the runs.
        uri: send to this store of MLflow's instead of the recorded one, or to it at all, from now on.
        seconds: bound of the time spent on each run.

    Returns:
        One outcome a run and tracker.

    Raises:
        ValueError: if the folder does not exist.
    """
    away: dict[str, str] = {}
    outcomes = [_sync(spool, uri and resolve_uri(uri), seconds, away) for spool in find_spools(directory)]
    return [outcome for of_run in outcomes for outcome in of_run]


def reap_dead_runs(uri: str, *, stale_minutes: float) -> list[str]:
    """Mark the runs of a store KILLED whose process is gone.

    Returns:
        Their run ids.

    Raises:
        RuntimeError: if the store does not answer.
    """
    uri = resolve_uri(uri)
    found: list[str] = call("look for dead runs", uri, lambda: reap(connect(uri), stale_minutes=stale_minutes))
    return found


def _sync(spool: Spool, uri: str | None, seconds: float, away: dict[str, str]) -> list[Outcome]:
    run = spool.directory.parent
    try:
        identity = spool.identity if uri else settle(spool)
    except ValueError as error:
        return [Outcome(directory=run, name="?", state="unsent", reason=str(error))]
    if not close_if_dead(spool):
        left = [queue.remaining() for queue in spool.queues()]
        return [Outcome(directory=run, name=identity.name, uri=uri or identity.uri, state="running", left=max(left))]
    if uri is not None and uri != identity.uri:
        with _held(spool) as held:
            if held:
                spool.readdress(uri)
    return [_send(queue, spool.identity, seconds, away) for queue in spool.queues()]


@contextlib.contextmanager
def _held(queue: Spool) -> Iterator[bool]:
    """Holds the lock of a queue; False where another process sends it."""
    try:
        queue.shipper_lock.acquire(timeout=LOCK_SECONDS)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        queue.shipper_lock.release()


def _send(queue: Spool, identity: Identity, seconds: float, away: dict[str, str]) -> Outcome:
    target = queue.tracker or str(identity.uri)
    known: dict[str, Any] = {"directory": queue.directory.parent, "name": identity.name, "tracker": queue.tracker}
    known |= {"uri": identity.uri if queue.tracker is None else None}
    with _held(queue) as held:
        if not held:
            return Outcome(**known, state="unsent", left=queue.remaining(), reason="another process is sending it")
        sent, reason = 0, away.get(target)
        before = queue.remaining()
        if reason is None and (before or (queue.tracker is None and queue.state.run_id is None)):
            try:
                shipper = shipper_of(queue)
                shipper.ship(deadline=time.monotonic() + seconds)
                shipper.finish()
            except AwayError as error:
                reason = str(error)
                if not isinstance(error, GoneError):
                    away[target] = reason
            except ValueError as error:
                reason = str(error)
            sent = before - queue.remaining()
        left, rejected = queue.remaining(), queue.state.rejected
    if left:
        return Outcome(**known, state="unsent", sent=sent, left=left, reason=reason or f"not done in {seconds:.0f} s")
    if rejected:
        where = f"{without_password(target)} refused {counted(rejected, 'event')}: {queue.rejected_path}"
        return Outcome(**known, state="refused", sent=sent, reason=where)
    return Outcome(**known, state="sent", sent=sent)
