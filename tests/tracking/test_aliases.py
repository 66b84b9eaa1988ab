import json
import sqlite3
import subprocess
import sys
import textwrap
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from sr_lab.tracking import aliases
from sr_lab.tracking.aliases import ConflictError, history, label, promote, record, rollback
from sr_lab.tracking.audit import MAX_CHARACTERS


@pytest.fixture
def name(client: Any) -> str:
    """A registered model with three versions."""
    name = f"m-{uuid.uuid4().hex[:8]}"
    client.create_registered_model(name)
    for _ in range(3):
        client.create_model_version(name, "models/nothing")
    return name


def decide(name: str, version: int, champion: int | None, outcome: str = "promote") -> dict[str, Any]:
    return {
        "outcome": outcome,
        "candidate": label(name, version),
        "champion": None if champion is None else label(name, champion),
        "sha256": "d" * 64,
        "policy_sha256": "p" * 64,
        "reasons": [{"line": "pass  psnr: fine"}],
    }


def go(store: str, name: str, version: int, champion: int | None) -> None:
    promote(store, name, version, decision=decide(name, version, champion), who="ann")


def state(store: str, name: str) -> tuple[int | None, int | None]:
    found = aliases.aliases(store, name)
    return found.get("champion"), found.get("previous")


def test_a_release_and_its_way_back(store: str, name: str, client: Any) -> None:
    client.set_registered_model_alias(name, "candidate", "3")
    go(store, name, 1, None)
    assert aliases.aliases(store, name) == {"champion": 1, "candidate": 3}
    go(store, name, 2, 1)
    go(store, name, 3, 2)
    assert aliases.aliases(store, name) == {"champion": 3, "previous": 2}
    rollback(store, name, reason="text got worse", who="bob")
    assert state(store, name) == (2, 1)
    rollback(store, name, reason="still", who="bob")
    assert state(store, name) == (1, None)
    with pytest.raises(ValueError, match="no previous champion"):
        rollback(store, name, reason="more", who="bob")
    records = history(store, name)
    assert [entry.number for entry in records] == list(range(1, 11))
    assert [entry.phase for entry in records] == ["intent", "done"] * 5
    assert [(e.action, e.source, e.target) for e in records[1::2]] == [
        ("promote", None, 1), ("promote", 1, 2), ("promote", 2, 3), ("rollback", 3, 2), ("rollback", 2, 1),
    ]  # fmt: skip
    assert records[1].decision == "d" * 64
    assert records[1].policy == "p" * 64
    assert records[1].reason == "pass  psnr: fine"
    assert records[7].reason == "text got worse"
    assert records[7].who == "bob"
    assert all(entry.intact for entry in records)


def test_a_promotion_after_a_rollback_starts_from_the_champion_that_is(store: str, name: str) -> None:
    go(store, name, 1, None)
    go(store, name, 2, 1)
    rollback(store, name, reason="bad", who="bob")
    go(store, name, 3, 1)
    assert state(store, name) == (3, 1)


def test_a_decision_against_another_champion_is_refused_and_changes_nothing(store: str, name: str) -> None:
    go(store, name, 1, None)
    go(store, name, 2, 1)
    before = history(store, name)
    with pytest.raises(ConflictError, match="decide again"):
        go(store, name, 3, 1)
    with pytest.raises(ConflictError, match="against no champion"):
        go(store, name, 3, None)
    assert state(store, name) == (2, 1)
    assert history(store, name) == before


def test_what_is_no_promotion_is_refused(store: str, name: str) -> None:
    with pytest.raises(ValueError, match="'reject'"):
        promote(store, name, 1, decision=decide(name, 1, None, "reject"), who="ann")
    with pytest.raises(ValueError, match="not about"):
        promote(store, name, 2, decision=decide(name, 1, None), who="ann")
    with pytest.raises(ValueError, match="cannot promote version 9"):
        go(store, name, 9, None)
    with pytest.raises(ValueError, match="cannot promote"):
        go(store, "nobody", 1, None)
    with pytest.raises(ValueError, match="reason"):
        rollback(store, name, reason=" ", who="ann")
    assert history(store, name) == []
    assert state(store, name) == (None, None)
    go(store, name, 1, None)
    with pytest.raises(ValueError, match="already"):
        go(store, name, 1, 1)


def test_a_rejection_is_recorded(store: str, name: str) -> None:
    record(store, name, 1, decision=decide(name, 1, None, "reject"), who="ann")
    (entry,) = history(store, name)
    assert (entry.action, entry.phase, entry.target) == ("reject", "done", 1)
    assert state(store, name) == (None, None)
    with pytest.raises(ValueError, match="promote"):
        record(store, name, 1, decision=decide(name, 1, None), who="ann")


def test_a_long_reason_is_cut_visibly(store: str, name: str, client: Any) -> None:
    long = {**decide(name, 1, None, "reject"), "reasons": [{"line": "ä\n" * 9000}]}
    record(store, name, 1, decision=long, who="ann")
    (entry,) = history(store, name)
    assert entry.reason.startswith("ä\nä")
    assert "[cut, 18000 characters, sha256 " in entry.reason
    size = len(client.get_registered_model(name).tags["audit.0001"])
    assert 0.9 * MAX_CHARACTERS < size <= MAX_CHARACTERS


@pytest.mark.parametrize("remove", [False, True])
def test_a_record_that_was_changed_or_removed_shows(store: str, name: str, client: Any, remove: bool) -> None:
    go(store, name, 1, None)
    go(store, name, 2, 1)
    if remove:
        client.delete_registered_model_tag(name, "audit.0002")
    else:
        text = json.loads(client.get_registered_model(name).tags["audit.0002"])
        client.set_registered_model_tag(name, "audit.0002", json.dumps({**text, "who": "eve"}, sort_keys=True))
    assert [entry.number for entry in history(store, name) if not entry.intact] == [3]


KILLED = """
import os, sqlite3, sys
from mlflow import MlflowClient
from sr_lab.tracking.aliases import promote, rollback, label
WRITES = ("set_registered_model_tag", "set_registered_model_alias", "delete_registered_model_alias")
folder, action, count = sys.argv[1], sys.argv[2], int(sys.argv[3])

def attempt(k):
    left = [k]
    def dying(method):
        def write(*arguments):
            if left[0] == 0:
                os._exit(9)
            left[0] -= 1
            return method(*arguments)
        return write
    for name in WRITES:
        setattr(MlflowClient, name, dying(getattr(MlflowClient, name)))
    uri = f"sqlite:///{folder}/{k}.db"
    if action == "promote":
        decision = {"outcome": "promote", "candidate": label("m", 3), "champion": label("m", 2), "sha256": "d",
                    "policy_sha256": "p", "reasons": []}
        promote(uri, "m", 3, decision=decision, who="ann")
    else:
        rollback(uri, "m", reason="bad", who="ann")
    os._exit(0)

for k in range(count):
    pid = os.fork()
    if pid == 0:
        try:
            attempt(k)
        except BaseException as error:
            print(repr(error), file=sys.stderr)
            os._exit(1)
    print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("action", "moved_after", "codes"),
    [("promote", 3, [9, 9, 9, 9, 9, 0]), ("rollback", 3, [9, 9, 9, 9, 0])],
)
def test_killed_before_any_write_there_is_one_champion_and_the_next_call_clears_up(
    store: str, client: Any, tmp_path: Path, action: str, moved_after: int, codes: list[int]
) -> None:
    # Writes of a promotion: intent, previous, champion, candidate, done; a rollback has no candidate.
    original = f"sqlite:///{tmp_path}/original.db"
    _copy(Path(store.removeprefix("sqlite:///")), tmp_path / "original.db")
    made = aliases.connect(original)
    made.create_registered_model("m")
    for _ in range(4):
        made.create_model_version("m", "models/nothing")
    go(original, "m", 1, None)
    go(original, "m", 2, 1)
    made.set_registered_model_alias("m", "candidate", "3")
    for k in range(len(codes)):
        _copy(tmp_path / "original.db", tmp_path / f"{k}.db")
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path), action, str(len(codes))]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=True)
    assert [int(line) for line in done.stdout.split()] == codes, done.stderr
    new = (3, 2) if action == "promote" else (1, None)
    for k in range(len(codes)):
        uri = f"sqlite:///{tmp_path}/{k}.db"
        moved = k >= moved_after
        assert aliases.aliases(uri, "m")["champion"] == (new[0] if moved else 2)
        go(uri, "m", 4, new[0] if moved else 2)
        assert state(uri, "m") == (4, new[0] if moved else 2)
        records = history(uri, "m")
        assert all(entry.intact for entry in records)
        phases = [entry.phase for entry in records[4:-2]]
        expected = [] if k == 0 else ["intent", "done" if moved else "abandoned"]
        assert phases == expected
        assert records[-3].recovered == (0 < k < len(codes) - 1)
        rollback(uri, "m", reason="bad", who="ann")
        if not moved:
            assert state(uri, "m") == (2, 1), "previous is what it was before the interrupted change"


RACE = """
import sys, time
from pathlib import Path
from sr_lab.tracking import aliases
uri, name, version, folder = sys.argv[1:]
aliases.aliases(uri, name)
Path(folder, version).touch()
while len(list(Path(folder).iterdir())) < 2:
    time.sleep(0.001)
decision = {"outcome": "promote", "candidate": f"{name}/{version}", "champion": f"{name}/1", "sha256": "d",
            "policy_sha256": "p", "reasons": []}
try:
    aliases.promote(uri, name, int(version), decision=decision, who=version)
    print("won")
except aliases.ConflictError:
    print("lost")
"""


@pytest.mark.timeout(300)
def test_of_two_promotions_at_once_one_wins(store: str, name: str, client: Any, tmp_path: Path) -> None:
    go(store, name, 1, None)
    processes = {
        version: subprocess.Popen(
            [sys.executable, "-c", RACE, store, name, str(version), str(tmp_path)],
            stdout=subprocess.PIPE,
            text=True,
        )
        for version in (2, 3)
    }
    answers = {version: process.communicate(timeout=200)[0].strip() for version, process in processes.items()}
    assert sorted(answers.values()) == ["lost", "won"]
    winner = next(version for version, answer in answers.items() if answer == "won")
    assert state(store, name) == (winner, 1)
    assert [(entry.phase, entry.target) for entry in history(store, name)[2:]] == [
        ("intent", winner),
        ("done", winner),
    ]
    assert not [key for key in client.get_registered_model(name).tags if key.startswith("lock.")]


def _copy(source: Path, target: Path) -> None:
    with closing(sqlite3.connect(source)) as old, closing(sqlite3.connect(target)) as new:
        old.backup(new)
