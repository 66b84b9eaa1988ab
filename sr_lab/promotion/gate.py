"""The decision: a pure function of what was measured and what the policy demands."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from sr_lab.base.words import counted
from sr_lab.promotion.checks import Evidence, Reason
from sr_lab.promotion.measurement import Approval, Measurement, digest
from sr_lab.promotion.people import People
from sr_lab.promotion.policy import Policy
from sr_lab.promotion.quality import beats

Outcome = Literal["promote", "reject", "needs_approval"]

EXIT_CODES: dict[Outcome, int] = {"promote": 0, "reject": 3, "needs_approval": 4}


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What the gate decided, and why.

    Attributes:
        outcome: the candidate becomes champion, does not, or waits for a person.
        reasons: one per check, in the policy's order, after the gate's own.
        candidate: the model that was judged.
        champion: the model it was compared with; None if there was none.
        policy: the policy's name.
        policy_sha256: hash of every value in the policy.
        evidence_sha256: hash of every number that was looked at.
        approved_by: the person whose approval counted.
        changes: what the policy differs in from the file that it is named by.
    """

    outcome: Outcome
    reasons: tuple[Reason, ...]
    candidate: str
    champion: str | None
    policy: str
    policy_sha256: str
    evidence_sha256: str
    approved_by: str | None = None
    changes: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 promoted, 3 rejected, 4 approval needed."""
        return EXIT_CODES[self.outcome]

    @property
    def sha256(self) -> str:
        """Names these numbers under this policy: what an ``Approval`` refers to."""
        return _identity(self.policy_sha256, self.evidence_sha256)

    @property
    def policy_name(self) -> str:
        """The policy's name; a changed one does not pass for the original."""
        return f"{self.policy}, changed in {len(self.changes)}" if self.changes else self.policy

    @property
    def failed(self) -> tuple[Reason, ...]:
        """The reasons that stopped the candidate."""
        return tuple(reason for reason in self.reasons if reason.verdict == "fail")

    @property
    def text(self) -> str:
        """The whole decision for people, a line for each check."""
        against = f"against {self.champion}" if self.champion else "with no champion yet"
        head = f"{self.candidate} {against}, policy {self.policy_name} ({self.policy_sha256[:12]})"
        failed = [reason.check for reason in self.failed]
        last = {
            "promote": "PROMOTE: every check passed"
            + (f", approved by {self.approved_by}" if self.approved_by else ""),
            "needs_approval": "APPROVAL NEEDED: every check passed, and the policy asks for a person's consent",
            "reject": f"REJECT: {', '.join(failed)} failed",
        }[self.outcome]
        return "\n".join([head, *(f"  {reason.line}" for reason in self.reasons), last])

    def as_dict(self) -> dict[str, Any]:
        """JSON-able record of the decision."""
        return {
            "outcome": self.outcome,
            "exit_code": self.exit_code,
            "candidate": self.candidate,
            "champion": self.champion,
            "policy": self.policy,
            "policy_sha256": self.policy_sha256,
            "evidence_sha256": self.evidence_sha256,
            "sha256": self.sha256,
            "approved_by": self.approved_by,
            **({"policy_changes": list(self.changes)} if self.changes else {}),
            "reasons": [reason.as_dict() for reason in self.reasons],
        }


def gate(
    candidate: Measurement,
    champion: Measurement | None,
    policy: Policy,
    *,
    baseline: Measurement | None = None,
    original: Policy | None = None,
    approval: Approval | None = None,
    people: People | None = None,
) -> Decision:
    """Decides whether ``candidate`` replaces ``champion``.

    Everything that cannot be judged counts against the candidate: a missing slice, too few scenes, NaN, infinity, a
    history that is not known. If the two were not measured alike, no check is made at all.

    Without a champion only the checks on the candidate alone are made, and at least one of them must exist; and it has
    to beat bicubic, unless the policy says otherwise.

    Args:
        candidate: what was measured on the candidate.
        champion: the same of the champion, on the same images; None if there is none yet.
        policy: what is demanded.
        baseline: the same of bicubic interpolation; a first champion is held against it.
        original: the policy as the file of its name has it: the decision names what was changed.
        approval: a person's consent to this very decision (its ``sha256``); any other is ignored, and said so.
        people: what people said of the two in a blind study; looked at by the checks that ask for it.

    Returns:
        The decision; the same for the same arguments, always.

    Example:
        >>> from sr_lab.promotion import ImageRow, Measurement, Policy, gate
        >>> from sr_lab.promotion.quality import Floor
        >>> rows = [ImageRow(name=name, scene=name, metrics={"psnr_y": 31.0}) for name in ("cat", "cup")]
        >>> candidate = Measurement(model="photos/1", holdout="sha", protocol="y_crop", rows=rows, seen=frozenset())
        >>> floor = Floor(metric="psnr_y", better="higher", value=30.0, min_scenes=2)
        >>> own = Policy(name="own", protocol="y_crop", holdout={}, checks={"floor": floor},
        ...              first_champion="passes_floors")
        >>> gate(candidate, None, own).outcome
        'promote'
    """
    looked_at = {"candidate": candidate.as_dict(), "champion": None if champion is None else champion.as_dict()}
    if champion is None and baseline is not None and policy.baseline is not None:
        looked_at["baseline"] = baseline.as_dict()
    if people is not None:
        looked_at["people"] = people.as_dict()
    evidence_sha256 = digest(looked_at)
    changes = () if original is None else policy.changes(original)
    reasons = list(_notes(candidate, policy, changes))
    reasons += _preconditions(candidate, champion, policy)
    if all(reason.verdict != "fail" for reason in reasons):
        evidence = Evidence(
            candidate=candidate, champion=champion, alpha=policy.alpha, accept_identical=policy.accept_identical,
            people=people,
        )  # fmt: skip
        judged = [check.judge(key, evidence) for key, check in policy.checks.items()]
        if all(reason.verdict == "skip" for reason in judged):
            text = "not one check could be made: give the policy a Floor, which needs no champion"
            judged.append(Reason(check="policy", verdict="fail", text=text))
        if champion is None and policy.baseline is not None:
            judged.append(_against_baseline(candidate, baseline, policy))
        reasons += judged
    outcome: Outcome = "reject" if any(reason.verdict == "fail" for reason in reasons) else "promote"
    approved_by = None
    if outcome == "promote" and policy.approval:
        agreed = approval is not None and approval.decision == _identity(policy.sha256, evidence_sha256)
        if approval is not None and agreed:
            approved_by = approval.by
            reasons.append(Reason(check="approval", verdict="pass", text=f"given by {approval.by}"))
        else:
            outcome = "needs_approval"
            given = f"{approval.by} agreed to another decision" if approval else "not given yet"
            reasons.append(Reason(check="approval", verdict="wait", text=f"{given}; the policy asks for it"))
    return Decision(
        outcome=outcome,
        reasons=tuple(reasons),
        candidate=candidate.model,
        champion=None if champion is None else champion.model,
        policy=policy.name,
        policy_sha256=policy.sha256,
        evidence_sha256=evidence_sha256,
        approved_by=approved_by,
        changes=changes,
    )


def _notes(candidate: Measurement, policy: Policy, changes: Collection[str]) -> Iterator[Reason]:
    """What whoever reads the record has to know: a changed policy, and the hold-out."""
    if changes:
        text = f"not {policy.name} as its file has it: {'; '.join(changes)}"
        yield Reason(check="policy", verdict="note", text=text)
    if policy.holdout:
        parts = ", ".join(f"{key}: {part}" for key, part in policy.holdout.items())
        scenes = f"{counted(len(candidate.rows), 'image')} of {counted(candidate.num_scenes, 'scene')}"
        yield Reason(
            check="holdout", verdict="note", text=f"{parts} ({scenes}, {candidate.holdout[:12]})",
            num_images=len(candidate.rows), num_scenes=candidate.num_scenes,
        )  # fmt: skip


def _against_baseline(candidate: Measurement, baseline: Measurement | None, policy: Policy) -> Reason:
    assert policy.baseline is not None
    metric, better = policy.baseline
    if baseline is None:
        text = (
            "bicubic was not measured beside the first champion: give its measurement as baseline, on the command line "
            "fresh=true; policy.first_champion=passes_floors does without"
        )
        return Reason(check="baseline", verdict="fail", text=text)
    if problem := _image_problem(candidate, baseline) or _protocol_problem(candidate, baseline, policy):
        return Reason(check="baseline", verdict="fail", text=problem)
    return beats(candidate, baseline, metric=metric, better=better, alpha=policy.alpha)


def _identity(policy_sha256: str, evidence_sha256: str) -> str:
    return digest({"policy": policy_sha256, "evidence": evidence_sha256})


def _preconditions(candidate: Measurement, champion: Measurement | None, policy: Policy) -> Iterator[Reason]:
    """Whether the numbers may be used at all."""
    yield _reason("protocol", _protocol_problem(candidate, champion, policy), f"{policy.protocol} for every number")
    yield _reason("history", _history_problem(candidate, policy), _history(candidate))
    if champion is not None:
        same = f"the same {len(candidate.rows)} for both models"
        yield _reason("images", _image_problem(candidate, champion), same)


def _reason(check: str, problem: str | None, fine: str) -> Reason:
    return Reason(check=check, verdict="fail" if problem else "pass", text=problem or fine)


def _protocol_problem(candidate: Measurement, champion: Measurement | None, policy: Policy) -> str | None:
    for model in (candidate, champion):
        if model is not None and model.protocol != policy.protocol:
            return f"{model.model} was measured under {model.protocol}, the policy asks for {policy.protocol}"
    return None


def _history(candidate: Measurement) -> str:
    """What is known of a candidate's history that was accepted."""
    if candidate.seen is not None and not candidate.unknown:
        return "no training and no selection has seen this hold-out"
    whose = " and ".join(candidate.unknown) or candidate.model
    return (
        f"what {whose} was trained on is not known, and the policy accepts that; no recorded training saw the hold-out"
    )


def _history_problem(candidate: Measurement, policy: Policy) -> str | None:
    accepting = "policy.accept_unknown_history=true accepts that"
    if candidate.seen is None and not policy.accept_unknown_history:
        return (
            f"it is not known which images {candidate.model} was trained and selected on: its run has no record of it; "
            f"{accepting}"
        )
    if candidate.unknown and not policy.accept_unknown_history:
        return (
            f"{candidate.model} comes from {' and '.join(candidate.unknown)}, and nobody has recorded which images "
            f"those weights were trained on: the hold-out may be among them; {accepting}"
        )
    if candidate.seen:
        return (
            f"{candidate.model} was trained or selected on {len(candidate.seen)} of "
            f"{counted(len(candidate.rows), 'image')} "
            f"({_some(candidate.seen)}), where it looks better than it is: gate on images that no training and no "
            "sweep has seen"
        )
    return None


def _image_problem(candidate: Measurement, champion: Measurement) -> str | None:
    if candidate.holdout != champion.holdout:
        ours, theirs = candidate.holdout[:12], champion.holdout[:12]
        return f"hold-outs differ: {ours} for {candidate.model}, {theirs} for {champion.model}"
    rows = {row.name: row for row in candidate.rows}
    others = {row.name: row for row in champion.rows}
    for model, lacks in ((candidate, others.keys() - rows.keys()), (champion, rows.keys() - others.keys())):
        if lacks:
            return f"{model.model} lacks {len(lacks)} of the images ({_some(lacks)}): both need the same"
    for name, row in sorted(rows.items()):
        if row.scene != others[name].scene or row.slices != others[name].slices:
            return f"scene or slices of {name} differ between the two: measure both with the same code"
    return None


def _some(names: Collection[str]) -> str:
    return ", ".join(sorted(names)[:3]) + (", ..." if len(names) > 3 else "")
