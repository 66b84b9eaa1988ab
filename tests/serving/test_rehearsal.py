"""Planted candidates rolled out to simulated clients: the bad ones are caught by what they do, the others promoted."""

from pathlib import Path

import numpy as np
import pytest
from memory_registry import Registry

from sr_lab.images import write_image
from sr_lab.promotion.canary import PairCheck, RolloutPolicy, Stage
from sr_lab.serving.rehearsal import CASES, rehearse
from sr_lab.workflows import rollout
from sr_lab.workflows.history import history

POLICY = RolloutPolicy(
    name="test",
    releases=1,
    pause=2.0,
    checks={
        "lr_consistency": PairCheck(low=-2, high=2, margin=0.5),
        "unseen_detail": PairCheck(low=-0.03, high=0.03, tolerance=0.005, margin=0.015),
        "disagreement": PairCheck(low=-0.1, high=0, tolerance=0.02, margin=0.04),
        "errors": PairCheck(low=-1, high=1, margin=0.1),
        "latency_small": PairCheck(low=-1, high=1, tolerance=0.1, margin=0.3, required=False),
    },
    stages={"shadow": Stage(share=0, bursts=25), "canary": Stage(share=0.3, bursts=10)},
    holdback=Stage(share=0.9, bursts=20),
)


@pytest.fixture(autouse=True)
def _the_same_clients_are_on_each_side(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rollout, "token_hex", lambda size: "ab" * size)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    random = np.random.default_rng(0)
    for index in range(2):
        coarse = random.integers(40, 210, (12, 12, 3), dtype=np.uint8).repeat(10, axis=0).repeat(10, axis=1)
        fine = random.integers(-8, 8, coarse.shape)
        write_image(tmp_path / "photos" / f"{index}.png", np.clip(coarse + fine, 0, 255).astype(np.uint8))
    return tmp_path / "photos"


@pytest.mark.parametrize("case", list(CASES))
def test_a_planted_candidate_ends_as_it_should(
    case: str, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = Registry()
    uri = registry.take_over(tmp_path, monkeypatch)
    found = rehearse(
        case, name="m", policy=POLICY, photos=photos, output=tmp_path, tracking_uri=uri, num_clients=6, side=20,
        most_bursts=300, version=lambda before: before + 1,
    )  # fmt: skip
    assert found.as_expected, found
    assert found.champion == (2 if CASES[case].ends == "finished" else 1)
    bad_from_the_start = CASES[case].ends == "aborted" and not CASES[case].only_after
    assert (found.exposed < 0.1) if bad_from_the_start else (found.exposed > 0), "hardly a client sees what is bad"
    assert found.failed == 0, "the champion answers where the candidate fails"
    assert not history(name="m", tracking_uri=uri).faults
    assert found.page is not None
    assert found.page.is_file()
