"""The database that workers and trials share.

SQLite serves the processes of one machine, a PostgreSQL server those of a cluster. Optuna locks the row that it
changes, which SQLite does not know: two workers could take one trial. Here every transaction on SQLite asks for the
right to write when it begins, so that they come one after the other; the file is made once, in WAL mode, before a
worker starts.
"""

import sqlite3
import warnings
from collections.abc import Callable
from pathlib import Path

import optuna
from filelock import FileLock
from optuna.storages import RDBStorage
from sqlalchemy import event
from sqlalchemy.engine import Connection
from sqlalchemy.pool import ConnectionPoolEntry

Requeue = Callable[[optuna.Study, optuna.trial.FrozenTrial], None]
_SQLITE = "sqlite:///"
_PATIENCE_SECONDS = 120


def create_storage(uri: str) -> None:
    """Makes the tables where they are missing, one process at a time.

    Raises:
        ValueError: if there is no such kind of database, or its driver is not installed.
    """
    if not uri.startswith(_SQLITE):
        open_storage(uri, create=True)
        return
    path = Path(uri.removeprefix(_SQLITE))
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(path.name + ".lock")):
        database = sqlite3.connect(path, timeout=_PATIENCE_SECONDS)
        try:
            database.execute("PRAGMA journal_mode=WAL")
        finally:
            database.close()
        open_storage(uri, create=True)


def open_storage(
    uri: str,
    *,
    heartbeat: int | None = None,
    grace: int | None = None,
    requeue: Requeue | None = None,
    create: bool = False,
) -> RDBStorage:
    """The storage at ``uri``, whose tables exist.

    Args:
        uri: ``sqlite:////ABSOLUTE/FILE.db`` or ``postgresql://...``.
        heartbeat: seconds between two signs of life of a running trial.
        grace: seconds without one after which a trial's worker counts as dead.
        requeue: what is done with a trial whose worker is dead.
        create: whether missing tables are made.

    Raises:
        ValueError: if there is no such kind of database, or its driver is not installed.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sqlite = uri.startswith(_SQLITE)
    options = {"connect_args": {"timeout": _PATIENCE_SECONDS}} if sqlite else {"pool_pre_ping": True}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            storage = RDBStorage(
                uri,
                engine_kwargs=options,
                heartbeat_interval=heartbeat,
                grace_period=grace,
                heartbeat_stale_trial_callback=requeue,
                skip_table_creation=not create,
                skip_compatibility_check=not create,
            )
    except (ImportError, ValueError) as error:
        raise ValueError(
            f"storage={uri}: {str(error).splitlines()[0]}: give sqlite:///FILE.db or postgresql://..."
        ) from error
    if sqlite:
        storage.engine.dispose()
        event.listen(storage.engine, "connect", _no_implicit_transactions)
        event.listen(storage.engine, "begin", _begin_for_writing)
    return storage


def _no_implicit_transactions(connection: sqlite3.Connection, record: ConnectionPoolEntry) -> None:
    connection.isolation_level = None


def _begin_for_writing(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
