"""Measure what the images are like while all is well, and look whether those that come in still are.

``measure_profile`` writes the reference. ``watch`` compares a folder with it: once, again and again with a state, or
image by image as a stream.
"""

import logging
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd
from filelock import FileLock, Timeout
from torch import Tensor
from tqdm import tqdm

from sr_lab.base.files import write_text
from sr_lab.base.signals import Asked, Stopped, deferred
from sr_lab.degradations.estimate import fit_estimates, preset
from sr_lab.images import list_images
from sr_lab.inference.restorers import BicubicRestorer, NetworkRestorer
from sr_lab.monitoring.comparison import Drift, check_comparable, check_enough, compare
from sr_lab.monitoring.embedding import Embedding
from sr_lab.monitoring.features import feature, feature_columns, transformed
from sr_lab.monitoring.measuring import Extractor, measure_files, measure_folder
from sr_lab.monitoring.outputs import RestoredOutputs
from sr_lab.monitoring.profile import Profile, read_profile, write_profile
from sr_lab.monitoring.repeated import RepeatedChecks, read_checks, write_checks
from sr_lab.monitoring.report import CURRENT, HTML, PRESET, Finding, write_report
from sr_lab.monitoring.stream import Stream
from sr_lab.monitoring.usability import Usability, usability
from sr_lab.workflows.load import load_restorer

__all__ = ["DriftResult", "ProfileResult", "feature_extractor", "load_restorer", "measure_profile", "watch"]

_log = logging.getLogger(__name__)

Progress = Callable[[int, int], None]
"""Is told how many images are done, and of how many."""


@dataclass(frozen=True, kw_only=True)
class ProfileResult:
    """A profile that was measured and written.

    Attributes:
        profile: The features of the images.
        path: The Parquet file.
        seconds: Wall time of the measuring.
    """

    profile: Profile
    path: Path
    seconds: float

    @property
    def skipped(self) -> Mapping[str, str]:
        """The files that could not be used, each with its reason."""
        return dict(self.profile.facts["skipped"])

    @property
    def lines(self) -> list[str]:
        """One line a feature, for people."""
        lines = []
        for name in feature_columns(self.profile.table):
            known, values = feature(name), self.profile.table[name]
            low, middle, high = (f"{value:.{known.decimals}f}" for value in values.quantile([0.05, 0.5, 0.95]))
            text = "none" if values.isna().all() else f"median {middle}, 90 % in {low} to {high} {known.unit}".rstrip()
            missing = f", none in {values.isna().sum()}" if 0 < values.isna().sum() < len(values) else ""
            lines.append(f"{known.label}: {text}{missing}")
        return lines


@dataclass(frozen=True, kw_only=True)
class DriftResult:
    """What a look at the images found, and where it is written.

    The alarm has two reasons, each by itself: drift, and images that cannot be used.

    Attributes:
        finding: What was decided, and by what.
        current: The features of the images that were looked at.
        preset: A degradation that imitates the images, as YAML; None without drift.
        report: Folder of ``drift.html``, ``drift.json``, ``drift.png``, ``current.parquet`` and ``preset.yaml``.
    """

    finding: Finding
    current: Profile
    preset: str | None
    report: Path

    @property
    def alarm(self) -> bool:
        """Whether the images are no longer those of the reference."""
        return self.finding.alarm

    @property
    def new(self) -> bool:
        """Whether the alarm was off before."""
        return self.finding.new

    @property
    def unusable(self) -> bool:
        """Whether too many of the images are unreadable, of one value or repeated: an alarm that no training ends."""
        return self.finding.usability.alarm

    @property
    def trainable(self) -> bool:
        """Whether a change of noise, blur or JPEG explains the drift, and a preset imitates it."""
        explained = any(change.trainable for change in self.finding.changes)
        return explained and self.preset is not None and not self.unusable

    @property
    def headline(self) -> str:
        """The finding in one sentence."""
        return self.finding.headline

    @property
    def lines(self) -> list[str]:
        """What changed, for people."""
        return self.finding.lines

    @property
    def skipped(self) -> Mapping[str, str]:
        """The files that could not be used, each with its reason."""
        return dict(self.current.facts["skipped"])

    @property
    def page(self) -> Path:
        """The report for people."""
        return self.report / HTML

    @property
    def preset_file(self) -> Path | None:
        """The preset, to train on; None without drift."""
        return None if self.preset is None else self.report / PRESET

    @property
    def profile_file(self) -> Path:
        """The features of the images: a reference for later."""
        return self.report / CURRENT


def feature_extractor(
    *,
    embedding: Embedding,
    crop: int = 512,
    restorer: BicubicRestorer | NetworkRestorer | None = None,
    num_samples: int = 4,
    side: int = 128,
) -> Extractor:
    """What measures an image: the features of the input and, with a restorer, those of its output.

    Args:
        embedding: Embedding of the content.
        crop: Side, in pixels, of the square in the middle of a larger image that is measured.
        restorer: Restorer whose outputs are measured too; None for the features of the inputs alone.
        num_samples: Number of samples of a generative restorer, for their spread.
        side: Side, in pixels, of the square that is restored.

    Raises:
        ValueError: if ``crop`` is below 64, or ``num_samples`` below 2.
    """
    if restorer is None:
        return Extractor(embedding=embedding, crop=crop)
    if num_samples < 2:
        raise ValueError(f"num_samples={num_samples}: one sample has no spread, give 2 or more")
    known = restorer.metadata
    identity = "bicubic" if known is None else str(known.get("sha256", known.get("weights", "unknown")))
    device = "cpu"
    if isinstance(restorer, NetworkRestorer):
        device = next((str(weight.device) for weight in restorer.network.parameters()), device)
    variance = None
    if isinstance(restorer, NetworkRestorer) and restorer.generative:
        generative = restorer

        def variance(low: Tensor) -> Tensor:
            return generative.moments(low.to(device), num=num_samples)[1].cpu()

    outputs = RestoredOutputs(
        restore=lambda low: restorer(low.to(device)).cpu(),
        scale=int(restorer.scale),
        identity=identity,
        variance=variance,
        side=side,
    )
    return Extractor(embedding=embedding, crop=crop, outputs=outputs)


def measure_profile(
    folder: Path,
    output: Path,
    *,
    extractor: Extractor,
    num_images: int | None = None,
    workers: int = 1,
    progress: Progress | None = None,
) -> ProfileResult:
    """Measures a folder of images and writes the profile that ``watch`` compares with.

    Args:
        folder: Folder of images as they came while all was well, searched with its folders below.
        output: Parquet file to write.
        extractor: What measures an image; see ``feature_extractor``.
        num_images: Largest number of images, evenly spaced in the sorted list; None for all.
        workers: Number of processes; with a restorer only 1.
        progress: Is told how many images are done, and of how many; None shows a bar on a terminal.

    Raises:
        ValueError: if the folder is missing or holds no image that can be used.
        OSError: if the file cannot be written.
    """
    _check_workers(extractor, workers)
    start = time.perf_counter()
    if output.is_dir():
        raise ValueError(f"output={output} is a folder: give the Parquet file to write")
    with _told("profile", progress) as tell, _interruptible():
        profile = measure_folder(folder, extractor, num_images=num_images, workers=workers, progress=tell)
    seconds = time.perf_counter() - start
    write_profile(profile, output)
    return ProfileResult(profile=profile, path=output, seconds=seconds)


def watch(
    reference: Path,
    current: Path,
    *,
    report: Path,
    extractor: Extractor,
    scale: int = 4,
    alpha: float = 0.05,
    state: Path | None = None,
    horizon: int = 60,
    clear_after: int = 3,
    stream: Path | None = None,
    min_images: int = 20,
    max_unusable: float = 0.1,
    num_permutations: int = 9999,
    seed: int = 0,
    num_images: int | None = None,
    num_pictures: int = 12,
    workers: int = 1,
    progress: Progress | None = None,
) -> DriftResult:
    """Looks whether the images of a folder are still those of a profile, and writes the report.

    Args:
        reference: Profile of how the images should be, as ``measure_profile`` wrote it.
        current: Folder of the images that come in now.
        report: Folder of the files to write; made where it is missing.
        extractor: What measures an image, with the settings of the profile.
        scale: Enlargement factor that the preset is for.
        alpha: Probability of a false alarm: of one check, of a period of checks, or of a whole stream.
        state: JSON file of repeated checks; alpha is spent over them and the alarm has hysteresis.
        horizon: Number of checks in a period, with ``state``.
        clear_after: Number of quiet checks in a row that end an alarm, with ``state``.
        stream: Parquet file of a stream; images are judged one by one as they come, in the order of their names.
        min_images: Least number of images in the profile and in the folder.
        max_unusable: Share of the images that may be unreadable, of one value or repeated, beyond the profile's own
            share; more is an alarm by itself.
        num_permutations: Number of permutations of the deciding test.
        seed: Seed of the permutations and of the tie-breaks.
        num_images: Largest number of images, evenly spaced in the sorted list; None for all.
        num_pictures: Number of images that the report shows.
        workers: Number of processes; with a restorer only 1.
        progress: Is told how many images are done, and of how many; None shows a bar on a terminal.

    Raises:
        ValueError: if a setting makes no sense, a file is no profile or state, or there are too few images.
        OSError: if a file cannot be written.
    """
    if state is not None and stream is not None:
        raise ValueError("state= and stream= are given: windows or single images, not both")
    if not isinstance(scale, int) or scale < 1:
        raise ValueError(f"scale={scale}: a whole number of at least 1")
    _check_workers(extractor, workers)
    profile = read_profile(reference)
    check_comparable(profile, extractor.settings())
    for path in (state, stream):
        _check_state(path)
    _check_folder(report)
    look = _Look(
        reference=profile,
        folder=current,
        extractor=extractor,
        min_images=min_images,
        max_unusable=max_unusable,
        num_permutations=num_permutations,
        seed=seed,
        workers=workers,
        progress=progress,
    )
    if stream is None:
        checks = RepeatedChecks(alpha=alpha, horizon=1 if state is None else horizon, clear_after=clear_after)
        ready = look.window(checks, state, num_images=num_images)
    else:
        ready = look.stream(Stream(alpha=alpha, seed=seed), stream)
    with ready as (found, finding, asked):
        text = None
        if finding.drifted and found.estimates:
            text = preset(fit_estimates(found.estimates), scale=scale, source=current.name)
        (report / CURRENT).unlink(missing_ok=True)
        if len(found):
            write_profile(found, report / CURRENT)
        (report / PRESET).unlink(missing_ok=True)
        if text is not None:
            write_text(report / PRESET, text)
        write_report(finding, profile, found, report, folder=current, preset=text, num_pictures=num_pictures)
        result = DriftResult(finding=finding, current=found, preset=text, report=report)
        asked.raise_if_asked(f"the look was finished first ({finding.headline}); report: {result.page}")
    return result


@dataclass(frozen=True, kw_only=True)
class _Look:
    """One look at a folder: measured until a signal comes; from there on, state and report are written together."""

    reference: Profile
    folder: Path
    extractor: Extractor
    min_images: int
    max_unusable: float
    num_permutations: int
    seed: int
    workers: int
    progress: Progress | None

    @contextmanager
    def window(
        self, rules: RepeatedChecks, state: Path | None, *, num_images: int | None
    ) -> Iterator[tuple[Profile, Finding, Asked]]:
        """All images of the folder as one window: one check, or the next of many."""
        if rules.level < 1 / (self.num_permutations + 1):
            raise ValueError(
                f"num_permutations={self.num_permutations} cannot reach the level {rules.level:.2g} of a check: give "
                f"{int(2 / rules.level)} or more"
            )
        key = str(self.reference.facts["images_sha256"])
        if state is not None:
            with _locked(state):  # what keeps the state from being written shows before the measuring
                read_checks(state, reference=key)
        with _told("drift", self.progress) as tell, _interruptible(state):
            current = measure_folder(
                self.folder,
                self.extractor,
                num_images=num_images,
                workers=self.workers,
                progress=tell,
                allow_none=True,
            )
        with deferred() as asked:
            usable = self._usability(current)
            drift = None
            if len(current) >= self.min_images or not usable.alarm:
                drift = self._compared(current, min_images=self.min_images)
            facts: dict[str, Any] = {
                "p_value": None if drift is None else drift.test.p_value,
                "images_sha256": current.facts["images_sha256"],
                "num_images": len(current),
                "unusable": usable.alarm,
            }
            if state is None:
                yield current, Finding.of_window(drift, [rules.next([], **facts)], rules, usable), asked
                return
            with _locked(state):
                checks = read_checks(state, reference=key)
                check = rules.next(checks, **facts)
                if not checks or check is not checks[-1]:
                    checks.append(check)
                write_checks(state, checks, reference=key)
            yield current, Finding.of_window(drift, checks, rules, usable), asked

    @contextmanager
    def stream(self, bets: Stream, state: Path) -> Iterator[tuple[Profile, Finding, Asked]]:
        """The images of the folder that the stream has not seen, one after the other, after those that it has.

        Explained and shown are the new ones, and some before them where they are few.
        """
        reference, folder = self.reference, self.folder
        check_enough(reference, "the profile holds", self.min_images)
        key = reference.facts["images_sha256"]
        with _locked(state):
            files = {file.relative_to(folder).as_posix(): file for file in list_images(folder)}
            before = read_profile(state, allow_none=True) if state.is_file() else None
            if before is not None and before.facts.get("reference") != key:
                before = None
            if before is not None:
                check_comparable(before, self.extractor.settings())
            past: Mapping[str, Any] = {} if before is None else before.facts
            seen = {} if before is None else {**dict.fromkeys(before.table["name"]), **past["skipped"]}
            new = [name for name in files if name not in seen]
            known = [name for name in files if name in seen]
            shown = known[max(len(known) - max(self.min_images - len(new), 0), 0) :] + new
            with _told("drift", self.progress) as tell, _interruptible(state):
                chosen = [files[name] for name in shown]
                current = measure_files(chosen, folder, self.extractor, workers=self.workers, progress=tell)
            with deferred() as asked:
                if not len(current):
                    current = replace(current, table=reference.table.iloc[:0])
                usable = self._usability(current)
                added = current.table[current.table["name"].isin(new)]
                table = added if before is None else pd.concat([before.table, added], ignore_index=True)
                merged = {name: {**past.get(name, {}), **current.facts[name]} for name in ("skipped", "kinds")}
                facts = {**current.facts, **merged, "reference": key, "unusable": usable.alarm}
                write_profile(Profile(table, current.settings, facts), state)
                names = feature_columns(reference.table)
                result = bets(transformed(reference.table, names), transformed(table, names), names)
                drift = self._compared(current, min_images=1) if len(current) else None
                yield (
                    current,
                    Finding.of_stream(
                        drift,
                        result,
                        usable,
                        alpha=bets.alpha,
                        num_new=len(added),
                        unusable_before=bool(past.get("unusable", False)),
                    ),
                    asked,
                )

    def _usability(self, current: Profile) -> Usability:
        return usability(current, self.reference, max_unusable=self.max_unusable, min_images=self.min_images)

    def _compared(self, current: Profile, *, min_images: int) -> Drift:
        return compare(
            self.reference, current, min_images=min_images, num_permutations=self.num_permutations, seed=self.seed
        )


def _check_workers(extractor: Extractor, workers: int) -> None:
    if workers > 1 and extractor.outputs is not None:
        raise ValueError(f"workers={workers}: with a restorer there is one process, leave it out")


def _check_state(path: Path | None) -> None:
    if path is not None and path.is_dir():
        raise ValueError(f"{path} is a folder: give the file in it that shall keep the state")


def _check_folder(path: Path) -> None:
    """Refuses a report that could not be written, before the measuring."""
    if path.exists() and not path.is_dir():
        raise ValueError(f"report={path} is a file: give a folder")


@contextmanager
def _locked(state: Path) -> Iterator[None]:
    """Keeps other looks away from a state.

    Raises:
        OSError: If it cannot be locked, with what to do.
    """
    lock = FileLock(state.with_suffix(".lock"), timeout=0)
    try:
        state.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire()
        except Timeout:
            _log.warning("another srlab drift uses %s: waiting until it has ended", state)
            lock.acquire(timeout=-1)
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise OSError(
            f"{state} cannot be locked ({reason}), so two checks could overwrite each other: give a path on a disk "
            "that can be written and that has locks"
        ) from error
    try:
        yield
    finally:
        lock.release()


@contextmanager
def _interruptible(state: Path | None = None) -> Iterator[None]:
    """Says after a signal that nothing was written."""
    try:
        yield
    except Stopped as stop:
        kept = "nothing was written" if state is None else f"nothing was written, {state} is as it was"
        raise stop.saying(f"while the images were measured; {kept}") from None


@contextmanager
def _told(name: str, progress: Progress | None) -> Iterator[Progress]:
    """``progress``, or a bar where the error stream is a terminal."""
    if progress is not None:
        yield progress
        return
    with tqdm(total=None, desc=name, unit="image", delay=1, leave=False, disable=not sys.stderr.isatty()) as bar:

        def tell(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield tell
