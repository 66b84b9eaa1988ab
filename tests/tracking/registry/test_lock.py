"""The claim in the registry, on a registry in memory that answers after random times."""

import random
import threading
import time
from types import SimpleNamespace
from typing import Any

import pytest

from sr_lab.tracking.registry.lock import LockLostError, claimed


class Registry:
    def __init__(self) -> None:
        self.tags: dict[str, str] = {}

    def get_registered_model(self, name: str) -> Any:
        time.sleep(random.uniform(0, 0.01))
        return SimpleNamespace(tags=self.tags.copy())

    def set_registered_model_tag(self, name: str, key: str, value: str) -> None:
        time.sleep(random.uniform(0, 0.01))
        self.tags[key] = value

    def delete_registered_model_tag(self, name: str, key: str) -> None:
        self.tags.pop(key, None)


def test_the_claim_of_a_dead_process_runs_out() -> None:
    registry: Any = Registry()
    registry.tags["lock.dead"] = "{}"
    with (
        pytest.raises(RuntimeError, match="is locked by"),
        claimed(registry, "m", who="ann", lease_seconds=60, wait_seconds=0.3),
    ):
        pass
    with claimed(registry, "m", who="ann", lease_seconds=0.3, wait_seconds=20) as lock:
        assert "lock.dead" not in registry.tags
        lock.confirm()
        registry.tags.clear()
        with pytest.raises(LockLostError):
            lock.confirm()


def test_claims_exclude_each_other_and_all_get_their_turn() -> None:
    registry: Any = Registry()
    inside, overlaps, entered = [0], [0], [0]

    def work() -> None:
        for _ in range(8):
            with claimed(registry, "m", who="x", lease_seconds=60, wait_seconds=60):
                inside[0] += 1
                entered[0] += 1
                overlaps[0] += inside[0] > 1
                time.sleep(0.002)
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert entered == [32]
    assert overlaps == [0]
    assert registry.tags == {}
