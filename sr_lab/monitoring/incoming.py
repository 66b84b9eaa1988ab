"""What a service keeps of the images that come in: their features, in a window that is bounded and outlives it.

One SQLite file in WAL mode, so that several processes of a service append while ``srlab drift`` and ``srlab watch``
read. There are no pixels in it, no names of clients and no words of an error message (which quote bytes of the file):
an image is known by a keyed hash of its request's id, by which it can be found again and forgotten.
"""

import hashlib
import hmac
import json
import secrets
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from sr_lab.base.databases import open_sqlite, tables
from sr_lab.data.manifest import combined_digest
from sr_lab.degradations.estimate import ImageEstimate
from sr_lab.monitoring.profile import Profile, library_versions

_TABLES = """CREATE TABLE images (number INTEGER PRIMARY KEY AUTOINCREMENT, time REAL NOT NULL, name TEXT NOT NULL,
kind TEXT, features TEXT, estimate TEXT); CREATE INDEX by_name ON images (name);
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL)"""


def is_incoming(path: Path) -> bool:
    """Whether a path is a file that an ``IncomingStore`` has written, and no folder of images.

    Raises:
        ValueError: If it is a file of another kind.
    """
    if not path.is_file():
        return False
    if "images" not in tables(path):
        raise ValueError(f"{path} holds no features of a service's images: give its file, or a folder of images")
    return True


class IncomingStore:
    """The features of the sampled images of a service.

    Args:
        path: The SQLite file; made where it is missing.
        settings: Of the extractor that measures; None to read only.
        window: Number of images that are judged together: each window holds the images that came after the one before.
        num_windows: Number of windows that are kept; older images are forgotten.

    Raises:
        ValueError: If ``window`` or ``num_windows`` is below 1, or there is something else at ``path``.
        OSError: If it cannot be written.
    """

    def __init__(
        self,
        path: Path,
        *,
        settings: Mapping[str, Any] | None = None,
        window: int = 100,
        num_windows: int = 10,
    ) -> None:
        if window < 1 or num_windows < 1:
            raise ValueError(f"window={window}, num_windows={num_windows}: must be at least 1")
        if settings is None and not path.is_file():
            raise ValueError(f"{path} does not exist: a service makes it, srlab serve ... incoming=default")
        self.path = path
        self._lock = threading.Lock()
        self._database = open_sqlite(path, _TABLES)
        self._tell(salt=secrets.token_hex(16), settings=settings, window=window, num_windows=num_windows)

    def _tell(self, *, salt: str, settings: Mapping[str, Any] | None, window: int, num_windows: int) -> None:
        """Writes down what a reader has to know; the salt stays as it is."""
        self._database.execute("INSERT OR IGNORE INTO facts VALUES ('salt', ?)", (json.dumps(salt),))
        if settings is not None:
            facts = {"settings": dict(settings), "window": window, "num_windows": num_windows}
            known = {name: json.loads(value) for name, value in self._database.execute("SELECT * FROM facts")}
            if "settings" in known and known["settings"] != facts["settings"]:
                self._database.execute("DELETE FROM images")  # what was measured otherwise cannot stand beside it
            self._database.executemany(
                "INSERT OR REPLACE INTO facts VALUES (?, ?)",
                [(name, json.dumps(value)) for name, value in facts.items()],
            )
        known = {name: json.loads(value) for name, value in self._database.execute("SELECT * FROM facts")}
        self.settings: Mapping[str, Any] = known.get("settings", {})
        self.window, self.num_windows = int(known.get("window", window)), int(known.get("num_windows", num_windows))
        self._salt = str(known["salt"]).encode()

    def name_of(self, request: str) -> str:
        """What the image of a request is known by: a keyed hash of the request's id."""
        return hmac.new(self._salt, request.encode(), hashlib.sha256).hexdigest()[:20]

    def chosen(self, request: str, share: float) -> bool:
        """Whether the image of a request is one of the share that is measured: by its name, never by what it shows."""
        return int(self.name_of(request)[:13], 16) / 16**13 < share

    def append(
        self,
        request: str,
        *,
        time: float,
        features: Mapping[str, float] | None = None,
        estimate: ImageEstimate | None = None,
        kind: str | None = None,
    ) -> int:
        """Adds an image, or that one could not be used, and forgets what is older than the windows that are kept.

        Args:
            request: Id of its request.
            time: Seconds since the epoch.
            features: What was measured of it.
            estimate: What was estimated of its degradation.
            kind: Why it could not be used, see ``usability.Kind``; None where it could.

        Returns:
            Its number, from 1; a window is complete where the number is a multiple of ``window``.
        """
        row = (
            time, self.name_of(request), kind, None if features is None else json.dumps(dict(features)),
            None if estimate is None else json.dumps(estimate.to_dict()),
        )  # fmt: skip
        with self._lock:
            self._database.execute("BEGIN IMMEDIATE")
            try:
                added = self._database.execute(
                    "INSERT INTO images (time, name, kind, features, estimate) VALUES (?, ?, ?, ?, ?)", row
                )
                number = int(added.lastrowid or 0)
                oldest = (number // self.window - self.num_windows) * self.window
                self._database.execute("DELETE FROM images WHERE number <= ?", (oldest,))
                self._database.execute("COMMIT")
            except BaseException:
                self._database.execute("ROLLBACK")
                raise
        return number

    def forget(self, request: str) -> bool:
        """Removes what was kept of a request; whether there was anything."""
        with self._lock:
            done = self._database.execute("DELETE FROM images WHERE name = ?", (self.name_of(request),))
            return done.rowcount > 0

    @property
    def num_images(self) -> int:
        """Number of images since the file was made, those that are forgotten too."""
        with self._lock:
            found = self._database.execute("SELECT seq FROM sqlite_sequence WHERE name = 'images'").fetchone()
        return 0 if found is None else int(found[0])

    def latest(self) -> Profile | None:
        """The last complete window; None before the first."""
        return next(iter(self.windows(1)), None)

    def windows(self, num: int) -> list[Profile]:
        """The last complete windows that are kept, the newest first; at most ``num``."""
        end = self.num_images // self.window * self.window
        ends = range(end, max(end - min(num, self.num_windows) * self.window, 0), -self.window)
        return [self._profile(each - self.window, each) for each in ends]

    def _profile(self, after: int, upto: int) -> Profile:
        import pandas as pd

        with self._lock:
            rows = self._database.execute(
                "SELECT number, time, name, kind, features, estimate FROM images WHERE number > ? AND number <= ? "
                "ORDER BY number", (after, upto),
            ).fetchall()  # fmt: skip
        used = [row for row in rows if row[3] is None]
        kinds = {name: kind for _, _, name, kind, _, _ in rows if kind is not None}
        times = [row[1] for row in rows]
        facts = {
            "source": f"requests {after + 1} to {upto}",
            "images_sha256": combined_digest(
                [hashlib.sha256(f"{row[0]} {row[2]}".encode()).hexdigest() for row in rows]
            ),
            "skipped": dict(kinds),
            "kinds": kinds,
            "versions": library_versions(),
            "created": datetime.fromtimestamp(max(times, default=0.0), UTC).isoformat(timespec="seconds"),
            "first": datetime.fromtimestamp(min(times, default=0.0), UTC).isoformat(timespec="seconds"),
        }
        table = pd.DataFrame([{"name": row[2], **_features(row[4])} for row in used])
        return Profile(
            table,
            self.settings,
            facts,
            tuple(ImageEstimate.from_dict(json.loads(row[5])) for row in used if row[5] is not None),
        )

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            self._database.close()


def _features(text: str) -> dict[str, float]:
    found: dict[str, float] = json.loads(text)
    return found
