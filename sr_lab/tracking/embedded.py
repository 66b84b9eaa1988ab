"""The store in a file: made whole or not at all, of the schema that this MLflow knows, and where it was made.

Nothing here imports MLflow except to make the tables: a run looks at its store before its first step.
"""

import importlib.util
import logging
import re
import sqlite3
import urllib.parse
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from sr_lab.base.databases import SQLITE, exclusive, make_sqlite, read_sqlite, set_aside, tables, use_wal
from sr_lab.base.errors import SRLabError
from sr_lab.base.words import line, setting
from sr_lab.tracking.marks import UID_TAG, names_of

ARTEFACTS = "mlruns"
LOCATIONS = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
_FIRST_TABLES = {"experiments", "runs", "metrics", "params", "tags"}
_CONTENT = (("runs", ""), ("experiments", " WHERE experiment_id <> 0"), ("registered_models", ""))
_log = logging.getLogger(__name__)

State = Literal["absent", "current", "unfinished", "older", "newer", "foreign"]


class StoreError(SRLabError, ValueError):
    """A store that cannot be used as it is; the message names it and the remedy."""


class MovedError(StoreError):
    """The store was copied or moved, and still names the files of the place where it was made."""


@dataclass(frozen=True, kw_only=True)
class Relocated:
    """What ``relocate`` changed: the folders, how many places were rewritten, and which files are not there."""

    path: Path
    old: Path | None
    new: Path
    places: int
    missing: list[str]


def artefacts_of(path: Path, experiment: str) -> Path:
    """Where the artefacts of an experiment lie: in ``mlruns`` beside the database."""
    return path.parent / ARTEFACTS / (re.sub(r"[^\w.-]+", "_", experiment).strip("._") or "experiment")


def state(path: Path) -> State:
    """What kind of store is at ``path``.

    ``unfinished`` holds nothing, as its maker was killed or met a full disk; ``older`` and ``newer`` are of another
    version of MLflow; ``foreign`` holds tables of another program.

    Raises:
        ValueError: if it is not an SQLite database.
    """
    names = tables(path)
    if not names:
        return "absent"
    if not names & _FIRST_TABLES:
        return "foreign" if names - {"alembic_version"} else "unfinished"
    versions = read_sqlite(path, "SELECT version_num FROM alembic_version") if "alembic_version" in names else []
    version = str(versions[0][0]) if versions else None
    known, head = _schemas()
    if version == head:
        return "current"
    if not any(read_sqlite(path, f"SELECT 1 FROM {table}{rest} LIMIT 1") for table, rest in _CONTENT if table in names):
        return "unfinished"
    return "older" if version is None or version in known else "newer"


def require_usable(path: Path, *, upgrade: str) -> None:
    """Refuses a store that cannot be written as it is; one that does not exist yet, or is unfinished, will be made.

    Args:
        path: The database's file.
        upgrade: The shell line that brings an older schema up to date, for the message.

    Raises:
        StoreError: if it is of another version of MLflow, holds tables of another program, or was moved.
        ValueError: if it is no database.
    """
    found = state(path)
    if found == "foreign":
        some = ", ".join(sorted(tables(path))[:3])
        raise StoreError(f"{path} holds tables of another program ({some}, ...): give MLflow a database of its own")
    if found == "older":
        raise StoreError(
            f"{path} was written by an older MLflow: copy it for safety, then bring it up to date by  {upgrade}"
        )
    if found == "newer":
        raise StoreError(
            f"{path} was written by a newer MLflow than the one that is installed: pip install --upgrade mlflow"
        )
    if found == "current" and (old := made_at(path)) is not None:
        told = line("relocate", setting("tracking_uri", f"{SQLITE}{path}"))
        raise MovedError(
            f"{path} was made in {old} and names the files there, so that runs would be written into {old / ARTEFACTS}:"
            f" was the project copied or moved? This makes it use {path.parent / ARTEFACTS}:  {told}"
        )


def prepare(path: Path, *, upgrade: str) -> None:
    """Makes the store where there is none, one process at a time; see ``require_usable``.

    Raises:
        StoreError, ValueError: as ``require_usable``.
        OSError: if the disk is full, or the folder cannot be written.
    """
    require_usable(path, upgrade=upgrade)
    if state(path) == "current":
        use_wal(path)
        return
    with exclusive(path):
        if state(path) == "unfinished":
            aside = set_aside(path)
            _log.warning("%s was left unfinished by a process that was ended; it is kept as %s", path, aside.name)
        make_sqlite(path, lambda temporary: _make_tables(temporary, path))


def made_at(path: Path) -> Path | None:
    """The folder where a store was made, if it is another than where it is now; None where all is right."""
    here = path.parent
    for name, location in read_sqlite(path, "SELECT name, artifact_location FROM experiments"):
        folder = _folder(str(location))
        if folder is None or folder.parent.name != ARTEFACTS or folder.name != artefacts_of(path, str(name)).name:
            continue  # not made by us: somebody chose this place
        there = folder.parent.parent
        if there != here and not _same(there, here):
            return there
    return None


def knows(path: Path, uid: str) -> bool:
    """Whether the store has the run of that uid."""
    try:
        query = "SELECT 1 FROM tags WHERE key IN (?, ?) AND value = ? LIMIT 1"
        return path.is_file() and bool(read_sqlite(path, query, (*names_of(UID_TAG), uid)))
    except sqlite3.Error:
        return False


def relocate(path: Path, *, old: Path | None = None) -> Relocated:
    """Makes a store that was copied or moved name the files where it is now; all of it or nothing.

    Args:
        path: The database's file.
        old: The folder where it was made; None takes what the store says.

    Returns:
        What was changed; ``places`` is 0 where there was nothing to do.

    Raises:
        StoreError: if there is no such store, or its files are still at the old place and not at the new one.
        ConnectionError: if another process holds the store.
    """
    if state(path) not in ("current", "older"):
        raise StoreError(
            f"there is no MLflow store at {path}: give the database of the copy, tracking_uri=sqlite:///FILE"
        )
    source = old or made_at(path)
    here = path.parent
    if source is None or source == here:
        return Relocated(path=path, old=source, new=here, places=0, missing=[])
    with exclusive(path):
        places = dict(_places(path, source, here))
        experiments = {str(place) for (place,) in read_sqlite(path, "SELECT artifact_location FROM experiments")}
        files = {before: after for before, after in places.items() if before not in experiments}  # theirs come later
        absent = [after for after in files.values() if not _exists(after)]
        if absent and not (here / ARTEFACTS).exists() and any(_exists(before) for before in files):
            raise StoreError(
                f"the artefacts are in {source / ARTEFACTS} and not in {here / ARTEFACTS}: copy or move that folder too"
            )
        with closing(sqlite3.connect(path, timeout=30)) as database, database:
            names = tables(path)
            for table, column in LOCATIONS:
                if table in names and column in _columns(database, table):
                    database.executemany(
                        f"UPDATE {table} SET {column} = ? WHERE {column} = ?",
                        [(after, before) for before, after in places.items()],
                    )
    return Relocated(path=path, old=source, new=here, places=len(places), missing=sorted(set(absent)))


def _places(path: Path, source: Path, here: Path) -> Iterator[tuple[str, str]]:
    """Every recorded place below ``source``, and what it is below ``here``."""
    names = tables(path)
    for table, column in LOCATIONS:
        if table not in names:
            continue
        try:
            found = read_sqlite(path, f"SELECT DISTINCT {column} FROM {table} WHERE {column} IS NOT NULL")
        except sqlite3.OperationalError:
            continue  # an older schema without the column
        for (place,) in found:
            for before, after in ((source.as_uri(), here.as_uri()), (str(source), str(here))):
                if str(place) == before or str(place).startswith(before + "/"):
                    yield str(place), after + str(place).removeprefix(before)


def _columns(database: sqlite3.Connection, table: str) -> set[str]:
    return {str(row[1]) for row in database.execute(f"PRAGMA table_info({table})")}


def _folder(location: str) -> Path | None:
    """The folder of an artefact place, None of one that is no local file."""
    if location.startswith("/"):
        return Path(location)
    parts = urllib.parse.urlsplit(location)
    return Path(urllib.parse.unquote(parts.path)) if parts.scheme == "file" and parts.path else None


def _exists(location: str) -> bool:
    folder = _folder(location)
    return folder is not None and folder.exists()


def _same(first: Path, second: Path) -> bool:
    try:
        return first.samefile(second)
    except OSError:
        return False


@cache
def _schemas() -> tuple[frozenset[str], str]:
    """The schema versions that the installed MLflow knows, and the newest, without importing it."""
    spec = importlib.util.find_spec("mlflow")
    assert spec is not None
    assert spec.origin is not None
    known, before = set(), set()
    for file in (Path(spec.origin).parent / "store" / "db_migrations" / "versions").glob("*.py"):
        text = file.read_text(encoding="utf-8")
        if found := re.search(r"^revision\s*(?::[^=]+)?=\s*[\"'](\w+)[\"']", text, re.MULTILINE):
            known.add(found.group(1))
        if found := re.search(r"^down_revision\s*(?::[^=]+)?=(.*)$", text, re.MULTILINE):
            before |= set(re.findall(r"[\"'](\w+)[\"']", found.group(1)))
    (head,) = known - before
    return frozenset(known), head


def _make_tables(temporary: Path, path: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    uri = f"{SQLITE}{temporary}"
    try:
        SqlAlchemyStore(uri, (path.parent / ARTEFACTS).as_uri())
    finally:
        engine = SqlAlchemyStore._engine_map.pop(uri, None)
        if engine is not None:
            engine.dispose()
