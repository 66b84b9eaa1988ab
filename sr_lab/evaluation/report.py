"""The files of an evaluation: summary.json, per_image.csv, report.html, comparison.png."""

import csv
import io
import json
import math
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from sr_lab.base.files import write_text
from sr_lab.base.page import render
from sr_lab.evaluation.clip_report import PER_CLIP, clip_curves, clip_summary, per_clip_csv
from sr_lab.evaluation.comparison import write_comparison
from sr_lab.evaluation.headings import heading, shorten
from sr_lab.evaluation.pictures import ERROR_RANGE, error_colours
from sr_lab.evaluation.scores import WHOLE, ImageScores, Scores
from sr_lab.evaluation.task_report import task_report
from sr_lab.evaluation.tasks import as_dicts, task_lines, thresholds

SUMMARY, PER_IMAGE, REPORT, COMPARISON = "summary.json", "per_image.csv", "report.html", "comparison.png"


def write_report(scores: Scores, folder: Path, *, num_pictures: int = 12) -> dict[str, Any]:
    """Writes the four files into ``folder``, each whole or not at all, ``summary.json`` last; of clips a fifth.

    Args:
        scores: Of a restorer on one benchmark and, unless it is bicubic itself, of bicubic beside it.
        folder: Made where it is missing; files of a former evaluation are replaced.
        num_pictures: Images whose crops the page shows, the worst first.

    Returns:
        The content of ``summary.json``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = summary(scores)
    write_text(folder / PER_IMAGE, per_image_csv(scores))
    if scores.clips:
        write_text(folder / PER_CLIP, per_clip_csv(scores))
    write_comparison(scores, folder / COMPARISON)
    write_text(folder / REPORT, report_html(scores, content, num_pictures=num_pictures))
    write_text(folder / SUMMARY, json.dumps(content, indent=2, allow_nan=False) + "\n")
    return content


def summary(scores: Scores) -> dict[str, Any]:
    """The numbers of an evaluation as values that JSON can hold, and its facts.

    Means are per-image means. A metric that was not measured is null, with the reason under ``<key>_reason``; one that
    could not be measured on some images has these, with the reason, under ``not_measured_on``.
    """
    keys, first, other = list(scores.metrics), scores.names[0], scores.names[:2][-1]
    content: dict[str, Any] = {
        "restorer": first,
        "benchmark": str(scores.benchmark.folder),
        "benchmark_sha256": scores.sha256,
        "degradation": scores.benchmark.low_images,
        "scale": scores.scale,
        "protocol": scores.protocol.name,
        "num_images": len(scores.scored),
        "num_failed": len(scores.failed),
        "failed": {image.name: image.reason for image in scores.failed},
    }
    content |= {key: _number(scores.mean(key)) for key in keys}
    content |= dict.fromkeys(scores.not_measured)
    content |= {f"{key}_reason": reason for key, reason in scores.not_measured.items()}
    if "lpips" not in content:
        content |= {"lpips": None, "lpips_reason": "not asked for"}
    if "lpips" in scores.metrics:
        content["lpips_net"] = getattr(scores.metrics["lpips"], "net", None)
    if partly := not_measured_on(scores):
        content["not_measured_on"] = partly
    if scores.clips:
        content |= clip_summary(scores)
    content["definitions"] = {key: metric.definition for key, metric in scores.metrics.items() if metric.definition}
    if found := task_lines(scores):
        content["tasks"] = [_finite(line) for line in as_dicts(found)]
        content["thresholds"] = [_finite(asdict(line)) for line in thresholds(scores)]
    content["degradation_fit"] = scores.degradation_fit
    content["bicubic"] = {key: _number(scores.mean(key, other)) for key in keys}
    content["gain"] = {key: _number(scores.mean_gain(key)) for key in keys}
    content["seconds"] = round(scores.seconds, 3)
    content["seconds_restoring"] = round(sum(image.seconds.get(first, 0.0) for image in scores.scored), 3)
    return content | dict(scores.facts)


def not_measured_on(scores: Scores) -> dict[str, dict[str, str]]:
    """Metric key to the scored images that have no value of it, and why; the mean leaves them out."""
    found: dict[str, dict[str, str]] = {}
    for image in scores.scored:
        for reasons in image.reasons.values():
            for key, reason in reasons.items():
                for metric in scores.metrics if key == WHOLE else (key,):
                    found.setdefault(metric, {}).setdefault(image.name, reason)
    return found


def per_image_csv(scores: Scores) -> str:
    """One line an image in order of name: scores, bicubic's scores, seconds; what is empty has its reason."""
    keys, first, other = list(scores.metrics), scores.names[0], scores.names[:2][-1]
    columns = ["name", "width", "height", *keys, *(f"bicubic_{key}" for key in keys), "seconds", "protocol", "failed"]

    def cell(value: float) -> str:
        return "" if math.isnan(value) else f"{value:.6f}"

    rows: list[dict[str, Any]] = [
        {
            "name": image.name,
            "width": image.size[0],
            "height": image.size[1],
            **{key: cell(image.value(first, key)) for key in keys},
            **{f"bicubic_{key}": cell(image.value(other, key)) for key in keys},
            "seconds": f"{image.seconds[first]:.4f}",
            "failed": image.reason,
        }
        for image in scores.scored
    ]
    rows += [{"name": image.name, "failed": image.reason} for image in scores.failed]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row, "protocol": scores.protocol.name} for row in sorted(rows, key=lambda row: row["name"]))
    return stream.getvalue()


def report_html(scores: Scores, content: Mapping[str, Any], *, num_pictures: int = 12) -> str:
    """The report as one page without outside references.

    Args:
        scores: As for ``write_report``.
        content: Of ``summary.json``.
        num_pictures: Images whose crops are shown, the worst first.
    """
    ramp = error_colours(np.linspace(0, 1, 9)[None], 1)[0]
    ranked = scores.worst_first()
    pictures = scores.pictures(ranked[:num_pictures])
    return render(
        Path(__file__).with_name("report.html.j2"),
        filters={"colours": error_colours},
        scores=scores,
        content=content,
        title=heading(scores.names[0], str(scores.benchmark.folder), scores.scale),
        ours=scores.names[0],
        theirs=scores.names[:2][-1],
        alone=len(scores.names) == 1,
        ranked=ranked,
        pictured=[image for image in ranked if image.name in pictures],
        pictures=pictures,
        bars=_bars(scores, ranked),
        clips=scores.clips,
        films=scores.films,
        curves=clip_curves(scores),
        keys=list(scores.metrics),
        words=scores.words,
        error_range=ERROR_RANGE,
        tasks=task_report(scores, num_pictures=min(num_pictures, 6)),
        ramp=", ".join(f"rgb({r} {g} {b})" for r, g, b in ramp.tolist()),
    )


def _bars(scores: Scores, ranked: list[ImageScores]) -> dict[str, Any]:
    """Geometry of the per-image chart, in pixels of a drawing 1000 wide and 220 high."""
    key, alone = scores.first_key, len(scores.names) == 1
    found = [
        min(image.value(scores.names[0], key), scores.metrics[key].ceiling) if alone else scores.gain(image, key)
        for image in ranked
    ]
    shown = [(image, value) for image, value in zip(ranked, found, strict=True) if math.isfinite(value)]
    if not shown:
        return {"bars": [], "ticks": [], "zero": 0, "named": False}
    values = [value for _, value in shown]
    step = _tick_step(max(*values, 0) - min(*values, 0))
    low, high = math.floor(min(*values, 0) / step), max(math.ceil(max(*values, 0) / step), 1)
    left, top, width, height = 56, 12, 936, 196

    def y(value: float) -> float:
        return round(top + height * (high * step - value) / ((high - low) * step), 2)

    slot = width / len(values)
    thick = min(44.0, slot * 0.72)
    bars = [
        {
            "x": round(left + slot * (index + 0.5) - thick / 2, 2),
            "y": min(y(value), y(0)),
            "width": round(thick, 2),
            "height": max(1.0, round(abs(y(value) - y(0)), 2)),
            "loss": value < 0,
            "short": shorten(image.name, max(4, int(slot / 7))),
            "image": image,
        }
        for index, (image, value) in enumerate(shown)
    ]
    ticks = [{"y": y(k * step), "text": f"{k * step:.4g}"} for k in range(low, high + 1)]
    return {"bars": bars, "ticks": ticks, "zero": y(0), "named": slot >= 56}


def _tick_step(span: float) -> float:
    """A round step that divides ``span`` into about five parts."""
    if span <= 0:
        return 1.0
    power = float(10 ** math.floor(math.log10(span / 5)))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= span / 5)


def _finite(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in values.items()}


def _number(value: float) -> float | None:
    return value + 0.0 if math.isfinite(value) else None  # -0.0 becomes 0.0
