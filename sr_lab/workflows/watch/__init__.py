"""Look whether the images that come in are still what they were while all was well.

``watch`` compares a folder with a profile: once, again and again with a state, or image by image as a stream.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sr_lab.base.files import require_folder_name, write_text
from sr_lab.degradations.estimate import fit_estimates, preset
from sr_lab.monitoring.comparison import check_comparable
from sr_lab.monitoring.incoming import is_incoming
from sr_lab.monitoring.measuring import Extractor
from sr_lab.monitoring.profile import Profile, read_profile, write_profile
from sr_lab.monitoring.repeated import RepeatedChecks
from sr_lab.monitoring.report import CURRENT, HTML, PRESET, Finding, write_report
from sr_lab.monitoring.stream import Stream
from sr_lab.workflows.watch.look import Look, NotEnoughError, check_workers
from sr_lab.workflows.watch.telling import Progress

__all__ = ["DriftResult", "NotEnoughError", "watch"]


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
    def settled(self) -> bool:
        """Whether a preset may be fitted to these images; see ``Finding``."""
        return self.finding.settled

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
        current: Folder of the images that come in now; or the file in which a service keeps the features of its images
            (``srlab serve incoming=default``), whose last complete window is looked at.
        report: Folder of the files to write; made where it is missing.
        extractor: What measures an image, with the settings of the profile; not used for what a service keeps.
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
    require_folder_name(report, key="report")
    if state is not None and stream is not None:
        raise ValueError("state= and stream= are given: windows or single images, not both")
    if not isinstance(scale, int) or scale < 1:
        raise ValueError(f"scale={scale}: a whole number of at least 1")
    check_workers(extractor, workers)
    kept = is_incoming(current)
    if kept and (stream is not None or num_images is not None):
        raise ValueError(
            f"current={current} is what a service keeps, window by window: leave stream= and num_images= out"
        )
    profile = read_profile(reference)
    if not kept:
        check_comparable(profile, extractor.settings())
    for path in (state, stream):
        _check_state(path)
    _check_folder(report)
    look = Look(
        reference=profile,
        folder=current,
        extractor=None if kept else extractor,
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


def _check_state(path: Path | None) -> None:
    if path is not None and path.is_dir():
        raise ValueError(f"{path} is a folder: give the file in it that shall keep the state")


def _check_folder(path: Path) -> None:
    """Refuses a report that could not be written, before the measuring."""
    if path.exists() and not path.is_dir():
        raise ValueError(f"report={path} is a file: give a folder")
