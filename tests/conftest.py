"""Fixtures that every test may use."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from services import PG_PASSWORD, USERS, Postgres, Server, accounts, login

ROOT = Path(__file__).resolve().parents[1]


def pytest_configure(config: pytest.Config) -> None:
    """One thread: on tiny tensors a second one costs more than it gives."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of development data; a test that needs it is skipped, visibly, where it is missing."""
    path = Path(os.environ.get("SR_LAB_SHARED", ROOT.parent / "shared")).resolve()
    if not path.is_dir():
        pytest.skip(f"needs the development data: set SR_LAB_SHARED ({path} does not exist)")
    return path


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Uri of a PostgreSQL server for this session; skipped, visibly, where the machine has none."""
    if Postgres.programs() is None:
        pytest.skip("needs PostgreSQL's server: apt install postgresql")
    pytest.importorskip("psycopg2", reason="needs pip install 'sr-lab[postgres]'")
    service = Postgres()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGPASSWORD", PG_PASSWORD)
        try:
            service.start()
            yield service.uri
        finally:
            service.stop()


@pytest.fixture(scope="session")
def postgres_server(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """``mlflow server`` with two workers over PostgreSQL, without accounts."""
    server = Server(tmp_path_factory.mktemp("postgres_server"), database=postgres, workers=2)
    server.start()
    yield server
    server.kill()


@pytest.fixture(scope="session")
def accounts_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """``mlflow server --app-name basic-auth`` over SQLite with the accounts of ``services.USERS``."""
    pytest.importorskip("flask_wtf", reason="needs pip install Flask-WTF")
    folder = tmp_path_factory.mktemp("accounts_server")
    server = Server(folder, accounts=True)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        login(patch, "admin")
        for user, password in USERS.items():
            if user != "admin":
                accounts(server).create_user(user, password)
    yield server
    server.kill()
