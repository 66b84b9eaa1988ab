import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from sr_lab.base import databases
from sr_lab.base.databases import (
    exclusive,
    holders,
    locked,
    make_sqlite,
    read_sqlite,
    require_no_password,
    require_sqlite,
    set_aside,
    tables,
    with_driver,
    without_password,
)


def _table(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database, database:
        database.execute("CREATE TABLE a (b)")


def test_a_database_is_whole_or_not_there(tmp_path: Path) -> None:
    path = tmp_path / "x.db"

    def half(temporary: Path) -> None:
        _table(temporary)
        raise OSError(28, "No space left on device", str(temporary))

    with pytest.raises(OSError, match="No space left"):
        make_sqlite(path, half)
    assert list(tmp_path.iterdir()) == []
    make_sqlite(path, _table)
    assert tables(path) == {"a"}
    assert {file.name for file in tmp_path.iterdir()} <= {"x.db", "x.db-wal", "x.db-shm"}
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    make_sqlite(path, half)  # which is not called where there are tables
    assert tables(path) == {"a"}


def test_an_empty_file_and_what_killed_makers_left_are_replaced(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    for name in ("x.db", "x.db-wal", ".x.01234567.part.db", ".x.01234567.part.db-wal"):
        (tmp_path / name).touch()
    with exclusive(path):
        make_sqlite(path, _table)
    assert {file.name for file in tmp_path.iterdir()} <= {"x.db", "x.db.lock", "x.db-wal", "x.db-shm"}
    assert tables(path) == {"a"}


def test_reading_leaves_the_locks_of_this_process_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    _table(path)
    with closing(sqlite3.connect(path)) as database:
        database.execute("BEGIN IMMEDIATE")
        require_sqlite(path)
        assert tables(path) == {"a"}
        code = f"import sqlite3; sqlite3.connect({str(path)!r}, timeout=0).execute('BEGIN IMMEDIATE')"
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
        assert "database is locked" in other.stderr


def test_what_is_no_database_is_named(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no database " * 100)
    os.mkfifo(tmp_path / "pipe")
    for name, message in {
        ".": "is a folder",
        "notes.txt": "cannot be read as an SQLite database",
        "notes.txt/x.db": "notes.txt is a file",
        "pipe": "is not a file",
    }.items():
        with pytest.raises(ValueError, match=message):
            tables(tmp_path / name)


def test_who_holds_a_locked_database_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.db"
    _table(path)
    code = (
        f"import sqlite3; d = sqlite3.connect({str(path)!r}); d.execute('BEGIN EXCLUSIVE'); print(flush=True); input()"
    )
    holder = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout is not None
    try:
        holder.stdout.readline()
        assert [text.split()[0] for text in holders(path)] == [str(holder.pid)]
        assert f"open in process {holder.pid} (" in locked(path)
        connect = sqlite3.connect
        monkeypatch.setattr(databases.sqlite3, "connect", lambda *a, **k: connect(*a, **{**k, "timeout": 0}))
        with pytest.raises(ConnectionError, match=f"is locked; open in process {holder.pid}"):
            read_sqlite(path, "SELECT * FROM a")
    finally:
        holder.kill()
        holder.communicate()
    assert "of another user, container or machine" in locked(path)


def test_a_lock_is_not_waited_for_without_end(tmp_path: Path) -> None:
    def again() -> None:
        with exclusive(tmp_path / "x.db", seconds=0.1):
            pass

    with exclusive(tmp_path / "x.db"), pytest.raises(ConnectionError, match=r"x\.db is locked"):
        again()


def test_what_is_set_aside_stays_whole(tmp_path: Path) -> None:
    for name in ("x.db", "x.db-wal"):
        (tmp_path / name).write_text(name)
    set_aside(tmp_path / "x.db")
    (tmp_path / "x.db").touch()
    assert set_aside(tmp_path / "x.db").name == "x.db.unfinished2"
    assert {file.name for file in tmp_path.iterdir()} == {
        "x.db.unfinished1", "x.db.unfinished1-wal", "x.db.unfinished2",
    }  # fmt: skip


def test_uris() -> None:
    assert with_driver("postgresql://u@h/n") == with_driver("postgres://u@h/n") == "postgresql+psycopg2://u@h/n"
    assert without_password("see http://u:p@h/x and http://h") == "see http://***@h/x and http://h"
    with pytest.raises(ValueError, match=r"it holds a password.* set PGPASSWORD"):
        require_no_password("postgresql://u:p@h/n", "it")
    with pytest.raises(ValueError, match="it is no uri"):
        require_no_password("http://[::1", "it")
