"""A study as evidence of a release: its answers are counted anew, and bound to the models by their weights' hashes."""

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from sr_lab.artefacts.artefact import Artefact
from sr_lab.promotion import Policy
from sr_lab.promotion.people import People, Preference, Preferred

WEIGHTS = "weights.safetensors"


def people_of(folder: Path, models: Sequence[Artefact], *, alpha: float, now: datetime | None = None) -> People:
    """What the raters of a study say of two models.

    Nothing is taken from files that ``srlab study analyse`` wrote: the answers are counted under the study's rules.

    Args:
        folder: Of the study.
        models: The candidate and, where there is one, the champion.
        alpha: Error of each bound.
        now: When it is looked at; None: now.

    Raises:
        FileNotFoundError: If the folder holds no study.
        ValueError: If it was changed after it was made, or no vote counts.
    """
    from sr_lab.study import Plan, rank, read_answers  # which a release without a study does not need

    plan = Plan.read(folder)
    ranking = rank(plan, read_answers(folder, plan)[0], alpha=2 * alpha)
    weights = {name: known.get("weights") for name, known in plan.restorers.items()}
    hashes = [_weights(model) for model in models]
    seen = {digest for digests in (models[0].metadata.get("images") or {}).values() for digest in digests}
    return People(
        study=plan.id,
        seal=plan.seal,
        ballots=ranking.ballots,
        made=plan.created,
        age_days=_age(plan.created, now),
        candidate=hashes[0],
        champion=hashes[1] if len(hashes) > 1 else None,
        preferences=[
            Preference(
                first=first, second=second, share=duel.wins, low=_known(duel.low), high=_known(duel.high),
                num_votes=duel.won + duel.tied + duel.lost,
            )
            for duel in ranking.duels
            if (first := weights.get(duel.first)) and (second := weights.get(duel.second))
        ],
        num_raters=sum(not rater.reasons for rater in ranking.raters),
        num_images=ranking.num_images,
        seen=[name for name, digest in plan.files.items() if digest in seen] if plan.files else None,
        notes=list(ranking.notes),
    )  # fmt: skip


def expired(people: People, policy: Policy, *, now: datetime | None = None) -> bool:
    """Whether a study that counted when it was looked at is too old for the policy by now."""
    checks = [check for check in policy.checks.values() if isinstance(check, Preferred)]
    return any(check.expired(_age(people.made, now)) for check in checks)


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _age(made: str, now: datetime | None) -> float:
    return round(((now or datetime.now(UTC)) - datetime.fromisoformat(made)).total_seconds() / 86400, 4)


def _weights(model: Artefact) -> str | None:
    found = dict(model.metadata.get("sha256", {})).get(WEIGHTS)
    return None if found is None else str(found)
