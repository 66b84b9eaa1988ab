"""A rollout: a candidate answers beside the champion, gets more and more of the clients, and is promoted or taken back.

The service writes pairs (``workflows.pairs``) and follows the registry; this is the other half, which reads the pairs,
decides (``promotion.canary``), and writes each step into the registry's audit. Nothing else is kept: whoever calls
``advance`` after a kill, here or on another machine that sees the pairs, goes on from the audit.
"""

import json
import logging
import secrets
import time as clock
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sr_lab.base.errors import SRLabError
from sr_lab.base.files import write_text
from sr_lab.base.provenance import user
from sr_lab.base.words import line, setting
from sr_lab.promotion.canary import Bursts, Evidence, Judgement, Move, Pair, RolloutPolicy, Standing, next_move
from sr_lab.promotion.canary.policy import HOLDBACK
from sr_lab.promotion.measurement import digest
from sr_lab.tracking.registry import aliases, decisions, rollouts
from sr_lab.tracking.registry.aliases import CANDIDATE, CHAMPION, label, place
from sr_lab.tracking.registry.events import Hook, tell
from sr_lab.tracking.registry.ledger import Record, last_change
from sr_lab.tracking.registry.rollouts import Rollout
from sr_lab.workflows.pairs import PairStore, opened
from sr_lab.workflows.rollout_page import render

__all__ = ["LAG", "Hook", "Rolled", "abort", "advance", "begin", "opened", "pause", "replayed", "resume", "standing"]

_log = logging.getLogger(__name__)

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
        return f"{now.name}: {state}{', paused' if now.paused else ''} ({self.judgement.num_bursts} bursts seen)"


class _Reader:
    """The evidence of a rollout, read on from where the last call ended."""

    def __init__(self, store: PairStore, rollout: str, policy: RolloutPolicy) -> None:
        self.store, self.rollout, self.last = store, rollout, 0
        self.bursts = _bursts(policy)
        self.evidence = Evidence(policy)

    def read(self, until: float) -> Evidence:
        for pair in self.store.read(self.rollout, after=self.last):
            self.evidence.extend(self.bursts.add(pair))
            self.last = pair.number
        return self.evidence.extend(self.bursts.until(until))


def replayed(policy: RolloutPolicy, pairs: Iterable[Pair], *, until: float) -> Evidence:
    """The evidence of a stream of pairs at a time: what a step of the audit (``pairs``, ``until``) rested on."""
    bursts, evidence = _bursts(policy), Evidence(policy)
    for pair in pairs:
        evidence.extend(bursts.add(pair))
    return evidence.extend(bursts.until(until))


def begin(
    *, name: str, policy: RolloutPolicy, version: int | None = None, tracking_uri: str = aliases.DEFAULT_URI
) -> Rollout:
    """Begins a rollout of a candidate, or gives the one that is under way.

    Args:
        name: The registered model; it has a champion.
        policy: What the candidate has to show, and the stages.
        version: The candidate's version; None for the one with the alias ``candidate``.
        tracking_uri: The store or server that has the registry.

    Raises:
        ValueError: if there is no champion or candidate, the gate has rejected the candidate or waits for a person's
            consent, or the rollout under way is of another version or policy.
        PermissionError: if the server does not allow it to the user.
        RuntimeError: if the store does not answer.
    """
    _require_rollout_policy(policy)
    found = aliases.standing(tracking_uri, name)
    records = aliases.history(tracking_uri, name)
    under_way = rollouts.rollout_of(records, name)
    where = place(tracking_uri, name)
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
    step = _content(policy, id=secrets.token_hex(6), base=champion, stage=stage, paused=False, since=0)
    return rollouts.take_step(
        tracking_uri, name, before=under_way, candidate=number, policy=policy.sha256, step=step, who=user(),
        reason=f"{stage}: the rollout begins, policy {policy.name}; {gate}",
    )  # fmt: skip


def standing(
    *, name: str, policy: RolloutPolicy, pairs: Path, tracking_uri: str = aliases.DEFAULT_URI,
    report: Path | None = None, time: Callable[[], float] = clock.time,
) -> Rolled:  # fmt: skip
    """Where the latest rollout stands, and what its pairs show; nothing is changed.

    Args:
        name: The registered model.
        policy: The rollout's.
        pairs: File of the pairs.
        tracking_uri: The store or server that has the registry.
        report: Folder of the page; None writes none.
        time: The clock.

    Raises:
        NoRolloutError: if there was none.
        ValueError: if the policy is not the rollout's.
    """
    rollout = _require_rollout(tracking_uri, name)
    _require_policy(rollout, policy)
    with opened(pairs) as store:
        evidence = _Reader(store, rollout.id, policy).read(time() - LAG)
        page = _page(rollout, policy, store, evidence, time() - LAG, report)
    return Rolled(rollout=rollout, judgement=evidence.judge(), page=page)


def advance(
    *, name: str, policy: RolloutPolicy, pairs: Path, tracking_uri: str = aliases.DEFAULT_URI,
    report: Path | None = None, hook: Hook | None = None, time: Callable[[], float] = clock.time,
) -> Rolled:  # fmt: skip
    """Takes every step that the pairs allow by now: stages, promotion, the end, or back.

    Args:
        name: The registered model.
        policy: The rollout's.
        pairs: File of the pairs.
        tracking_uri: The store or server that has the registry.
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
    rollout = _require_rollout(tracking_uri, name)
    _require_policy(rollout, policy)
    moves: list[str] = []
    failure = None
    with opened(pairs) as store:
        reader = _Reader(store, rollout.id, policy)
        until = time() - LAG
        evidence = reader.read(until)
        controller = _Controller(tracking_uri, policy, report, hook, store, reader, until)
        while not rollout.over:
            following = controller.step(rollout)
            if following is None:
                break
            rollout = following
            moves.append(controller.said)
            failure = failure or controller.failure
        page = _page(rollout, policy, store, evidence, until, report)
    return Rolled(rollout=rollout, judgement=evidence.judge(), moves=tuple(moves), page=page, failure=failure)


def pause(*, name: str, reason: str, tracking_uri: str = aliases.DEFAULT_URI) -> Rollout:
    """Keeps a rollout where it is; harm still stops it.

    Args:
        name: The registered model.
        reason: Why, for the audit.
        tracking_uri: The store or server that has the registry.

    Raises:
        ValueError: if none is under way, it is paused already, or there is no reason.
    """
    return _told(tracking_uri, name, "is paused", reason, paused=True)


def resume(*, name: str, reason: str, tracking_uri: str = aliases.DEFAULT_URI) -> Rollout:
    """Lets a paused rollout go on; see ``pause``."""
    return _told(tracking_uri, name, "goes on", reason, paused=False)


def abort(
    *, name: str, reason: str, tracking_uri: str = aliases.DEFAULT_URI, promoted: bool = False, hook: Hook | None = None
) -> tuple[Rollout, str | None]:
    """Ends a rollout; every client gets the image of the champion from before it.

    Args:
        name: The registered model.
        reason: Why, for the audit.
        tracking_uri: The store or server that has the registry.
        promoted: Whether a promotion may be taken back: the former champion is champion again.
        hook: Told of a change of the champion.

    Returns:
        The rollout, and what went wrong in the hook.

    Raises:
        ValueError: if none is under way, it is beyond the promotion (or before it, with ``promoted``), or there is no
            reason.
    """
    rollout = _require_rollout(tracking_uri, name)
    _require_reason(reason)
    where = place(tracking_uri, name)
    settled = _settled(tracking_uri, rollout)
    after = rollout.stage == HOLDBACK or settled == "promoted"
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
    if promoted and settled != "taken back":
        record = aliases.rollback(tracking_uri, name, reason=reason, who=user())
        failure = tell(hook, record, name=name, uri=tracking_uri)
    return _end(tracking_uri, rollout, "aborted", reason), failure


class _Controller:
    """Carries out one move after another; see ``advance``."""

    def __init__(
        self, uri: str, policy: RolloutPolicy, report: Path | None, hook: Hook | None, store: PairStore,
        reader: _Reader, until: float,
    ) -> None:  # fmt: skip
        self.uri, self.policy, self.report, self.hook = uri, policy, report, hook
        self.store, self.reader, self.until = store, reader, until
        self.said, self.failure = "", None

    def step(self, rollout: Rollout) -> Rollout | None:
        """The rollout after its next step; None where it waits."""
        settled = _settled(self.uri, rollout)
        if settled == "promoted":
            return self._enter(rollout, HOLDBACK, f"{HOLDBACK}: the promotion was done")
        if settled is not None:
            self.said = {
                "taken back": "aborted: the promotion was taken back",
                "changed": "aborted: the champion was changed by something else than the rollout",
            }[settled]
            return _end(self.uri, rollout, "aborted", self.said, **self._seen())
        evidence = self.reader.evidence
        at = Standing(stage=rollout.stage, paused=rollout.paused, since=rollout.since)
        judgement = evidence.judge()
        move = next_move(at, judgement, evidence.stage_bursts.get(rollout.stage, 0), self.policy)
        if move.kind == "wait":
            return None
        lines = "\n".join([f"{move.stage or move.kind}: {move.reason}", *judgement.lines])
        if move.kind == "advance":
            assert move.stage is not None
            return self._enter(rollout, move.stage, lines)
        if move.kind == "pause":
            self.said = f"paused: {move.reason}"
            return _again(self.uri, rollout, lines, paused=True, since=judgement.num_bursts, **self._seen())
        return self._decide(rollout, move, judgement, lines)

    def _decide(self, rollout: Rollout, move: Move, judgement: Judgement, lines: str) -> Rollout:
        """The steps that end something: their evidence is kept, and the aliases moved."""
        name, uri = rollout.name, self.uri
        decision = self._kept(rollout, move, judgement)
        record: Record | None = None
        self.said = f"{move.kind}: {move.reason}"
        if move.kind == "promote":
            record = aliases.promote(uri, name, rollout.candidate, decision=decision, who=user())
        elif move.kind == "take back":
            record = aliases.rollback(uri, name, reason=lines, who=user())
        if record is not None:
            self.failure = tell(self.hook, record, name=name, uri=uri)
        if move.kind == "promote":
            said = self.said
            entered = self._enter(rollout, HOLDBACK, f"{HOLDBACK}: the promotion was done")
            self.said = said
            return entered
        stage = "finished" if move.kind == "finish" else "aborted"
        return _end(uri, rollout, stage, lines, decision=str(decision["sha256"]), **self._seen())

    def _enter(self, rollout: Rollout, stage: str, lines: str) -> Rollout:
        self.said = lines.splitlines()[0]
        step = _content(
            self.policy, id=rollout.id, base=rollout.base, stage=stage, paused=False, since=rollout.since
        )  # fmt: skip
        return rollouts.take_step(
            self.uri, rollout.name, before=rollout, candidate=rollout.candidate, policy=rollout.policy,
            step={**step, **self._seen()}, reason=lines, who=user(),
        )  # fmt: skip

    def _seen(self) -> dict[str, Any]:
        """What a step rests on: with it the evidence can be replayed."""
        return {"pairs": self.reader.last, "until": self.until, "bursts": self.reader.evidence.num_bursts}

    def _kept(self, rollout: Rollout, move: Move, judgement: Judgement) -> dict[str, Any]:
        """The decision, as the registry's promotion takes it; its numbers and its page are kept with the run."""
        evidence = {
            "rollout": rollout.id, "move": move.kind, "reason": move.reason, "policy": self.policy.as_dict(),
            "judgement": judgement.as_dict(), "evidence": self.reader.evidence.as_dict(), **self._seen(),
        }  # fmt: skip
        html = render(rollout, self.policy, self.store, self.reader.evidence, until=self.until)
        sha256 = digest(evidence)
        decisions.keep(self.uri, rollout.name, rollout.candidate, decision=sha256, evidence=evidence, page=html)
        if self.report is not None:
            write_text(self.report / f"version-{rollout.candidate}-{move.kind.replace(' ', '-')}.json", _json(evidence))
        return {
            "outcome": "promote" if move.kind == "promote" else "reject",
            "candidate": label(rollout.name, rollout.candidate),
            "champion": label(rollout.name, rollout.base),
            "sha256": sha256,
            "policy_sha256": self.policy.sha256,
            "reasons": [{"line": text} for text in judgement.lines],
        }


def _settled(uri: str, rollout: Rollout) -> str | None:
    """What became of the champion beside the steps: by this rollout's own promotion or way back, or by others."""
    champion = aliases.standing(uri, rollout.name).get(CHAMPION)
    records = aliases.history(uri, rollout.name)
    meant = rollout.candidate if rollout.stage in (HOLDBACK, "finished") else rollout.base
    if champion == meant:
        return None
    if champion == rollout.candidate:
        change = records[-1] if records[-1].phase == "intent" else last_change(records)
        ours = change is not None and (change.action, change.target) == ("promote", rollout.candidate)
        return "promoted" if ours else "changed"
    return "taken back" if champion == rollout.base else "changed"


def _content(policy: RolloutPolicy, *, stage: str, **rest: Any) -> dict[str, Any]:
    margins = {key: check.margin for key, check in policy.checks.items()}
    return {**rest, "stage": stage, "share": policy.share(stage), "sample": policy.sample, "margins": margins}


def _again(uri: str, rollout: Rollout, reason: str, **changes: Any) -> Rollout:
    """The same stage once more, with other settings."""
    decision = changes.pop("decision", None)
    kept = {key: getattr(rollout, key) for key in ("id", "base", "stage", "share", "sample", "paused", "since")}
    return rollouts.take_step(
        uri, rollout.name, before=rollout, candidate=rollout.candidate, policy=rollout.policy, reason=reason,
        who=user(), decision=decision, step={**kept, "margins": dict(rollout.margins), **changes},
    )  # fmt: skip


def _end(uri: str, rollout: Rollout, stage: str, reason: str, **seen: Any) -> Rollout:
    share = 1.0 if stage == "finished" else 0.0
    return _again(uri, rollout, reason, stage=stage, share=share, paused=False, **seen)


def _told(uri: str, name: str, what: str, reason: str, **changes: Any) -> Rollout:
    rollout = _require_rollout(uri, name)
    _require_reason(reason)
    if rollout.over:
        raise NoRolloutError(f"{name}: the last rollout is {rollout.stage} already")
    if changes["paused"] == rollout.paused:
        raise NoRolloutError(f"{name}: the rollout {'is paused' if rollout.paused else 'is not paused'}")
    return _again(uri, rollout, f"{rollout.stage} {what}: {reason.strip()}", **changes)


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
    judged = [record for record in decided if record.action in ("reject", "needs_approval", "promote")]
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


def _page(
    rollout: Rollout, policy: RolloutPolicy, store: PairStore, evidence: Evidence, until: float, report: Path | None
) -> Path | None:
    if report is None:
        return None
    page = report / f"version-{rollout.candidate}.html"
    write_text(page, render(rollout, policy, store, evidence, until=until))
    return page


def _bursts(policy: RolloutPolicy) -> Bursts:
    return Bursts(pause=policy.pause, most_pairs=policy.most_pairs, most_bursts=policy.most_bursts)


def _json(evidence: dict[str, Any]) -> str:
    return json.dumps(evidence, indent=1) + "\n"
