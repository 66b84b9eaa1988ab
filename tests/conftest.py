"""Fixtures that every test may use."""

import os
from pathlib import Path

import pytest

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
