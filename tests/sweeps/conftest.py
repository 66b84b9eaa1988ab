"""A sweep over a stub that takes milliseconds; a worker that a busy machine keeps waiting is not taken for dead."""

import functools
import sys
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest

from sr_lab.sweeps.plan import Plan
from sr_lab.sweeps.space import Float

STUB = Path(__file__).with_name("stub.py")


@pytest.fixture
def make_plan(tmp_path: Path) -> Callable[..., Plan]:
    def make(*words: str, **changes) -> Plan:
        arguments = {
            "name": "stub",
            "storage": f"sqlite:///{tmp_path / 'study.db'}",
            "folder": tmp_path / "trials",
            "directory": tmp_path,
            "command": (sys.executable, "-S", str(STUB)),
            "train": words,
            "space": {"x": Float(key="x", low=0, high=1)},
            "objectives": {"val/score": "maximize"},
            "sampler": functools.partial(optuna.samplers.RandomSampler),
            "heartbeat": 1,
            "grace": 60,
        }
        return Plan(**(arguments | changes))

    return make
