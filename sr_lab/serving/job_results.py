"""Where the images of jobs lie that are done, and how they get there: computed once, stored when the store takes them.

A store that is away (a full disk, an object store that does not answer) is asked again after growing waits. Meanwhile
the image lies beside the job, so that a server that is killed has nothing to compute again, and in memory where that
disk takes nothing either. Nothing else is computed meanwhile: its image could not be stored.
"""

import asyncio
import contextlib
import json
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from sr_lab.base.files import read_json, write_bytes
from sr_lab.data.stores import Store
from sr_lab.serving.problems import Problem

log = logging.getLogger(__name__)
DONE, MADE, MADE_FACTS = "done.json", "made", "made.json"
FIRST_WAIT, MOST_WAIT = 1.0, 60.0
"""Seconds until a store that is away is asked again: twice as many each time."""
READ_SECONDS, READERS = 20.0, 4
"""How long a client waits for a store that is asked for an image, and how many are asked for at once."""


@dataclass(frozen=True, kw_only=True)
class ResultFacts:
    """What is kept of a job's image.

    Attributes:
        file: Its name in the store.
        form: Its format.
        headers: What is told beside it.
    """

    file: str
    form: str
    headers: dict[str, str]


class JobResults:
    """The images of jobs that are done.

    Args:
        uri: Folder or object store.
        stop: Set when the server ends: nothing is waited for any more.
    """

    def __init__(self, uri: str, *, stop: threading.Event) -> None:
        self.store, self.stop = Store(uri), stop
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="results")

    def keep(self, place: Path, facts: ResultFacts, data: bytes) -> bool:
        """Stores an image and says in the job's folder that it is done, however long the store is away.

        Args:
            place: The job's folder.
            facts: What is kept of the image.
            data: Its file.

        Returns:
            Whether it is stored; not where the server ends first. The next one finds it beside the job, or makes it
            again if it is not there.
        """
        wait, beside = FIRST_WAIT, False
        while True:
            try:
                self.store.write_bytes(facts.file, data)
                write_bytes(place / DONE, json.dumps(asdict(facts)).encode())
                break
            except Exception as error:  # each store has errors of its own
                log.warning(
                    "the result of job %s cannot be stored (%s: %s); once more in %g s",
                    place.name, type(error).__name__, error, wait,
                )  # fmt: skip
            beside = beside or _laid_beside(place, facts, data)
            if self.stop.wait(wait):
                return False
            wait = min(2 * wait, MOST_WAIT)
        for name in (MADE_FACTS, MADE):
            (place / name).unlink(missing_ok=True)
        return True

    def beside(self, place: Path) -> tuple[ResultFacts, bytes] | None:
        """The image of a job that a server made which ended before the store took it; None where there is none."""
        if not (place / MADE_FACTS).is_file():
            return None
        return ResultFacts(**read_json(place / MADE_FACTS)), (place / MADE).read_bytes()

    async def read(self, name: str) -> bytes:
        """An image's file; read by threads of its own, so that a store that hangs holds up nothing else.

        Raises:
            Problem: If it is gone (404), or the store is away (503).
        """
        reading = asyncio.get_running_loop().run_in_executor(self._readers, self.store.read_bytes, name)
        try:
            data = await asyncio.wait_for(reading, READ_SECONDS)
        except Exception as error:
            log.warning("the result %s cannot be read (%s: %s)", name, type(error).__name__, error)
            text = "the store of the results does not answer: come again"
            raise Problem(503, text, kind="store", headers={"Retry-After": "10"}) from error
        if data is None:
            raise Problem(404, "the result is gone", kind="job")
        return data

    def close(self) -> None:
        """Reads no more."""
        self._readers.shutdown(wait=False, cancel_futures=True)

    def remove(self, name: str) -> None:
        """Removes an image, if it is there."""
        self.store.remove(name)


def _laid_beside(place: Path, facts: ResultFacts, data: bytes) -> bool:
    with contextlib.suppress(OSError):
        write_bytes(place / MADE, data)
        write_bytes(place / MADE_FACTS, json.dumps(asdict(facts)).encode())  # last: from now on it is whole
        return True
    return False
