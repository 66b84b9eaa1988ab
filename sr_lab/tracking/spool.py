"""The on-disk queue between a run and the trackers that it is sent to.

A run appends events to it and never waits for a server; the shipping processes (or ``srlab sync``) read them in order,
and each remembers how far its tracker has acknowledged. Layout of the folder::

    spool.json       who the run is: uid, uri, trackers, experiment, name, tags, folder (readable by its owner only)
    events.jsonl     one event a line, append only, never rewritten
    files/           copies of the artefacts that were not sent everywhere yet
    state.json       bytes of events.jsonl acknowledged, the server's run id, the last error
    rejected.jsonl   events that the server refused for good, with its reason
    writer.lock      held by the process that logs; free means that the run is no longer alive
    shipper.lock     held by the process that sends

The last four but the writer's are MLflow's; those of another tracker carry its name (``state.wandb.json``).
"""

import contextlib
import json
import os
import shutil
import threading
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from filelock import FileLock

from sr_lab.base.files import replacing

Event = dict[str, Any]
SYSTEM_PREFIX = "system/"


def write_atomic(path: Path, text: str, *, mode: int = 0o644) -> None:
    """Replace a text file in one step: a reader sees the old or the new content, never a part.

    Raises:
        OSError: naming ``path``, if the disk is full or the folder is not writable.
    """
    try:
        with replacing(path, durable=False) as temporary:
            temporary.write_text(text, encoding="utf-8")
            temporary.chmod(mode)
    except OSError as error:
        raise OSError(error.errno, f"cannot write: {error.strerror}", str(path)) from error


@dataclass(frozen=True, kw_only=True)
class Identity:
    """What makes a run the same run, kept over resumes. ``time`` is its start in ms since 1970.

    ``uri`` is MLflow's store, None where the run is not sent to MLflow; ``trackers`` are the others by their names,
    each as the ``_target_`` node that describes it. ``directory`` is where the spool lay when ``uri`` was written down,
    by which a project that was copied or moved is known; earlier releases did not write it.
    """

    uid: str
    uri: str | None
    experiment: str
    name: str
    time: int
    tags: dict[str, str] = field(default_factory=dict)
    directory: str | None = None
    trackers: dict[str, dict[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class State:
    """What a tracker has acknowledged. ``offset`` counts bytes of events.jsonl; ``error`` is why sending stopped.

    ``details`` is what the tracker itself wants to remember.
    """

    offset: int = 0
    run_id: str | None = None
    experiment_id: str | None = None
    rejected: int = 0
    error: str | None = None
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(kw_only=True)
class History:
    """What earlier processes logged, needed to continue without doubling anything."""

    sessions: int = 0
    status: str | None = None
    time: int = 0
    params: dict[str, str] = field(default_factory=dict)
    tables: list[str] = field(default_factory=list)
    metric_steps: dict[str, int] = field(default_factory=dict)
    image_steps: dict[str, int] = field(default_factory=dict)
    system_step: int = -1

    def add(self, event: Event) -> None:
        """Take one event into account."""
        kind = event["kind"]
        self.time = max(self.time, event.get("time", 0))
        if kind == "session":
            self.sessions += 1
            if not event.get("reopened"):
                self.status = None
        elif kind == "status":
            self.status = event["status"]
        elif kind == "params":
            self.params.update(event["values"])
        elif kind == "table":
            self.tables.append(event["path"])
        elif kind == "image":
            self.image_steps[event["key"]] = max(event["step"], self.image_steps.get(event["key"], event["step"]))
        elif kind == "metrics":
            for key in event["values"]:
                if key.startswith(SYSTEM_PREFIX):
                    self.system_step = max(self.system_step, event["step"])
                else:
                    self.metric_steps[key] = max(event["step"], self.metric_steps.get(key, event["step"]))


class Spool:
    """One run's queue. Writing needs ``open_for_writing``; reading and acknowledging need no preparation.

    Args:
        directory: folder of the spool, made by ``create``.
        tracker: whose acknowledgements are meant; None are those of MLflow.
    """

    def __init__(self, directory: Path, tracker: str | None = None) -> None:
        self.directory, self.tracker = directory, tracker
        mark = "" if tracker is None else f".{tracker}"
        self.events_path = directory / "events.jsonl"
        self.state_path = directory / f"state{mark}.json"
        self.rejected_path = directory / f"rejected{mark}.jsonl"
        self.writer_lock = FileLock(directory / "writer.lock", thread_local=False)
        self.shipper_lock = FileLock(directory / f"shipper{mark}.lock", thread_local=False)
        self._descriptor: int | None = None
        self._mutex = threading.Lock()

    def create(self, identity: Identity) -> None:
        """Make the folder and write who the run is."""
        (self.directory / "files").mkdir(parents=True, exist_ok=True)
        write_atomic(self.directory / "spool.json", json.dumps(asdict(identity), indent=2), mode=0o600)

    @property
    def exists(self) -> bool:
        """Whether a run was recorded here."""
        return (self.directory / "spool.json").is_file()

    @property
    def identity(self) -> Identity:
        """Who the run is.

        Raises:
            ValueError: if the file is missing or damaged.
        """
        path = self.directory / "spool.json"
        try:
            return Identity(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: not the record of a run ({error})") from error

    # Writing: one process, which holds writer_lock.

    def open_for_writing(self) -> None:
        """Open the queue for appending; half a line, left by a process that was killed, is removed."""
        descriptor = os.open(self.events_path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        end = _end_of_last_line(descriptor)
        if end < os.fstat(descriptor).st_size:
            os.ftruncate(descriptor, end)
        self._descriptor = descriptor

    def append(self, event: Event) -> None:
        """Add one event. It survives the death of the process as soon as this returns.

        Raises:
            OSError: naming the file, if the local disk is full; the queue stays readable.
        """
        line = (json.dumps(event, separators=(",", ":")) + "\n").encode()
        with self._mutex:
            if self._descriptor is None:
                raise RuntimeError(f"{self.directory}: the spool is not open for writing")
            start = os.fstat(self._descriptor).st_size
            try:
                sent = os.write(self._descriptor, line)
                while sent < len(line):
                    sent += os.write(self._descriptor, line[sent:])
            except OSError as error:
                with contextlib.suppress(OSError):
                    os.ftruncate(self._descriptor, start)
                raise OSError(
                    error.errno, f"tracking: cannot record: {error.strerror}", str(self.events_path)
                ) from error

    def close(self) -> None:
        """Stop writing and give the lock back."""
        with self._mutex:
            if self._descriptor is not None:
                os.close(self._descriptor)
                self._descriptor = None
        self.writer_lock.release()

    def keep(self, source: Path) -> str:
        """Copy a file or a folder into the spool, so that it can be sent after the original changed.

        Returns:
            Its place, relative to the spool's folder.

        Raises:
            OSError: naming the place, if the local disk is full.
        """
        relative = f"files/{uuid.uuid4().hex}"
        with self._new_file(relative) as path:
            if source.is_dir():
                shutil.copytree(source, path)
            else:
                shutil.copyfile(source, path)
        return relative

    def keep_bytes(self, content: bytes | memoryview) -> str:
        """As ``keep``, for content that is in memory."""
        relative = f"files/{uuid.uuid4().hex}"
        with self._new_file(relative) as path:
            path.write_bytes(content)
        return relative

    @contextlib.contextmanager
    def _new_file(self, relative: str) -> Iterator[Path]:
        final = self.directory / relative
        part = final.with_name(final.name + ".part")
        try:
            yield part
            part.replace(final)
        except OSError as error:
            discard(part)
            raise OSError(error.errno, f"tracking: cannot record: {error.strerror}", str(final)) from error

    # Reading and acknowledging: one process, which holds shipper_lock.

    def read(self, offset: int, *, max_bytes: int = 400_000) -> list[tuple[int, Event]]:
        """Whole events from ``offset`` on, at least one if there is one, about ``max_bytes`` of them.

        Returns:
            Pairs of the offset after the event and the event. A damaged line is passed on as ``{"kind": "damaged"}``.
        """
        found: list[tuple[int, Event]] = []
        try:
            stream = self.events_path.open("rb")
        except FileNotFoundError:
            return found
        with stream:
            stream.seek(offset)
            end = offset
            for line in stream:
                if not line.endswith(b"\n") or (found and end - offset >= max_bytes):
                    break
                end += len(line)
                found.append((end, _parse(line)))
        return found

    def events(self) -> Iterator[Event]:
        """Everything that was logged so far, in order."""
        offset = 0
        while batch := self.read(offset):
            offset = batch[-1][0]
            yield from (event for _, event in batch)

    def history(self) -> History:
        """What was logged so far."""
        history = History()
        for event in self.events():
            history.add(event)
        return history

    def queues(self) -> "list[Spool]":
        """This record once for each tracker that it is sent to, with that one's acknowledgements."""
        identity = self.identity
        first = [] if identity.uri is None else [Spool(self.directory)]
        return first + [Spool(self.directory, name) for name in identity.trackers]

    def release(self, event: Event, end: int) -> None:
        """Remove the copy that an event names, once every tracker has acknowledged the event, which ends at ``end``."""
        copied = "source" in event and event["kind"] != "dataset"
        if copied and all(queue.state.offset >= end for queue in self.queues()):
            discard(self.directory / event["source"])

    @property
    def state(self) -> State:
        """What the tracker has acknowledged."""
        try:
            return State(**json.loads(self.state_path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return State()

    def acknowledge(self, state: State) -> None:
        """Remember what the server has acknowledged."""
        write_atomic(self.state_path, json.dumps(asdict(state)))

    def reject(self, event: Event, reason: str) -> None:
        """Set an event aside that the server will never take, so that it does not hold up the others."""
        with self.rejected_path.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"reason": reason, "event": event}) + "\n")

    def readdress(self, uri: str) -> None:
        """Send to another store of MLflow's, or to one at all; there the run is looked for by its uid."""
        self.create(replace(self.identity, uri=uri, directory=str(self.directory.resolve())))
        self.acknowledge(replace(self.state, run_id=None, experiment_id=None))

    def remaining(self) -> int:
        """How many events the server has not acknowledged."""
        offset, count = self.state.offset, 0
        while batch := self.read(offset):
            offset, count = batch[-1][0], count + len(batch)
        return count


def discard(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)


def find_spools(directory: Path) -> list[Spool]:
    """All spools at or below a folder, sorted by path.

    Raises:
        ValueError: if the folder does not exist.
    """
    if not directory.is_dir():
        raise ValueError(f"{directory} is not a folder: give the folder that holds the runs")
    return [Spool(path.parent) for path in sorted(directory.rglob("spool.json"))]


def _parse(line: bytes) -> Event:
    try:
        event = json.loads(line)
        if isinstance(event, dict) and "kind" in event:
            return event
    except ValueError:
        pass
    return {"kind": "damaged", "line": line.decode(errors="replace")[:500]}


def _end_of_last_line(descriptor: int) -> int:
    end = os.fstat(descriptor).st_size
    while end > 0:
        start = max(0, end - 65536)
        newline = os.pread(descriptor, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0
