"""One writer at a time on a registered model: a file lock beside SQLite, elsewhere a claim in the registry itself."""

import json
import random
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from filelock import FileLock, Timeout

from sr_lab.base.errors import SRLabError
from sr_lab.tracking.store import sqlite_path

if TYPE_CHECKING:
    from mlflow import MlflowClient

CLAIM = "lock."
LEASE_SECONDS = 60.0
WAIT_SECONDS = 180.0


class LockLostError(SRLabError, RuntimeError):
    """The claim on the registered model is gone: it was held for so long that another process took it for dead."""


class Lock:
    """A lock that is held; ``confirm`` before every step that matters."""

    def confirm(self) -> None:
        """Raises ``LockLostError`` if the lock is not ours any more; a file lock cannot be lost."""


@contextmanager
def exclusive(client: "MlflowClient", uri: str, name: str, *, who: str) -> Iterator[Lock]:
    """Holds a registered model against every other caller of this function.

    Beside an SQLite database it is a file lock, which the system takes back when its process dies.

    A tracking server and PostgreSQL offer no lock and no compare-and-set through MLflow. There each caller adds a tag
    of its own (``lock.TOKEN``) to the registered model and looks at all of them afterwards: alone, it holds the lock;
    else the first by name waits for the others to go, and they take their tags back and try later. Of two callers the
    one whose tag came second sees the other's, and nobody starts before it has seen its own tag alone, so that both
    cannot win, as long as what was written is read (one database, no lagging replica). A tag that has not changed for
    ``LEASE_SECONDS`` (more than the slowest request takes) by the waiting caller's own clock belongs to a dead process
    and is removed. A process that sleeps longer than that between two steps finds out by ``confirm``, but not within
    the one request after it: that gap remains, as MLflow sets an alias without conditions.

    Callers on a server and on its PostgreSQL database exclude each other. Callers on an SQLite file and on a server
    over that file do not: use one of the two uris.

    Args:
        client: of the store at ``uri``.
        uri: a resolved store.
        name: registered model; it has to exist.
        who: told to whoever waits.

    Raises:
        RuntimeError: if it is held for all of ``WAIT_SECONDS``, naming the holder.
        mlflow.MlflowException: if the store refuses.
    """
    path = sqlite_path(uri)
    if path is None:
        with claimed(client, name, who=who, lease_seconds=LEASE_SECONDS, wait_seconds=WAIT_SECONDS) as lock:
            yield lock
        return
    file = FileLock(path.with_name(path.name + ".promotion.lock"))
    try:
        file.acquire(timeout=WAIT_SECONDS)
    except Timeout:
        raise RuntimeError(f"{name}: another process holds {file.lock_file} since {WAIT_SECONDS:.0f} s") from None
    try:
        yield Lock()
    finally:
        file.release()


@contextmanager
def claimed(
    client: "MlflowClient", name: str, *, who: str, lease_seconds: float, wait_seconds: float
) -> Iterator[Lock]:
    """The lock that works on any store; see ``exclusive``."""
    claim = _Claim(client, name)
    try:
        claim.acquire(who, lease_seconds, wait_seconds)
        yield claim
    finally:
        claim.withdraw(claim.key)


class _Claim(Lock):
    def __init__(self, client: "MlflowClient", name: str) -> None:
        self.client = client
        self.name = name
        self.key = CLAIM + uuid.uuid4().hex

    def acquire(self, who: str, lease_seconds: float, wait_seconds: float) -> None:
        start = time.monotonic()
        seen: dict[str, float] = {}
        text = json.dumps({"who": who, "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())})
        while True:
            others = self._claims()
            now = time.monotonic()
            seen = {key: seen.get(key, now) for key in others}
            for key, since in seen.items():
                if now - since >= lease_seconds:
                    self.withdraw(key)
                    others.pop(key)
            if not others:
                self.client.set_registered_model_tag(self.name, self.key, text)
                until = time.monotonic() + lease_seconds / 4
                while self.key in (found := self._claims()):
                    if list(found) == [self.key]:
                        return
                    if min(found) != self.key or time.monotonic() > until:
                        break
                    time.sleep(0.05)
                others = {key: value for key, value in found.items() if key != self.key}
                self.withdraw(self.key)
            if now - start > wait_seconds:
                holder = next(iter(others.values()), "nobody any more")
                raise RuntimeError(f"{self.name} is locked by {holder}: try again when that is done")
            time.sleep(random.uniform(0.05, 0.25))

    def withdraw(self, key: str) -> None:
        if key in self._claims():
            self.client.delete_registered_model_tag(self.name, key)

    def confirm(self) -> None:
        if self.key not in self._claims():
            raise LockLostError(f"{self.name}: held for too long, another process took over: nothing more is changed")

    def _claims(self) -> dict[str, str]:
        tags = self.client.get_registered_model(self.name).tags
        return {key: value for key, value in sorted(tags.items()) if key.startswith(CLAIM)}
