"""The record of every decision on a registered model: tags of it, each naming the hash of the one before.

MLflow's pages leave out tags that begin with ``mlflow.``: these are written for the program, and srlab history tells
them to people. Earlier releases called them ``audit.NNNN``; they are read as they are, and the chain goes on from them.

MLflow protects no tag against whoever may edit the model. Nothing here ever writes a number twice, and the chain of
hashes shows a record that was changed or removed afterwards, except at the very end.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from mlflow import MlflowClient

PREFIX, EARLIER = "mlflow.srlab.audit.", "audit."
MAX_CHARACTERS = 4500
CHANGES = ("promote", "rollback", "restore", "adopt", "retire")
"""The actions after which the champion is another one, or the registry and the audit agree again."""

Action = Literal[
    "promote", "rollback", "restore", "adopt", "retire", "reject", "needs_approval", "pass", "approve", "rollout"
]  # fmt: skip
Phase = Literal["intent", "done", "abandoned"]


@dataclass(frozen=True, kw_only=True)
class Record:
    """One record.

    Attributes:
        number: position, from 1.
        time: UTC, ISO 8601.
        who: the user who asked for it.
        action: what was asked for; ``reject`` and ``needs_approval`` are decisions that changed nothing, ``pass`` is
            one to promote that a rollout carries out, ``approve`` is the consent of a person (``who``) to the decision
            that asked for it. ``restore`` put the alias back to what the audit says, ``adopt`` took a version for
            champion that somebody else had made it, ``retire`` gave the champion up on purpose. ``rollout`` is a step
            of a rollout, which changes no alias (see ``rollouts``).
        phase: ``intent`` before the first change, ``done`` after the last, ``abandoned`` if it never came to that.
        source: version that was champion; None if there was none. Of ``restore``: what the alias was found at.
        target: version that the action is about.
        previous: version that ``previous`` named before.
        decision: ``Decision.sha256``.
        policy: hash of the policy.
        reason: why, in words; for a decision its lines with the numbers.
        recovered: written by a later call, the first one was interrupted.
        step: of a rollout, what the next step goes on from.
        intact: it names the hash of the record before it, as it is now.
    """

    number: int
    time: str
    who: str
    action: Action
    phase: Phase
    source: int | None
    target: int
    previous: int | None = None
    decision: str | None = None
    policy: str | None = None
    reason: str = ""
    recovered: bool = False
    step: Mapping[str, Any] | None = None
    intact: bool = field(default=True, compare=False)


class Audit:
    """The records of one registered model, as they are now.

    Args:
        client: of the store.
        name: registered model.

    Raises:
        mlflow.MlflowException: if the model does not exist, or the store does not answer.
    """

    def __init__(self, client: "MlflowClient", name: str) -> None:
        self._client = client
        self._name = name
        tags = client.get_registered_model(name).tags
        found = {key: re.fullmatch(rf"(?:{PREFIX}|{EARLIER})(\d+)", key) for key in sorted(tags)}
        self._texts = {int(name[1]): str(tags[key]) for key, name in found.items() if name}
        self._texts = dict(sorted(self._texts.items()))

    @property
    def records(self) -> list[Record]:
        """Every record, the oldest first."""
        found = []
        for number, text in self._texts.items():
            content = json.loads(text)
            intact = content.pop("chain") == self._hash_before(number)
            found.append(Record(**content, number=number, intact=intact))
        return found

    def append(
        self,
        *,
        who: str,
        action: Action,
        phase: Phase,
        source: int | None,
        target: int,
        previous: int | None = None,
        decision: str | None = None,
        policy: str | None = None,
        reason: str = "",
        recovered: bool = False,
        step: Mapping[str, Any] | None = None,
    ) -> Record:
        """Writes the next record. Call it under the lock of the model."""
        number = max(self._texts, default=0) + 1
        record = Record(
            number=number, time=datetime.now(UTC).isoformat(timespec="seconds"), who=who, action=action, phase=phase,
            source=source, target=target, previous=previous, decision=decision, policy=policy, reason=reason,
            recovered=recovered, step=step,
        )  # fmt: skip
        left_out = ("number", "intact", *(["step"] if step is None else []))
        content = {key: value for key, value in asdict(record).items() if key not in left_out}
        text = _fitting({**content, "chain": self._hash_before(number)})
        self._client.set_registered_model_tag(self._name, f"{PREFIX}{number:04d}", text)
        self._texts[number] = text
        return record

    def _hash_before(self, number: int) -> str | None:
        if number == 1:
            return None
        before = self._texts.get(number - 1)
        return "missing" if before is None else hashlib.sha256(before.encode()).hexdigest()


def last_change(records: Sequence[Record]) -> Record | None:
    """The record of the latest change of the champion that was done; None if there was none."""
    changes = [record for record in records if record.phase == "done" and record.action in CHANGES]
    return changes[-1] if changes else None


def champion_of(records: Sequence[Record]) -> int | None:
    """The version that is champion by the records; None if there was none yet, or it was given up on purpose."""
    change = last_change(records)
    return None if change is None or change.action == "retire" else change.target


def champions(records: Sequence[Record]) -> list[int]:
    """The versions that a chain of rollbacks would bring back, the present champion last."""
    line: list[int] = []
    for record in records:
        if record.phase != "done":
            continue
        if record.action in ("promote", "adopt"):
            if record.action == "adopt" and record.target in line:
                line = _back_to(record.target, line)
                continue
            if record.source is not None and (not line or line[-1] != record.source):
                line = [record.source]
            line.append(record.target)
        elif record.action == "rollback":
            line = _back_to(record.target, line)
        elif record.action == "retire":
            line = []
    return line


def _back_to(version: int, line: list[int]) -> list[int]:
    """The line up to the last place of a version before its end; the version alone if it has none."""
    places = [place for place, number in enumerate(line[:-1]) if number == version]
    return line[: places[-1] + 1] if places else [version]


def breaks(records: Sequence[Record]) -> list[str]:
    """Where the champion that a record found is not the one that the records before it left, in sentences."""
    found, before = [], None
    for record in records:
        if record.phase != "done":
            continue
        if record.action != "restore" and record.source != before:
            was, left = (_named(version) for version in (record.source, before))
            found.append(
                f"record {record.number} found {was} as champion, the records before it say {left}: the alias was "
                "moved by something else than srlab"
            )
        after = None if record.action == "retire" else record.target
        before = after if record.action in CHANGES else record.source
    return found


def _named(version: int | None) -> str:
    return "none" if version is None else f"version {version}"


def reason_of(decision: Mapping[str, Any]) -> str:
    """The lines of a decision (``Decision.as_dict()``)."""
    return "\n".join(str(reason["line"]) for reason in decision["reasons"])


def _fitting(content: dict[str, Any]) -> str:
    """JSON of at most ``MAX_CHARACTERS`` (a tag in PostgreSQL holds 5,000): a long reason is cut, and its hash kept."""
    text = json.dumps(content, sort_keys=True)
    reason = str(content["reason"])
    mark = f" ... [cut, {len(reason)} characters, sha256 {hashlib.sha256(reason.encode()).hexdigest()}]"
    kept = reason
    while len(text) > MAX_CHARACTERS:
        if not kept:
            raise ValueError(f"an audit record of {len(text)} characters does not fit: give shorter names")
        kept = kept[: max(0, len(kept) - max(1, (len(text) - MAX_CHARACTERS) // 6))]
        text = json.dumps({**content, "reason": kept + mark}, sort_keys=True)
    return text
