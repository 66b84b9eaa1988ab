"""The files of a drift check: drift.json, drift.html, drift.png."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sr_lab.base.files import write_bytes, write_text
from sr_lab.base.page import render
from sr_lab.base.words import counted
from sr_lab.images import ImageError, read_image
from sr_lab.monitoring.comparison import Drift
from sr_lab.monitoring.explanation import Change
from sr_lab.monitoring.features import feature
from sr_lab.monitoring.profile import Profile
from sr_lab.monitoring.repeated import Check, RepeatedChecks
from sr_lab.monitoring.stream import StreamResult
from sr_lab.monitoring.usability import Usability

JSON, HTML, PNG, PRESET, CURRENT = "drift.json", "drift.html", "drift.png", "preset.yaml", "current.parquet"
_SIDE = 240


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was decided, and by what.

    Attributes:
        drift: The comparison; ``None`` where too few images could be used for one.
        usability: What part of the images could be used.
        alarm: Whether the images are no longer those of the reference, or too many cannot be used.
        new: Whether the alarm was not on before.
        drifted: Whether a test, of this check or of one before it, keeps the alarm on.
        rule: What decided, for people.
        p_value: The p-value of what decided; ``None`` without a test.
        level: The level that it was compared with.
        extra: A plot of the checks or of the stream, PNG; ``None`` for a check by itself.
        checks: The checks of a state, the last one last.
        settled: Whether a preset may be fitted to these images, and later ones be compared with them: they drift by
            themselves, and it is not that the alarm is still on; and where a service keeps them, the window before
            drifts too, so that none of this one is of before the change. True without an alarm.
    """

    drift: Drift | None
    usability: Usability
    alarm: bool
    new: bool
    drifted: bool
    rule: str
    p_value: float | None
    level: float
    extra: bytes | None = None
    checks: Sequence[Check] = ()
    settled: bool = True

    @classmethod
    def of_window(
        cls,
        drift: Drift | None,
        checks: Sequence[Check],
        watch: RepeatedChecks,
        usability: Usability,
        *,
        settled: bool = True,
    ) -> "Finding":
        """The last of the checks."""
        from sr_lab.monitoring.plots import plot_checks

        check, repeated = checks[-1], watch.horizon > 1
        rule = "energy distance, permutation test"
        if repeated:
            rule += f"; check {len(checks)}, {watch.alpha:g} spent over {counted(watch.horizon, 'check')}"
        before = checks[-2] if len(checks) > 1 else None
        kept_on = before is not None and before.alarm and not before.unusable
        return cls(
            drift=drift,
            usability=usability,
            alarm=check.alarm,
            new=check.new,
            drifted=check.drift or (check.alarm and not check.unusable) or (check.alarm and kept_on),
            rule=rule,
            p_value=check.p_value,
            level=check.level,
            extra=plot_checks(checks, watch.alpha) if repeated else None,
            checks=checks,
            settled=settled,
        )

    @classmethod
    def of_stream(
        cls,
        drift: Drift | None,
        result: StreamResult,
        usability: Usability,
        *,
        alpha: float,
        num_new: int,
        unusable_before: bool = False,
    ) -> "Finding":
        """The stream so far; the alarm is new if one of the last ``num_new`` images raised it.

        Drift keeps it on; images that cannot be used raise it as long as the newest ones hold too many.
        """
        from sr_lab.monitoring.plots import plot_stream

        at = result.alarm_at
        fresh = at is not None and at >= len(result.log_capital) - num_new
        was_on = unusable_before or (at is not None and not fresh)
        return cls(
            drift=drift,
            usability=usability,
            alarm=at is not None or usability.alarm,
            new=(fresh or usability.alarm) and not was_on,
            drifted=at is not None,
            rule=f"bets on ranks, valid at any time; {counted(len(result.log_capital), 'image')}"
            + ("" if at is None else f", alarm with image {at + 1}"),
            p_value=result.p_value,
            level=alpha,
            extra=plot_stream(result) if len(result.log_capital) else None,
        )

    @property
    def changes(self) -> list[Change]:
        """What explains the drift; empty without one."""
        return self.drift.changes if self.drifted and self.drift is not None else []

    @property
    def reasons(self) -> list[str]:
        """What the alarm is for: ``unusable``, ``drift``, both, or nothing."""
        return [name for name, holds in (("unusable", self.usability.alarm), ("drift", self.drifted)) if holds]

    @property
    def title(self) -> str:
        """Two or three words."""
        return {"": "No drift", "unusable": "Images cannot be used", "drift": "Drift"}.get(
            "".join(self.reasons), "Drift, and images cannot be used"
        )

    @property
    def headline(self) -> str:
        """One sentence."""
        parts = []
        still = "" if self.new or not self.alarm else ", alarm still on"
        if self.usability.alarm:
            parts.append(f"images cannot be used{still}: {self.usability.text}")
        if self.p_value is None:
            parts.append("drift was not tested: too few of the images can be used")
        else:
            sign = "<=" if self.p_value <= self.level else ">"
            numbers = f"p = {self.p_value:.2g} {sign} {self.level:.2g} ({self.rule})"
            known = " of the others" if self.usability.alarm else ""
            parts.append(f"drift{known}{still}: {numbers}" if self.drifted else f"no drift{known}: {numbers}")
        return "; ".join(parts)

    @property
    def lines(self) -> list[str]:
        """What changed, for people."""
        lines = []
        if self.usability.alarm:
            lines.append("no training mends that: look where the images come from, before anything else")
        elif self.usability.number and self.usability.judged:
            lines.append(self.usability.text)
        if not self.drifted:
            return lines
        guess = " (a guess: not significant by itself)"
        lines += [change.text + ("" if change.certain else guess) for change in self.changes]
        if not any(change.trainable for change in self.changes):
            lines.append("no change of noise, blur or JPEG explains it: a preset will hardly help, look at the images")
        return lines


def write_report(
    finding: Finding,
    reference: Profile,
    current: Profile,
    report: Path,
    *,
    folder: Path,
    preset: str | None,
    num_pictures: int = 12,
) -> None:
    """Writes the three files, each whole or not at all, ``drift.json`` last.

    Args:
        finding: what was found.
        reference: the reference profile.
        current: of the images.
        report: folder of the files; made where it is missing.
        folder: of the images.
        preset: text of the fitted preset, or ``None``.
        num_pictures: images that are shown: half of them the most unusual ones, half usual ones.
    """
    from sr_lab.monitoring.plots import plot_drift

    drift = finding.drift
    plot = None if drift is None else plot_drift(drift, reference.table, current.table)
    if plot is None:
        (report / PNG).unlink(missing_ok=True)
    else:
        write_bytes(report / PNG, plot)
    odd, usual = ([], []) if drift is None else _pictures(drift, current, folder, num_pictures)
    page = render(
        Path(__file__).with_name("drift.html.j2"),
        finding=finding,
        reference=reference,
        current=current,
        plot=plot,
        odd=odd,
        usual=usual,
        preset=preset,
        moved=[] if drift is None else drift.moved(),
        shifts=[] if drift is None else sorted(drift.shifts, key=lambda shift: -shift.wasserstein),
        feature=feature,
        medians=_medians(reference, current),
    )
    write_text(report / HTML, page)
    write_text(report / JSON, json.dumps(_content(finding, reference, current, preset), indent=1) + "\n")


def _content(finding: Finding, reference: Profile, current: Profile, preset: str | None) -> dict[str, Any]:
    medians = _medians(reference, current)
    return {
        "drift": finding.alarm,
        "reasons": finding.reasons,
        "new": finding.new,
        "rule": finding.rule,
        "p_value": finding.p_value,
        "level": finding.level,
        "changes": [asdict(change) for change in finding.changes],
        "preset": None if preset is None else PRESET,
        "unusable": finding.usability.as_dict(),
        "energy": None if finding.drift is None else asdict(finding.drift.test),
        "features": [
            {**asdict(shift), "reference_median": medians[shift.name][0], "current_median": medians[shift.name][1]}
            for shift in ([] if finding.drift is None else finding.drift.shifts)
        ],
        "num_reference": len(reference),
        "num_current": len(current),
        "checks": [asdict(check) for check in finding.checks[-5:]],
        "settings": dict(reference.settings),
        "reference": dict(reference.facts),
        "current": dict(current.facts),
    }


def _medians(reference: Profile, current: Profile) -> Mapping[str, tuple[float | None, float | None]]:
    return {
        str(name): (_number(reference.table[name].median()), _number(current.table[name].median()))
        for name in current.table.columns
        if name != "name"
    }


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _pictures(
    drift: Drift, current: Profile, folder: Path, number: int
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The most unusual images and those in the middle, with what is unusual in them."""
    order = np.argsort(-drift.oddness)
    half = min(max(number, 0) // 2, len(order) // 2)
    middle = len(order) // 2
    names = [shift.name for shift in drift.shifts]

    def picture(index: int) -> dict[str, Any] | None:
        try:
            image = read_image(folder / str(current.table["name"].iloc[index]))
        except ImageError:
            return None
        top, left = (max(length - _SIDE, 0) // 2 for length in image.shape[:2])
        image = image[top : top + _SIDE, left : left + _SIDE]
        pixels = (image / 257).astype(np.uint8) if image.dtype == np.uint16 else image
        pixels = np.repeat(pixels[:, :, :1], 3, axis=2) if pixels.shape[2] < 3 else pixels[:, :, :3]
        largest = np.argsort(-np.abs(drift.current[index]))[:3]
        facts = []
        for column in largest:
            known, value = feature(names[column]), float(current.table[names[column]].iloc[index])
            shown = "none" if math.isnan(value) else f"{value:.{known.decimals}f}"
            facts.append(f"{known.label} {shown} ({drift.current[index, column]:+.1f})")
        return {"pixels": pixels, "name": current.table["name"].iloc[index], "facts": facts}

    groups = (order[:half], order[middle - half // 2 : middle - half // 2 + half])
    odd, usual = ([shown for index in group if (shown := picture(int(index)))] for group in groups)
    return odd, usual
