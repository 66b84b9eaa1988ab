"""A rollout through the registry: its stages, both ways out, what a person may do, and that a kill loses nothing."""

import io
import itertools
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from memory_registry import Killed, Registry
from PIL import Image

from sr_lab.promotion.canary import Pair, PairCheck, RolloutPolicy, Stage
from sr_lab.tracking.registry import aliases, decisions, rollouts
from sr_lab.tracking.registry.aliases import ConflictError, label
from sr_lab.tracking.store import connect
from sr_lab.workflows import rollout
from sr_lab.workflows.history import history
from sr_lab.workflows.pairs import PairStore
from sr_lab.workflows.rollout_page import WorstPair

POLICY = RolloutPolicy(
    name="test",
    releases=1,
    checks={"sharp": PairCheck(low=-1, high=1, margin=0.4)},
    stages={"shadow": Stage(share=0, bursts=5), "canary": Stage(share=0.2, bursts=5)},
    holdback=Stage(share=0.9, bursts=5),
)


class World:
    """A registered model with a champion and a candidate, and clients whose requests make pairs."""

    def __init__(self, uri: str, folder: Path) -> None:
        self.uri, self.name, self.time = uri, f"m-{uuid.uuid4().hex[:8]}", 1e6
        self.pairs = folder / f"{self.name}.db"
        self.random = np.random.default_rng(0)

    def champion_of_the_gate(self, version: int, before: int | None) -> None:
        decision = {
            "outcome": "promote", "candidate": label(self.name, version), "sha256": "d" * 64, "reasons": [],
            "champion": None if before is None else label(self.name, before), "policy_sha256": "p" * 64,
        }  # fmt: skip
        aliases.promote(self.uri, self.name, version, decision=decision, who="ann")

    @property
    def place(self) -> dict[str, Any]:
        return {"name": self.name, "tracking_uri": self.uri}

    def begin(self) -> rollouts.Rollout:
        return rollout.begin(**self.place, policy=POLICY)

    def advance(self, **more: Any) -> rollout.Rolled:
        return rollout.advance(**self.place, policy=POLICY, pairs=self.pairs, time=lambda: self.time, **more)

    def requests(self, num: int, gain: float) -> None:
        """So many bursts of one request, each of another client, in the present stage."""
        now = rollouts.current(self.uri, self.name)
        assert now is not None
        pairs = PairStore(self.pairs)
        for _ in range(num):
            self.time += 1
            value = gain + 0.05 * float(self.random.standard_normal())
            pairs.append(
                now.id, time=self.time, client=f"c{self.time}", stage=now.stage, served="champion",
                gains={"sharp": value},
            )  # fmt: skip
        pairs.close()
        self.time += 100

    def live(self, gain: Callable[[str], float], *, most: int = 20) -> rollout.Rolled:
        """Requests and steps in turn until the rollout is over."""
        for _ in range(most):
            now = self.begin()
            self.requests(20, gain(now.stage))
            found = self.advance()
            if found.rollout.over:
                return found
        raise AssertionError("it never ended")

    @property
    def champion(self) -> int | None:
        return aliases.aliases(self.uri, self.name).get("champion")


def world_of(registry: Registry, folder: Path, patch: pytest.MonkeyPatch) -> World:
    world = World(registry.take_over(folder, patch), folder)
    world.champion_of_the_gate(1, None)
    registry.set_registered_model_alias(world.name, "candidate", "2")
    return world


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    return world_of(Registry(), tmp_path, monkeypatch)


@pytest.fixture
def real(tmp_path: Path) -> World:
    """The same in a store of MLflow's."""
    world = World(f"sqlite:///{tmp_path}/mlflow.db", tmp_path)
    client = connect(world.uri)
    run = client.create_run("0")
    client.create_registered_model(world.name)
    for _ in range(2):
        client.create_model_version(world.name, "s3://nowhere/nothing", run_id=run.info.run_id)
    world.champion_of_the_gate(1, None)
    client.set_registered_model_alias(world.name, "candidate", "2")
    return world


def steps(world: World) -> list[str]:
    records = aliases.history(world.uri, world.name)
    return [str(record.step["stage"]) if record.step else record.action for record in records if record.phase == "done"]


def test_an_equal_candidate_goes_through_every_stage_and_is_promoted(real: World, tmp_path: Path) -> None:
    world = real
    told: list[Any] = []
    world.begin()
    for _ in range(9):
        world.requests(20, 0.0)
        found = world.advance(report=tmp_path / "report", hook=told.append)
        if found.rollout.over:
            break
    assert steps(world) == ["promote", "shadow", "canary", "promote", "holdback", "finished"]
    assert (world.champion, found.rollout.stage) == (2, "finished")
    assert [(fact["event"], fact["version"]) for fact in told] == [("promote", 2)]
    assert not history(**world.place).faults
    page = (tmp_path / "report" / "version-2.html").read_text()
    assert "finished" in page
    assert "data:image/png" in page
    record = next(r for r in aliases.history(world.uri, world.name) if r.action == "promote" and r.source == 1)
    assert "pass  sharp: mean gain" in record.reason
    evidence = decisions.fetch(world.uri, world.name, 2, decision=str(record.decision))
    assert evidence is not None
    pairs = PairStore(world.pairs)
    again = rollout.replayed(POLICY, pairs.read(evidence["rollout"], upto=evidence["pairs"]), until=evidence["until"])
    pairs.close()
    assert again.as_dict() == evidence["evidence"], "the decision is a function of the stream, and can be made again"


def test_a_bad_candidate_is_stopped_before_any_client_sees_it(world: World) -> None:
    found = world.live(lambda stage: -0.6)
    assert (world.champion, found.rollout.stage, found.rollout.share) == (1, "aborted", 0.0)
    assert steps(world) == ["promote", "shadow", "aborted"]
    assert found.judgement.blamed == ("sharp",)
    assert not history(**world.place).faults


def test_harm_after_the_promotion_takes_it_back_through_the_registry(world: World) -> None:
    found = world.live(lambda stage: -0.9 if stage == "holdback" else 0.0)
    assert steps(world) == ["promote", "shadow", "canary", "promote", "holdback", "rollback", "aborted"]
    assert (world.champion, found.rollout.stage) == (1, "aborted")


@pytest.mark.parametrize(
    ("gain", "end", "champion"),
    [
        (lambda stage: 0.0, "finished", 2),
        (lambda stage: -0.9 if stage == "holdback" else 0.0, "aborted", 1),
    ],
    ids=["promoted", "taken back"],
)
def test_a_kill_at_any_write_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gain: Callable[[str], float], end: str, champion: int
) -> None:
    for fatal in itertools.count(1):
        registry = Registry()
        world = world_of(registry, tmp_path, monkeypatch)
        registry.writes, registry.fatal = 0, fatal
        killed = False
        try:
            found = world.live(gain)
        except Killed:
            killed = True
            found = world.live(gain)
        assert (world.champion, found.rollout.stage) == (champion, end), fatal
        assert not history(**world.place).faults, fatal
        assert steps(world)[-1] == end, fatal
        if not killed:
            break
    assert fatal > 8, "it was killed at every write"


def test_a_person_may_pause_go_on_and_abort(world: World) -> None:
    world.begin()
    with pytest.raises(ValueError, match="reason"):
        rollout.pause(**world.place, reason=" ")
    assert rollout.pause(**world.place, reason="a look").paused
    with pytest.raises(ValueError, match="is paused"):
        rollout.pause(**world.place, reason="a look")
    world.requests(10, 0.0)
    assert world.advance().rollout.stage == "shadow"
    assert not rollout.resume(**world.place, reason="fine").paused
    assert world.advance().rollout.stage == "canary"
    with pytest.raises(ValueError, match="not champion yet"):
        rollout.abort(**world.place, reason="no", promoted=True)
    ended, _ = rollout.abort(**world.place, reason="enough")
    assert (ended.stage, world.champion) == ("aborted", 1)
    with pytest.raises(ValueError, match="aborted already"):
        rollout.abort(**world.place, reason="enough")
    again = world.begin()
    assert again.id != ended.id, "the next call begins anew, with a new stream"


def test_harm_stops_a_paused_rollout_too(world: World) -> None:
    world.begin()
    rollout.pause(**world.place, reason="a look")
    world.requests(30, -0.9)
    assert world.advance().rollout.stage == "aborted"


def test_a_promotion_can_be_taken_back_by_hand_during_the_holdback_and_after_it(world: World) -> None:
    found = world.live(lambda stage: 0.0)
    assert found.rollout.stage == "finished"
    ended, _ = rollout.abort(**world.place, reason="customers complain", promoted=True)
    assert (ended.stage, world.champion) == ("aborted", 1)
    assert not history(**world.place).faults


def test_what_others_do_to_the_champion_ends_it(world: World) -> None:
    world.begin()
    world.champion_of_the_gate(3, 1)
    world.requests(5, 0.0)
    found = world.advance()
    assert found.rollout.stage == "aborted"
    assert found.moves == ("aborted: the champion was changed by something else than the rollout",)
    assert world.champion == 3


def test_of_two_controllers_the_second_is_refused(world: World) -> None:
    before = world.begin()
    rollout.pause(**world.place, reason="a look")
    with pytest.raises(ConflictError, match="another step"):
        rollouts.take_step(
            world.uri, world.name, before=before, candidate=2, policy="p", step={}, reason="late", who="bob"
        )


def test_what_the_gate_refused_is_not_tried_on_clients(world: World) -> None:
    decision = {
        "outcome": "reject", "candidate": label(world.name, 2), "champion": label(world.name, 1), "sha256": "d" * 64,
        "policy_sha256": "p" * 64, "reasons": [],
    }  # fmt: skip
    aliases.record(world.uri, world.name, 2, decision=decision, who="ann")
    with pytest.raises(ValueError, match="rejected by the gate"):
        world.begin()
    aliases.record(world.uri, world.name, 2, decision={**decision, "outcome": "needs_approval"}, who="ann")
    with pytest.raises(ValueError, match="waits for a person's consent"):
        world.begin()
    decisions.approve(world.uri, world.name, by="eve", user="eve")
    assert world.begin().stage == "shadow"


def test_what_cannot_begin_says_why(world: World) -> None:
    with pytest.raises(ValueError, match="has no rollout"):
        world.advance()
    with pytest.raises(ValueError, match="is the champion already"):
        rollout.begin(**world.place, policy=POLICY, version=1)
    world.begin()
    other = RolloutPolicy(**{**vars_of(POLICY), "pause": 9.0})
    with pytest.raises(ValueError, match="begun under another policy"):
        rollout.begin(**world.place, policy=other)
    with pytest.raises(ValueError, match="rolled out already"):
        rollout.begin(**world.place, policy=POLICY, version=1)
    with pytest.raises(ValueError, match="policy of the gate"):
        rollout.begin(**world.place, policy=object())  # type: ignore[arg-type]


def vars_of(policy: RolloutPolicy) -> dict[str, Any]:
    return {key: value for key, value in vars(policy).items() if not key.endswith("level")}


def test_a_shift_of_colour_is_seen_in_the_difference() -> None:
    def encoded(colour: tuple[int, int, int]) -> bytes:
        stream = io.BytesIO()
        Image.new("RGB", (4, 3), colour).save(stream, "PNG")
        return stream.getvalue()

    pair = Pair(number=1, time=0.0, client="a", stage="shadow", served="champion", gains={})
    pictures = {"low": encoded((9, 9, 9)), "champion": encoded((90, 90, 90)), "candidate": encoded((95, 90, 85))}
    difference = WorstPair(pair=pair, badness=1.0, pictures=pictures).difference
    assert difference.shape == (3, 4, 3)
    assert difference[0, 0].tolist() == [148, 128, 108]
    assert WorstPair(pair=pair, badness=1.0, pictures={}).difference is None
