"""Records of requests, by which one can be done again; and, only where that is switched on, samples of what was sent.

A record holds hashes, sizes, the model and the settings: no pixels and no client. A sample is the decoded picture
without its metadata, masked where that is said, encrypted (Fernet: AES-128 in CBC mode with an HMAC) by a key of the
environment. Both are kept for a number of days, and go by the request's id. Whoever keeps, reads or deletes a picture
is written down.
"""

import getpass
import hashlib
import json
import logging
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from sr_lab.base.extras import install
from sr_lab.base.files import write_bytes
from sr_lab.base.version import __version__
from sr_lab.images import codecs
from sr_lab.images.metadata import Metadata

log = logging.getLogger(__name__)
KEY = "SRLAB_RECORDS_KEY"
NEW_KEY = "python -c 'from cryptography.fernet import Fernet; print(Fernet.generate_key().decode())'"
DAY, GRACE, MOST_WAITING = 86400.0, 7200.0, 64
Pixels = npt.NDArray[Any]


@dataclass(frozen=True, kw_only=True)
class RecordSettings:
    """What is kept of requests.

    Attributes:
        folder: Where.
        keep_days: How long.
        share: Share of the pictures that is kept too, drawn by chance; 0 keeps none.
        mask: Parts of every kept picture that are blotted out, by name: top, left, bottom, right from 0 to 1.
    """

    folder: str = "records"
    keep_days: float = 30.0
    share: float = 0.0
    mask: Mapping[str, Sequence[float]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 <= self.share <= 1:
            raise ValueError(f"records.share={self.share} must lie between 0 and 1")
        if not self.keep_days > 0:
            raise ValueError(f"records.keep_days={self.keep_days} must be above 0")
        for name, box in self.mask.items():
            if len(box) != 4 or not (0 <= box[0] < box[2] <= 1 and 0 <= box[1] < box[3] <= 1):
                raise ValueError(f"records.mask.{name}={list(box)}: give top, left, bottom, right between 0 and 1")


def masked(pixels: Pixels, mask: Mapping[str, Sequence[float]]) -> Pixels:
    """A picture with parts of it blotted out: each has the mean colour of the whole.

    Example:
        >>> image = np.arange(16, dtype=np.uint8).reshape(4, 4, 1)
        >>> masked(image, {"top": [0, 0, 0.5, 1]})[:, 0, 0].tolist()
        [8, 8, 8, 12]
    """
    if not mask:
        return pixels
    made = pixels.copy()
    height, width = pixels.shape[:2]
    mean = np.rint(pixels.mean(axis=(0, 1))).astype(pixels.dtype)
    for top, left, bottom, right in mask.values():
        made[int(top * height) : -int(-bottom * height // 1), int(left * width) : -int(-right * width // 1)] = mean
    return made


def digest(pixels: Pixels) -> str:
    """SHA-256 of a picture's shape, type and levels."""
    made = hashlib.sha256(f"{pixels.shape} {pixels.dtype}".encode())
    made.update(np.ascontiguousarray(pixels).data)
    return made.hexdigest()


def software() -> str:
    """What computes: sr_lab, PyTorch."""
    return f"sr_lab {__version__}, torch {torch.__version__}"


class Records(Collector):
    """The records of a folder.

    Args:
        settings: What is kept.
        time: Seconds since the epoch.
        who: Who looks; None: the user of the process.

    Raises:
        ValueError: If pictures are to be kept, and the environment has no key.
    """

    def __init__(
        self, settings: RecordSettings, *, time: Callable[[], float] = time.time, who: str | None = None
    ) -> None:
        self.settings, self.time, self.who = settings, time, who or _user()
        self.folder = Path(settings.folder)
        (self.folder / "pictures").mkdir(parents=True, exist_ok=True)
        self._lock, self.lost, self._waiting, self._cleaned = threading.Lock(), 0, 0, -1e18
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="records")
        if settings.share > 0:
            _fernet()
        with self._open() as database:
            database.execute("create table if not exists requests (id text primary key, time real, content text)")
            database.execute("create table if not exists accesses (time real, who text, action text, request text)")
        self.clean()

    def take(self, make: Callable[[], Mapping[str, Any]], id: str, low: Pixels) -> None:
        """Keeps a record, and by chance the picture, in a thread of its own; what cannot be kept is counted.

        Args:
            make: Makes the record; it computes hashes.
            id: Of the request.
            low: The picture, (h, w, C).
        """
        with self._lock:
            if self._waiting >= MOST_WAITING:
                self.lost += 1
                return
            self._waiting += 1
        sample = random.random() < self.settings.share

        def work() -> None:
            try:
                self.keep(id, make(), low if sample else None)
                if self.time() - self._cleaned > 3600:
                    self.clean()
            except Exception:
                log.exception("a request's record is lost")
                self.lost += 1
            finally:
                with self._lock:
                    self._waiting -= 1

        self._thread.submit(work)

    def keep(self, id: str, content: Mapping[str, Any], low: Pixels | None = None) -> None:
        """Keeps a record, with the picture or without."""
        kept = {**content, "sample": low is not None, "masked": sorted(self.settings.mask) if low is not None else []}
        if low is not None:
            self._log("keep", id)
            data = codecs.encode(masked(low, self.settings.mask), "png", Metadata(), alpha=low.shape[2] in (2, 4))
            write_bytes(self._file(id), _fernet().encrypt(data))
        with self._open() as database:
            database.execute("insert or replace into requests values (?, ?, ?)", (id, self.time(), json.dumps(kept)))

    def find(self, id: str) -> dict[str, Any]:
        """A request's record.

        Raises:
            ValueError: If there is none.
        """
        with self._open() as database:
            row = database.execute("select time, content from requests where id = ?", (id,)).fetchone()
        if row is None:
            raise ValueError(f"request={id}: {self.folder} has no record of it: it may be too old, or deleted")
        return {"time": row[0], **json.loads(row[1])}

    def picture(self, id: str) -> bytes | None:
        """The kept picture as a PNG file, which is written down; None where none is kept.

        Raises:
            ValueError: If the key is missing or another one.
        """
        file = self._file(id)
        if not file.is_file():
            return None
        from cryptography.fernet import InvalidToken

        self._log("read", id)
        try:
            return bytes(_fernet().decrypt(file.read_bytes()))
        except InvalidToken:
            raise ValueError(f"{KEY} is not the key by which the picture was encrypted, or that was changed") from None

    def delete(self, id: str) -> bool:
        """Deletes what is kept of a request; whether there was something. That it was deleted stays written down."""
        file = self._file(id)
        there = file.is_file()
        file.unlink(missing_ok=True)
        with self._open() as database:
            there = bool(database.execute("delete from requests where id = ?", (id,)).rowcount) or there
        if there:
            self._log("delete", id)
        return there

    def clean(self) -> int:
        """Deletes what is older than it is kept; how many requests."""
        oldest = self.time() - self.settings.keep_days * DAY
        with self._open() as database:
            old = [row[0] for row in database.execute("select id from requests where time < ?", (oldest,))]
        for id in old:
            if self._file(id).is_file():
                self._file(id).unlink()
                self._log("expire", id)
            with self._open() as database:
                database.execute("delete from requests where id = ?", (id,))
        self._cleaned = self.time()
        return len(old)

    @property
    def accesses(self) -> list[tuple[float, str, str, str]]:
        """Who did what with kept pictures: time, user, ``keep``, ``read``, ``delete`` or ``expire``, request."""
        with self._open() as database:
            rows = database.execute("select time, who, action, request from accesses order by time").fetchall()
        return [(float(when), str(who), str(action), str(id)) for when, who, action, id in rows]

    def close(self) -> None:
        """Ends when what was taken is kept."""
        self._thread.shutdown(wait=True)

    def collect(self) -> Iterator[Metric]:
        """Pictures that are kept, those that should be gone, and how often one was looked at."""
        late = self.time() - self.settings.keep_days * DAY - GRACE
        files = list((self.folder / "pictures").iterdir())
        yield GaugeMetricFamily("srlab_kept_pictures", "Pictures of clients that are kept.", value=len(files))
        with self._open() as database:
            expired = database.execute("select count(*) from requests where time < ?", (late,)).fetchone()[0]
            reads = database.execute("select count(*) from accesses where action = 'read'").fetchone()[0]
        yield GaugeMetricFamily(
            "srlab_kept_expired", "Records and pictures that are kept longer than they may be.", value=expired
        )
        yield CounterMetricFamily("srlab_kept_reads", "Times that a kept picture was looked at.", value=reads)
        yield CounterMetricFamily("srlab_records_lost", "Requests whose record could not be kept.", value=self.lost)

    def _file(self, id: str) -> Path:
        return self.folder / "pictures" / f"{hashlib.sha256(id.encode()).hexdigest()}.bin"

    def _log(self, action: str, id: str) -> None:
        with self._open() as database:
            database.execute("insert into accesses values (?, ?, ?, ?)", (self.time(), self.who, action, id))

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self.folder / "records.db", timeout=60.0)) as database, database:
            yield database


def _fernet() -> Any:
    key = os.environ.get(KEY, "")
    if not key:
        raise ValueError(f"pictures are kept encrypted: {KEY} must hold a key; this makes one:  {NEW_KEY}")
    try:
        from cryptography.fernet import Fernet
    except ImportError as error:
        raise ValueError(f"kept pictures need the package cryptography: {install('cryptography')}") from error
    try:
        return Fernet(key.encode())
    except ValueError:
        raise ValueError(f"{KEY} is no key of Fernet's; this makes one:  {NEW_KEY}") from None


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):
        return str(os.getuid())
