"""Which step a rollout takes next: a pure function of where it stands and of what the bursts show."""

from dataclasses import dataclass
from typing import Literal

from sr_lab.base.words import counted
from sr_lab.promotion.canary.evidence import Judgement
from sr_lab.promotion.canary.policy import HOLDBACK, RolloutPolicy

Kind = Literal["wait", "advance", "promote", "finish", "stop", "take back", "pause"]


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where a rollout stands.

    Attributes:
        stage: A stage of the policy, or ``holdback``.
        paused: Whether a person has asked it to stay there, or it waits for one.
        since: Bursts that had been seen when it was paused or taken up again last: patience begins there.
    """

    stage: str
    paused: bool = False
    since: int = 0


@dataclass(frozen=True, kw_only=True)
class Move:
    """The next step.

    Attributes:
        kind: ``wait`` for more bursts; ``advance`` to ``stage``; ``promote``; ``finish`` after the holdback; ``stop``
            before a promotion, ``take back`` after one; ``pause`` for a person.
        stage: Where to, of ``advance``.
        reason: Why, in a sentence.
    """

    kind: Kind
    reason: str
    stage: str | None = None


def next_move(standing: Standing, judgement: Judgement, stage_bursts: int, policy: RolloutPolicy) -> Move:
    """The step that follows.

    Harm stops at once, a paused rollout too; nothing else moves one that is paused. A stage ends after its bursts,
    where it asks for that with every check shown; the last one always asks. After the promotion the holdback ends with
    its bursts.

    Args:
        standing: Where the rollout stands.
        judgement: What all bursts so far show.
        stage_bursts: How many of them are of the present stage.
        policy: What is demanded.

    Raises:
        ValueError: if the policy has no such stage.
    """
    if standing.stage not in policy.all_stages:
        raise ValueError(f"policy {policy.name} has no stage {standing.stage}: {', '.join(policy.all_stages)}")
    if judgement.outcome == "harm":
        blamed = ", ".join(judgement.blamed)
        reason = f"harm in {blamed}: evidence {judgement.harm:.3g} of {judgement.harm_needed:.4g}"
        return Move(kind="take back" if standing.stage == HOLDBACK else "stop", reason=reason)
    if standing.paused:
        return Move(kind="wait", reason="it is paused: only harm moves it")
    stage = policy.all_stages[standing.stage]
    if stage_bursts < stage.bursts:
        left = stage.bursts - stage_bursts
        return _patient(standing, judgement, policy, f"{counted(left, 'more burst')} of {standing.stage} needed")
    if standing.stage == HOLDBACK:
        return Move(kind="finish", reason=f"{counted(stage_bursts, 'burst')} of {HOLDBACK} without harm")
    names = list(policy.stages)
    last = standing.stage == names[-1]
    if (last or stage.proven) and judgement.outcome != "proven":
        missing = ", ".join(finding.check for finding in judgement.findings if finding.state == "open")
        return _patient(standing, judgement, policy, f"not shown yet: {missing}")
    if last:
        return Move(kind="promote", reason="every check has excluded its margin, and none shows harm")
    following = names[names.index(standing.stage) + 1]
    return Move(
        kind="advance", stage=following, reason=f"{counted(stage_bursts, 'burst')} of {standing.stage} without harm"
    )


def _patient(standing: Standing, judgement: Judgement, policy: RolloutPolicy, why: str) -> Move:
    if judgement.num_bursts - standing.since >= policy.patience and standing.stage != HOLDBACK:
        return Move(
            kind="pause", reason=f"undecided after {counted(judgement.num_bursts, 'burst')}, {why}: a person decides"
        )
    return Move(kind="wait", reason=why)
