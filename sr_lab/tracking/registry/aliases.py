"""Who is champion: MLflow's aliases ``champion``, ``previous`` and ``candidate``, moved under a lock and with an audit.

The audit knows the champion as well as the alias does. Where they disagree, somebody else has moved the alias or
deleted the version: then nothing is decided until a person settles which of the two is right.

A change writes the audit record ``intent``, sets ``previous``, then ``champion``, then writes ``done``. A process that
is killed in between leaves one valid champion, the old or the new one; the next call finishes the records or takes them
back, and says so in the audit.
"""

import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from sr_lab.base.errors import SRLabError
from sr_lab.base.words import line, setting
from sr_lab.tracking.registry.ledger import (
    Action,
    Audit,
    Record,
    champion_of,
    champions,
    last_change,
    reason_of,
)
from sr_lab.tracking.registry.lock import Lock, exclusive
from sr_lab.tracking.store import DEFAULT_URI, call, connect, grant, resolve_uri, sqlite_path, without_password

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION, PREVIOUS, CANDIDATE = "champion", "previous", "candidate"
UNUSED = "unused"

Result = TypeVar("Result")


Truth = Literal["audit", "registry"]


class ConflictError(SRLabError, RuntimeError):
    """Another version became champion since the decision was made."""


class NoPreviousChampionError(SRLabError, ValueError):
    """There is no champion before the present one that could become champion again."""


class UnsettledError(SRLabError, ValueError):
    """The audit says that another version is champion than the alias does; the message says how to settle it."""


def place(uri: str, name: str) -> list[str]:
    """The settings by which a command that is told to the user finds a registered model."""
    elsewhere = "MLFLOW_TRACKING_URI" in os.environ or resolve_uri(uri) != resolve_uri(DEFAULT_URI)
    return [setting("name", name), *([setting("tracking_uri", uri)] if elsewhere else [])]


def label(name: str, version: int) -> str:
    """How measurements and decisions call a version: ``NAME/VERSION``."""
    return f"{name}/{version}"


def aliases(uri: str, name: str) -> dict[str, int]:
    """The versions that the aliases of a registered model name.

    Raises:
        ValueError: if there is no such model.
        RuntimeError: if the store does not answer.
    """
    return _with_client(uri, name, "read the aliases of", lambda client: _aliases(client, name))


def standing(uri: str, name: str) -> dict[str, int]:
    """The aliases of a registered model, after making sure that its champion is the one that the audit knows.

    Raises:
        UnsettledError: if it is not.
        ValueError: if there is no such model.
        RuntimeError: if the store does not answer.
    """

    def read(client: "MlflowClient") -> dict[str, int]:
        found = _aliases(client, name)
        require_settled(client, uri, name, Audit(client, name).records, found)
        return found

    return _with_client(uri, name, "read the aliases of", read)


def require_settled(
    client: "MlflowClient",
    uri: str,
    name: str,
    records: Sequence[Record],
    found: Mapping[str, int],
    *,
    back: bool = False,
) -> None:
    """Refuses where audit and alias disagree on the champion. A change that was interrupted is no disagreement.

    Args:
        client: of the store.
        uri: the store, for the commands.
        name: registered model.
        records: its audit.
        found: its aliases.
        back: whether the way back is wanted, for which an alias that is gone is no hindrance.

    Raises:
        UnsettledError: naming what is missing, and the commands that settle it.
    """
    known, actual = champion_of(records), found.get(CHAMPION)
    if last_change(records) is None or known == actual or (back and actual is None):
        return
    if records[-1].phase == "intent" and actual in (records[-1].source, records[-1].target):
        return
    exists = known is not None and _status(client, name, known) is not None
    if known is None:
        state = f"the audit says that the champion was given up, and the alias {CHAMPION} names version {actual}"
    else:
        lost = f"names version {actual}" if actual is not None else "is gone"
        gone = "" if exists else ", and that version was deleted"
        state = f"the audit says that version {known} is the champion, but the alias {CHAMPION} {lost}{gone}"
    command = f'{line("rollback", *place(uri, name))} reason="..."'
    ways = []
    if exists:
        ways.append(f"to put the alias back:  {command} settle=audit")
    before = _earlier(client, name, records)
    if actual is None and before:
        ways.append(f"to make the champion before it (version {before[-1]}) champion again:  {command}")
    aim = "to give the champion up and start anew" if actual is None else f"to take version {actual} for the champion"
    ways.append(f"{aim}, on purpose:  {command} settle=registry")
    what = f"{name}: {state}: something else than srlab did that. It has to be settled first"
    raise UnsettledError("\n  ".join([what, *ways]))


def require_permission(uri: str, name: str) -> None:
    """Asks the server whether the user may move the aliases of a model, without moving any.

    Removing an alias asks for the most rights, and in a change it comes last: so one that does not exist is removed.
    A store without a server has no accounts.

    Raises:
        PermissionError: if not; it names the missing permission.
        ValueError: if there is no such model.
        RuntimeError: if the store does not answer.
    """
    if sqlite_path(resolve_uri(uri)) is None:
        _with_client(
            uri, name, "change the champion of", lambda client: client.delete_registered_model_alias(name, UNUSED),
            permission="MANAGE",
        )  # fmt: skip


def promote(uri: str, name: str, version: int, *, decision: Mapping[str, Any], who: str) -> Record:
    """Makes ``version`` the champion, if the champion still is the one that the decision was made against.

    The alias ``candidate`` is taken off the version, ``previous`` goes to the former champion.

    Args:
        uri: tracking store, which is the registry too.
        name: registered model.
        version: the new champion.
        decision: ``Decision.as_dict()``, whose models are called as by ``label``; its outcome has to be ``promote``.
        who: recorded.

    Returns:
        The audit record of the finished promotion.

    Raises:
        ConflictError: if there is another champion now.
        ValueError: if the decision is about another version or promotes nothing, or model or version do not exist.
        PermissionError: if the server does not allow it to the user; then nothing was changed.
        RuntimeError: if the store does not answer, or refuses.
    """
    if decision["outcome"] != "promote":
        raise ValueError(f"the decision is {decision['outcome']!r}: it promotes nothing")
    if decision["candidate"] != label(name, version):
        raise ValueError(f"the decision is about {decision['candidate']}, not about {label(name, version)}")

    def change(client: "MlflowClient", audit: Audit, lock: Lock) -> Record:
        present = _aliases(client, name)
        require_settled(client, uri, name, audit.records, present)
        source = present.get(CHAMPION)
        found = None if source is None else label(name, source)
        if found != decision["champion"]:
            raise ConflictError(
                f"{name}: the decision was made against {decision['champion'] or 'no champion'}, now the champion is "
                f"{found or 'gone'}: decide again"
            )
        return _move(
            client, audit, lock, name, action="promote", source=source, target=version, below=source, who=who,
            decision=decision["sha256"], policy=decision["policy_sha256"], reason=reason_of(decision),
        )  # fmt: skip

    return locked(uri, name, who, f"promote version {version} of", change)


def rollback(uri: str, name: str, *, reason: str, who: str) -> Record:
    """Makes the previous champion the champion again: one step, and a further call goes one step further.

    What was rolled back is not ``previous`` afterwards: that is the champion before, if there was one. So calling twice
    does not bring the bad version back. Which version was champion before is known from the audit: an alias that is
    gone, the champion's too, is no hindrance, and versions that were deleted are passed over.

    Raises:
        UnsettledError: if the alias ``champion`` names a version that no record made champion.
        NoPreviousChampionError: if there is no previous champion.
        ValueError: if there is no reason.
        PermissionError: if the server does not allow it to the user; then nothing was changed.
        RuntimeError: if the store does not answer, or refuses.
    """
    _require_reason("a rollback", reason)

    def change(client: "MlflowClient", audit: Audit, lock: Lock) -> Record:
        found = _aliases(client, name)
        require_settled(client, uri, name, audit.records, found, back=True)
        earlier = _earlier(client, name, audit.records)
        source = found.get(CHAMPION, champion_of(audit.records))
        if not earlier and last_change(audit.records) is None and PREVIOUS in found:
            earlier = [found[PREVIOUS]]
        if source is None or not earlier:
            raise NoPreviousChampionError(
                f"{name} has no previous champion to go back to ({line('history', *place(uri, name))})"
            )
        return _move(
            client, audit, lock, name, action="rollback", source=source, target=earlier[-1],
            below=earlier[-2] if len(earlier) > 1 else None, who=who, decision=None, policy=None, reason=reason.strip(),
        )  # fmt: skip

    return locked(uri, name, who, "roll back", change)


def settle(uri: str, name: str, truth: Truth, *, reason: str, who: str) -> Record:
    """Ends a disagreement of audit and alias on the champion, and writes that into the audit.

    Args:
        uri: tracking store, which is the registry too.
        name: registered model.
        truth: ``audit`` puts the alias back to the version that the audit knows; ``registry`` takes the version that
            the alias names for the champion, or gives the champion up where the alias is gone: then the next promotion
            is a first one, and there is no way back to the versions before.
        reason: why.
        who: recorded.

    Raises:
        ValueError: if they do not disagree, the version to put back was deleted, or there is no reason.
        PermissionError: if the server does not allow it to the user; then nothing was changed.
        RuntimeError: if the store does not answer, or refuses.
    """
    if truth not in get_args(Truth):
        raise ValueError(f"settle={truth}: give {' or '.join(get_args(Truth))}")
    _require_reason("settling", reason)

    def change(client: "MlflowClient", audit: Audit, lock: Lock) -> Record:
        actual, known = _aliases(client, name).get(CHAMPION), champion_of(audit.records)
        if actual == known:
            shown = "no version" if actual is None else f"version {actual}"
            raise ValueError(f"{name}: audit and alias agree that {shown} is the champion: nothing is to be settled")
        earlier = _earlier(client, name, audit.records)
        if truth == "audit":
            if known is None:
                raise ValueError(f"{name}: the audit knows no champion to put back: give settle=registry")
            return _move(
                client, audit, lock, name, action="restore", source=actual, target=known,
                below=earlier[-1] if earlier else None, who=who, decision=None, policy=None, reason=reason.strip(),
            )  # fmt: skip
        facts: dict[str, Any] = {"who": who, "phase": "done", "source": known, "reason": reason.strip()}
        if actual is None:
            assert known is not None
            _point(client, name, PREVIOUS, None)
            return audit.append(**facts, action="retire", target=known)
        if actual in earlier:
            below = earlier[: earlier.index(actual)]
        else:
            below = [*earlier, *([known] if known is not None and _status(client, name, known) else [])]
        _point(client, name, PREVIOUS, below[-1] if below else None)
        return audit.append(**facts, action="adopt", target=actual)

    return locked(uri, name, who, "settle the champion of", change)


def record(uri: str, name: str, version: int, *, decision: Mapping[str, Any], who: str, hold: bool = False) -> Record:
    """Writes a decision that changes nothing (``reject``, ``needs_approval``) into the audit.

    Args:
        uri: tracking store, which is the registry too.
        name: registered model.
        version: the candidate.
        decision: ``Decision.as_dict()``.
        who: recorded.
        hold: whether a decision to promote is only written down, as ``pass``: a rollout carries it out, or does not.

    Raises:
        ValueError: if the decision is to promote, without ``hold``, or there is no such model.
        PermissionError: if the server does not allow it to the user; then nothing was changed.
        RuntimeError: if the store does not answer, or refuses.
    """
    action: Action = "pass" if hold and decision["outcome"] == "promote" else decision["outcome"]
    if action not in ("reject", "needs_approval", "pass"):
        raise ValueError(f"the decision is {action!r}: carry it out by promote")

    def change(client: "MlflowClient", audit: Audit, lock: Lock) -> Record:
        found = _aliases(client, name)
        require_settled(client, uri, name, audit.records, found)
        return audit.append(
            who=who, action=action, phase="done", source=found.get(CHAMPION), target=version,
            previous=found.get(PREVIOUS), decision=decision["sha256"], policy=decision["policy_sha256"],
            reason=reason_of(decision),
        )  # fmt: skip

    return locked(uri, name, who, f"record the decision on version {version} of", change)


def history(uri: str, name: str) -> list[Record]:
    """Every audit record of a registered model, the oldest first; nothing is changed, not even what was interrupted.

    Raises:
        ValueError: if there is no such model.
        RuntimeError: if the store does not answer.
    """
    return _with_client(uri, name, "read the history of", lambda client: Audit(client, name).records)


def _move(
    client: "MlflowClient",
    audit: Audit,
    lock: Lock,
    name: str,
    *,
    action: Action,
    source: int | None,
    target: int,
    below: int | None,
    who: str,
    decision: str | None,
    policy: str | None,
    reason: str,
) -> Record:
    """The steps of a change; ``below`` becomes ``previous``."""
    if source == target:
        raise ValueError(f"{label(name, target)} is the champion already")
    status = _status(client, name, target)
    if status != "READY":
        state = f"is {status}" if status else "does not exist, or was deleted"
        raise ValueError(f"cannot {action} version {target} of {name}: it {state}")
    previous = _aliases(client, name).get(PREVIOUS)
    facts: dict[str, Any] = {
        "who": who, "action": action, "source": source, "target": target, "previous": previous, "decision": decision,
        "policy": policy,
    }  # fmt: skip
    audit.append(**facts, phase="intent", reason=reason)
    _point(client, name, PREVIOUS, below)
    lock.confirm()
    _point(client, name, CHAMPION, target)
    lock.confirm()
    found = _aliases(client, name)
    if found.get(CHAMPION) != target:
        raise ConflictError(
            f"{name}: champion was set to {target} and reads {found.get(CHAMPION)}: somebody else sets it"
        )
    if found.get(CANDIDATE) == target:
        _point(client, name, CANDIDATE, None)
    return audit.append(**facts, phase="done", reason=reason)


def _recover(client: "MlflowClient", audit: Audit, name: str, who: str) -> None:
    """Ends a change that was interrupted: as done if the champion had been set, else as abandoned."""
    records = audit.records
    if not records or records[-1].phase != "intent":
        return
    intent = records[-1]
    found = _aliases(client, name)
    done = found.get(CHAMPION) == intent.target
    if done and found.get(CANDIDATE) == intent.target:
        _point(client, name, CANDIDATE, None)
    if not done and found.get(CHAMPION) in (intent.source, None):
        _point(client, name, PREVIOUS, intent.previous)
    audit.append(
        who=who, action=intent.action, phase="done" if done else "abandoned", source=intent.source,
        target=intent.target, previous=intent.previous, decision=intent.decision, policy=intent.policy,
        reason=intent.reason, recovered=True,
    )  # fmt: skip


def _status(client: "MlflowClient", name: str, version: int) -> str | None:
    """Whether a version is ``READY``; None if it does not exist, or was deleted."""
    from mlflow.exceptions import MlflowException

    try:
        return str(client.get_model_version(name, str(version)).status)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def _earlier(client: "MlflowClient", name: str, records: Sequence[Record]) -> list[int]:
    """The champions before the present one that still exist, the latest last."""
    return [version for version in champions(records)[:-1] if _status(client, name, version) == "READY"]


def _require_reason(what: str, reason: str) -> None:
    if not reason.strip():
        raise ValueError(f'{what} needs a reason: reason="..."')


def _aliases(client: "MlflowClient", name: str) -> dict[str, int]:
    return {alias: int(version) for alias, version in client.get_registered_model(name).aliases.items()}


def _point(client: "MlflowClient", name: str, alias: str, version: int | None) -> None:
    if version is not None:
        client.set_registered_model_alias(name, alias, str(version))
    elif alias in _aliases(client, name):
        client.delete_registered_model_alias(name, alias)


def locked(uri: str, name: str, who: str, what: str, change: "Callable[[MlflowClient, Audit, Lock], Record]") -> Record:
    """Does ``change`` under the lock of the registered model, after clearing up what was interrupted."""
    store = resolve_uri(uri)
    require_permission(uri, name)

    def work(client: "MlflowClient") -> Record:
        client.get_registered_model(name)
        with exclusive(client, store, name, who=who) as lock:
            audit = Audit(client, name)
            _recover(client, audit, name, who)
            return change(client, audit, lock)

    return _with_client(uri, name, what, work, permission="MANAGE")


def _with_client(
    uri: str, name: str, what: str, work: "Callable[[MlflowClient], Result]", *, permission: str = "READ"
) -> Result:
    store = resolve_uri(uri)
    path = sqlite_path(store)
    if path is not None and not path.exists():
        raise ValueError(f"{name}: there is no tracking store at {without_password(store)}: give tracking_uri=")
    needs = grant(permission, "registered_model", name)
    result: Result = call(f"{what} {name!r}", store, lambda: work(connect(store)), needs=needs)
    return result
