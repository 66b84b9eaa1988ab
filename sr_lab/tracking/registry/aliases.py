"""Who is champion: MLflow's aliases ``champion``, ``previous`` and ``candidate``, moved under a lock and with an audit.

A change writes the audit record ``intent``, sets ``previous``, then ``champion``, then writes ``done``. A process that
is killed in between leaves one valid champion, the old or the new one; the next call finishes the records or takes them
back, and says so in the audit.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from sr_lab.tracking.registry.ledger import Action, Audit, Record, champions, reason_of
from sr_lab.tracking.registry.lock import Lock, exclusive
from sr_lab.tracking.store import call, connect, grant, resolve_uri, sqlite_path, without_password

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION, PREVIOUS, CANDIDATE = "champion", "previous", "candidate"
UNUSED = "unused"

Result = TypeVar("Result")


class ConflictError(RuntimeError):
    """Another version became champion since the decision was made."""


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
        source = _aliases(client, name).get(CHAMPION)
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
    does not bring the bad version back.

    Raises:
        ValueError: if there is no previous champion, or no reason.
        PermissionError: if the server does not allow it to the user; then nothing was changed.
        RuntimeError: if the store does not answer, or refuses.
    """
    if not reason.strip():
        raise ValueError('a rollback needs a reason: reason="..."')

    def change(client: "MlflowClient", audit: Audit, lock: Lock) -> Record:
        found = _aliases(client, name)
        source, target = found.get(CHAMPION), found.get(PREVIOUS)
        if target is None or source is None:
            raise ValueError(f"{name} has no previous champion to go back to (srlab history name={name})")
        line = champions(audit.records)
        below = line[-3] if len(line) >= 3 and line[-2:] == [target, source] else None
        return _move(
            client, audit, lock, name, action="rollback", source=source, target=target, below=below, who=who,
            decision=None, policy=None, reason=reason.strip(),
        )  # fmt: skip

    return locked(uri, name, who, "roll back", change)


def record(uri: str, name: str, version: int, *, decision: Mapping[str, Any], who: str) -> Record:
    """Writes a decision that changes nothing (``reject``, ``needs_approval``) into the audit.

    Raises:
        ValueError: if the decision is to promote, or there is no such model.
        PermissionError: if the server does not allow it to the user; then nothing was changed.
        RuntimeError: if the store does not answer, or refuses.
    """
    action: Action = decision["outcome"]
    if action not in ("reject", "needs_approval"):
        raise ValueError(f"the decision is {action!r}: carry it out by promote")

    def change(client: "MlflowClient", audit: Audit, lock: Lock) -> Record:
        found = _aliases(client, name)
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
    status = client.get_model_version(name, str(target)).status
    if status != "READY":
        raise ValueError(f"{label(name, target)} is {status}: only a version that is READY can be champion")
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
    if not done and found.get(CHAMPION) == intent.source:
        _point(client, name, PREVIOUS, intent.previous)
    audit.append(
        who=who, action=intent.action, phase="done" if done else "abandoned", source=intent.source,
        target=intent.target, previous=intent.previous, decision=intent.decision, policy=intent.policy,
        reason=intent.reason, recovered=True,
    )  # fmt: skip


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
