"""The order in which jobs are done: huey's queue, on SQLite or Redis, which may go away and come back empty.

It only holds names. What is to be done lies in the jobs' folder, so that nothing is lost with the queue: names that are
missing in it are put back. A name that is in it twice is done once, which is the folder's business too.
"""

import logging
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from huey import Huey, RedisHuey, SqliteHuey

from sr_lab.base.extras import remedy

log = logging.getLogger(__name__)
LOOK_SECONDS = 30.0
"""How often an empty queue is compared with the folder: a Redis that was started anew says nothing of it."""
_REDIS_SECONDS = 10.0


class JobQueue:
    """Names of jobs, first in, first out.

    Args:
        folder: Of the SQLite database.
        redis: Address of a Redis server instead; None: SQLite.
        unfinished: Tells the names of the jobs that are to be done, oldest first.
        clock: Monotonic seconds.

    Raises:
        ValueError: If the package of Redis is not installed.
    """

    def __init__(
        self,
        folder: Path,
        *,
        redis: str | None,
        unfinished: Callable[[], Iterable[str]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.unfinished, self.clock = unfinished, clock
        self._huey = _huey(folder, redis)
        self._task: Callable[[str], Any] = self._huey.task()(_named)
        self._looked, self._lost = clock(), False

    def put(self, id: str) -> None:
        """Puts a name last; where the queue is away, it is put back when that answers again."""
        try:
            self._task(id)
        except Exception as error:  # of SQLite, Redis, or the disk
            log.warning("the queue is away (%s); job %s waits in its folder", error, id)
            self._lost = True

    def take(self) -> str | None:
        """The first name, which is taken out; None where there is none.

        Raises:
            Exception: If the queue is away.
        """
        try:
            task = self._huey.dequeue()
        except Exception:
            self._lost = True
            raise
        if task is not None:
            return str(task.args[0])
        if self._lost or self.clock() - self._looked > LOOK_SECONDS:
            self._looked, self._lost = self.clock(), False
            for id in self.unfinished():
                self.put(id)
        return None

    def __len__(self) -> int:
        try:
            return len(self._huey)
        except Exception:
            return len(list(self.unfinished()))


def _huey(folder: Path, redis: str | None) -> Huey:
    if redis is None:
        return SqliteHuey("srlab", filename=str(folder / "queue.db"), fsync=True, results=False)
    try:
        from redis import ConnectionPool
    except ImportError as error:
        raise ValueError(f"jobs.redis={redis}: {remedy('redis')}") from error
    pool = ConnectionPool.from_url(redis, socket_timeout=_REDIS_SECONDS, socket_connect_timeout=_REDIS_SECONDS)
    return RedisHuey("srlab", connection_pool=pool, results=False)


def _named(id: str) -> str:
    """What huey calls a task; the worker does it by its name."""
    return id
