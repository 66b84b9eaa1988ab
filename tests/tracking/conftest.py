"""One prepared MLflow store for the folder: its migrations take seconds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sr_lab.tracking.run import Run
from sr_lab.tracking.shipping import Shipper
from sr_lab.tracking.store import connect


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Uri of an SQLite store that is set up."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('store')}/mlflow.db"
    connect(uri)
    return uri


@pytest.fixture
def client(store: str) -> Any:
    """MLflow's own client, to look at what arrived."""
    return connect(store)


@pytest.fixture
def make_run(store: str, tmp_path: Path) -> Callable[..., Run]:
    """A run that records without a process beside it; ``send`` ships it."""

    def make(**options: Any) -> Run:
        options = {
            "uri": store,
            "experiment": "tests",
            "name": tmp_path.name,
            "ship": False,
            "system_seconds": 0,
        } | options
        return Run(**{"directory": tmp_path / "run" / "tracking", "observe": False} | options)

    return make


def send(run: Run) -> Shipper:
    """Ship what the run has recorded, in this process."""
    shipper = Shipper(run.spool)
    shipper.ship()
    return shipper
