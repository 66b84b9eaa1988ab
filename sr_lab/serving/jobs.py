"""Jobs: images that are too large to wait for, kept on disk until they are done, once each, whatever dies meanwhile.

The queue is huey's, on SQLite by default and on Redis for several servers. What a job is made of lies in a folder of
its own before it is queued, so that a server that was killed finds the unfinished ones when it starts again; a lock
that ends with its process keeps two workers from one job, and a result appears whole or not at all.
"""

import asyncio
import contextlib
import hashlib
import json
import logging
import re
import shutil
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from sr_lab.base.files import write_bytes
from sr_lab.base.words import counted
from sr_lab.serving.asking import Ask
from sr_lab.serving.job_queue import JobQueue
from sr_lab.serving.job_results import DONE, JobResults, ResultFacts
from sr_lab.serving.keys import Caller
from sr_lab.serving.pictures import ANSWERS, Facts, facts_of, format_named, refusal
from sr_lab.serving.problems import Problem
from sr_lab.serving.service import Service

log = logging.getLogger(__name__)
LOW, ASK, FAILED, TRIES = "low", "ask.json", "failed.json", "tries"
MOST_TRIES = 3
_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, kw_only=True)
class JobSettings:
    """Where jobs are kept.

    Attributes:
        folder: Of their images and states, and of the queue's database.
        results: Folder or object store of the restored images; None: beside the jobs.
        redis: Address of a Redis server, which several servers share with ``folder``; None: SQLite in the folder.
        most: Most jobs that wait.
        keep_seconds: How long a job is kept that is done or has failed.
    """

    folder: str
    results: str | None = None
    redis: str | None = None
    most: int = 1000
    keep_seconds: float = 7 * 86400.0

    def __call__(self, service: Service) -> "Jobs":
        """The jobs of a service."""
        return Jobs(service, self)


class Jobs:
    """The jobs of a server, and the thread that does them.

    Args:
        service: What restores.
        settings: Where they are kept.
    """

    def __init__(self, service: Service, settings: JobSettings) -> None:
        self.service, self.settings = service, settings
        self.folder = Path(settings.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self._stop = threading.Event()
        self.results = JobResults(settings.results or str(self.folder / "results"), stop=self._stop)
        self.queue = JobQueue(self.folder, redis=settings.redis, unfinished=self.unfinished)
        self._began = time.time() - time.monotonic()
        self._thread = threading.Thread(target=self._work, name="jobs", daemon=True)

    def send(self, ask: Ask, data: bytes, again: str | None = None) -> dict[str, Any]:
        """Takes a job; what ``state`` says of it.

        Args:
            ask: What is asked for.
            data: The image.
            again: The client's word for this request: a repeated one is the same job.

        Raises:
            Problem: If the image is none, or there are too many jobs.
        """
        facts = facts_of_job(data, self.service.limits.job_pixels)
        if why := refusal(ask.format, facts.form(1)):
            raise Problem(406, why, kind="format")
        owner = ask.caller.name
        id = uuid.uuid4().hex if again is None else hashlib.sha256(f"{owner}\0{again}".encode()).hexdigest()[:32]
        place = self.folder / id
        if not (place / ASK).is_file():
            if len(self.queue) >= self.settings.most:
                raise Problem(
                    429,
                    f"{counted(self.settings.most, 'job', 'waits/wait')} already",
                    kind="jobs",
                    headers={"Retry-After": "60"},
                )
            if self.service.keys is not None:
                self.service.keys.spend(ask.caller, facts.pixels * 4 / 1e6)
            kept = {
                "id": id, "owner": owner, "plan": ask.caller.plan, "model": ask.model, "tier": ask.tier,
                "scale": ask.scale, "form": ask.format, "sent": time.time(),
                "background": ask.background, "strip": ask.strip, "quality": ask.quality,
                "consistency": ask.consistency,
            }  # fmt: skip
            self._take(place, data, kept)
            self.queue.put(id)
        return self.state(id, owner)

    def _take(self, place: Path, data: bytes, kept: dict[str, Any]) -> None:
        """Writes what a job is made of.

        Raises:
            Problem: If the disk takes nothing; the job is not taken then.
        """
        try:
            place.mkdir(exist_ok=True)
            write_bytes(place / LOW, data)
            write_bytes(place / ASK, json.dumps(kept).encode())  # last: from now on the job is taken
        except OSError as error:
            log.exception("a job could not be kept")
            shutil.rmtree(place, ignore_errors=True)
            text = f"jobs cannot be kept at the moment ({error.strerror})"
            raise Problem(503, text, kind="jobs", headers={"Retry-After": "60"}) from error

    def state(self, id: str, owner: str) -> dict[str, Any]:
        """Whether a job waits, has begun, is done or has failed.

        Raises:
            Problem: If the owner has no such job.
        """
        place, kept = self._kept(id, owner)
        told: dict[str, Any] = {"id": id, "sent": kept["sent"]}
        if (place / DONE).is_file():
            return {**told, "state": "done", "result": f"/v1/jobs/{id}/result", **_read(place / DONE)}
        if (place / FAILED).is_file():
            return {**told, "state": "failed", "problem": _read(place / FAILED)}
        return {**told, "state": "begun" if (place / TRIES).is_file() else "waiting"}

    async def result(self, id: str, owner: str) -> tuple[bytes, dict[str, str], str]:
        """The image of a job that is done, with its headers and media type.

        Raises:
            Problem: If it is not done, or its image cannot be had.
        """
        state = await asyncio.to_thread(self.state, id, owner)
        if state["state"] != "done":
            raise Problem(409, f"the job is {state['state']}", kind="job", headers={"Retry-After": "5"})
        data = await self.results.read(state["file"])
        return data, state["headers"], ANSWERS[format_named(state["form"])].media

    def start(self) -> None:
        """Begins to work, with what an earlier server left."""
        self._clean()
        for id in self.unfinished():
            self.queue.put(id)
        self._thread.start()

    def unfinished(self) -> list[str]:
        """The jobs that were taken and are to be done, oldest first."""
        files = [(file.stat().st_mtime, file.parent) for file in self.folder.glob(f"*/{ASK}")]
        return [place.name for _, place in sorted(files) if not _is_over(place)]

    def stop(self) -> None:
        """Ends after the job that is being done."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(30.0)
        self.results.close()

    def do(self, id: str) -> None:
        """Does a job, if it is not done and nobody does it."""
        place = self.folder / id
        if not (place / ASK).is_file():
            return
        try:
            with FileLock(place / "lock", blocking=False):
                if not _is_over(place):
                    self._do(place)
        except Timeout:  # another worker does it; should that one die, somebody looks again
            self._stop.wait(1.0)
            self.queue.put(id)

    def _do(self, place: Path) -> None:
        made = self.results.beside(place) or self._made(place)
        if made is not None and self.results.keep(place, *made):
            (place / LOW).unlink(missing_ok=True)

    def _made(self, place: Path) -> tuple[ResultFacts, bytes] | None:
        """The image of a job; None where there is none, or none yet."""
        kept, tries = _read(place / ASK), _count(place / TRIES) + 1
        if tries > MOST_TRIES:
            problem = Problem(500, f"the server ended {MOST_TRIES} times while it did this job", kind="job")
            write_bytes(place / FAILED, json.dumps(problem.content(place.name)).encode())
            return None
        write_bytes(place / TRIES, str(tries).encode())
        ask = Ask(
            id=f"{place.name}.{tries}", caller=Caller(name=kept["owner"], plan=kept["plan"]), model=kept["model"],
            tier=kept["tier"], scale=kept["scale"], format=format_named(kept["form"]), rank=1,
            begin=self.service.clock(),
            background=None if kept.get("background") is None else tuple(kept["background"]),
            strip=kept.get("strip", False), quality=kept.get("quality", 95),
            consistency=kept.get("consistency"),
        )  # fmt: skip
        try:
            answer = asyncio.run(self.service.restore(ask, (place / LOW).read_bytes()))
        except Problem as problem:
            if problem.status in (429, 503):  # not the job's fault
                self._put_back(place, tries)
            else:
                write_bytes(place / FAILED, json.dumps(problem.content(place.name)).encode())
            return None
        file = f"{place.name}.{answer.format}"
        return ResultFacts(file=file, form=answer.format, headers=answer.headers), answer.data

    def _put_back(self, place: Path, tries: int) -> None:
        """Lets a job wait again, without a try being counted."""
        with contextlib.suppress(OSError):
            write_bytes(place / TRIES, str(tries - 1).encode())
        self._stop.wait(1.0)
        self.queue.put(place.name)

    def _work(self) -> None:
        cleaned = time.monotonic()
        while not self._stop.is_set():
            try:
                id = self.queue.take()
                if id is None:
                    self._stop.wait(0.2)
                else:
                    self.do(id)
                if time.monotonic() - cleaned > 3600:
                    cleaned = time.monotonic()
                    self._clean()
            except Exception:  # the database or the disk is away
                log.exception("the jobs go on in a while")
                self._stop.wait(2.0)

    def _clean(self) -> None:
        """Removes jobs that were done or failed long ago, and what was never taken.

        The time is that of the server's start and what has passed since: a clock that is set anew makes nothing old.
        """
        oldest = self._began + time.monotonic() - self.settings.keep_seconds
        for place in self.folder.iterdir():
            if not place.is_dir() or not _ID.fullmatch(place.name) or place.stat().st_mtime > oldest:
                continue
            if (place / ASK).exists() and not _is_over(place):
                continue
            try:
                if (place / DONE).exists():
                    self.results.remove(_read(place / DONE)["file"])
            except Exception as error:  # the store is away: another time
                log.warning("the result of job %s cannot be removed (%s)", place.name, error)
                continue
            shutil.rmtree(place, ignore_errors=True)

    def _kept(self, id: str, owner: str) -> tuple[Path, dict[str, Any]]:
        place = self.folder / id
        if _ID.fullmatch(id) and (place / ASK).is_file():
            kept = _read(place / ASK)
            if kept["owner"] == owner:
                return place, kept
        raise Problem(404, "there is no such job", kind="job")


def facts_of_job(data: bytes, most: int) -> Facts:
    """The header's facts of a job's image.

    Raises:
        Problem: If it is none, or too large.
    """
    try:
        facts = facts_of(data)
    except ValueError as error:
        raise Problem(415, f"the image {error}", kind="image") from None
    if facts.pixels > most:
        raise Problem(413, f"the image has {facts.width}x{facts.height} pixels, more than {most}", kind="pixels")
    return facts


def _is_over(place: Path) -> bool:
    return (place / DONE).exists() or (place / FAILED).exists()


def _read(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text(encoding="utf-8")))


def _count(file: Path) -> int:
    return int(file.read_text()) if file.is_file() else 0
