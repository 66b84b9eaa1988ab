"""Fixtures that every test may use."""

import gc
import os
import random
import shutil
import signal
import sqlite3
import sys
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import forking
import numpy as np
import pytest
from services import PG_PASSWORD, Postgres, Server, serving

ROOT = Path(__file__).resolve().parents[1]
SEED = 6174


def pytest_configure(config: pytest.Config) -> None:
    """One thread: on tiny tensors a second one costs more than it gives; Ctrl-C works where a shell ignores it."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    if not hasattr(config, "workerinput"):
        forking.prepare()
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Nothing of the forks is left."""
    if not hasattr(config, "workerinput"):
        forking.clear()


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """What is imported and collected stays to the end: the garbage collector does not look at it again and again."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.set_threshold(20_000, 20, 20)  # a network, a store and a configuration are many objects each
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files that hold a slow test come first: a run ends with short ones, which two processes can share evenly."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(autouse=True)
def seeded() -> None:
    """The same random numbers in each test, whichever ran before; no other test's seed, so nothing is equal by it."""
    import torch

    random.seed(SEED)
    np.random.seed(SEED)  # noqa: NPY002
    torch.manual_seed(SEED)


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What sr_lab keeps of its user's machine is the session's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SRLAB_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def forked() -> Iterator[None]:
    """Python programs that this module's tests start, or that sr_lab starts for them, are forked: see ``forking``."""
    with pytest.MonkeyPatch.context() as patch:
        forking.install(patch.setattr)
        yield


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the first store that MLflow's migrations make in this process is kept; see ``stores_are_copied``."""
    return tmp_path_factory.mktemp("migrated") / "mlflow.db"


@pytest.fixture(autouse=True)
def stores_are_copied(migrated: Path) -> None:
    """A new store in a file is a copy of the first one: MLflow's sixty migrations take seconds, each time the same."""
    module = sys.modules.get("mlflow.store.db.utils")
    if module is not None and not hasattr(module._initialize_tables, "copies"):
        module._initialize_tables = _copying(module._initialize_tables, migrated)


def _copying(initialize: Callable[[Any], None], first: Path) -> Callable[[Any], None]:
    def work(engine: Any) -> None:
        if engine.dialect.name != "sqlite" or not engine.url.database:
            return initialize(engine)
        with closing(sqlite3.connect(engine.url.database)) as database, closing(sqlite3.connect(first)) as kept:
            empty, unknown = (not one.execute("SELECT 1 FROM sqlite_master").fetchall() for one in (database, kept))
            if not empty or unknown:
                initialize(engine)
                if empty:
                    database.backup(kept)
            else:
                kept.backup(database)
        return None

    work.copies = True  # type: ignore[attr-defined]
    return work


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
def accounts_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """``mlflow server --app-name basic-auth`` over SQLite, with the accounts of ``services.USERS``."""
    with serving(Server(tmp_path_factory.mktemp("accounts_server"), accounts=True)) as server:
        yield server


@pytest.fixture(scope="session")
def postgres_server(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """As conf/deploy/compose.yaml: two processes of ``mlflow server`` with accounts, all of it in PostgreSQL."""
    folder = tmp_path_factory.mktemp("postgres_server")
    with serving(Server(folder, database=postgres, accounts=True, workers=2)) as server:
        yield server


@pytest.fixture(scope="session")
def fsrcnn_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny x2 network's model as a run logs it: the artefact and MLflow's files."""
    import torch

    from sr_lab.artefacts.artefact import save_artefact
    from sr_lab.networks.fsrcnn import FSRCNN
    from sr_lab.tracking.models import save_model

    root = tmp_path_factory.mktemp("fsrcnn")
    settings = {"scale": 2, "num_channels": 3, "num_features": 8, "num_shrunk": 4, "num_mapping": 1}
    torch.manual_seed(0)
    network = FSRCNN(**settings).eval()
    config = {"model": {"network": {"_target_": "sr_lab.networks.fsrcnn.FSRCNN", **settings}}}
    artefact = save_artefact(root / "best", network, config=config, metadata={"commit": "c"})
    return save_model(root / "model", network, artefact=artefact)


@pytest.fixture
def release_0_1(tmp_path: Path) -> Path:
    """A project's folder as release 0.1 left it: mlflow.db, mlruns/, runs/a, photos/; see its README.md."""
    folder = tmp_path / "release_0_1"
    shutil.unpack_archive(ROOT / "tests" / "fixtures" / "release_0_1" / "files.zip", folder)
    for name in ("mlflow.sql", "runs/a/tracking/spool.json"):
        (folder / name).write_text((folder / name).read_text(encoding="utf-8").replace("@ROOT@", str(folder)))
    with sqlite3.connect(folder / "mlflow.db") as database:
        database.executescript((folder / "mlflow.sql").read_text(encoding="utf-8"))
    database.close()
    return folder
