"""Where a rollout stands: its steps are records of the model's audit, so that a killed controller goes on from there.

A step changes no alias; promotion and rollback are records of their own (see ``aliases``). Each step names the one
before it: of two controllers, the one that comes second is refused.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sr_lab.base.words import line, setting
from sr_lab.tracking.registry.aliases import CHAMPION, ConflictError, history, label, locked
from sr_lab.tracking.registry.ledger import Record
from sr_lab.tracking.registry.lock import Lock

ENDS = ("finished", "aborted")
ACTION = "rollout"


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """A rollout as its last step left it; all that the service and the controller have to know.

    Attributes:
        id: Names it, and salts which clients are on which side.
        name: Registered model.
        base: Version that was champion when it began.
        candidate: Version that wants to be.
        stage: A stage of its policy, ``holdback``, or how it ended: ``finished`` or ``aborted``.
        share: Part of the clients that get the candidate's images.
        sample: Part of the requests that both answer.
        margins: Of the policy's checks, by which pairs are sorted for people.
        paused: Whether only harm moves it.
        since: Bursts that had been seen when it was paused or taken up again last.
        policy: Hash of its policy.
        number: The record of its last step.
    """

    id: str
    name: str
    base: int
    candidate: int
    stage: str
    share: float
    sample: float
    margins: Mapping[str, float]
    paused: bool
    since: int
    policy: str
    number: int

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self.stage in ENDS


def rollout_of(records: Sequence[Record], name: str) -> Rollout | None:
    """The latest rollout in the records of a registered model; None if there was none."""
    steps = [record for record in records if record.action == ACTION and record.step is not None]
    if not steps:
        return None
    last = steps[-1]
    assert last.step is not None
    step = dict(last.step)
    kept = {key: step[key] for key in ("id", "base", "stage", "share", "sample", "margins", "paused", "since")}
    return Rollout(**kept, name=name, candidate=last.target, policy=str(last.policy), number=last.number)


def current(uri: str, name: str) -> Rollout | None:
    """The latest rollout of a registered model, ended or not; None if there was none.

    Raises:
        ValueError: if there is no such model.
        RuntimeError: if the store does not answer.
    """
    return rollout_of(history(uri, name), name)


def take_step(
    uri: str,
    name: str,
    *,
    before: Rollout | None,
    candidate: int,
    policy: str,
    step: Mapping[str, Any],
    reason: str,
    who: str,
    decision: str | None = None,
) -> Rollout:
    """Writes a step into the audit, if none was written since.

    Args:
        uri: Tracking store, which is the registry too.
        name: Registered model.
        before: The rollout as it was when the step was decided; None begins the first one.
        candidate: Version that the rollout is about.
        policy: Hash of its policy.
        step: ``id``, ``base``, ``stage``, ``share``, ``sample``, ``margins``, ``paused``, ``since``, and what the step
            rests on.
        reason: Why, in words.
        who: Recorded.
        decision: Hash of what the step rests on.

    Returns:
        The rollout after it.

    Raises:
        ConflictError: if another step was taken meanwhile; then nothing was changed.
        ValueError: if there is no such model.
        PermissionError: if the server does not allow it to the user.
        RuntimeError: if the store does not answer, or refuses.
    """

    def change(client: Any, audit: Any, lock: Lock) -> Record:
        found = rollout_of(audit.records, name)
        if (found and found.number) != (before and before.number):
            raise ConflictError(
                f"{name}: another step of the rollout was taken meanwhile "
                f"({line('rollout', setting('name', name), 'action=status')})"
            )
        aliases = {alias: int(version) for alias, version in client.get_registered_model(name).aliases.items()}
        return audit.append(  # type: ignore[no-any-return]
            who=who, action=ACTION, phase="done", source=aliases.get(CHAMPION), target=candidate, policy=policy,
            decision=decision, reason=reason, step=dict(step),
        )  # fmt: skip

    record = locked(uri, name, who, f"take a step of the rollout of {label(name, candidate)} in", change)
    taken = rollout_of([record], name)
    assert taken is not None
    return taken
