"""The database that workers and trials share.

SQLite serves the processes of one machine, a PostgreSQL server those of a cluster. Optuna locks the row that it
changes, which SQLite does not know: two workers could take one trial. Here every transaction on SQLite asks for the
right to write when it begins, so that they come one after the other; the file is made once, in WAL mode, before a
worker starts.
"""

import sqlite3
import warnings
from collections.abc import Callable

import optuna
from optuna.storages import RDBStorage
from sqlalchemy import event, make_url
from sqlalchemy.engine import Connection
from sqlalchemy.exc import ArgumentError, OperationalError
from sqlalchemy.pool import ConnectionPoolEntry

from sr_lab.base.databases import (
    exclusive,
    make_sqlite,
    require_no_password,
    sqlite_path,
    with_driver,
    without_password,
)
from sr_lab.base.extras import install

Requeue = Callable[[optuna.Study, optuna.trial.FrozenTrial], None]
_PATIENCE_SECONDS = 120


def create_storage(uri: str) -> None:
    """Makes the tables where they are missing, one process at a time.

    Raises:
        ValueError: if there is no such kind of database, its driver is not installed, the uri holds a password, or the
            database belongs to another program (MLflow's, for one, keeps its version in a table of the same name).
        ConnectionError: if the database does not answer, or does not know the user.
    """
    if (path := sqlite_path(uri)) is not None:
        with exclusive(path):
            make_sqlite(path, lambda temporary: open_storage(f"sqlite:///{temporary}", create=True).engine.dispose())
            open_storage(uri, create=True).engine.dispose()
        return
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
        ValueError: if there is no such kind of database, its driver is not installed, the uri holds a password, or the
            database belongs to another program (MLflow's, for one, keeps its version in a table of the same name).
        ConnectionError: if the database does not answer, or does not know the user.
    """
    resolved = _with_driver(uri)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sqlite = sqlite_path(uri) is not None
    options = {"connect_args": {"timeout": _PATIENCE_SECONDS}} if sqlite else {"pool_pre_ping": True}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            storage = RDBStorage(
                resolved,
                engine_kwargs=options,
                heartbeat_interval=heartbeat,
                grace_period=grace,
                heartbeat_stale_trial_callback=requeue,
                skip_table_creation=not create,
                skip_compatibility_check=not create,
            )
    except ImportError as error:
        raise ValueError(f"storage={uri} needs its driver: PostgreSQL's is {install('psycopg2')}") from error
    except RuntimeError as error:  # of Optuna, where it does not know the version that its tables' record tells
        raise ValueError(
            f"storage={uri} holds tables of another program or of another Optuna: give one of its own"
        ) from error
    except OperationalError as error:
        raise ConnectionError(f"storage={uri}: {str(error.orig).splitlines()[0]}") from error
    if sqlite:
        storage.engine.dispose()
        event.listen(storage.engine, "connect", _no_implicit_transactions)
        event.listen(storage.engine, "begin", _begin_for_writing)
    return storage


def _with_driver(uri: str) -> str:
    """The uri with the driver of PostgreSQL that we install: SQLAlchemy's own choice differs by version."""
    require_no_password(uri, f"storage={without_password(uri)}")
    try:
        make_url(uri)
    except ArgumentError as error:
        raise ValueError(f"storage={uri} is no uri: give sqlite:///FILE.db or postgresql://USER@HOST/NAME") from error
    return with_driver(uri)


def _no_implicit_transactions(connection: sqlite3.Connection, record: ConnectionPoolEntry) -> None:
    connection.isolation_level = None


def _begin_for_writing(connection: Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")
