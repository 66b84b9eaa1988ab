"""What a decision rests on, kept with the candidate's run, and the consent of a person to a decision that asks for it.

The numbers of a decision lie in the artefacts of the candidate's run, under the decision's hash. A decision that was
approved is taken again from these numbers, and its hash, which covers all of them and the policy, has to come out the
same: so an approval can be used for nothing but what was approved.
"""

import json
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sr_lab.base.words import line
from sr_lab.tracking.registry.aliases import CHAMPION, PREVIOUS, history, locked, place
from sr_lab.tracking.registry.ledger import Audit, Record
from sr_lab.tracking.registry.lock import Lock
from sr_lab.tracking.store import call, connect, resolve_uri

if TYPE_CHECKING:
    from mlflow import MlflowClient

EVIDENCE, PAGE = "evidence.json", "decision.html"


def keep(uri: str, name: str, version: int, *, decision: str, evidence: Mapping[str, Any], page: str) -> None:
    """Stores the numbers and the page of a decision, in the artefacts of the version's run.

    Args:
        uri: tracking store, which is the registry too.
        name: registered model.
        version: the candidate.
        decision: ``Decision.sha256``.
        evidence: JSON-able.
        page: HTML.

    Raises:
        ValueError: if the version has no run.
        RuntimeError: if the store does not answer, or refuses.
    """
    store = resolve_uri(uri)

    def work() -> None:
        client = connect(store)
        with tempfile.TemporaryDirectory() as directory:
            (Path(directory) / EVIDENCE).write_text(json.dumps(evidence, allow_nan=False), encoding="utf-8")
            (Path(directory) / PAGE).write_text(page, encoding="utf-8")
            client.log_artifacts(_run(client, name, version), directory, _folder(name, version, decision))

    needs = "EDIT on the experiment of the candidate's run"
    call(f"keep the decision on {name}/{version}", store, work, needs=needs)


def fetch(uri: str, name: str, version: int, *, decision: str) -> dict[str, Any] | None:
    """The numbers that ``keep`` stored; None if they are not there."""
    store = resolve_uri(uri)

    def work() -> dict[str, Any] | None:
        client = connect(store)
        run, folder = _run(client, name, version), _folder(name, version, decision)
        if f"{folder}/{EVIDENCE}" not in [file.path for file in client.list_artifacts(run, folder)]:
            return None
        with tempfile.TemporaryDirectory() as directory:
            file = Path(client.download_artifacts(run, f"{folder}/{EVIDENCE}", directory))
            found: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return found

    found: dict[str, Any] | None = call(f"read the decision on {name}/{version}", store, work)
    return found


def waiting(records: Sequence[Record]) -> tuple[Record | None, Record | None]:
    """The decision that waits for a person's consent, and that consent, if it is there.

    A later promotion, rollback or decision on the same version ends the waiting; a step of a rollout is none of these.
    """
    request = consent = None
    for record in records:
        if record.phase != "done" or record.action == "rollout":
            continue
        if record.action == "approve":
            if request is not None and record.decision == request.decision and record.intact:
                consent = record
        elif record.action == "needs_approval":
            consent = consent if request is not None and record.decision == request.decision else None
            request = record
        elif record.action in ("promote", "rollback") or (request is not None and record.target == request.target):
            request = consent = None
    return request, consent


def open_request(uri: str, name: str) -> tuple[Record | None, Record | None]:
    """``waiting`` of a registered model."""
    return waiting(history(uri, name))


def approve(uri: str, name: str, *, by: str, user: str, version: int | None = None) -> tuple[Record, Record]:
    """Writes into the audit that a person agrees to the decision that waits; nothing else is changed.

    Args:
        uri: tracking store, which is the registry too.
        name: registered model.
        by: the person.
        user: login name of whoever calls this.
        version: the candidate that the person has looked at; None: whichever waits.

    Returns:
        The record of the decision that waited, and that of the consent, both with the same ``decision``.

    Raises:
        ValueError: if no decision waits, another one does, or the champion is another one by now.
        PermissionError: if the server does not allow it to the user.
        RuntimeError: if the store does not answer, or refuses.
    """
    if not by.strip():
        raise ValueError('an approval needs a person: by="..."')

    asked: list[Record] = []

    def change(client: "MlflowClient", audit: Audit, lock: Lock) -> Record:
        request, consent = waiting(audit.records)
        promoting = line("promote", *place(uri, name))
        if request is None:
            raise ValueError(f"no decision on {name} waits for approval: run  {promoting}  first")
        if version not in (None, request.target):
            raise ValueError(
                f"version={version} does not wait for approval, version {request.target} does: look at that one "
                f"({line('history', *place(uri, name))})"
            )
        if consent is not None:
            raise ValueError(f"{consent.who} has approved it already: run  {promoting}")
        found = {alias: int(number) for alias, number in client.get_registered_model(name).aliases.items()}
        if found.get(CHAMPION) != request.source:
            raise ValueError(f"{name} has another champion by now: run  {promoting}  to decide again")
        asked.append(request)
        return audit.append(
            who=by.strip(), action="approve", phase="done", source=request.source, target=request.target,
            previous=found.get(PREVIOUS), decision=request.decision, policy=request.policy,
            reason=f"given by the user {user}",
        )  # fmt: skip

    record = locked(uri, name, user, "approve the candidate of", change)
    return asked[-1], record


def _folder(name: str, version: int, decision: str) -> str:
    return f"promotion/{name}-{version}/{decision[:16]}"


def _run(client: "MlflowClient", name: str, version: int) -> str:
    run = client.get_model_version(name, str(version)).run_id
    if not run:
        raise ValueError(f"{name}/{version} has no run to keep the decision with: register it by srlab register")
    return str(run)
