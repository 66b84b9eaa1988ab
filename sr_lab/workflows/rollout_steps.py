"""The steps of a rollout: what has become of the champion, what the pairs show, and carrying out what follows."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sr_lab.base.files import write_text
from sr_lab.base.provenance import user
from sr_lab.promotion.canary import Bursts, Evidence, Judgement, Move, Pair, RolloutPolicy, Standing, next_move
from sr_lab.promotion.canary.policy import HOLDBACK
from sr_lab.promotion.measurement import digest
from sr_lab.tracking.registry import aliases, decisions, rollouts
from sr_lab.tracking.registry.aliases import CHAMPION, label
from sr_lab.tracking.registry.events import Hook, tell
from sr_lab.tracking.registry.ledger import Record, last_change
from sr_lab.tracking.registry.rollouts import Rollout
from sr_lab.workflows.pairs import PairStore
from sr_lab.workflows.rollout_page import render


class Reader:
    """The evidence of a rollout, read from the pairs.

    Attributes:
        last: Number of the last pair that was read.
        evidence: What the bursts so far show.
    """

    def __init__(self, store: PairStore, rollout: str, policy: RolloutPolicy) -> None:
        self.store, self.rollout, self.last = store, rollout, 0
        self.bursts = _bursts(policy)
        self.evidence = Evidence(policy)

    def read(self, until: float) -> Evidence:
        """Reads on; bursts that had ended by ``until`` are counted."""
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


class Controller:
    """Carries out one move after another; see ``advance``."""

    def __init__(
        self, uri: str, policy: RolloutPolicy, report: Path | None, hook: Hook | None, store: PairStore,
        reader: Reader, until: float,
    ) -> None:  # fmt: skip
        self.uri, self.policy, self.report, self.hook = uri, policy, report, hook
        self.store, self.reader, self.until = store, reader, until
        self.said = ""
        self.failure: str | None = None

    def step(self, rollout: Rollout) -> Rollout | None:
        """The rollout after its next step; None where it waits."""
        changed = settled(self.uri, rollout)
        if changed == "promoted":
            return self._enter(rollout, HOLDBACK, f"{HOLDBACK}: the promotion was done")
        if changed is not None:
            self.said = {
                "taken back": "aborted: the promotion was taken back",
                "changed": "aborted: the champion was changed by something else than the rollout",
            }[changed]
            return end(self.uri, rollout, "aborted", self.said, **self._seen())
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
            return again(self.uri, rollout, lines, paused=True, since=judgement.num_bursts, **self._seen())
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
        return end(uri, rollout, stage, lines, decision=str(decision["sha256"]), **self._seen())

    def _enter(self, rollout: Rollout, stage: str, lines: str) -> Rollout:
        self.said = lines.splitlines()[0]
        step = content(
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


def settled(uri: str, rollout: Rollout) -> str | None:
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


def content(policy: RolloutPolicy, *, stage: str, **rest: Any) -> dict[str, Any]:
    """What a step that enters a stage writes down."""
    margins = {key: check.margin for key, check in policy.checks.items()}
    return {**rest, "stage": stage, "share": policy.share(stage), "sample": policy.sample, "margins": margins}


def again(uri: str, rollout: Rollout, reason: str, **changes: Any) -> Rollout:
    """The same stage once more, with other settings."""
    decision = changes.pop("decision", None)
    kept = {key: getattr(rollout, key) for key in ("id", "base", "stage", "share", "sample", "paused", "since")}
    return rollouts.take_step(
        uri, rollout.name, before=rollout, candidate=rollout.candidate, policy=rollout.policy, reason=reason,
        who=user(), decision=decision, step={**kept, "margins": dict(rollout.margins), **changes},
    )  # fmt: skip


def end(uri: str, rollout: Rollout, stage: str, reason: str, **seen: Any) -> Rollout:
    """The last step: ``finished`` or ``aborted``."""
    share = 1.0 if stage == "finished" else 0.0
    return again(uri, rollout, reason, stage=stage, share=share, paused=False, **seen)


def write_page(
    rollout: Rollout, policy: RolloutPolicy, store: PairStore, evidence: Evidence, until: float, report: Path | None
) -> Path | None:
    """Writes the page into a folder; None where there is none."""
    if report is None:
        return None
    page = report / f"version-{rollout.candidate}.html"
    write_text(page, render(rollout, policy, store, evidence, until=until))
    return page


def _bursts(policy: RolloutPolicy) -> Bursts:
    return Bursts(pause=policy.pause, most_pairs=policy.most_pairs, most_bursts=policy.most_bursts)


def _json(evidence: dict[str, Any]) -> str:
    return json.dumps(evidence, indent=1) + "\n"
