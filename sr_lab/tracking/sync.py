"""Sending what did not reach the server while the runs were alive."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import Timeout

from sr_lab.base.words import counted
from sr_lab.tracking.places import settle
from sr_lab.tracking.reaper import reap
from sr_lab.tracking.shipping import AwayError, GoneError, Shipper, close_if_dead
from sr_lab.tracking.spool import Spool, find_spools
from sr_lab.tracking.store import call, connect, resolve_uri, without_password

LOCK_SECONDS = 20.0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one run.

    ``state``: ``sent`` (nothing left), ``unsent`` (``left`` events did not get there, for the ``reason``), ``refused``
    (sent, but for events that the server will never take), ``running`` (its own process sends it).
    """

    directory: Path
    name: str
    uri: str | None = None
    state: Literal["sent", "unsent", "refused", "running"]
    sent: int = 0
    left: int = 0
    reason: str | None = None


def sync(directory: Path, *, uri: str | None = None, seconds: float = 300.0) -> list[Outcome]:
    """Send every run at or below a folder, and close those whose process died.

    Each event is sent once, whatever was interrupted before. A store that does not answer is asked once.

    Args:
        directory: folder of the runs.
        uri: send to this store instead of the recorded one, from now on (a server that moved).
        seconds: bound of the time spent on each run.

    Returns:
        One outcome a run.

    Raises:
        ValueError: if the folder does not exist.
    """
    away: dict[str, str] = {}
    return [_sync(spool, uri and resolve_uri(uri), seconds, away) for spool in find_spools(directory)]


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


def _sync(spool: Spool, uri: str | None, seconds: float, away: dict[str, str]) -> Outcome:
    try:
        identity = spool.identity if uri else settle(spool)
    except ValueError as error:
        return Outcome(directory=spool.directory.parent, name="?", state="unsent", reason=str(error))
    known: dict[str, Any] = {"directory": spool.directory.parent, "name": identity.name, "uri": uri or identity.uri}
    if not close_if_dead(spool):
        return Outcome(**known, state="running", left=spool.remaining())
    try:
        spool.shipper_lock.acquire(timeout=LOCK_SECONDS)
    except Timeout:
        return Outcome(**known, state="unsent", left=spool.remaining(), reason="another process is sending it")
    try:
        if uri is not None and uri != identity.uri:
            spool.readdress(uri)
        target = uri or identity.uri
        sent, reason = 0, away.get(target)
        if reason is None and (spool.remaining() or spool.state.run_id is None):
            before = spool.remaining()
            try:
                Shipper(spool).ship(deadline=time.monotonic() + seconds)
            except AwayError as error:
                reason = str(error)
                if not isinstance(error, GoneError):
                    away[target] = reason
            sent = before - spool.remaining()
        left, rejected = spool.remaining(), spool.state.rejected
    finally:
        spool.shipper_lock.release()
    if left:
        return Outcome(**known, state="unsent", sent=sent, left=left, reason=reason or f"not done in {seconds:.0f} s")
    if rejected:
        where = f"{without_password(target)} refused {counted(rejected, 'event')}: {spool.directory / 'rejected.jsonl'}"
        return Outcome(**known, state="refused", sent=sent, reason=where)
    return Outcome(**known, state="sent", sent=sent)
