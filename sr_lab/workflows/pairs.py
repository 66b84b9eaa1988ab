"""The stream of pairs on disk: the service appends, the rollout reads; numbers only, no pixels and no names of clients.

One SQLite file, in WAL mode, so that the service's processes and the controller do not hold each other up. A row is
never changed.
"""

import json
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from sr_lab.base.databases import open_sqlite
from sr_lab.promotion.canary import Pair

_TABLES = """CREATE TABLE pairs (number INTEGER PRIMARY KEY AUTOINCREMENT, rollout TEXT NOT NULL, time REAL NOT NULL,
client TEXT NOT NULL, stage TEXT NOT NULL, served TEXT NOT NULL, gains TEXT NOT NULL, picture TEXT);
CREATE INDEX by_rollout ON pairs (rollout, number)"""
_COLUMNS = "number, time, client, stage, served, gains, picture"


class PairStore:
    """The pairs of a registered model's rollouts.

    Args:
        path: The SQLite file; made where it is missing.

    Raises:
        ValueError: if there is something else at ``path``.
        OSError: if it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._database = open_sqlite(path, _TABLES)

    @property
    def pictures(self) -> Path:
        """Folder of the pictures that are kept of pairs, beside the file."""
        return self.path.with_name(f"{self.path.stem}-pictures")

    def append(
        self,
        rollout: str,
        *,
        time: float,
        client: str,
        stage: str,
        served: str,
        gains: Mapping[str, float],
        picture: str | None = None,
    ) -> int:
        """Adds a pair to a rollout; its number."""
        row = (rollout, time, client, stage, served, json.dumps(dict(gains), allow_nan=False), picture)
        with self._lock:
            added = self._database.execute(
                "INSERT INTO pairs (rollout, time, client, stage, served, gains, picture) VALUES (?, ?, ?, ?, ?, ?, ?)",
                row,
            )
            return int(added.lastrowid or 0)

    def read(self, rollout: str, *, after: int = 0, upto: int | None = None) -> Iterator[Pair]:
        """The pairs of a rollout in their order, from behind one number up to another."""
        query = f"SELECT {_COLUMNS} FROM pairs WHERE rollout = ? AND number > ? AND number <= ? ORDER BY number"
        with self._lock:
            rows = self._database.execute(query, (rollout, after, 2**62 if upto is None else upto)).fetchall()
        for number, time, client, stage, served, gains, picture in rows:
            yield Pair(
                number=number, time=time, client=client, stage=stage, served=served, gains=json.loads(gains),
                picture=picture,
            )  # fmt: skip

    def close(self) -> None:
        """Closes the file."""
        with self._lock:
            self._database.close()
