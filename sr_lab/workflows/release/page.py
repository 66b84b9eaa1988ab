"""The page of a release's decision."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime

from sr_lab.base.provenance import user
from sr_lab.evaluation.pictures import Pictures
from sr_lab.evaluation.scores import Scores
from sr_lab.evaluation.versus_page import Banner, Page, render
from sr_lab.metrics.base import PerImageMetric
from sr_lab.promotion import Decision, Policy
from sr_lab.workflows.compare import image_lines, slice_lines
from sr_lab.workflows.release.evidence import Evidence


def page_of(
    decision: Decision,
    policy: Policy,
    evidence: Evidence,
    shown: Scores,
    *,
    metrics: Mapping[str, PerImageMetric],
    num_pictures: int,
) -> str:
    """The page of a decision, HTML.

    Args:
        decision: What was decided.
        policy: By which rules.
        evidence: By which numbers.
        shown: The models over the hold-out, for the pictures; see ``scoring.unscored``.
        metrics: The policy's metrics that there are, for their words.
        num_pictures: Images whose crops are shown, where the candidate lost most first.
    """
    models = evidence.models
    better = {key: way for key, way in policy.metrics.items() if models[0].has(key)}
    images = image_lines(models, better)
    by_name = {image.name: image for image in shown.images}
    pictures: dict[str, Pictures] = shown.pictures(
        [by_name[image.name] for image in images[:num_pictures]], difference=True
    )
    tone, title = {
        "promote": ("good", "Promoted"),
        "reject": ("bad", "Rejected"),
        "needs_approval": ("wait", "Approval needed"),
    }[decision.outcome]
    costs = {
        f"{resource} of {model.model}": ", ".join(f"{value:.4g}" for value in values)
        for model in models
        for resource, values in model.resources.items()
    }
    against = f"against the champion {decision.champion}" if decision.champion else "as the first champion"
    return render(
        Page(
            title=f"{decision.candidate}: {title.lower()}",
            subtitle=f"The candidate {decision.candidate} {against}, under policy {decision.policy_name}, "
            f"at x{shown.scale}.",
            names=[model.model for model in models],
            metrics=list(better),
            words={metric.key: metric.words for metric in metrics.values()},
            level=1 - 2 * policy.alpha,
            lines=slice_lines(models, better, alpha=policy.alpha),
            images=images,
            pictures=pictures,
            facts={
                "decision": decision.sha256,
                "policy": f"{decision.policy_name}, {decision.policy_sha256}",
                "decided": datetime.now(UTC).isoformat(timespec="seconds"),
                "by": user() + (f", approved by {decision.approved_by}" if decision.approved_by else ""),
                **evidence.facts,
                **costs,
                "policy's values": json.dumps(policy.as_dict()),
            },
            banner=Banner(tone=tone, title=title, text=decision.text.splitlines()[-1]),
            checks=[reason.as_dict() for reason in decision.reasons],
        )
    )
