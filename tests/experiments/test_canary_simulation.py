"""The study of the canary's errors, small: its arithmetic is the canary's, and what it says of peeking holds."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

STUDY = Path(__file__).resolve().parents[2] / "experiments" / "canary_simulation" / "simulate.py"


@pytest.fixture(scope="module")
def study() -> ModuleType:
    spec = importlib.util.spec_from_file_location("canary_simulation", STUDY)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_looking_after_every_burst_costs_the_canary_nothing(study: ModuleType) -> None:
    own, random = study.one_check(), np.random.default_rng(0)
    values = study.gains(random, "normal", runs=400, bursts=250)
    harmed, proven = study.paths(own, {"lr_consistency": values})
    study.check_against_evidence(own, {"lr_consistency": values}, harmed, num=2)
    assert np.isfinite(harmed).mean() < 0.05
    assert (proven < harmed).mean() > 0.95
    alarmed, _ = study.peeking_t(values)
    assert np.isfinite(alarmed).mean() > 0.15, "the t test that peeks stops many equal ones: the test can tell"
    harmed, proven = study.paths(own, {"lr_consistency": values - study.MARGIN})
    assert np.isfinite(harmed).mean() > 0.99
    assert np.isfinite(proven).mean() < 0.07


def test_what_the_others_do(study: ModuleType) -> None:
    random = np.random.default_rng(1)
    assert study.thresholds(random, study.MARGIN, runs=500)[1] > 0.3, "Flagger's thresholds promote at the margin"
    z = study.mann_whitney(random, 0.3, runs=60)
    assert (z[:, 0] < -1.645).mean() < 0.4, "unpaired, 100 images an arm see little"
