"""Repeated checks against one reference: alpha is spent evenly, and an alarm has hysteresis.

Sixty daily tests at level 0.05 raise a false alarm nine times in ten. Here each check is made at ``alpha / horizon``,
so that, whatever the dependence of the checks (they share the reference), at most ``alpha`` of all periods of
``horizon`` checks hold a false alarm. The level does not fall with time, so the thousandth check sees as much as the
first.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path

from sr_lab.base.files import write_text
from sr_lab.base.statistics import spent_evenly

KEPT = 2000
"""Checks that a state file remembers."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One check and what it did to the alarm.

    Attributes:
        time: ISO 8601, UTC.
        images_sha256: digest of the images that were looked at.
        num_images: their number.
        p_value: of the test; None where too few images could be used for one.
        level: the check was made at.
        drift: whether the test was significant at its level.
        alarm: whether the alarm is on after it.
        new: whether this check has switched it on.
        quiet: checks in a row without a sign of drift while the alarm is on.
        unusable: whether too many of the images could not be used: an alarm by itself.
    """

    time: str
    images_sha256: str
    num_images: int
    p_value: float | None
    level: float
    drift: bool
    alarm: bool
    new: bool
    quiet: int = 0
    unusable: bool = False


@dataclass(frozen=True, kw_only=True)
class RepeatedChecks:
    """Rules of repeated checks.

    Attributes:
        alpha: share of the periods that may hold a false alarm.
        horizon: checks a period; 1 for a check by itself.
        clear_after: an alarm ends after so many checks in a row with p-values above ``alpha``: easier to keep than to
            raise, so that it does not come and go at the threshold.
    """

    alpha: float = 0.05
    horizon: int = 60
    clear_after: int = 3

    def __post_init__(self) -> None:
        """Checks the ranges."""
        if self.horizon < 1 or self.clear_after < 1:
            raise ValueError(f"horizon={self.horizon}, clear_after={self.clear_after}: must be at least 1")
        spent_evenly(self.alpha, over=self.horizon)

    @property
    def level(self) -> float:
        """Of each check."""
        return spent_evenly(self.alpha, over=self.horizon)

    def next(
        self,
        before: Sequence[Check],
        *,
        p_value: float | None,
        images_sha256: str,
        num_images: int,
        unusable: bool = False,
        time: str | None = None,
    ) -> Check:
        """The check that follows ``before``.

        The same images as in the last check are the last check again: a job that is repeated spends nothing.

        Args:
            before: The checks so far, the last one last.
            p_value: Of the test; None where too few images could be used for one.
            images_sha256: Digest of the images.
            num_images: Number of images that could be used.
            unusable: Whether too many could not: a fact, which spends nothing, and an alarm.
            time: ISO 8601, UTC; None for now.
        """
        last = before[-1] if before else None
        if last is not None and last.images_sha256 == images_sha256:
            return last
        drift = p_value is not None and p_value <= self.level
        was_on = last is not None and last.alarm
        calm = p_value is not None and p_value > self.alpha and not unusable
        quiet = last.quiet + 1 if last is not None and was_on and calm else 0
        alarm = drift or unusable or (was_on and quiet < self.clear_after)
        return Check(
            time=time or datetime.now(UTC).isoformat(timespec="seconds"),
            images_sha256=images_sha256,
            num_images=num_images,
            p_value=p_value,
            level=self.level,
            drift=drift,
            alarm=alarm,
            new=alarm and not was_on,
            quiet=quiet if alarm else 0,
            unusable=unusable,
        )


def read_checks(path: Path, *, reference: str) -> list[Check]:
    """The checks of a state file; none where it does not exist or was kept for another reference.

    Args:
        path: the JSON file.
        reference: digest of the reference profile.

    Raises:
        ValueError: if the file is no state of checks.
    """
    if not path.is_file():
        return []
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["reference"] != reference:
            return []
        names = {field.name for field in fields(Check)}
        return [Check(**{name: value for name, value in row.items() if name in names}) for row in content["checks"]]
    except (KeyError, TypeError, AttributeError, json.JSONDecodeError) as error:
        raise ValueError(f"state={path} is no state of srlab drift: remove it, or give another file") from error


def write_checks(path: Path, checks: Sequence[Check], *, reference: str) -> None:
    """Writes a state file, whole or not at all."""
    content = {"reference": reference, "checks": [asdict(check) for check in checks[-KEPT:]]}
    write_text(path, json.dumps(content, indent=1) + "\n")
