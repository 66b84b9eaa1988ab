"""A rollout: a candidate answers beside the champion, gets more and more of the clients, and is promoted or taken back.

The service writes pairs (``workflows.pairs``) and follows the registry; this is the other half, which reads the pairs,
decides (``promotion.canary``), and writes each step into the registry's audit. Nothing else is kept: whoever calls
``advance`` after a kill, here or on another machine that sees the pairs, goes on from the audit.
"""

import contextlib
import time as clock
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from secrets import token_hex
from typing import Any

from sr_lab.base.errors import SRLabError
from sr_lab.base.provenance import user
from sr_lab.base.signals import Stopped
from sr_lab.base.words import counted, line, setting
from sr_lab.promotion.canary import Judgement, RolloutPolicy
from sr_lab.promotion.canary.policy import HOLDBACK
from sr_lab.tracking.registry import aliases, decisions, rollouts
from sr_lab.tracking.registry.aliases import CANDIDATE, CHAMPION, label, place
from sr_lab.tracking.registry.events import Hook, tell
from sr_lab.tracking.registry.ledger import Record
from sr_lab.tracking.registry.rollouts import Rollout
from sr_lab.tracking.store import store_uri
from sr_lab.workflows.pairs import PairStore
from sr_lab.workflows.rollout_steps import Controller, Reader, again, content, end, replayed, settled, write_page

__all__ = ["LAG", "Hook", "Rolled", "abort", "advance", "begin", "follow", "pause", "replayed", "resume", "standing"]

LAG = 5.0
"""Seconds that a pair may take from the service's clock to the file: bursts are ended so much later."""


class NoRolloutError(SRLabError, ValueError):
    """There is no rollout, or it has ended, or it is not where this could be done."""


@dataclass(frozen=True, kw_only=True)
class Rolled:
    """A rollout after a call, and what the pairs show so far.

    Attributes:
        rollout: As its last step left it.
        judgement: What all bursts so far show.
        moves: The steps that this call took, in sentences.
        page: The report; None where none was asked for.
        failure: What went wrong in the hook after a change of the champion; None if nothing did.
    """

    rollout: Rollout
    judgement: Judgement
    moves: tuple[str, ...] = ()
    page: Path | None = None
    failure: str | None = None

    @property
    def headline(self) -> str:
        """Where it stands, in one sentence."""
        now = self.rollout
        state = {
            "finished": f"version {now.candidate} is champion, the rollout is finished",
            "aborted": f"the rollout of version {now.candidate} is aborted",
        }.get(now.stage, f"{now.stage}, {now.share:.0%} of the clients get version {now.candidate}")
        return (
            f"{now.name}: {state}{', paused' if now.paused else ''} "
            f"({counted(self.judgement.num_bursts, 'burst')} seen)"
        )

    @property
    def text(self) -> str:
        """Where it stands, what the pairs show so far, and the page."""
        page = [] if self.page is None else [f"page: {self.page}"]
        return "\n".join([self.headline, *(f"  {line}" for line in self.judgement.lines), *page])


def begin(*, name: str, policy: RolloutPolicy, version: int | None = None, tracking_uri: str | None = None) -> Rollout:
    """Begins a rollout of a candidate, or gives the one that is under way.

    Args:
        name: The registered model; it has a champion.
        policy: What the candidate has to show, and the stages.
        version: The candidate's version; None for the one with the alias ``candidate``.
        tracking_uri: The store or server that has the registry; None as for ``rollback``.

    Raises:
        ValueError: if there is no champion or candidate, the gate has rejected the candidate or waits for a person's
            consent, or the rollout under way is of another version or policy.
        PermissionError: if the server does not allow it to the user.
        RuntimeError: if the store does not answer.
    """
    _require_rollout_policy(policy)
    uri = store_uri(tracking_uri)
    found = aliases.standing(uri, name)
    records = aliases.history(uri, name)
    under_way = rollouts.rollout_of(records, name)
    where = place(uri, name)
    if under_way is not None and not under_way.over:
        if version not in (None, under_way.candidate):
            raise ValueError(
                f"{name}: version {under_way.candidate} is rolled out already: "
                f"{line('rollout', *where, 'action=abort')} reason=...  first"
            )
        _require_policy(under_way, policy)
        return under_way
    number, champion = version or found.get(CANDIDATE), found.get(CHAMPION)
    if champion is None:
        raise ValueError(
            f"{name} has no champion yet, which a candidate could answer beside: {line('promote', *where)}"
        )
    if number is None:
        raise ValueError(f"{name} has no candidate: {line('register', 'run=DIR', *where)}  or give version=N")
    if number == champion:
        raise ValueError(f"{label(name, number)} is the champion already")
    gate = _require_gate(records, name, number, where)
    stage = next(iter(policy.stages))
    step = content(policy, id=token_hex(6), base=champion, stage=stage, paused=False, since=0)
    return rollouts.take_step(
        uri, name, before=under_way, candidate=number, policy=policy.sha256, step=step, who=user(),
        reason=f"{stage}: the rollout begins, policy {policy.name}; {gate}",
    )  # fmt: skip


def standing(
    *, name: str, policy: RolloutPolicy, pairs: Path, tracking_uri: str | None = None,
    report: Path | None = None, time: Callable[[], float] = clock.time,
) -> Rolled:  # fmt: skip
    """Where the latest rollout stands, and what its pairs show; nothing is changed.

    Args:
        name: The registered model.
        policy: The rollout's.
        pairs: File of the pairs.
        tracking_uri: The store or server that has the registry; None as for ``rollback``.
        report: Folder of the page; None writes none.
        time: The clock.

    Raises:
        NoRolloutError: if there was none.
        ValueError: if the policy is not the rollout's.
    """
    uri = store_uri(tracking_uri)
    rollout = _require_rollout(uri, name)
    _require_policy(rollout, policy)
    with contextlib.closing(PairStore(pairs)) as store:
        evidence = Reader(store, rollout.id, policy).read(time() - LAG)
        page = write_page(rollout, policy, store, evidence, time() - LAG, report)
    return Rolled(rollout=rollout, judgement=evidence.judge(), page=page)


def advance(
    *, name: str, policy: RolloutPolicy, pairs: Path, tracking_uri: str | None = None,
    report: Path | None = None, hook: Hook | None = None, time: Callable[[], float] = clock.time,
) -> Rolled:  # fmt: skip
    """Takes every step that the pairs allow by now: stages, promotion, the end, or back.

    Args:
        name: The registered model.
        policy: The rollout's.
        pairs: File of the pairs.
        tracking_uri: The store or server that has the registry; None as for ``rollback``.
        report: Folder of the page and of the evidence; None writes none.
        hook: Told of a change of the champion.
        time: The clock, which ends the bursts.

    Raises:
        NoRolloutError: if there was none.
        ConflictError: if another controller took a step meanwhile; then nothing was changed.
        ValueError: if the policy is not the rollout's.
        PermissionError: if the server does not allow it to the user.
        RuntimeError: if the store does not answer.
    """
    uri = store_uri(tracking_uri)
    rollout = _require_rollout(uri, name)
    _require_policy(rollout, policy)
    moves: list[str] = []
    failure = None
    with contextlib.closing(PairStore(pairs)) as store:
        reader = Reader(store, rollout.id, policy)
        until = time() - LAG
        evidence = reader.read(until)
        controller = Controller(uri, policy, report, hook, store, reader, until)
        while not rollout.over:
            following = controller.step(rollout)
            if following is None:
                break
            rollout = following
            moves.append(controller.said)
            failure = failure or controller.failure
        page = write_page(rollout, policy, store, evidence, until, report)
    return Rolled(rollout=rollout, judgement=evidence.judge(), moves=tuple(moves), page=page, failure=failure)


def follow(
    *,
    name: str,
    policy: RolloutPolicy,
    pairs: Path,
    version: int | None = None,
    tracking_uri: str | None = None,
    report: Path | None = None,
    hook: Hook | None = None,
    once: bool = False,
    poll_seconds: float = 10,
    max_hours: float | None = None,
    news: Callable[[str], object] = lambda move: None,
) -> Rolled:
    """Begins a rollout or goes on with it, and stays with it until it is over.

    Args:
        name: The registered model.
        policy: The rollout's.
        pairs: File of the pairs.
        version: See ``begin``.
        tracking_uri: The store or server that has the registry; None as for ``rollback``.
        report: Folder of the page and of the evidence; None writes none.
        hook: Told of a change of the champion; where it fails, this ends.
        once: Whether only the steps are taken that the pairs allow by now.
        poll_seconds: Seconds between two looks at the pairs.
        max_hours: Hours after which it ends with the rollout under way; None: never.
        news: Is told each step.

    Raises:
        ValueError: See ``begin`` and ``advance``.
        Stopped: If the process is asked to end; the same call goes on.
    """
    begin(name=name, policy=policy, version=version, tracking_uri=tracking_uri)
    end = float("inf") if max_hours is None else clock.monotonic() + 3600 * max_hours
    while True:
        found = advance(name=name, policy=policy, pairs=pairs, tracking_uri=tracking_uri, report=report, hook=hook)
        for move in found.moves:
            news(move)
        if once or found.rollout.over or found.failure or clock.monotonic() > end:
            return found
        try:
            clock.sleep(poll_seconds)
        except Stopped as stop:
            raise stop.saying(f"the rollout stands at {found.rollout.stage}", goes_on=True) from None


def pause(*, name: str, reason: str, tracking_uri: str | None = None) -> Rollout:
    """Keeps a rollout where it is; harm still stops it.

    Args:
        name: The registered model.
        reason: Why, for the audit.
        tracking_uri: The store or server that has the registry; None as for ``rollback``.

    Raises:
        ValueError: if none is under way, it is paused already, or there is no reason.
    """
    return _told(store_uri(tracking_uri), name, "is paused", reason, paused=True)


def resume(*, name: str, reason: str, tracking_uri: str | None = None) -> Rollout:
    """Lets a paused rollout go on; see ``pause``."""
    return _told(store_uri(tracking_uri), name, "goes on", reason, paused=False)


def abort(
    *, name: str, reason: str, tracking_uri: str | None = None, promoted: bool = False, hook: Hook | None = None
) -> tuple[Rollout, str | None]:
    """Ends a rollout; every client gets the image of the champion from before it.

    Args:
        name: The registered model.
        reason: Why, for the audit.
        tracking_uri: The store or server that has the registry; None as for ``rollback``.
        promoted: Whether a promotion may be taken back: the former champion is champion again.
        hook: Told of a change of the champion.

    Returns:
        The rollout, and what went wrong in the hook.

    Raises:
        ValueError: if none is under way, it is beyond the promotion (or before it, with ``promoted``), or there is no
            reason.
    """
    uri = store_uri(tracking_uri)
    rollout = _require_rollout(uri, name)
    _require_reason(reason)
    where = place(uri, name)
    change = settled(uri, rollout)
    after = rollout.stage == HOLDBACK or change == "promoted"
    if rollout.over and not (promoted and rollout.stage == "finished"):
        raise NoRolloutError(f"{name}: the last rollout is {rollout.stage} already")
    if after and not promoted:
        raise NoRolloutError(
            f"{name}: version {rollout.candidate} is champion already: "
            f"{line('rollout', *where, 'action=rollback')} reason=...  takes it back"
        )
    if promoted and not after and not rollout.over:
        raise NoRolloutError(
            f"{name}: version {rollout.candidate} is not champion yet: {line('rollout', *where, 'action=abort')} "
            "reason=...  ends the rollout"
        )
    failure = None
    if promoted and change != "taken back":
        record = aliases.rollback(uri, name, reason=reason, who=user())
        failure = tell(hook, record, name=name, uri=uri)
    return end(uri, rollout, "aborted", reason), failure


def _told(uri: str, name: str, what: str, reason: str, **changes: Any) -> Rollout:
    rollout = _require_rollout(uri, name)
    _require_reason(reason)
    if rollout.over:
        raise NoRolloutError(f"{name}: the last rollout is {rollout.stage} already")
    if changes["paused"] == rollout.paused:
        raise NoRolloutError(f"{name}: the rollout {'is paused' if rollout.paused else 'is not paused'}")
    return again(uri, rollout, f"{rollout.stage} {what}: {reason.strip()}", **changes)


def _require_rollout(uri: str, name: str) -> Rollout:
    rollout = rollouts.current(uri, name)
    if rollout is None:
        raise NoRolloutError(f"{name} has no rollout: {line('rollout', *place(uri, name))}  begins one")
    return rollout


def _require_policy(rollout: Rollout, policy: RolloutPolicy) -> None:
    _require_rollout_policy(policy)
    if rollout.policy != policy.sha256:
        raise ValueError(
            f"{rollout.name}: the rollout of version {rollout.candidate} was begun under another policy "
            f"({rollout.policy[:12]}, this is {policy.sha256[:12]}): give the same policy, or end it first: "
            f"{line('rollout', setting('name', rollout.name), 'action=abort')} reason=..."
        )


def _require_rollout_policy(policy: object) -> None:
    if not isinstance(policy, RolloutPolicy):
        raise ValueError(f"policy={getattr(policy, 'name', policy)} is a policy of the gate: give policy=rollout")


def _require_reason(reason: str) -> None:
    if not reason.strip():
        raise ValueError('it needs a reason for the audit: reason="..."')


def _require_gate(records: list[Record], name: str, version: int, where: list[str]) -> str:
    """Refuses what the gate has refused; says what it said."""
    decided = [record for record in records if (record.phase, record.target) == ("done", version)]
    judged = [record for record in decided if record.action in ("reject", "needs_approval", "pass", "promote")]
    if not judged:
        return "the gate has not judged it"
    last = judged[-1]
    if last.action == "reject":
        raise ValueError(
            f"{label(name, version)} was rejected by the gate (record {last.number}): it is not tried on clients"
        )
    request, consent = decisions.waiting(records)
    if request is not None and request.target == version and consent is None:
        approving = line("approve", *where, setting("version", version))
        raise ValueError(f"{label(name, version)} waits for a person's consent: {approving} by=YOU  first")
    return f"the gate has judged it (record {last.number})"
