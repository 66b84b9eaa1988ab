"""The files of a drift check: drift.json, drift.html, drift.png."""

import base64
import io
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from sr_lab.base.files import write_bytes, write_text
from sr_lab.images import ImageError, read_image
from sr_lab.monitoring.comparison import Drift
from sr_lab.monitoring.explanation import Change
from sr_lab.monitoring.features import feature
from sr_lab.monitoring.plots import plot_checks, plot_drift, plot_stream
from sr_lab.monitoring.profile import Profile
from sr_lab.monitoring.repeated import Check, RepeatedChecks
from sr_lab.monitoring.stream import StreamResult

JSON, HTML, PNG, PRESET, CURRENT = "drift.json", "drift.html", "drift.png", "preset.yaml", "current.parquet"
_SIDE = 240


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was decided, and by what.

    Attributes:
        drift: the comparison.
        alarm: whether the images are no longer those of the reference.
        new: whether the alarm was not on before.
        rule: what decided, for people.
        p_value: of what decided.
        level: it was compared with.
        extra: a plot of the checks or of the stream, PNG; ``None`` for a check by itself.
        checks: of a state, the last one last.
    """

    drift: Drift
    alarm: bool
    new: bool
    rule: str
    p_value: float
    level: float
    extra: bytes | None = None
    checks: Sequence[Check] = ()

    @classmethod
    def of_window(cls, drift: Drift, checks: Sequence[Check], watch: RepeatedChecks) -> "Finding":
        """The last of the checks."""
        check, repeated = checks[-1], watch.horizon > 1
        rule = "energy distance, permutation test"
        if repeated:
            rule += f"; check {len(checks)}, {watch.alpha:g} spent over {watch.horizon} checks"
        return cls(
            drift=drift,
            alarm=check.alarm,
            new=check.new,
            rule=rule,
            p_value=check.p_value,
            level=check.level,
            extra=plot_checks(checks, watch.alpha) if repeated else None,
            checks=checks,
        )

    @classmethod
    def of_stream(cls, drift: Drift, result: StreamResult, *, alpha: float, num_new: int) -> "Finding":
        """The stream so far; the alarm is new if one of the last ``num_new`` images raised it."""
        at = result.alarm_at
        return cls(
            drift=drift,
            alarm=at is not None,
            new=at is not None and at >= len(result.log_capital) - num_new,
            rule=f"bets on ranks, valid at any time; {len(result.log_capital)} images"
            + ("" if at is None else f", alarm with image {at + 1}"),
            p_value=result.p_value,
            level=alpha,
            extra=plot_stream(result),
        )

    @property
    def changes(self) -> list[Change]:
        """What explains the drift; empty without an alarm."""
        return self.drift.changes if self.alarm else []

    @property
    def headline(self) -> str:
        """One sentence."""
        sign = "<=" if self.p_value <= self.level else ">"
        numbers = f"p = {self.p_value:.2g} {sign} {self.level:.2g} ({self.rule})"
        if not self.alarm:
            return f"no drift: {numbers}"
        return f"drift{'' if self.new else ', alarm still on'}: {numbers}"

    @property
    def lines(self) -> list[str]:
        """What changed, for people."""
        if not self.alarm:
            return []
        guess = " (a guess: not significant by itself)"
        lines = [change.text + ("" if change.certain else guess) for change in self.changes]
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
    plot = plot_drift(finding.drift, reference.table, current.table)
    write_bytes(report / PNG, plot)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters["data_url"] = _data_url
    odd, usual = _pictures(finding.drift, current, folder, num_pictures)
    page = environment.get_template("drift.html.j2").render(
        finding=finding,
        reference=reference,
        current=current,
        plot=plot,
        odd=odd,
        usual=usual,
        preset=preset,
        moved=finding.drift.moved(),
        shifts=sorted(finding.drift.shifts, key=lambda shift: -shift.wasserstein),
        feature=feature,
        medians=_medians(reference, current),
    )
    write_text(report / HTML, page)
    write_text(report / JSON, json.dumps(_content(finding, reference, current, preset), indent=1) + "\n")


def _content(finding: Finding, reference: Profile, current: Profile, preset: str | None) -> dict[str, Any]:
    medians = _medians(reference, current)
    return {
        "drift": finding.alarm,
        "new": finding.new,
        "rule": finding.rule,
        "p_value": finding.p_value,
        "level": finding.level,
        "changes": [asdict(change) for change in finding.changes],
        "preset": None if preset is None else PRESET,
        "energy": asdict(finding.drift.test),
        "features": [
            {**asdict(shift), "reference_median": medians[shift.name][0], "current_median": medians[shift.name][1]}
            for shift in finding.drift.shifts
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


def _data_url(picture: Any) -> str:
    if isinstance(picture, bytes):
        content = picture
    else:
        stream = io.BytesIO()
        Image.fromarray(picture).save(stream, "PNG", optimize=True)
        content = stream.getvalue()
    return f"data:image/png;base64,{base64.b64encode(content).decode()}"
