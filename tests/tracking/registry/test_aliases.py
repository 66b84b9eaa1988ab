import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from registered import decide, make_model
from services import Server, login

from sr_lab.tracking.registry import aliases
from sr_lab.tracking.registry import lock as registry_lock
from sr_lab.tracking.registry.aliases import (
    ConflictError,
    NoPreviousChampionError,
    history,
    promote,
    record,
    rollback,
)
from sr_lab.tracking.registry.ledger import MAX_CHARACTERS, PREFIX
from sr_lab.tracking.store import connect

EVERYWHERE = ["sqlite", "accounts server", "postgres", "postgres server"]


@pytest.fixture
def store(request: pytest.FixtureRequest, store: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """Uri of the SQLite file, or of the store that the test's parameter names."""
    kind = getattr(request, "param", "sqlite")
    if kind == "sqlite":
        return store
    if kind == "postgres":
        return str(request.getfixturevalue("postgres"))
    login(monkeypatch, "owner")
    return str(request.getfixturevalue(kind.replace(" ", "_")).uri)


@pytest.fixture
def name(client: Any) -> str:
    """A registered model with three versions."""
    return make_model(client, num_versions=3)


def go(store: str, name: str, version: int, champion: int | None) -> None:
    promote(store, name, version, decision=decide(name, version, champion), who="ann")


def state(store: str, name: str) -> tuple[int | None, int | None]:
    found = aliases.aliases(store, name)
    return found.get("champion"), found.get("previous")


@pytest.mark.parametrize("store", EVERYWHERE, indirect=True)
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
    with pytest.raises(NoPreviousChampionError, match="no previous champion"):
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


@pytest.mark.parametrize("store", ["sqlite", "postgres"], indirect=True)
def test_a_long_reason_is_cut_visibly(store: str, name: str, client: Any) -> None:
    long = {**decide(name, 1, None, "reject"), "reasons": [{"line": "ä\n" * 9000}]}
    record(store, name, 1, decision=long, who="ann")
    (entry,) = history(store, name)
    assert entry.reason.startswith("ä\nä")
    assert "[cut, 18000 characters, sha256 " in entry.reason
    size = len(client.get_registered_model(name).tags[f"{PREFIX}0001"])
    assert 0.9 * MAX_CHARACTERS < size <= MAX_CHARACTERS


@pytest.mark.parametrize("remove", [False, True])
def test_a_record_that_was_changed_or_removed_shows(store: str, name: str, client: Any, remove: bool) -> None:
    go(store, name, 1, None)
    go(store, name, 2, 1)
    if remove:
        client.delete_registered_model_tag(name, f"{PREFIX}0002")
    else:
        text = json.loads(client.get_registered_model(name).tags[f"{PREFIX}0002"])
        client.set_registered_model_tag(name, f"{PREFIX}0002", json.dumps({**text, "who": "eve"}, sort_keys=True))
    assert [entry.number for entry in history(store, name) if not entry.intact] == [3]


FORKER = """
import json, os, signal, sys, time
import mlflow.store.model_registry.sqlalchemy_store, mlflow.store.tracking.sqlalchemy_store
from mlflow import MlflowClient
from sr_lab.tracking.registry import lock as registry_lock
from sr_lab.tracking.registry.aliases import ConflictError, label, promote, rollback

WRITES = ("set_registered_model_tag", "delete_registered_model_tag", "set_registered_model_alias",
          "delete_registered_model_alias")

def die_after(count):
    left = [count]
    def dying(method):
        def write(*arguments):
            if left[0] == 0:
                os._exit(9)
            left[0] -= 1
            return method(*arguments)
        return write
    for write in WRITES:
        setattr(MlflowClient, write, dying(getattr(MlflowClient, write)))

def attempt(*, login, uri, name, version=None, champion=None, writes=None, start=0, seconds=None, lease=60):
    os.environ.update(login)
    registry_lock.LEASE_SECONDS = lease
    if writes is not None:
        die_after(writes)
    time.sleep(max(0, start - time.time()))
    if seconds is not None:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        if version is None:
            rollback(uri, name, reason="bad", who="ann")
        else:
            decision = {"outcome": "promote", "candidate": label(name, version), "champion": label(name, champion),
                        "sha256": "d", "policy_sha256": "p", "reasons": []}
            promote(uri, name, version, decision=decision, who="ann")
    except ConflictError:
        return 3
    return 0

for line in sys.stdin:
    children = []
    for job in json.loads(line):
        child = os.fork()
        if child == 0:
            try:
                os._exit(attempt(**job))
            except BaseException as error:
                print(repr(error), file=sys.stderr, flush=True)
            os._exit(1)
        children.append(child)
    print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]), flush=True)
"""
WON, LOST, DIED, ALARM = 0, 3, 9, -signal.SIGALRM
Fork = Callable[..., list[int]]


@pytest.fixture(scope="module")
def fork() -> Iterator[Fork]:
    """Runs promotions (of a version) and rollbacks (without one) in processes, all at once; their codes."""
    process = subprocess.Popen([sys.executable, "-c", FORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    stdin, stdout = process.stdin, process.stdout
    assert stdin is not None
    assert stdout is not None

    def run(*jobs: dict[str, Any]) -> list[int]:
        login = {key: value for key, value in os.environ.items() if key.startswith(("MLFLOW_TRACKING", "PG"))}
        stdin.write(json.dumps([{**job, "login": login} for job in jobs]) + "\n")
        stdin.flush()
        codes: list[int] = json.loads(stdout.readline())
        return codes

    yield run
    stdin.close()
    process.wait()
    stdout.close()


@pytest.mark.timeout(900)
@pytest.mark.parametrize(
    ("action", "store"),
    [("promote", "sqlite"), ("rollback", "sqlite"), ("promote", "postgres")],
    indirect=["store"],
)
def test_killed_before_any_write_there_is_one_champion_and_the_next_call_clears_up(
    store: str, client: Any, fork: Fork, action: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry_lock, "LEASE_SECONDS", 0.2)
    # Its writes: but for SQLite a trial and the claim, then intent, previous, champion, of a promotion the candidate,
    # done, and but for SQLite the end of the claim.
    around = 0 if store.startswith("sqlite") else 1
    last = (5 if action == "promote" else 4) + 3 * around
    target = {"promote": 3, "rollback": 1}[action]
    for writes in range(last + 1):
        name = make_model(client, num_versions=4)
        for alias, version in (("previous", 1), ("champion", 2), ("candidate", 3)):
            client.set_registered_model_alias(name, alias, str(version))
        job = {"uri": store, "name": name, "writes": writes}
        job |= {"version": target, "champion": 2} if action == "promote" else {}
        assert fork(job) == [DIED if writes < last else WON]
        moved = writes >= 3 + 2 * around
        champion = target if moved else 2
        assert aliases.aliases(store, name)["champion"] == champion
        with pytest.raises(ConflictError):
            go(store, name, 4, 4)
        assert state(store, name) == (champion, {1: None, 2: 1, 3: 2}[champion])
        records = history(store, name)
        assert all(entry.intact for entry in records)
        begun, ended = writes > 2 * around, writes >= last - around
        assert [entry.phase for entry in records] == (["intent", "done" if moved else "abandoned"] if begun else [])
        assert not begun or records[1].recovered == (not ended)
        assert no_claims(client, name)
        if writes >= last - 1:
            go(store, name, 4, champion)
            assert state(store, name) == (4, champion)


@pytest.mark.timeout(900)
@pytest.mark.parametrize("store", EVERYWHERE, indirect=True)
def test_of_four_promotions_at_once_one_wins(store: str, client: Any, fork: Fork) -> None:
    name = make_model(client, num_versions=5)
    go(store, name, 1, None)
    job = {"uri": store, "name": name, "champion": 1, "start": time.time() + 2}
    codes = fork(*[{**job, "version": version} for version in (2, 3, 4, 5)])
    assert sorted(codes) == [WON, LOST, LOST, LOST]
    winner = 2 + codes.index(WON)
    assert state(store, name) == (winner, 1)
    assert [(entry.phase, entry.target) for entry in history(store, name)[2:]] == [("intent", winner), ("done", winner)]
    assert no_claims(client, name)


@pytest.mark.timeout(900)
def test_a_server_and_its_database_lock_each_other_out(
    postgres: str, postgres_server: Server, fork: Fork, monkeypatch: pytest.MonkeyPatch
) -> None:
    login(monkeypatch, "owner")
    client = connect(postgres_server.uri)
    name = make_model(client, num_versions=5)
    go(postgres, name, 1, None)
    places = (postgres, postgres, postgres_server.uri, postgres_server.uri)
    jobs = [{"uri": uri, "name": name, "version": 2 + k, "champion": 1} for k, uri in enumerate(places)]
    codes = fork(*[{**job, "start": time.time() + 2} for job in jobs])
    assert sorted(codes) == [WON, LOST, LOST, LOST]
    assert state(postgres, name) == (2 + codes.index(WON), 1)
    assert len(history(postgres_server.uri, name)) == 4


@pytest.mark.timeout(900)
@pytest.mark.parametrize("store", ["sqlite", "postgres server"], indirect=True)
def test_killed_at_any_moment_another_takes_over(store: str, client: Any, fork: Fork) -> None:
    name = make_model(client, num_versions=3)
    times = []
    for target, champion in ((1, None), (2, 1), (3, 2)):  # the first time is a slow one, any may be
        before = time.monotonic()
        go(store, name, target, champion)
        times.append(time.monotonic() - before)
    took, champion = min(times), 3
    lease = max(2, 4 * max(times[1:]))  # nobody who lives is taken for dead
    died = 0
    for part in (0.3, 0.6, 0.9):
        target, rival = [version for version in (1, 2, 3) if version != champion]
        job = {"uri": store, "name": name, "champion": champion, "start": time.time() + 0.5, "lease": lease}
        codes = fork({**job, "version": target, "seconds": part * took}, {**job, "version": rival})
        died += codes[0] == ALARM
        assert codes[0] in (WON, LOST, ALARM)
        assert codes[1] in (WON, LOST)
        found = state(store, name)
        assert found[0] in (target, rival)
        if WON in codes:
            assert found == ((target, rival)[codes.index(WON)], champion)
        records = history(store, name)
        assert all(entry.intact for entry in records)
        champion = found[0]
    assert died


def no_claims(client: Any, name: str) -> bool:
    return not [key for key in client.get_registered_model(name).tags if key.startswith(registry_lock.CLAIM)]
