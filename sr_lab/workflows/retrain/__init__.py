"""Retraining: on drift the champion is fine-tuned on what is found, and the gate decides; what is begun goes on."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from filelock import FileLock, Timeout

from sr_lab.artefacts.artefact import Artefact, load_artefact
from sr_lab.base.files import replacing, sha256, write_text
from sr_lab.base.signals import Stopped
from sr_lab.base.words import counted, line
from sr_lab.evaluation.pairs import find_pairs
from sr_lab.evaluation.scenes import find_scenes
from sr_lab.monitoring.report import CURRENT, PRESET
from sr_lab.promotion import Decision, Policy
from sr_lab.promotion.quality import QualityCheck
from sr_lab.promotion.retraining import RetrainingPolicy, Situation, should_retrain
from sr_lab.tracking.registry.aliases import CANDIDATE, CHAMPION, aliases, history, place, standing
from sr_lab.tracking.registry.events import fire
from sr_lab.tracking.registry.ledger import Record
from sr_lab.tracking.store import download
from sr_lab.training.timing import seconds_per_step
from sr_lab.workflows.retrain.logbook import Attempt, Logbook, utc_now
from sr_lab.workflows.retrain.page import Story, write_page
from sr_lab.workflows.rollout import Rolled
from sr_lab.workflows.watch import DriftResult

__all__ = ["Artefact", "Busy", "Cost", "Material", "Released", "Retraining", "fire", "require_usable", "retrain"]

Outcome = Literal[
    "quiet", "not allowed", "paused", "promoted", "rejected", "proposed", "rolling", "waiting", "stopped"
]  # fmt: skip
OVERHEAD = 1.4
"""Validation, data and start-up, over the bare optimizer steps."""
WHOLE = ("all", "benchmark_old", "benchmark_new")
"""Slices that hold the whole hold-out."""
_OUTCOMES: dict[str, Outcome] = {"promote": "promoted", "reject": "rejected", "needs_approval": "proposed"}


class Busy(RuntimeError):
    """Another retraining of the same model is running in the same folder."""


class Released(Protocol):
    """What is used of a release."""

    @property
    def decision(self) -> Decision:
        """What the gate decided."""

    @property
    def record(self) -> Record:
        """Its record in the ledger."""


@dataclass(frozen=True, kw_only=True)
class Cost:
    """What the fine-tuning of a champion takes.

    Attributes:
        steps: Optimizer steps.
        crop: Side of the target crops, in pixels.
        batch_size: Crops in a step.
        device: Device that it runs on, as ``cpu`` or ``cuda``.
    """

    steps: int
    crop: int
    batch_size: int
    device: Any


@dataclass(frozen=True, kw_only=True)
class Material:
    """What a retraining has to go by.

    Attributes:
        folder: Folder of this retraining: drift, training and gate lie in it.
        champion: Folder of the champion's artefact.
        preset: YAML file of the degradation that imitates the new images.
    """

    folder: Path
    champion: Path
    preset: Path

    @property
    def run(self) -> Path:
        """Folder of the fine-tuning."""
        return self.folder / "run"

    @property
    def current(self) -> Path:
        """Profile of the new images."""
        return self.folder / "drift" / CURRENT

    @property
    def gate(self) -> Path:
        """Folder of the gate's page."""
        return self.folder / "gate"


@dataclass(frozen=True, kw_only=True)
class Retraining:
    """What came of it.

    Attributes:
        outcome: ``quiet``: there is no drift; ``not allowed``: there is, but the policy forbids to retrain;
            ``paused``: the training's time is up and the same call goes on; ``rolling``: the rollout is under way;
            ``waiting``: it is paused, a person decides; ``stopped``: it ended without a new champion; else what the
            gate decided.
        drift: What the look at the images found; None where an interrupted retraining went on.
        reasons: Lines of the decision to retrain.
        version: The candidate; None where none was made.
        released: The gate's decision and its record; None where it was not asked in this call.
        rolled: The rollout after this call; None where there was none.
        page: The page for people; None where there was nothing to tell.
        paused: Where the training was paused, in words.
    """

    outcome: Outcome
    drift: DriftResult | None = None
    reasons: Sequence[str] = ()
    version: int | None = None
    released: Released | None = None
    rolled: Rolled | None = None
    page: Path | None = None
    paused: str | None = None


def retrain(
    *,
    name: str,
    tracking_uri: str,
    output: Path,
    reference: Path | None,
    prepare: Callable[[Artefact], Cost],
    look: Callable[[Artefact, Path], DriftResult],
    train: Callable[[Material], str | None],
    register: Callable[[Material], object],
    release: Callable[[Material, int], Released],
    policy: RetrainingPolicy,
    rollout: Callable[[Material, int], Rolled] | None = None,
    num_trials: int = 3,
    wait_seconds: float = 0,
    fresh: bool = False,
    news: Callable[[str], object] = lambda text: None,
) -> Retraining:
    """Looks for drift, or goes on with the retraining that was interrupted.

    Drift is answered by a fine-tuning where the policy allows it; the gate decides what becomes of the candidate. After
    a promotion the profile of the new images is the reference, and the former one is kept beside it. Whatever fails,
    champion and reference stay.

    Args:
        name: The registered model that has a champion.
        tracking_uri: The store that is the registry too.
        output: Folder of the logbook, with a folder below it for each retraining.
        reference: Profile of what the champion was made for, which is renewed; None where it is kept with the version.
        prepare: Refuses what would end a retraining of this champion later, and tells what it takes.
        look: Looks for drift with this champion, and writes its report into the folder.
        train: Fine-tunes into ``Material.run``; gives where it was paused, in words, or None once it has ended.
        register: Makes the run of this retraining the model's candidate.
        release: Lets the gate decide on this version, carries the decision out, and writes its page.
        policy: When a drift is answered by a training, and what it may cost.
        rollout: Takes the steps of the rollout of this version, begun where it was not, that its evidence allows by
            now; ``release`` then only judges. None: ``release`` makes the champion.
        num_trials: Number of times that a stage of a retraining is begun before it is given up.
        wait_seconds: Seconds to wait for another retraining in the same folder.
        fresh: Whether a retraining that was interrupted is given up.
        news: Is told what is going on, a line at a time.

    Returns:
        What came of it.

    Raises:
        Busy: If another retraining still runs in the folder after the wait.
        ValueError: If there is no champion, or ``prepare`` refuses.
        RuntimeError: If a retraining was begun ``num_trials`` times and never ended.
        Stopped: If the process is asked to end; the same call goes on.
    """
    output.mkdir(parents=True, exist_ok=True)
    try:
        lock = FileLock(output / ".lock").acquire(timeout=wait_seconds)
    except Timeout as error:
        raise Busy(f"another retraining of {name} is running in {output}: it was left alone") from error
    with lock:
        book = Logbook.read(output / "logbook.json")
        if book.attempt is not None and fresh:
            book.end("given up", now=utc_now())
        if book.attempt is not None and book.attempt.tries >= num_trials:
            tries = book.attempt.tries
            book.end("failed", now=utc_now())
            raise RuntimeError(
                f"{output}: the retraining was begun {counted(tries, 'time')} and never ended: it is given up"
            )
        drift = None
        if book.attempt is None:
            try:
                found = _look(book, output, name, tracking_uri, prepare=prepare, look=look, policy=policy, news=news)
            except Stopped as stop:
                raise stop.saying("no retraining was begun", goes_on=True) from None
            if isinstance(found, Retraining):
                return found
            drift = found
        elif book.attempt.stage != "rollout":  # which is gone on with again and again
            news(f"going on with {book.attempt.name}, stage {book.attempt.stage}")
        attempt = book.attempt
        assert attempt is not None
        attempt.tries += 1
        book.write()
        material = _material(output / attempt.name)
        try:
            if attempt.stage == "training":
                if (paused := train(material)) is not None:
                    attempt.tries -= 1  # a pause is no failure
                    book.write()
                    return Retraining(outcome="paused", drift=drift, reasons=attempt.reasons, paused=paused)
                attempt.enter("registering")
                book.write()
            if attempt.stage == "registering":
                register(material)
                attempt.version = aliases(tracking_uri, name)[CANDIDATE]
                attempt.enter("gate")
                book.write()
            assert attempt.version is not None
            released, rolled = None, None
            if attempt.stage == "gate":
                if not _decided(tracking_uri, name, attempt.version, held=rollout is not None):
                    released = release(material, attempt.version)
                if rollout is not None and (released is None or released.decision.outcome == "promote"):
                    attempt.checks = _checks(released)
                    attempt.enter("rollout")
                    book.write()
            if attempt.stage == "rollout":
                if rollout is None:
                    raise ValueError(f"{output}: {attempt.name} is rolled out by srlab watch: go on with that")
                rolled = rollout(material, attempt.version)
        except (Stopped, KeyboardInterrupt) as stop:
            attempt.tries -= 1  # whoever asked to end is no failure
            book.write()
            if isinstance(stop, Stopped):
                said = f"the retraining {attempt.name} is at its stage {attempt.stage}"
                raise stop.saying(said, goes_on=True) from None
            raise
        if rolled is not None and not rolled.rollout.over:
            attempt.tries = 0  # waiting is no failure
            book.write()
            return Retraining(
                outcome="waiting" if rolled.rollout.paused else "rolling",
                drift=drift,
                reasons=tuple(attempt.reasons),
                version=attempt.version,
                released=released,
                rolled=rolled,
            )
        return _ended(book, material, attempt, released, rolled, reference, drift)


def _look(
    book: Logbook,
    output: Path,
    name: str,
    uri: str,
    *,
    prepare: Callable[[Artefact], Cost],
    look: Callable[[Artefact, Path], DriftResult],
    policy: RetrainingPolicy,
    news: Callable[[str], object],
) -> Retraining | DriftResult:
    """Looks for drift and opens a retraining if there is one that is allowed; what came of it if there is not."""
    version = standing(uri, name).get(CHAMPION)
    if version is None:
        promoting = line("promote", *place(uri, name))
        raise ValueError(f"{name} has no champion to start from: {promoting} first")
    latest = (output / "latest").resolve()
    shutil.rmtree(latest, ignore_errors=True)
    champion = download(f"models:/{name}/{version}", tracking_uri=uri, directory=latest / "champion")
    artefact = load_artefact(champion)
    if not isinstance(artefact.config.get("degradation"), dict):
        raise ValueError(f"the champion of {name} records no degradation, so the old conditions are not known")
    cost = prepare(artefact)
    found = look(artefact, latest / "drift")
    if not found.alarm:
        return Retraining(outcome="quiet", drift=found)
    if not (found.settled or found.unusable):
        waits = "these images may not be all of one kind, as the drift began or ended with them: the next ones decide"
        return Retraining(outcome="quiet", drift=found, reasons=(waits,))
    seconds = seconds_per_step(artefact.network, crop=cost.crop, batch_size=cost.batch_size, device=cost.device)
    now = utc_now()
    verdict = should_retrain(
        Situation(
            alarm=True,
            trainable=found.trainable,
            unusable=found.unusable,
            hours_since_last=book.hours_since_last(now),
            minutes=seconds * cost.steps * OVERHEAD / 60,
            device=cost.device.type,
            spent=book.spent(now),
        ),
        policy,
    )
    news("\n".join(verdict.reasons))
    if not verdict.retrain:
        page = write_page(Story(outcome="not allowed", reasons=verdict.reasons), latest)
        return Retraining(outcome="not allowed", drift=found, reasons=verdict.reasons, page=page)
    write_text(latest / "champion.json", json.dumps(str(champion.resolve().relative_to(latest))))
    name_of_it = book.following(now)
    shutil.rmtree(output / name_of_it, ignore_errors=True)
    latest.rename(output / name_of_it)  # before the logbook knows of it: what it names is there, whatever happens
    book.begin(name_of_it, champion=version, cost=verdict.cost, reasons=list(verdict.reasons))
    return found


def _material(folder: Path) -> Material:
    champion = folder / json.loads((folder / "champion.json").read_text(encoding="utf-8"))
    return Material(folder=folder, champion=champion, preset=folder / "drift" / PRESET)


def _ended(
    book: Logbook,
    material: Material,
    attempt: Attempt,
    released: Released | None,
    rolled: Rolled | None,
    reference: Path | None,
    drift: DriftResult | None,
) -> Retraining:
    """Writes what the decision means into reference, page and logbook."""
    outcome: Outcome = "promoted" if released is None else _OUTCOMES[released.decision.outcome]
    if rolled is not None:
        outcome = "promoted" if rolled.rollout.stage == "finished" else "stopped"
    checks = attempt.checks or _checks(released)
    if outcome == "promoted" and reference is not None:
        _renew(reference, material.current, attempt)
    story = Story(outcome=outcome, reasons=tuple(attempt.reasons), checks=checks, cost=attempt.cost)
    page = write_page(story, material.folder)
    if outcome == "proposed":
        attempt.tries = 0  # waiting is no failure
        book.write()
    else:
        book.end(outcome, now=utc_now())
    return Retraining(
        outcome=outcome,
        drift=drift,
        reasons=tuple(attempt.reasons),
        version=attempt.version,
        released=released,
        rolled=rolled,
        page=page,
    )


def _decided(uri: str, name: str, version: int, *, held: bool) -> bool:
    """Whether the gate has passed this version already, and the call was interrupted before the logbook knew."""
    if aliases(uri, name).get(CHAMPION) == version:
        return True
    return held and any(
        (record.action, record.target, record.phase) == ("pass", version, "done") for record in history(uri, name)
    )


def _checks(released: Released | None) -> list[dict[str, Any]]:
    return [] if released is None else [dict(reason.as_dict()) for reason in released.decision.reasons]


def _renew(reference: Path, current: Path, attempt: Attempt) -> None:
    """The new images become the reference; the former profile is kept beside it."""
    former = reference.with_suffix(f".before-{attempt.name}.parquet")
    for source, target in ((reference, former), (current, reference)):
        if target is former and former.exists():
            continue
        with replacing(target) as partial:
            shutil.copyfile(source, partial)


def require_usable(holdout: Path, *, champion: Artefact, policy: Policy) -> None:
    """Refuses a hold-out on which the gate could not decide between a champion and its fine-tuned candidate.

    Args:
        holdout: Folder of originals that no training has seen.
        champion: The champion.
        policy: The gate's policy.

    Raises:
        ValueError: If it brings low images of its own, shows images that the champion has seen, or too few scenes.
    """
    pairs = find_pairs(holdout, scale=champion.scale)
    if pairs[0].low is not None:
        raise ValueError(f"holdout={holdout} brings its own low images (LR/): give its folder of originals")
    known = {digest for digests in (champion.metadata.get("images") or {}).values() for digest in digests}
    if seen := [pair.name for pair in pairs if sha256(pair.high) in known]:
        raise ValueError(
            f"holdout={holdout}: the champion was trained or selected on {len(seen)} of {counted(len(pairs), 'image')} "
            f"({seen[0]}): give images that no training has seen"
        )
    checks = [check for check in policy.checks.values() if isinstance(check, QualityCheck) and check.slice in WHOLE]
    least = max((check.min_scenes for check in checks), default=0)
    if (found := len(set(find_scenes(holdout, [pair.name for pair in pairs]).values()))) < least:
        raise ValueError(
            f"holdout={holdout} shows {counted(found, 'scene')}, policy {policy.name} asks for {least} or more"
        )
