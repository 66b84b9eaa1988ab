"""Services that tests start on loopback: MLflow's tracking server and PostgreSQL."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import forking
import pytest

START_SECONDS = 180
PG_PASSWORD = "elephant-in-the-room"
USERS = {"admin": "admin-geheim-1", "owner": "owner-geheim-2", "editor": "editor-geheim-3", "reader": "reader-geheim-4"}


def free_port() -> int:
    """A port of loopback that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def login(patch: pytest.MonkeyPatch, user: str) -> None:
    """What follows is asked of the server as ``user`` of ``USERS``."""
    patch.setenv("MLFLOW_TRACKING_USERNAME", user)
    patch.setenv("MLFLOW_TRACKING_PASSWORD", USERS[user])


class Server:
    """``mlflow server`` on loopback; ``kill`` is kill -9 of it and its workers.

    Args:
        folder: for its artefacts, log and SQLite file.
        database: backend store; None is an SQLite file in ``folder``.
        accounts: whether it is started with ``--app-name basic-auth``; ``USERS["admin"]`` is its administrator.
        workers: processes that answer.
    """

    def __init__(self, folder: Path, *, database: str | None = None, accounts: bool = False, workers: int = 1) -> None:
        self.port = free_port()
        self.folder = folder
        self.uri = f"http://127.0.0.1:{self.port}"
        self.database = database or f"sqlite:///{folder}/server.db"
        self.accounts = accounts
        self.workers = workers
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", str(self.workers), "--backend-store-uri", self.database]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        environment = {
            **os.environ,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            "MLFLOW_WEBHOOK_ALLOWED_SCHEMES": "http,https",
            "MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS": "true",
            "MLFLOW_WEBHOOK_CACHE_TTL": "0",
        }
        if self.accounts:
            settings = self.folder / "auth.ini"
            settings.write_text(
                f"[mlflow]\ndefault_permission = READ\ndatabase_uri = {self.database}\n"
                "admin_username = admin\nauth_cache_ttl_seconds = 3600\n"
            )
            command += ["--app-name", "basic-auth"]
            environment |= {
                "MLFLOW_AUTH_CONFIG_PATH": str(settings),
                "MLFLOW_AUTH_ADMIN_PASSWORD": USERS["admin"],
                "MLFLOW_FLASK_SERVER_SECRET_KEY": "secret-of-the-test",
            }
        with (self.folder / "server.log").open("ab") as log:
            self.process = forking.Popen(
                command, cwd=self.folder, stdout=log, stderr=log, start_new_session=True, env=environment
            )
        deadline = time.monotonic() + START_SECONDS
        while not self.is_up():
            assert self.process.poll() is None, (self.folder / "server.log").read_text()
            assert time.monotonic() < deadline, "the server did not start"
            time.sleep(0.2)

    def is_up(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.uri}/health", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False

    def kill(self) -> None:
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None


def accounts(server: Server) -> Any:
    """MLflow's client of the server's accounts and permissions."""
    from mlflow.server import get_app_client

    return get_app_client("basic-auth", tracking_uri=server.uri)


@contextmanager
def serving(server: Server) -> Iterator[Server]:
    """The server while it runs, with an account for each of ``USERS``."""
    pytest.importorskip("flask_wtf", reason="needs pip install Flask-WTF")
    try:
        server.start()
        with pytest.MonkeyPatch.context() as patch:
            login(patch, "admin")
            for user, password in USERS.items():
                if user != "admin":
                    accounts(server).create_user(user, password)
        yield server
    finally:
        server.kill()


class Postgres:
    """A PostgreSQL server of Debian's packages on loopback, with the user ``mlflow`` whose password is ``PG_PASSWORD``.

    It refuses to run as root, so that there it runs as ``nobody``, in a folder of its own below /tmp.
    """

    def __init__(self) -> None:
        self.port = free_port()
        self.uri = f"postgresql+psycopg2://mlflow@127.0.0.1:{self.port}/postgres"
        self.folder = Path(tempfile.mkdtemp(prefix="postgres-"))
        self.process: subprocess.Popen[bytes] | None = None

    @staticmethod
    def programs() -> Path | None:
        """Folder of its programs, None where the package ``postgresql`` is not installed."""
        found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
        return found[-1].parent if found else None

    def start(self) -> None:
        programs = self.programs()
        assert programs is not None
        account = {}
        if os.getuid() == 0:
            nobody = pwd.getpwnam("nobody")
            os.chown(self.folder, nobody.pw_uid, nobody.pw_gid)
            account = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        password = self.folder / "password"
        password.write_text(PG_PASSWORD)
        password.chmod(0o644)
        data = self.folder / "data"
        command = [programs / "initdb", "-D", data, "-U", "mlflow", "-A", "scram-sha-256", "--pwfile", password]
        command += ["--no-sync", "-E", "UTF8", "--locale", "C"]
        subprocess.run([str(part) for part in command], check=True, capture_output=True, cwd=self.folder, **account)
        command = [programs / "postgres", "-D", data, "-k", self.folder, "-h", "127.0.0.1", "-p", self.port]
        command += ["-c", "fsync=off"]
        with (self.folder / "postgres.log").open("ab") as log:
            self.process = subprocess.Popen(
                [str(part) for part in command], cwd=self.folder, stdout=log, stderr=log, **account
            )
        deadline = time.monotonic() + START_SECONDS
        ready = [programs / "pg_isready", "-h", "127.0.0.1", "-p", self.port, "-q"]
        while subprocess.run([str(part) for part in ready], check=False).returncode != 0:
            assert self.process.poll() is None, (self.folder / "postgres.log").read_text()
            assert time.monotonic() < deadline, "PostgreSQL did not start"
            time.sleep(0.1)

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT)
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)
