"""A release: candidate and champion are measured on the same images, the gate decides, the decision is carried out."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from sr_lab.artefacts.artefact import Artefact
from sr_lab.base.files import write_text
from sr_lab.base.provenance import user
from sr_lab.base.signals import deferred, saying
from sr_lab.base.words import line, setting
from sr_lab.evaluation.benchmark import Benchmark
from sr_lab.evaluation.clips import benchmark_of
from sr_lab.evaluation.digests import digest_of, scenes_of
from sr_lab.evaluation.scoring import unscored, usable
from sr_lab.inference.clips import network_restorer
from sr_lab.inference.consistency import ConsistentRestorer
from sr_lab.inference.restorers import Restorer
from sr_lab.metrics.base import PerImageMetric
from sr_lab.metrics.protocol import Protocol
from sr_lab.promotion import Approval, Decision, Policy
from sr_lab.promotion.people import People, Preferred
from sr_lab.tasks.base import Task, metrics_of
from sr_lab.tracking.registry import aliases, decisions
from sr_lab.tracking.registry.aliases import CANDIDATE, CHAMPION, label
from sr_lab.tracking.registry.events import fire
from sr_lab.tracking.registry.ledger import Record
from sr_lab.workflows.load import choose_device
from sr_lab.workflows.release.evidence import Evidence, measured
from sr_lab.workflows.release.page import page_of
from sr_lab.workflows.release.people import expired, people_of

__all__ = ["Contenders", "Release", "contenders", "fire", "how_to_agree", "how_to_look", "release"]


@dataclass(frozen=True, kw_only=True)
class Contenders:
    """Who is measured.

    Attributes:
        uri: Tracking store, which is the registry too.
        name: Registered model.
        version: The candidate's version.
        champion: The champion's version; None where there is none yet.
    """

    uri: str
    name: str
    version: int
    champion: int | None

    @property
    def labels(self) -> dict[str, str]:
        """What each is called in texts, the candidate first, and its address in the store."""
        versions = [number for number in (self.version, self.champion) if number is not None]
        return {label(self.name, number): f"models:/{self.name}/{number}" for number in versions}


@dataclass(frozen=True, kw_only=True)
class Release:
    """A decision that was carried out.

    Attributes:
        decision: What the gate decided, and why.
        record: Its record in the audit.
        page: Its page.
        notes: What else has to be said: metrics that were not measured, numbers that were measured anew.
    """

    decision: Decision
    record: Record
    page: Path
    notes: Sequence[str] = ()


def how_to_look(uri: str, name: str) -> str:
    """The command that shows the records of a registered model."""
    return line("history", *aliases.place(uri, name))


def how_to_agree(uri: str, name: str, version: int | None) -> str:
    """What a person does about a decision that waits for approval."""
    consent = line("approve", *aliases.place(uri, name), setting("version", version))
    return f"to agree: {consent} by=YOU  and then this command again"


def contenders(*, uri: str, name: str, version: int | None = None) -> Contenders:
    """Candidate and champion of a registered model.

    Args:
        uri: Tracking store, which is the registry too.
        name: Registered model.
        version: The candidate's version; None for the one with the alias ``candidate``.

    Raises:
        UnsettledError: if the champion's alias or its version was removed by something else than sr_lab.
        ValueError: if there is no candidate, or it is the champion already.
        PermissionError: if the server does not allow the user to change the registered model.
        RuntimeError: if the store does not answer.
    """
    if not (version is None or (isinstance(version, int) and version > 0)):
        raise ValueError(f"version={version}: the number of a version, or null for the candidate")
    found = aliases.standing(uri, name)
    number, champion = version or found.get(CANDIDATE), found.get(CHAMPION)
    if number is None:
        registering = line("register", "run=DIR", setting("name", name))
        raise ValueError(f"{name} has no candidate: run  {registering}  first, or give version=N")
    if number == champion:
        raise ValueError(f"{label(name, number)} is the champion already")
    aliases.require_permission(uri, name)
    return Contenders(uri=uri, name=name, version=int(number), champion=champion)


def one_scale(models: Mapping[str, Artefact]) -> int:
    """The factor by which all of the models enlarge.

    Raises:
        ValueError: if they enlarge by different ones.
    """
    scales = {name: artefact.scale for name, artefact in models.items()}
    if len(set(scales.values())) > 1:
        named = " and ".join(f"{name} by {scale}" for name, scale in scales.items())
        raise ValueError(f"{named}: models of different scales cannot replace each other")
    return next(iter(scales.values()))


def release(
    who: Contenders,
    models: Mapping[str, Artefact],
    *,
    policy: Policy,
    original: Policy | None = None,
    protocol: Protocol,
    metrics: Mapping[str, PerImageMetric],
    tasks: Mapping[str, Task] | None = None,
    people: Path | None = None,
    report: Path,
    device: torch.device | str = "cpu",
    tile: int = 512,
    overlap: int | None = None,
    consistency: str | None = None,
    seed: int = 0,
    num_runs: int = 16,
    num_pictures: int = 8,
    fresh: bool = False,
    hold: bool = False,
    progress: bool = True,
) -> Release:
    """Measures the models, lets the gate decide, writes page and record, and moves the aliases if it says so.

    Args:
        who: Candidate and champion; see ``contenders``.
        models: Their artefacts by label, as in ``Contenders.labels``.
        policy: What the candidate has to show, and on which images.
        original: The policy as the file of its name has it: the decision names what was changed; None: not known.
        protocol: What is restored and compared with what; the policy's.
        metrics: Metrics by any name; measured are those that the policy names.
        tasks: Tasks by any name, whose numbers are metrics like others.
        people: Folder of a study that asked about both models, for a policy's check of what people prefer.
        report: Folder of the page, ``version-N.html``.
        device: Where networks and metrics are computed.
        tile: Side of a tile in low-resolution pixels; a smaller image is restored in one piece.
        overlap: Low-resolution pixels that neighbouring tiles share; None for as many as the networks need.
        consistency: ``exact``: the images are projected, as they are where such images are served; the hold-out's low
            images have to be bicubic. None: the models' own images.
        seed: Seed of random degradations of the hold-out; all models get the same draws.
        num_runs: Paired runs of time and memory, at least; the policy may ask for more.
        num_pictures: Images whose crops the page shows, where the candidate lost most first.
        fresh: Whether everything is measured again although the same decision waits for approval.
        hold: Whether a decision to promote is only written down: a rollout carries it out, or does not.
        progress: Whether a progress bar is shown where there is a terminal.

    Returns:
        The decision, carried out.

    Raises:
        ValueError: if the models, the policy and the settings do not fit together, or the models cannot be measured.
        ConflictError: if another version became champion meanwhile; then nothing was changed.
        PermissionError: if the server does not allow it to the user; then nothing was changed.
        RuntimeError: if the store does not answer.
        Stopped: if the process is asked to end; it says whether a decision was made.
    """
    device = choose_device(device)
    if people is not None and not any(isinstance(check, Preferred) for check in policy.checks.values()):
        raise ValueError(
            f"people={people}: policy {policy.name} has no check of what people prefer, so that the study would decide "
            "nothing: give policy=perceptual, or add "
            f"+policy.checks.people._target_={Preferred.__module__}.{Preferred.__name__}"
        )
    scale = one_scale(models)
    chosen = _fitting(policy, protocol, {**metrics, **metrics_of(tasks or {})})
    benchmarks = {
        key: benchmark_of(
            Path(part.benchmark),
            scale=scale,
            protocol=protocol,
            degradation=part.degradation,  # type: ignore[arg-type]
            seed=seed,
            device=device,
        )
        for key, part in policy.holdout.items()
    }
    restorers: dict[str, Restorer] = {
        name: network_restorer(artefact.network, tile=tile, overlap=overlap, device=device)
        for name, artefact in models.items()
    }
    settings = f"seed {seed}, tile {tile}, overlap {overlap}, at least {num_runs} paired runs"
    if consistency is not None:
        if consistency != "exact":
            raise ValueError(f"consistency={consistency}: exact, or null")
        if degraded := [key for key, part in policy.holdout.items() if part.degradation is not None]:
            raise ValueError(f"consistency=exact holds for bicubic images, and policy.holdout.{degraded[0]} degrades")
        restorers = {name: ConsistentRestorer(restorer) for name, restorer in restorers.items()}
        settings += ", consistency exact"
    said = None if people is None else people_of(people, list(models.values()), alpha=policy.alpha)
    if said is not None:
        settings += f", study {said.study} with answers {said.ballots[:12]}"
    measurable = [key for key in policy.metrics if key in usable(chosen, protocol)[0]]
    evidence: Evidence | None = None
    approval, notes = None, list[str]()
    if not fresh:
        evidence, approval, notes = _asked_before(who, policy, said)
        if evidence is None and not notes:
            evidence, notes = _rejected_before(who, policy, benchmarks, settings=settings, metrics=measurable)
    if evidence is None:
        with saying("while the models were measured; nothing is decided, written or changed"):
            evidence = measured(
                restorers,
                benchmarks,
                policy=policy,
                metrics=chosen,
                models=models,
                settings=settings,
                num_runs=num_runs,
                people=said,
                progress=progress,
            )
    if (unmeasured := evidence.facts["not measured"]) != "nothing":
        notes.append(f"not measured: {unmeasured}")
    if (copies := evidence.facts.get("near copies", "none")) != "none":
        notes.append(f"near copies count as one scene: {copies}")
    decision = evidence.decision(policy, original=original, approval=approval)
    shown = unscored(restorers, benchmarks)
    html = page_of(decision, policy, evidence, shown, metrics=chosen, num_pictures=num_pictures)
    page = report / f"version-{who.version}.html"
    kept = {**evidence.as_dict(), "decision": decision.as_dict(), "policy": policy.as_dict()}
    carry_out = functools.partial(aliases.record, hold=hold)
    if decision.outcome == "promote" and not hold:
        carry_out = functools.partial(aliases.promote)
    told = f"the decision ({decision.outcome}) is made, carried out and recorded: {page}"
    with saying(told), deferred():  # all of it or nothing: a signal waits
        write_text(page, html)
        decisions.keep(who.uri, who.name, who.version, decision=decision.sha256, evidence=kept, page=html)
        record = carry_out(who.uri, who.name, who.version, decision=decision.as_dict(), who=user())
    return Release(decision=decision, record=record, page=page, notes=notes)


def _fitting(policy: Policy, protocol: Protocol, metrics: Mapping[str, PerImageMetric]) -> dict[str, PerImageMetric]:
    """The metrics that the policy names; refuses what it does not agree with."""
    if not isinstance(policy, Policy):
        raise ValueError(f"policy={getattr(policy, 'name', policy)} is a policy of srlab rollout, not of the gate")
    if protocol.name != policy.protocol:
        raise ValueError(
            f"policy {policy.name} asks for protocol={policy.protocol}, given is {protocol.name}: "
            f"give protocol={policy.protocol} or policy.protocol={protocol.name}"
        )
    if not policy.holdout:
        raise ValueError(f"policy {policy.name} names no hold-out: give policy.holdout")
    for metric in metrics.values():
        if (way := "higher" if metric.higher_is_better else "lower") != policy.metrics.get(metric.key, way):
            raise ValueError(f"policy {policy.name} says {metric.key} is not better {way}: correct its checks")
    return {metric.key: metric for metric in metrics.values() if metric.key in policy.metrics}


def _asked_before(
    who: Contenders, policy: Policy, people: People | None
) -> tuple[Evidence | None, Approval | None, list[str]]:
    """The numbers of the decision that waits for approval, if it is the one to be made now, the consent to it, news."""
    request, consent = decisions.open_request(who.uri, who.name)
    asked = (who.version, who.champion, policy.sha256)
    if request is None or (request.target, request.source, request.policy) != asked:
        return None, None, []
    document = decisions.fetch(who.uri, who.name, who.version, decision=str(request.decision))
    if document is None:
        return None, None, []
    evidence = Evidence.parse(document)
    if evidence.decision(policy).sha256 != request.decision:
        return None, None, [f"the numbers of decision {request.decision} were changed: measured anew"]
    if evidence.people is not None and expired(evidence.people, policy):
        return None, None, [f"study {evidence.people.study} has expired meanwhile: measured anew"]
    if people is not None and (evidence.people is None or evidence.people.ballots != people.ballots):
        return None, None, [f"the answers of study {people.study} are other ones by now: measured anew"]
    return evidence, None if consent is None else Approval(by=consent.who, decision=str(consent.decision)), []


def _rejected_before(
    who: Contenders, policy: Policy, benchmarks: Mapping[str, Benchmark], *, settings: str, metrics: Sequence[str]
) -> tuple[Evidence | None, list[str]]:
    """The numbers by which the same version was rejected or held, if nothing that they rest on has changed, and news.

    Measuring until it passes would be a selection. Champion, policy, hold-out, scenes, settings and the metrics that
    can be measured have to be the same; a version's weights never change.
    """
    asked = (who.version, who.champion, policy.sha256)
    done = [record for record in aliases.history(who.uri, who.name) if record.phase == "done"]
    done = [record for record in done if record.action in ("reject", "pass")]
    found = [record for record in done if (record.target, record.source, record.policy) == asked]
    if not found:
        return None, []
    record = found[-1]
    document = decisions.fetch(who.uri, who.name, who.version, decision=str(record.decision))
    if document is None:
        return None, []
    evidence = Evidence.parse(document)
    if evidence.facts.get("settings") != settings:
        return None, []
    rows = evidence.models[0].rows
    now, _ = scenes_of(benchmarks)
    if {row.name: row.scene for row in rows} != {f"{key}/{name}": scene for (key, name), scene in now.items()}:
        return None, []
    if {key for row in rows for key in row.metrics} != set(metrics):
        return None, []
    if evidence.facts["hold-out's SHA-256"] != digest_of(benchmarks):
        return None, []
    if evidence.decision(policy).sha256 != record.decision:
        return None, [f"the numbers of decision {record.decision} were changed: measured anew"]
    return evidence, [f"nothing has changed since record {record.number}: its numbers count (fresh=true measures anew)"]
