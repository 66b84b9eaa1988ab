"""Let the gate decide whether a candidate becomes champion, and make it champion if so.

    srlab promote name=NAME policy=default policy.holdout.photos.benchmark=DIR
    srlab promote name=NAME policy=strict_medical policy.holdout.scans.benchmark=DIR   # then srlab approve

Candidate and champion are measured on the policy's hold-out, the same images for both; the gate decides and says why,
line by line. The decision, whatever it is, becomes an audit record (srlab history); its numbers and an HTML page with
the images on which the candidate lost most are kept with the candidate's run. The first champion has to pass the floors
only. What counts as one scene: the folder's scenes.csv (columns name, scene), else the subfolder, else each image by
itself. A decision that waits for srlab approve is not measured again: its numbers, with the consent, are judged once
more, as long as champion and policy are the same (fresh=true measures anew).

Exit codes: 0 promoted, 3 rejected, 4 approval needed, 5 promoted but the hook failed, others error.
"""

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from sr_lab.artefacts.artefact import Artefact
from sr_lab.base.files import write_text
from sr_lab.base.provenance import git_state, user
from sr_lab.commands._restorer import choose_device, fetch_artefact
from sr_lab.commands._versus import image_lines, measurements, slice_lines
from sr_lab.config.compose import build
from sr_lab.evaluation.versus import Contest, Part
from sr_lab.evaluation.versus_page import Banner, Page, render
from sr_lab.inference.costs import paired_costs
from sr_lab.inference.restorers import NetworkRestorer
from sr_lab.metrics.base import PerImageMetric
from sr_lab.promotion import Approval, Decision, Measurement, Policy, gate
from sr_lab.tracking.registry import aliases, decisions
from sr_lab.tracking.registry.aliases import CANDIDATE, CHAMPION, label
from sr_lab.tracking.registry.events import fire
from sr_lab.tracking.registry.ledger import Record


@dataclass(frozen=True, kw_only=True)
class Release:
    """A decision that was carried out: with its audit record and its page."""

    decision: Decision
    record: Record
    page: Path


def how_to_agree(name: str, version: int | None) -> str:
    """What a person does about a decision that waits for approval."""
    return f'to agree: srlab approve name={name} version={version} by="..."  and then this command again'


def run(cfg: DictConfig) -> int:
    """Runs the command; see the module's docstring."""
    hook = None if cfg.events is None else build(cfg.events)
    done = release(cfg)
    name = str(cfg.name)
    print(done.decision.text)
    print(f"page: {done.page}\nrecord {done.record.number}: srlab history name={name}", flush=True)
    if done.decision.outcome == "needs_approval":
        print(how_to_agree(name, done.record.target), flush=True)
    if done.decision.outcome == "promote":
        print(f"{name} version {done.record.target} is models:/{name}@champion", flush=True)
        return fire(hook, done.record, name=name, uri=cfg.tracking_uri)
    return done.decision.exit_code


def release(cfg: DictConfig) -> Release:
    """Measures both models, decides, writes the page and the record, and moves the aliases if that is the decision.

    Args:
        cfg: the configuration of srlab promote (``compose("promote", [...])``).

    Raises:
        ValueError: if there is no candidate, or it cannot be measured.
        ConflictError: if another version became champion meanwhile; then nothing was changed.
        PermissionError: if the server does not allow it to the user; then nothing was changed.
        RuntimeError: if the store does not answer.
    """
    cfg = cfg.copy()
    uri, name = str(cfg.tracking_uri), str(cfg.name)
    version, champion = _contenders(uri, name, cfg.version)
    aliases.require_permission(uri, name)
    artefacts = {
        label(name, number): fetch_artefact(f"models:/{name}/{number}", tracking_uri=uri)
        for number in (version, champion)
        if number is not None
    }
    cfg.scale = _one_scale(artefacts)
    policy: Policy = build(cfg.policy)
    contest = _contest(cfg, policy, artefacts)
    evidence, approval = (None, None) if cfg.fresh else _asked_before(uri, name, version, champion, policy)
    if evidence is None:
        evidence = _measure(cfg, policy, contest, artefacts)
    if (unmeasured := evidence["facts"]["not measured"]) != "nothing":
        print(f"not measured: {unmeasured}")
    models = [Measurement.from_dict(document) for document in evidence["models"]]
    decision = gate(models[0], models[1] if len(models) > 1 else None, policy, approval=approval)
    html = _page(cfg, policy, decision, models, contest, evidence["facts"])
    page = Path(cfg.report) / f"version-{version}.html"
    write_text(page, html)
    kept = {**evidence, "decision": decision.as_dict(), "policy": policy.as_dict()}
    decisions.keep(uri, name, version, decision=decision.sha256, evidence=kept, page=html)
    carry_out = aliases.promote if decision.outcome == "promote" else aliases.record
    record = carry_out(uri, name, version, decision=decision.as_dict(), who=user())
    return Release(decision=decision, record=record, page=page)


def _contenders(uri: str, name: str, wanted: int | None) -> tuple[int, int | None]:
    """Versions of candidate and champion."""
    found = aliases.aliases(uri, name)
    version, champion = wanted or found.get(CANDIDATE), found.get(CHAMPION)
    if version is None:
        raise ValueError(f"{name} has no candidate: run  srlab register run=DIR name={name}  first, or give version=N")
    if version == champion:
        raise ValueError(f"{label(name, version)} is the champion already")
    return int(version), champion


def _one_scale(artefacts: Mapping[str, Artefact]) -> int:
    scales = {name: artefact.scale for name, artefact in artefacts.items()}
    if len(set(scales.values())) > 1:
        named = " and ".join(f"{name} by {scale}" for name, scale in scales.items())
        raise ValueError(f"{named}: models of different scales cannot replace each other")
    return next(iter(scales.values()))


def _contest(cfg: DictConfig, policy: Policy, artefacts: Mapping[str, Artefact]) -> Contest:
    protocol = build(cfg.protocol)
    if protocol.name != policy.protocol:
        raise ValueError(f"policy {policy.name} asks for protocol={policy.protocol}, given is {protocol.name}")
    if not policy.holdout:
        raise ValueError(f"policy {policy.name} names no hold-out: give policy.holdout")
    built: list[PerImageMetric] = [build(node) for node in cfg.metrics.values()]
    for metric in built:
        if (way := "higher" if metric.higher_is_better else "lower") != policy.metrics.get(metric.key, way):
            raise ValueError(f"policy {policy.name} says {metric.key} is not better {way}: correct its checks")
    device = choose_device(cfg.device)
    return Contest(
        {
            name: NetworkRestorer(artefact.network, tile=cfg.tile, overlap=cfg.overlap, device=device)
            for name, artefact in artefacts.items()
        },
        {
            key: Part(benchmark=Path(part.benchmark), degradation=part.degradation)  # type: ignore[arg-type]
            for key, part in policy.holdout.items()
        },
        scale=cfg.scale,
        protocol=protocol,
        metrics={metric.key: metric for metric in built if metric.key in policy.metrics},
        seed=cfg.seed,
        device=device,
    )


def _asked_before(
    uri: str, name: str, version: int, champion: int | None, policy: Policy
) -> tuple[dict[str, Any] | None, Approval | None]:
    """The numbers of the decision that waits for approval, if it is the one to be made now, and the consent to it."""
    request, consent = decisions.open_request(uri, name)
    if request is None or (request.target, request.source, request.policy) != (version, champion, policy.sha256):
        return None, None
    evidence = decisions.fetch(uri, name, version, decision=str(request.decision))
    if evidence is None:
        return None, None
    models = [Measurement.from_dict(document) for document in evidence["models"]]
    again = gate(models[0], models[1] if len(models) > 1 else None, policy)
    if again.sha256 != request.decision:
        print(
            f"srlab promote: the numbers of decision {request.decision} were changed: measuring anew", file=sys.stderr
        )
        return None, None
    return evidence, None if consent is None else Approval(by=consent.who, decision=str(consent.decision))


def _measure(cfg: DictConfig, policy: Policy, contest: Contest, artefacts: Mapping[str, Artefact]) -> dict[str, Any]:
    """The numbers of both models, and where they come from; JSON-able."""
    versus = contest.measure()
    costs: dict[str, dict[str, list[float]]] = {}
    if len(versus.names) > 1 and policy.resources:
        rows = sorted(
            (row for row in versus.rows if all(row.scores.values())), key=lambda row: row.size[0] * row.size[1]
        )
        if rows:
            low = contest.low(rows[len(rows) // 2].name)
            costs = paired_costs(contest.restorers, low, num_runs=max(cfg.runs, *policy.resources.values()))
    models = measurements(
        versus, seen={name: artefact.metadata.get("images") for name, artefact in artefacts.items()}, costs=costs
    )
    missing = {
        key: versus.not_measured.get(key, "no metric of metrics=[...] records it")
        for key in policy.metrics
        if key not in versus.metrics
    }
    facts = {
        "hold-out": ", ".join(f"{key}: {part.benchmark}" for key, part in policy.holdout.items()),
        "hold-out's SHA-256": versus.sha256,
        "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        "seconds": f"{versus.seconds:.1f}",
        "device": str(contest.device),
        "code": git_state().commit or "unknown",
        "not measured": "; ".join(f"{key}: {reason}" for key, reason in missing.items()) or "nothing",
        "not scored": "; ".join(
            f"{name} on {image}: {reason}" for name, found in versus.failures.items() for image, reason in found.items()
        )
        or "nothing",
    }
    return {"models": [model.as_dict() for model in models], "facts": facts}


def _page(
    cfg: DictConfig,
    policy: Policy,
    decision: Decision,
    models: Sequence[Measurement],
    contest: Contest,
    facts: Mapping[str, str],
) -> str:
    better = {key: way for key, way in policy.metrics.items() if models[0].has(key)}
    images = image_lines(models, better)
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
    against = f"against the champion {decision.champion}" if decision.champion else "no champion yet"
    return render(
        Page(
            title=f"{decision.candidate}: {title.lower()}",
            subtitle=f"The candidate {decision.candidate} {against}, under the policy {policy.name}, at x{cfg.scale}.",
            names=[model.model for model in models],
            metrics=list(better),
            level=1 - 2 * policy.alpha,
            lines=slice_lines(models, better, alpha=policy.alpha),
            images=images,
            pictures=contest.pictures([image.name for image in images[: cfg.num_pictures]]),
            facts={
                "decision": decision.sha256,
                "policy": f"{policy.name}, {decision.policy_sha256}",
                "decided": datetime.now(UTC).isoformat(timespec="seconds"),
                "by": user() + (f", approved by {decision.approved_by}" if decision.approved_by else ""),
                **facts,
                **costs,
                "policy's values": json.dumps(policy.as_dict()),
            },
            banner=Banner(tone=tone, title=title, text=decision.text.splitlines()[-1]),
            checks=[reason.as_dict() for reason in decision.reasons],
        )
    )
