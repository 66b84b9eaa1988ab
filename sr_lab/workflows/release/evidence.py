"""What a decision rests on: the numbers of candidate and champion, and where they come from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

from sr_lab.artefacts.artefact import Artefact
from sr_lab.base.provenance import git_state
from sr_lab.evaluation.benchmark import Benchmark
from sr_lab.evaluation.scoring import score
from sr_lab.inference.costs import paired_costs
from sr_lab.inference.restorers import BicubicRestorer, Restorer
from sr_lab.metrics.base import PerImageMetric
from sr_lab.promotion import Approval, Decision, Measurement, Policy, gate
from sr_lab.promotion.measurement import digest
from sr_lab.promotion.people import People
from sr_lab.workflows.compare import measurements, reasons_of, require_scored

BICUBIC, PEOPLE = "bicubic", "people"


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The numbers of a decision.

    Attributes:
        models: The candidate's and, where there is one, the champion's.
        bicubic: Those of bicubic, beside a first champion.
        facts: Where they come from.
        people: What people said of the two.
    """

    models: Sequence[Measurement]
    bicubic: Measurement | None = None
    facts: Mapping[str, str]
    people: People | None = None

    @classmethod
    def parse(cls, document: Mapping[str, Any]) -> Self:
        """The evidence that ``as_dict`` wrote."""
        return cls(
            models=[Measurement.from_dict(model) for model in document["models"]],
            bicubic=Measurement.from_dict(document[BICUBIC]) if BICUBIC in document else None,
            facts=document["facts"],
            people=People.from_dict(document[PEOPLE]) if PEOPLE in document else None,
        )

    def as_dict(self) -> dict[str, Any]:
        """The same as values that JSON can hold."""
        document: dict[str, Any] = {"models": [model.as_dict() for model in self.models], "facts": dict(self.facts)}
        document |= {} if self.bicubic is None else {BICUBIC: self.bicubic.as_dict()}
        return document | ({} if self.people is None else {PEOPLE: self.people.as_dict()})

    def decision(self, policy: Policy, *, original: Policy | None = None, approval: Approval | None = None) -> Decision:
        """What the gate says of these numbers."""
        champion = self.models[1] if len(self.models) > 1 else None
        return gate(
            self.models[0], champion, policy, baseline=self.bicubic, original=original, approval=approval,
            people=self.people,
        )  # fmt: skip


def measured(
    restorers: Mapping[str, Restorer],
    benchmarks: Mapping[str, Benchmark],
    *,
    policy: Policy,
    metrics: Mapping[str, PerImageMetric],
    models: Mapping[str, Artefact],
    settings: str,
    num_runs: int,
    people: People | None = None,
    progress: bool,
) -> Evidence:
    """Measures the models on the hold-out; a first champion has bicubic beside it.

    Args:
        restorers: The models by label, the candidate first.
        benchmarks: The hold-out's, by name.
        policy: Says which metrics and resources are measured.
        metrics: The policy's metrics that there are, by key.
        models: The artefacts by label.
        settings: The settings under which it is measured, in words; numbers of other settings are no substitute.
        num_runs: Paired runs of time and memory, at least.
        people: What people said of the models, in a study.
        progress: Whether a progress bar is shown where there is a terminal.

    Raises:
        ValueError: if an image can be scored by no model.
    """
    beside: dict[str, Restorer] = {}
    if len(restorers) == 1:
        beside = {BICUBIC: BicubicRestorer(scale=next(iter(benchmarks.values())).scale)}
    scores = score(
        {**restorers, **beside},
        benchmarks,
        metrics=metrics,
        describe=True,
        progress=" against ".join(restorers) if progress else None,
    )
    require_scored(scores, list(restorers))
    architectures = {name: _architecture(artefact) for name, artefact in models.items()}
    costs: dict[str, dict[str, list[float]]] = {}
    if len(restorers) > 1 and policy.resources:
        images = sorted(
            (image for image in scores.images if all(image.values.get(name) for name in restorers)),
            key=lambda image: image.size[0] * image.size[1],
        )
        if images:
            low = scores.low(images[len(images) // 2])

            def wants_more(so_far: dict[str, dict[str, list[float]]]) -> bool:
                ours, theirs = measurements(scores, list(restorers), seen={}, costs=so_far, architectures=architectures)
                return policy.wants_more_runs(ours, theirs)

            costs = paired_costs(
                restorers, low, num_runs=max(num_runs, *policy.resources.values()), wants_more=wants_more
            )
    missing = {
        key: scores.not_measured.get(key, "no metric of metrics=[...] and no task of tasks=[...] records it")
        for key in policy.metrics
        if key not in scores.metrics
    }
    facts = {
        "hold-out": ", ".join(f"{key}: {part.benchmark}" for key, part in policy.holdout.items()),
        "hold-out's SHA-256": scores.sha256,
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": f"{scores.seconds:.1f}",
        "device": str(scores.benchmark.device),
        "code": git_state().commit or "unknown",
        "not measured": "; ".join(f"{key}: {reason}" for key, reason in missing.items()) or "nothing",
        "not scored": "; ".join(
            f"{name} on {image}: {reason}" for name in restorers for image, reason in reasons_of(scores, name).items()
        )
        or "nothing",
        "near copies": "; ".join(scores.copies) or "none",
        "settings": settings,
        "people": "nobody was asked" if people is None else f"study {people.study}, answers {people.ballots[:12]}",
    }
    seen = {name: artefact.metadata.get("images") for name, artefact in models.items()}
    unknown = {name: artefact.metadata.get("unknown_history", []) for name, artefact in models.items()}
    return Evidence(
        models=measurements(
            scores, list(restorers), seen=seen, costs=costs, architectures=architectures, unknown=unknown
        ),
        people=people,
        bicubic=measurements(scores, [BICUBIC], seen={BICUBIC: {}}, costs={})[0] if beside else None,
        facts=facts,
    )


def _architecture(artefact: Artefact) -> str | None:
    """Hash of the network's configuration, without its weights."""
    network = artefact.config.get("model", {}).get("network")
    return digest(network) if isinstance(network, dict) else None
