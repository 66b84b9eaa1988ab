"""Databases that several processes share: an SQLite file made whole or not at all, a PostgreSQL server that answers."""

import contextlib
import importlib.util
import os
import re
import sqlite3
import urllib.parse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from sr_lab.base.extras import install
from sr_lab.base.files import leftovers, replacing

SQLITE = "sqlite:///"
POSTGRES = "postgresql+psycopg2:"
LOCK_SECONDS = 120.0
_BESIDE = ("-wal", "-shm", "-journal")


def sqlite_path(uri: str) -> Path | None:
    """The file of an SQLite uri, None for any other database."""
    return Path(uri.removeprefix(SQLITE)) if uri.startswith(SQLITE) else None


def without_password(text: str) -> str:
    """A uri, or a text with uris, as it may be shown."""
    return re.sub(r"//[^/@\s]*@", "//***@", text)


def require_no_password(uri: str, what: str, *, instead: str = "PGPASSWORD") -> None:
    """Refuses a uri with a password: a configuration is recorded.

    Args:
        uri: The uri as the user gave it.
        what: What the uri is called in the message, as in "WHAT holds a password".
        instead: The environment variable that takes the password.

    Raises:
        ValueError: if it holds one, or cannot be read as a uri at all.
    """
    try:
        password = urllib.parse.urlsplit(uri).password
    except ValueError as error:
        raise ValueError(f"{what} is no uri: {error}") from error
    if password is not None:
        raise ValueError(f"{what} holds a password, which would be recorded: leave it out and set {instead}")


def with_driver(uri: str) -> str:
    """The uri with the driver of PostgreSQL that we install: SQLAlchemy's own choice differs by version."""
    return re.sub("^postgres(ql)?:", POSTGRES, uri)


def knock(uri: str) -> None:
    """Connects to a PostgreSQL database once: MLflow itself tries a dead one for minutes, without a word.

    Raises:
        ValueError: if the driver is not installed.
        ConnectionError: if the database does not answer, or does not know the user.
    """
    if importlib.util.find_spec("psycopg2") is None:
        raise ValueError(f"{without_password(uri)} needs PostgreSQL's driver: {install('psycopg2')}")
    import psycopg2

    try:
        psycopg2.connect(uri.replace(POSTGRES, "postgresql:"), connect_timeout=10).close()
    except psycopg2.Error as error:
        raise ConnectionError(without_password((str(error).splitlines() or [type(error).__name__])[0])) from error


def require_sqlite(path: Path) -> None:
    """Refuses a place where no SQLite database is and none can be made.

    Raises:
        ValueError: if it is a folder, a file of another kind, or below a file.
    """
    if path.is_dir():
        raise ValueError(f"{path} is a folder, not an SQLite database: give a file, such as {path / 'mlflow.db'}")
    for parent in path.parents:
        if parent.is_file():
            raise ValueError(f"{path}: {parent} is a file, so that no database can lie below it")
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is not a file, so no SQLite database")


def read_sqlite(path: Path, query: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The rows of a query, without a change of the file; also where its folder may not be written.

    SQLite alone opens the file: closing one that was opened otherwise drops the locks that this process holds on it.

    Raises:
        sqlite3.Error: if it cannot be read, or has no such table.
        ConnectionError: if another process keeps it locked.
    """
    options = "mode=ro" if os.access(path.parent, os.W_OK) else "mode=ro&immutable=1"
    place = f"file:{urllib.parse.quote(str(path))}?{options}"
    with contextlib.closing(sqlite3.connect(place, uri=True, timeout=30)) as database:
        try:
            return database.execute(query, values).fetchall()
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise ConnectionError(locked(path)) from error
            raise


def tables(path: Path) -> set[str]:
    """The names of a database's tables; none of an empty or missing file.

    Raises:
        ValueError: if it is not a database.
    """
    require_sqlite(path)
    if not path.exists():
        return set()
    try:
        return {str(name) for (name,) in read_sqlite(path, "SELECT name FROM sqlite_master WHERE type = 'table'")}
    except sqlite3.DatabaseError as error:
        raise ValueError(f"{path} cannot be read as an SQLite database ({error}): give another file") from error


@contextlib.contextmanager
def exclusive(path: Path, *, seconds: float = LOCK_SECONDS) -> Iterator[None]:
    """Holds the lock beside a database file, which is taken for changes of its tables.

    Raises:
        ConnectionError: if another process holds it for longer than ``seconds``.
        OSError: if the folder cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(path.with_name(path.name + ".lock"))
    try:
        lock.acquire(timeout=seconds)
    except Timeout as error:
        raise ConnectionError(locked(path)) from error
    try:
        yield
    finally:
        lock.release()


def make_sqlite(path: Path, build: Callable[[Path], None]) -> None:
    """Makes a database where there is none: beside its place, then renamed, so that it is whole or not there.

    An existing one with tables is only put into WAL mode. Call it under ``exclusive``.

    Args:
        path: The database's file.
        build: Makes the tables in the file that it is given, and closes it.

    Raises:
        ValueError: if ``path`` is no database.
        OSError: if the disk is full.
    """
    if tables(path):
        use_wal(path)
        return
    for left in leftovers(path):  # of makers that were killed
        for name in ("", *_BESIDE):
            left.with_name(left.name + name).unlink(missing_ok=True)
    with replacing(path) as temporary:
        try:
            use_wal(temporary)
            build(temporary)
            with contextlib.closing(sqlite3.connect(temporary, timeout=30)) as database:
                database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            for name in _BESIDE:
                temporary.with_name(temporary.name + name).unlink(missing_ok=True)
        for name in _BESIDE:  # of the empty file that is replaced: it would be taken for a part of the new one
            path.with_name(path.name + name).unlink(missing_ok=True)


def open_sqlite(path: Path, tables: str) -> sqlite3.Connection:
    """A connection to an SQLite file in WAL mode, made with its tables where it is missing.

    Every statement is its own transaction, unless one is begun. Threads may share it under a lock of theirs.

    Args:
        path: The database's file.
        tables: The statements that make its tables.

    Raises:
        ValueError: if there is something else at ``path``.
        ConnectionError: if another process holds its lock for too long.
        OSError: if it cannot be written.
    """

    def build(temporary: Path) -> None:
        with contextlib.closing(sqlite3.connect(temporary)) as database:
            database.executescript(tables)

    with exclusive(path):
        make_sqlite(path, build)
    database = sqlite3.connect(path, timeout=30, check_same_thread=False, isolation_level=None)
    database.execute("PRAGMA synchronous=NORMAL")
    return database


def use_wal(path: Path) -> None:
    """Puts a database into WAL mode, in which readers and one writer do not hold each other up."""
    with contextlib.closing(sqlite3.connect(path, timeout=30)) as database:
        if database.execute("PRAGMA journal_mode").fetchone()[0] != "wal":
            database.execute("PRAGMA journal_mode=WAL")


def set_aside(path: Path) -> Path:
    """Renames a database and what belongs to it, so that a new one can take its place; returns the new name."""
    number = next(n for n in range(1, 10_000) if not path.with_name(f"{path.name}.unfinished{n}").exists())
    aside = path.with_name(f"{path.name}.unfinished{number}")
    for name in (*_BESIDE, ""):
        with contextlib.suppress(FileNotFoundError):
            path.with_name(path.name + name).rename(aside.with_name(aside.name + name))
    return aside


def holders(path: Path) -> list[str]:
    """Other processes of this machine that have a database or its lock open, each as ``PID (COMMAND)``.

    Only those that the user may look at are found; none where the system has no /proc.
    """
    names = {str(path.resolve()) + end for end in ("", *_BESIDE, ".lock")}
    found = []
    for process in sorted(Path("/proc").glob("[0-9]*"), key=lambda entry: int(entry.name)):
        if int(process.name) == os.getpid():
            continue
        with contextlib.suppress(OSError):
            if any(_target(link) in names for link in (process / "fd").iterdir()):
                command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
                found.append(f"{process.name} ({command if len(command) <= 100 else command[:100] + '...'})")
    return found


def locked(path: Path) -> str:
    """Says that a database stayed locked, who may hold it, and what helps."""
    who = holders(path)
    if who:
        return f"{path} is locked; open in process {', '.join(who)}: wait for it or end it (kill PID), then try again"
    return (
        f"{path} is locked, by no process that can be seen from here: look for one of another user, container or "
        "machine (a shared disk) that writes to it, then try again"
    )


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:
        return ""
