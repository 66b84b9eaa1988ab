"""The loop that closes by itself: a service's images -> drift -> retraining -> gate -> rollout -> champion.

``retrain`` holds the stages and goes on where it was killed; this is what calls it again and again, alone: one watcher
a model and folder, which says after each pass where things stand, for people and as JSON.
"""

import json
import os
import socket
import time as clock
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from sr_lab.base.files import write_json
from sr_lab.base.provenance import user
from sr_lab.base.signals import Stopped
from sr_lab.tracking.registry.aliases import CANDIDATE, CHAMPION, aliases
from sr_lab.tracking.registry.references import keep_reference
from sr_lab.tracking.registry.rollouts import current
from sr_lab.workflows.retrain import Busy, Material, Retraining
from sr_lab.workflows.rollout import Rolled, advance, begin, standing
from sr_lab.workflows.sync import sync
from sr_lab.workflows.watch import NotEnoughError

__all__ = [
    "CODES",
    "Busy",
    "NotEnoughError",
    "Pass",
    "Rolled",
    "alone",
    "once",
    "registered",
    "require_images",
    "rolled_out",
    "watch_on",
]

REJECTED, ASKED, HOOK_FAILED, NOT_ALLOWED, UNDER_WAY = 3, 4, 5, 6, 75
CODES = {
    "quiet": 0, "promoted": 0, "rejected": REJECTED, "stopped": REJECTED, "proposed": ASKED, "waiting": ASKED,
    "not allowed": NOT_ALLOWED, "paused": UNDER_WAY, "rolling": UNDER_WAY,
}  # fmt: skip
"""Exit codes by outcome."""
SUMMARY, HOLDER = "watch.json", "watcher.json"


@dataclass(frozen=True, kw_only=True)
class Pass:
    """One pass of the loop.

    Attributes:
        name: Registered model.
        time: UTC, ISO 8601.
        outcome: Of ``Retraining``; ``failed`` where a pass of a daemon ended in an error.
        exit_code: What a process ends with after it.
        champion: Version that is champion after it; None where the registry does not say.
        said: Lines for people.
        facts: What else a machine wants to know, JSON-able.
    """

    name: str
    time: str
    outcome: str
    exit_code: int
    champion: int | None
    said: tuple[str, ...]
    facts: dict[str, Any]

    @property
    def text(self) -> str:
        """Where things stand."""
        return "\n".join([f"{self.time}  {self.name}: {self.outcome}", *(f"  {line}" for line in self.said)])

    def as_dict(self) -> dict[str, Any]:
        """JSON-able."""
        return {**vars(self), "said": list(self.said)}


@contextmanager
def alone(name: str, output: Path) -> Iterator[None]:
    """Keeps other watchers of the model away from its folder; a killed one holds nothing.

    Raises:
        Busy: If another one watches; it says who.
    """
    output.mkdir(parents=True, exist_ok=True)
    lock = FileLock(output / ".watch.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise Busy(
            f"{name} is watched already in {output}, by {_holder(output / HOLDER)}: it was left alone"
        ) from error
    try:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "user": user(), "since": now}
        write_json(output / HOLDER, holder)
        yield
    finally:
        lock.release()


def once(step: Callable[[], Retraining], *, name: str, tracking_uri: str, output: Path) -> Pass:
    """One pass: as much as can be done now. Its summary is written beside the logbook.

    Args:
        step: Does it; see ``retrain``.
        name: Registered model.
        tracking_uri: The store that has the registry.
        output: Folder of logbook and summary.
    """
    try:
        done = step()
    except NotEnoughError as error:
        done = Retraining(outcome="quiet", reasons=(str(error),))
    found = _pass(done, name=name, champion=aliases(tracking_uri, name).get(CHAMPION))
    write_json(output / SUMMARY, found.as_dict())
    return found


def watch_on(
    one: Callable[[], Pass],
    *,
    name: str,
    output: Path,
    poll_seconds: float,
    max_hours: float | None = None,
    news: Callable[[Pass], object] = lambda found: None,
    sleep: Callable[[float], object] = clock.sleep,
    time: Callable[[], float] = clock.monotonic,
) -> Pass:
    """One pass after another, until it is asked to end. A mistake that shows at once ends it; later ones are told.

    Args:
        one: Makes a pass; see ``once``.
        name: Registered model.
        output: Folder of the summary.
        poll_seconds: Seconds between two passes.
        max_hours: Hours after which it ends by itself; None: never.
        news: Is told each pass that is not as the one before.
        sleep: Waits.
        time: Monotonic seconds.

    Returns:
        The last pass.

    Raises:
        Stopped: If the process is asked to end; the next watcher goes on.
        Exception: What the first pass raises.
    """
    end = float("inf") if max_hours is None else time() + 3600 * max_hours
    found: Pass | None = None
    while True:
        before = found
        try:
            found = one()
        except (ValueError, RuntimeError, OSError) as error:
            if before is None:
                raise
            found = _failed(name, error)
            write_json(output / SUMMARY, found.as_dict())
        if before is None or (before.outcome, before.said) != (found.outcome, found.said):
            news(found)
        if time() >= end:
            return found
        try:
            sleep(poll_seconds)
        except Stopped as stop:
            raise stop.saying(f"{name} is not watched any more", goes_on=True) from None


def require_images(file: Path) -> None:
    """Refuses the file of a service that does not exist yet.

    Raises:
        NotEnoughError: If it does not; a pass of the loop takes that for quiet.
    """
    if not file.is_file():
        raise NotEnoughError(f"{file} is not there yet: a service makes it, srlab serve name=... incoming=default")


def registered(material: Material, *, name: str, tracking_uri: str, register: Callable[[Path], object]) -> None:
    """Registers the candidate, with the images that it was made for as its reference; once, however often called.

    Those are of the window whose degradation was estimated, and not of the newest one: should the images have changed
    again since, a reference of the newest ones would hide it.
    """
    sync(directory=material.run)  # where the training was killed before everything was sent
    register(material.run)
    version = aliases(tracking_uri, name)[CANDIDATE]
    keep_reference(tracking_uri, name, version, material.current)


def rolled_out(version: int, *, report: Path | None = None, **what: Any) -> Rolled:
    """Takes the steps of a version's rollout; it is begun once, and one that has ended is not begun again.

    Args:
        version: The candidate.
        report: Folder of the page, which is written after each step; drawing it takes seconds. None writes none.
        **what: As for ``rollout.advance``.
    """
    where = {key: what[key] for key in ("name", "policy", "tracking_uri")}
    found = current(what["tracking_uri"], what["name"])
    if found is None or found.candidate != version:
        begin(**where, version=version)
    done = advance(**what)
    if report is None or not (done.moves or done.rollout.over):
        return done
    looking = {key: value for key, value in what.items() if key != "hook"}
    return replace(done, page=standing(**looking, report=report).page)


def _holder(file: Path) -> str:
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        return f"process {kept['pid']} of {kept['user']} on {kept['host']}, since {kept['since']}"
    except (OSError, ValueError, KeyError):
        return "a process that has just begun"


def _pass(done: Retraining, *, name: str, champion: int | None) -> Pass:
    said: list[str] = []
    facts: dict[str, Any] = {"version": done.version, "page": None if done.page is None else str(done.page)}
    code = CODES[done.outcome]
    if done.drift is not None:
        said += [done.drift.headline, *done.drift.lines]
        facts["drift"] = {
            "alarm": done.drift.alarm,
            "new": done.drift.new,
            "p_value": done.drift.finding.p_value,
            "changes": [change.text for change in done.drift.finding.changes],
        }
    said += [*done.reasons]
    if done.released is not None:
        said += done.released.decision.text.splitlines()
        facts["gate"] = done.released.decision.outcome
    if done.rolled is not None:
        rollout = done.rolled.rollout
        said += [*done.rolled.moves, done.rolled.headline]
        facts["rollout"] = {
            "stage": rollout.stage,
            "share": rollout.share,
            "paused": rollout.paused,
            "bursts": done.rolled.judgement.num_bursts,
        }
        if done.rolled.failure is not None:
            said.append(done.rolled.failure)
            code = HOOK_FAILED
    if done.paused is not None:
        said.append(done.paused)
    return Pass(
        name=name, time=_now(), outcome=done.outcome, exit_code=code, champion=champion, said=tuple(said), facts=facts
    )


def _failed(name: str, error: Exception) -> Pass:
    return Pass(name=name, time=_now(), outcome="failed", exit_code=1, champion=None, said=(str(error),), facts={})


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
