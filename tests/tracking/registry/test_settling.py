"""Audit and alias disagree on the champion: nothing is decided until a person settles it; every remedy works."""

import shlex
from typing import Any

import pytest
from registered import decide, make_model

from sr_lab.cli import main
from sr_lab.tracking.registry import aliases
from sr_lab.tracking.registry.aliases import UnsettledError, history, promote, record, rollback, settle, standing
from sr_lab.workflows.history import history as story

Capture = pytest.CaptureFixture[str]


@pytest.fixture
def name(client: Any) -> str:
    """A registered model with four versions; the second is champion after the first."""
    return make_model(client, num_versions=4)


@pytest.fixture
def released(store: str, name: str) -> str:
    go(store, name, 1, None)
    go(store, name, 2, 1)
    return name


def go(store: str, name: str, version: int, champion: int | None) -> None:
    promote(store, name, version, decision=decide(name, version, champion), who="ann")


def lose(client: Any, name: str, how: str) -> None:
    if how == "removed":
        client.delete_registered_model_alias(name, "champion")
    elif how == "deleted":
        client.delete_model_version(name, "2")
    else:
        client.set_registered_model_alias(name, "champion", "3")


@pytest.mark.parametrize("how", ["removed", "deleted", "moved"])
def test_nothing_is_decided_while_the_champion_is_lost(
    store: str, released: str, client: Any, how: str, capsys: Capture
) -> None:
    name = released
    lose(client, name, how)
    found, records = aliases.aliases(store, name), history(store, name)
    champion = found.get("champion")
    for refused in (
        lambda: go(store, name, 4, champion),
        lambda: record(store, name, 4, decision=decide(name, 4, champion, "reject"), who="ann"),
        lambda: standing(store, name),
    ):
        with pytest.raises(
            UnsettledError, match="the audit says that version 2 is the champion, but the alias"
        ) as told:
            refused()
        lines = str(told.value).splitlines()
        ways = [line.partition(":  ")[2] for line in lines[1:]]
        settings = {shlex.split(way)[-1] for way in ways}
        assert (
            settings
            == {
                "removed": {"settle=audit", "settle=registry", "reason=..."},
                "deleted": {"settle=registry", "reason=..."},
                "moved": {"settle=audit", "settle=registry"},
            }[how]
        )
    assert main(["promote", f"name={name}", "version=4", f"tracking_uri={store}"]) == 1
    assert "the audit says that version 2 is the champion" in capsys.readouterr().err
    assert main(["notify", f"name={name}", "events.command=exit", f"tracking_uri={store}"]) == 1
    assert f"srlab rollback name={name}" in capsys.readouterr().err
    assert history(store, name) == records
    assert aliases.aliases(store, name) == found


@pytest.mark.parametrize(
    ("how", "number"), [("removed", 0), ("removed", 1), ("removed", 2), ("moved", 0), ("moved", 1)]
)
def test_each_remedy_runs_as_it_is_printed(store: str, released: str, client: Any, how: str, number: int) -> None:
    lose(client, released, how)
    with pytest.raises(UnsettledError) as told:
        standing(store, released)
    command = str(told.value).splitlines()[1 + number].partition(":  ")[2]
    assert main(shlex.split(command)[1:]) == 0
    assert standing(store, released) == aliases.aliases(store, released)


def test_the_alias_is_put_back(store: str, released: str, client: Any) -> None:
    for how in ("removed", "moved"):
        lose(client, released, how)
        done = settle(store, released, "audit", reason="a slip", who="bob")
        assert (done.action, done.target) == ("restore", 2)
        assert aliases.aliases(store, released) == {"champion": 2, "previous": 1}
        assert not story(name=released, tracking_uri=store).faults
    with pytest.raises(ValueError, match="agree that version 2 is the champion"):
        settle(store, released, "audit", reason="again", who="bob")
    go(store, released, 3, 2)
    assert aliases.aliases(store, released) == {"champion": 3, "previous": 2}


def test_the_champion_is_given_up_and_the_next_promotion_is_a_first_one(
    store: str, released: str, client: Any, capsys: Capture
) -> None:
    lose(client, released, "deleted")
    with pytest.raises(ValueError, match="does not exist, or was deleted"):
        settle(store, released, "audit", reason="a slip", who="bob")
    line = [f"name={released}", "reason=withdrawn", "settle=registry", f"tracking_uri={store}"]
    assert main(["rollback", *line, "events=hook", "events.command='test $SRLAB_EVENT = retire'"]) == 0
    assert "has no champion any more: version 2 was given up" in capsys.readouterr().out
    assert aliases.aliases(store, released) == {}
    go(store, released, 3, None)
    assert not story(name=released, tracking_uri=store).faults
    with pytest.raises(ValueError, match="no previous champion"):
        rollback(store, released, reason="bad", who="bob")


def test_a_version_that_was_made_champion_by_hand_is_taken_for_it(store: str, released: str, client: Any) -> None:
    lose(client, released, "moved")
    with pytest.raises(UnsettledError, match="names version 3"):
        rollback(store, released, reason="bad", who="bob")
    assert settle(store, released, "registry", reason="urgent", who="bob").action == "adopt"
    assert aliases.aliases(store, released) == {"champion": 3, "previous": 2}
    assert not story(name=released, tracking_uri=store).faults
    rollback(store, released, reason="bad", who="bob")
    assert aliases.aliases(store, released) == {"champion": 2, "previous": 1}
    client.set_registered_model_alias(released, "champion", "1")  # a way back by hand
    settle(store, released, "registry", reason="by hand", who="bob")
    assert aliases.aliases(store, released) == {"champion": 1}


@pytest.mark.parametrize("how", ["removed", "deleted"])
def test_rollback_works_when_it_is_needed(store: str, released: str, client: Any, how: str) -> None:
    lose(client, released, how)
    client.delete_registered_model_alias(released, "previous")
    done = rollback(store, released, reason="bad", who="bob")
    assert (done.source, done.target) == (2, 1)
    assert aliases.aliases(store, released) == {"champion": 1}
    assert not story(name=released, tracking_uri=store).faults


def test_a_rollback_passes_over_versions_that_were_deleted(store: str, released: str, client: Any) -> None:
    go(store, released, 3, 2)
    client.delete_model_version(released, "2")
    assert rollback(store, released, reason="bad", who="bob").target == 1


def test_history_compares_each_record_with_the_one_before(store: str, released: str, client: Any) -> None:
    from sr_lab.tracking.registry.ledger import Audit

    client.set_registered_model_alias(released, "champion", "3")
    facts = {"who": "ann", "action": "promote", "source": 3, "target": 4}  # as an earlier release wrote it
    Audit(client, released).append(**facts, phase="done")
    client.set_registered_model_alias(released, "champion", "4")
    (fault,) = story(name=released, tracking_uri=store).faults
    assert fault.startswith("record 5 found version 3 as champion, the records before it say version 2")
    assert standing(store, released)["champion"] == 4, "what has happened is told, and hinders nothing"


@pytest.mark.parametrize("settings", [["settle=both"], ["settle=audit", "reason=' '"], ["settle=1"]])
def test_settling_asks_for_a_reason_and_a_word_that_it_knows(
    store: str, released: str, settings: list[str], capsys: Capture
) -> None:
    assert main(["rollback", f"name={released}", "reason=x", f"tracking_uri={store}", *settings]) == 1
    assert "Traceback" not in (told := capsys.readouterr().err)
    assert "give audit or registry" in told or "needs a reason" in told
