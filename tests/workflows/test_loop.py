"""The loop from drift to champion: killed before every write it goes on to the same end; one watcher at a time."""

import itertools
import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from filelock import FileLock
from memory_registry import Killed, Registry

from sr_lab.promotion.canary import PairCheck, RolloutPolicy, Stage
from sr_lab.promotion.retraining import RetrainingPolicy
from sr_lab.tracking.registry import aliases, rollouts
from sr_lab.tracking.registry.aliases import label
from sr_lab.workflows import loop, retrain
from sr_lab.workflows.history import history
from sr_lab.workflows.pairs import PairStore
from sr_lab.workflows.retrain import logbook
from sr_lab.workflows.watch import NotEnoughError

POLICY = RolloutPolicy(
    name="test",
    releases=1,
    checks={"sharp": PairCheck(low=-1, high=1, margin=0.4)},
    stages={"shadow": Stage(share=0, bursts=5), "canary": Stage(share=0.2, bursts=5)},
    holdback=Stage(share=0.9, bursts=5),
)
COST = RetrainingPolicy(cooldown_hours=24, prices={"cpu": 0.0}, currency="EUR", max_cost=1, max_cost_30_days=1)


class World:
    """A model with a champion, images that have drifted, and a process that can be killed before any of its writes.

    Real are logbook, locks, audit, rollout and the loop; training, gate and the store's files are stand-ins that leave
    marks as the real ones do.
    """

    def __init__(
        self, folder: Path, patch: pytest.MonkeyPatch, *, outcome: str = "promote", drift: bool = True
    ) -> None:
        self.folder, self.outcome, self.drift = folder, outcome, drift
        self.hits, self.fatal, self.time, self.settled = 0, 0, 1e6, True
        self.random = np.random.default_rng(0)
        self.calls: list[str] = []
        self.references: dict[int, bytes] = {}
        folder.mkdir()
        self.registry = Registry()
        self.uri = self.registry.take_over(folder, patch)
        self._champion(1, None)
        self.registry._write = self.hit  # type: ignore[method-assign]
        real = logbook.write_text
        patch.setattr(logbook, "write_text", lambda *given: (self.hit(), real(*given)))
        artefact = SimpleNamespace(config={"degradation": {}}, network=None)
        patch.setattr(retrain, "download", lambda uri, *, tracking_uri, directory: directory)
        patch.setattr(retrain, "load_artefact", lambda folder: artefact)
        patch.setattr(retrain, "seconds_per_step", lambda *given, **more: 0.01)
        patch.setattr(retrain, "write_page", lambda story, folder: folder / f"{story.outcome}.html")
        patch.setattr(loop, "sync", lambda *, directory: None)
        patch.setattr(loop, "keep_reference", self.keep_reference)

    def hit(self) -> None:
        self.hits += 1
        if self.hits == self.fatal:
            raise Killed

    def _champion(self, version: int, before: int | None) -> None:
        aliases.promote(self.uri, "m", version, decision=self._decision("promote", version, before), who="ann")

    def _decision(self, outcome: str, version: int, champion: int | None) -> dict[str, Any]:
        return {
            "outcome": outcome, "candidate": label("m", version), "sha256": "d" * 64, "reasons": [],
            "champion": None if champion is None else label("m", champion), "policy_sha256": "p" * 64,
        }  # fmt: skip

    def keep_reference(self, uri: str, name: str, version: int, profile: Path) -> None:
        self.hit()
        self.references[version] = profile.read_bytes()

    def look(self, champion: Any, report: Path) -> Any:
        self.calls.append("look")
        report.mkdir(parents=True)
        (report / "current.parquet").write_bytes(b"the new images")
        finding = SimpleNamespace(p_value=0.001, changes=[])
        return SimpleNamespace(
            alarm=self.drift, new=self.drift, trainable=True, unusable=False, headline="drift", lines=[],
            finding=finding, settled=self.settled,
        )  # fmt: skip

    def train(self, material: retrain.Material) -> None:
        self.calls.append("train")
        self.hit()
        material.run.mkdir(exist_ok=True)
        self.hit()

    def register(self, folder: Path) -> None:
        assert folder.is_dir(), "what is registered was trained"
        self.registry.set_registered_model_alias("m", "candidate", "2")

    def release(self, material: retrain.Material, version: int) -> Any:
        self.calls.append("gate")
        decision = self._decision(self.outcome, version, 1)
        record = aliases.record(self.uri, "m", version, decision=decision, who="ann", hold=True)
        self.hit()
        return SimpleNamespace(
            decision=SimpleNamespace(outcome=self.outcome, reasons=[], text="the gate"), record=record
        )

    def step(self) -> retrain.Retraining:
        pairs = self.folder / "pairs.db"
        return retrain.retrain(
            name="m", tracking_uri=self.uri, output=self.folder / "out", reference=None,
            prepare=lambda champion: retrain.Cost(steps=1, crop=1, batch_size=1, device=SimpleNamespace(type="cpu")),
            look=self.look, train=self.train,
            register=lambda material: loop.registered(
                material, name="m", tracking_uri=self.uri, register=self.register
            ),
            release=self.release, policy=COST,
            rollout=lambda material, version: loop.rolled_out(
                version, name="m", policy=POLICY, pairs=pairs, tracking_uri=self.uri, time=lambda: self.time
            ),
        )  # fmt: skip

    def once(self) -> loop.Pass:
        with loop.alone("m", self.folder / "out"):
            return loop.once(self.step, name="m", tracking_uri=self.uri, output=self.folder / "out")

    def requests(self, gain: Callable[[str], float]) -> None:
        """Bursts of clients in the present stage of the rollout, if there is one."""
        now = rollouts.current(self.uri, "m")
        if now is None or now.over:
            return
        pairs = PairStore(self.folder / "pairs.db")
        for _ in range(20):
            self.time += 1
            value = gain(now.stage) + 0.05 * float(self.random.standard_normal())
            pairs.append(
                now.id, time=self.time, client=f"c{self.time}", stage=now.stage, served="champion",
                gains={"sharp": value},
            )  # fmt: skip
        pairs.close()
        self.time += 100

    def live(self, gain: Callable[[str], float] = lambda stage: 0.0) -> loop.Pass:
        """Passes and requests in turn, until there is nothing under way."""
        for _ in range(20):
            found = self.once()
            if found.exit_code != 75:
                return found
            self.requests(gain)
        raise AssertionError("it never ended")

    def end(self) -> dict[str, Any]:
        """What is left at the end."""
        book = json.loads((self.folder / "out" / "logbook.json").read_text())
        found = rollouts.current(self.uri, "m")
        return {
            "champion": aliases.aliases(self.uri, "m").get("champion"),
            "ended": [(entry["name"][-2:], entry["outcome"], entry["version"]) for entry in book["ended"]],
            "attempt": book["attempt"],
            "rollout": None if found is None else (found.stage, found.candidate),
            "rollouts": len({r.step["id"] for r in aliases.history(self.uri, "m") if r.step is not None}),
            "faults": history(name="m", tracking_uri=self.uri).faults,
            "references": self.references,
        }


CASES = {
    "promoted": ("promote", lambda stage: 0.0, 0, 2),
    "stopped by the canary": ("promote", lambda stage: -0.9, 3, 1),
    "taken back": ("promote", lambda stage: -0.9 if stage == "holdback" else 0.0, 3, 1),
    "rejected by the gate": ("reject", lambda stage: 0.0, 3, 1),
}


@pytest.mark.parametrize("case", CASES)
def test_killed_before_any_write_it_goes_on_to_the_same_end(case, tmp_path, monkeypatch):
    outcome, gain, code, champion = CASES[case]
    world = World(tmp_path / "whole", monkeypatch, outcome=outcome)
    assert world.live(gain).exit_code == code
    whole, num_writes = world.end(), world.hits
    assert (whole["champion"], whole["attempt"], whole["faults"]) == (champion, None, ())
    assert whole["references"] == {2: b"the new images"}
    for fatal in itertools.count(1):
        with pytest.MonkeyPatch.context() as patch:
            world = World(tmp_path / str(fatal), patch, outcome=outcome)
            world.fatal = fatal
            try:
                world.live(gain)
                killed = False
            except Killed:
                killed = True
                found = world.live(gain)
                assert found.exit_code == code, fatal
            assert world.end() == whole, fatal
            assert world.calls.count("train") <= 2
            assert world.calls.count("gate") <= 2
        if not killed:
            break
    assert fatal > num_writes > 8


def test_a_stage_that_is_killed_again_and_again_is_given_up_but_stages_are_counted_apart(tmp_path, monkeypatch):
    world = World(tmp_path / "w", monkeypatch)
    for name in ("train", "register", "release"):  # twice each: six kills, and none of the stages is given up
        real, killed = getattr(world, name), []

        def dies(*given, real=real, killed=killed):
            killed.append(1)
            if len(killed) <= 2:
                raise Killed
            return real(*given)

        setattr(world, name, dies)
    for _ in range(6):
        with pytest.raises(Killed):
            world.once()
    assert world.once().outcome == "rolling"

    other = World(tmp_path / "v", monkeypatch)
    other.train = lambda material: (_ for _ in ()).throw(Killed)  # type: ignore[method-assign]
    for _ in range(3):
        with pytest.raises(Killed):
            other.once()
    with pytest.raises(RuntimeError, match="begun 3 times and never ended: it is given up"):
        other.once()
    assert other.end()["champion"] == 1


def test_the_same_drift_does_not_start_twice(tmp_path, monkeypatch):
    world = World(tmp_path / "w", monkeypatch, outcome="reject")
    assert world.once().exit_code == 3
    found = world.once()
    assert (found.outcome, found.exit_code) == ("not allowed", 6)
    assert any("cool-down: the last retraining was 0.0 hours ago" in line for line in found.said)
    assert world.calls.count("train") == 1


def test_a_window_that_may_hold_images_of_before_starts_nothing(tmp_path, monkeypatch):
    world = World(tmp_path / "w", monkeypatch)
    world.settled = False
    found = world.once()
    assert (found.outcome, found.exit_code, found.facts["drift"]["alarm"]) == ("quiet", 0, True)
    assert "the next ones decide" in found.said[-1]
    assert world.calls == ["look"]
    world.settled = True
    assert world.once().exit_code == 75
    assert world.references == {2: b"the new images"}


def test_each_pass_leaves_a_summary_for_machines(tmp_path, monkeypatch):
    world = World(tmp_path / "w", monkeypatch)
    assert world.once().exit_code == 75
    world.requests(lambda stage: 0.0)
    world.once()
    kept = json.loads((world.folder / "out" / "watch.json").read_text())
    assert (kept["outcome"], kept["exit_code"], kept["champion"]) == ("rolling", 75, 1)
    assert kept["facts"]["version"] == 2
    assert kept["facts"]["rollout"]["stage"] == "canary"
    world.drift = False
    quiet = World(tmp_path / "q", monkeypatch, drift=False).once()
    assert (quiet.outcome, quiet.exit_code, quiet.facts["drift"]["alarm"]) == ("quiet", 0, False)


def test_before_the_first_window_there_is_nothing_to_do(tmp_path, monkeypatch):
    world = World(tmp_path / "w", monkeypatch)

    def look(champion: Any, report: Path) -> Any:
        loop.require_images(tmp_path / "incoming.db")

    world.look = look  # type: ignore[method-assign]
    found = world.once()
    assert (found.outcome, found.exit_code) == ("quiet", 0)
    assert "is not there yet" in found.said[0]
    with pytest.raises(NotEnoughError):
        loop.require_images(tmp_path / "incoming.db")


def test_a_second_watcher_says_who_watches_and_leaves(tmp_path, monkeypatch):
    world = World(tmp_path / "w", monkeypatch)
    with (
        loop.alone("m", world.folder / "out"),
        pytest.raises(loop.Busy, match=r"m is watched already in .*, by process \d+ of \w+ on .*, since 20"),
        loop.alone("m", world.folder / "out"),
    ):
        pass
    with FileLock(world.folder / "out" / ".lock"), pytest.raises(loop.Busy, match="another retraining"):
        world.once()
    assert world.once().outcome == "rolling", "nothing is held by those that have gone"


def test_a_daemon_outlives_a_registry_that_is_away_but_not_a_mistake_at_its_start(tmp_path, monkeypatch):
    world = World(tmp_path / "w", monkeypatch)
    told, passes, clock = [], [], itertools.count()

    def one() -> loop.Pass:
        passes.append(1)
        if len(passes) == 2:
            raise RuntimeError("the registry does not answer")
        world.requests(lambda stage: 0.0)
        return world.once()

    def watch(one: Callable[[], loop.Pass]) -> loop.Pass:
        return loop.watch_on(
            one, name="m", output=world.folder / "out", poll_seconds=1, max_hours=6 / 3600, news=told.append,
            sleep=lambda seconds: None, time=lambda: float(next(clock)),
        )  # fmt: skip

    assert watch(one).champion == 2
    assert [found.outcome for found in told][:3] == ["rolling", "failed", "rolling"]
    assert "promoted" in [found.outcome for found in told]
    with pytest.raises(ValueError, match="misspelt"):
        watch(lambda: (_ for _ in ()).throw(ValueError("misspelt")))


def test_a_rollout_is_left_to_the_watcher_that_began_it(tmp_path, monkeypatch):
    world = World(tmp_path / "w", monkeypatch)
    world.once()
    with pytest.raises(ValueError, match="is rolled out by srlab watch"):
        retrain.retrain(
            name="m", tracking_uri=world.uri, output=world.folder / "out", reference=None, prepare=None,  # type: ignore[arg-type]
            look=world.look, train=world.train, register=world.register, release=world.release, policy=COST,
        )  # fmt: skip
