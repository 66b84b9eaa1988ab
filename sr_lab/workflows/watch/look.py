"""One look at a folder: as a window, one of many or the only one, or image by image as a stream."""

import contextlib
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from sr_lab.base.errors import SRLabError
from sr_lab.base.signals import Asked, deferred
from sr_lab.base.words import counted
from sr_lab.images import list_images
from sr_lab.monitoring.comparison import Drift, check_comparable, check_enough, compare
from sr_lab.monitoring.features import feature_columns, transformed
from sr_lab.monitoring.incoming import IncomingStore
from sr_lab.monitoring.measuring import Extractor, measure_files, measure_folder
from sr_lab.monitoring.profile import Profile, read_profile, write_profile
from sr_lab.monitoring.repeated import Check, RepeatedChecks, read_checks, write_checks
from sr_lab.monitoring.report import Finding
from sr_lab.monitoring.stream import Stream
from sr_lab.monitoring.usability import Usability, usability
from sr_lab.workflows.watch.telling import Progress, interruptible, told

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Look:
    """One look: measured until a signal comes; from there on, state and report are written together.

    Without an extractor ``folder`` is the file in which a service keeps the features of its images.
    """

    reference: Profile
    folder: Path
    extractor: Extractor | None
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
            with locked(state):  # what keeps the state from being written shows before the measuring
                read_checks(state, reference=key)
        with told("drift", self.progress) as tell, interruptible(state):
            if self.extractor is None:
                current, before = _last_windows(self.folder)
            else:
                before = None
                current = measure_folder(
                    self.folder,
                    self.extractor,
                    num_images=num_images,
                    workers=self.workers,
                    progress=tell,
                    allow_none=True,
                )
        with deferred() as asked:
            drift, checks, usable = self.checked(current, rules, state)
            settled = not checks[-1].alarm or (checks[-1].drift and self._drifting(before, rules))
            yield current, Finding.of_window(drift, checks, rules, usable, settled=settled), asked

    def checked(
        self, current: Profile, rules: RepeatedChecks, state: Path | None
    ) -> tuple[Drift | None, list[Check], Usability]:
        """A window that is measured already, judged: the comparison, the checks with this one, and what can be used."""
        key = str(self.reference.facts["images_sha256"])
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
            return drift, [rules.next([], **facts)], usable
        with locked(state):
            checks = read_checks(state, reference=key)
            check = rules.next(checks, **facts)
            if not checks or check is not checks[-1]:
                checks.append(check)
            write_checks(state, checks, reference=key)
        return drift, checks, usable

    @contextmanager
    def stream(self, bets: Stream, state: Path) -> Iterator[tuple[Profile, Finding, Asked]]:
        """The images of the folder that the stream has not seen, one after the other, after those that it has.

        Explained and shown are the new ones, and some before them where they are few.
        """
        import pandas as pd

        reference, folder, extractor = self.reference, self.folder, self.extractor
        assert extractor is not None
        check_enough(reference, "the profile holds", self.min_images)
        key = reference.facts["images_sha256"]
        with locked(state):
            files = {file.relative_to(folder).as_posix(): file for file in list_images(folder)}
            before = read_profile(state, allow_none=True) if state.is_file() else None
            if before is not None and before.facts.get("reference") != key:
                before = None
            if before is not None:
                check_comparable(before, extractor.settings())
            past: Mapping[str, Any] = {} if before is None else before.facts
            seen = {} if before is None else {**dict.fromkeys(before.table["name"]), **past["skipped"]}
            new = [name for name in files if name not in seen]
            known = [name for name in files if name in seen]
            shown = known[max(len(known) - max(self.min_images - len(new), 0), 0) :] + new
            with told("drift", self.progress) as tell, interruptible(state):
                chosen = [files[name] for name in shown]
                current = measure_files(chosen, folder, extractor, workers=self.workers, progress=tell)
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

    def _drifting(self, before: Profile | None, rules: RepeatedChecks) -> bool:
        """Whether the window before drifts; so it is said where there was none, or few of its images could be used."""
        if before is None or len(before) < self.min_images:
            return True
        return self._compared(before, min_images=self.min_images).test.p_value <= rules.level

    def _usability(self, current: Profile) -> Usability:
        return usability(current, self.reference, max_unusable=self.max_unusable, min_images=self.min_images)

    def _compared(self, current: Profile, *, min_images: int) -> Drift:
        return compare(
            self.reference, current, min_images=min_images, num_permutations=self.num_permutations, seed=self.seed
        )


@contextmanager
def locked(state: Path) -> Iterator[None]:
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


class NotEnoughError(SRLabError, ValueError):
    """A service has not sampled a window of images yet."""


def _last_windows(file: Path) -> tuple[Profile, Profile | None]:
    """The last complete window of what a service keeps, and that before it.

    Raises:
        NotEnoughError: If there is none yet.
    """
    with contextlib.closing(IncomingStore(file)) as store:
        found = store.windows(2)
        if not found:
            raise NotEnoughError(
                f"{file} holds {counted(store.num_images, 'image')}, a window of the service {store.window}: wait for "
                "more requests"
            )
    return found[0], found[1] if len(found) > 1 else None


def check_workers(extractor: Extractor, workers: int) -> None:
    """Refuses several processes where a restorer is measured too."""
    if workers > 1 and extractor.outputs is not None:
        raise ValueError(f"workers={workers}: with a restorer there is one process, leave it out")
