"""The files of an evaluation: summary.json, per_image.csv, report.html, comparison.png."""

import base64
import csv
import io
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from PIL import Image

from sr_lab.base.files import write_text
from sr_lab.evaluation.benchmark import Evaluation, ImageScore
from sr_lab.evaluation.comparison import write_comparison
from sr_lab.evaluation.numbers import format_value, heading, label, shorten, unit
from sr_lab.evaluation.pictures import ERROR_RANGE, Array, error_colours

SUMMARY, PER_IMAGE, REPORT, COMPARISON = "summary.json", "per_image.csv", "report.html", "comparison.png"


def write_report(
    evaluation: Evaluation, folder: Path, *, facts: Mapping[str, Any] | None = None, num_pictures: int = 12
) -> dict[str, Any]:
    """Writes the four files into ``folder``, each whole or not at all, ``summary.json`` last.

    Args:
        evaluation: what ``evaluate`` returned.
        folder: made where it is missing; files of a former evaluation are replaced.
        facts: more entries for the summary, for example the code's commit.
        num_pictures: images whose crops the report shows, the worst first.

    Returns:
        The content of ``summary.json``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    content = {**summary(evaluation), **(facts or {})}
    write_text(folder / PER_IMAGE, per_image_csv(evaluation))
    write_comparison(evaluation, folder / COMPARISON)
    write_text(folder / REPORT, report_html(evaluation, content, num_pictures=num_pictures))
    write_text(folder / SUMMARY, json.dumps(content, indent=2, allow_nan=False) + "\n")
    return content


def summary(evaluation: Evaluation) -> dict[str, Any]:
    """The evaluation's numbers as values that JSON can hold.

    Means are per-image means. A metric that was not measured is null, with the reason under ``<key>_reason``.
    """
    keys = list(evaluation.metrics)
    content: dict[str, Any] = {
        "restorer": evaluation.restorer,
        "benchmark": evaluation.benchmark,
        "benchmark_sha256": evaluation.benchmark_sha256,
        "degradation": evaluation.degradation,
        "scale": evaluation.scale,
        "protocol": evaluation.protocol.name,
        "num_images": len(evaluation.images),
        "num_failed": len(evaluation.failures),
        "failed": {failure.name: failure.reason for failure in evaluation.failures},
    }
    content |= {key: _number(evaluation.mean(key)) for key in keys}
    content |= dict.fromkeys(evaluation.not_measured)
    content |= {f"{key}_reason": reason for key, reason in evaluation.not_measured.items()}
    if "lpips" not in content:
        content |= {"lpips": None, "lpips_reason": "not asked for"}
    if "lpips" in evaluation.metrics:
        content["lpips_net"] = getattr(evaluation.metrics["lpips"], "net", None)
    content["definitions"] = {key: metric.definition for key, metric in evaluation.metrics.items() if metric.definition}
    content["degradation_fit"] = evaluation.degradation_fit
    content["bicubic"] = {key: _number(evaluation.bicubic_mean(key)) for key in keys}
    content["gain"] = {key: _number(evaluation.mean_gain(key)) for key in keys}
    content["seconds"] = round(evaluation.seconds, 3)
    content["seconds_restoring"] = round(sum(image.seconds for image in evaluation.images), 3)
    return content


def per_image_csv(evaluation: Evaluation) -> str:
    """One line an image in order of name: scores, bicubic's scores, seconds; a failed image has its reason."""
    keys = list(evaluation.metrics)
    columns = ["name", "width", "height", *keys, *(f"bicubic_{key}" for key in keys), "seconds", "protocol", "failed"]
    rows: list[dict[str, Any]] = [
        {
            "name": image.name,
            "width": image.size[0],
            "height": image.size[1],
            **{key: f"{image.scores[key]:.6f}" for key in keys},
            **{f"bicubic_{key}": f"{image.bicubic[key]:.6f}" for key in keys},
            "seconds": f"{image.seconds:.4f}",
        }
        for image in evaluation.images
    ]
    rows += [{"name": failure.name, "failed": failure.reason} for failure in evaluation.failures]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row, "protocol": evaluation.protocol.name} for row in sorted(rows, key=lambda row: row["name"]))
    return stream.getvalue()


def report_html(evaluation: Evaluation, content: Mapping[str, Any], *, num_pictures: int = 12) -> str:
    """The report as one page without outside references."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    environment.filters |= {"data_url": _data_url, "colours": error_colours}
    ramp = error_colours(np.linspace(0, 1, 9)[None], 1)[0]
    ranked = evaluation.worst_first()
    return environment.get_template("report.html.j2").render(
        evaluation=evaluation,
        content=content,
        title=heading(evaluation.restorer, evaluation.benchmark, evaluation.scale),
        ranked=ranked,
        pictured=ranked[:num_pictures],
        bars=_bars(evaluation, ranked),
        keys=list(evaluation.metrics),
        value=format_value,
        label=label,
        unit=unit,
        error_range=ERROR_RANGE,
        ramp=", ".join(f"rgb({r} {g} {b})" for r, g, b in ramp.tolist()),
    )


def _bars(evaluation: Evaluation, ranked: list[ImageScore]) -> dict[str, Any]:
    """Geometry of the per-image chart, in pixels of a drawing 1000 wide and 220 high."""
    if not ranked:
        return {"bars": [], "ticks": [], "named": False}
    key = evaluation.first_key
    values = [
        min(image.scores[key], evaluation.metrics[key].ceiling)
        if evaluation.is_baseline
        else evaluation.gain(image, key)
        for image in ranked
    ]
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
        for index, (image, value) in enumerate(zip(ranked, values, strict=True))
    ]
    ticks = [{"y": y(k * step), "text": f"{k * step:.4g}"} for k in range(low, high + 1)]
    return {"bars": bars, "ticks": ticks, "zero": y(0), "named": slot >= 56}


def _tick_step(span: float) -> float:
    """A round step that divides ``span`` into about five parts."""
    if span <= 0:
        return 1.0
    power = float(10 ** math.floor(math.log10(span / 5)))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= span / 5)


def _data_url(picture: Array, kind: str = "PNG") -> str:
    stream = io.BytesIO()
    Image.fromarray(picture).save(stream, kind, **({"optimize": True} if kind == "PNG" else {"quality": 80}))
    return f"data:image/{kind.lower()};base64,{base64.b64encode(stream.getvalue()).decode()}"


def _number(value: float) -> float | None:
    return value + 0.0 if math.isfinite(value) else None  # -0.0 becomes 0.0
