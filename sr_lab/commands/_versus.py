"""From what was measured on two restorers to the numbers of the gate and the tables of the page."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from sr_lab.base.statistics import cluster_means, mean_interval
from sr_lab.evaluation.versus import Versus
from sr_lab.evaluation.versus_page import ImageLine, Line
from sr_lab.promotion import ImageRow, Measurement

Better = Mapping[str, Literal["higher", "lower"]]


def measurements(
    versus: Versus,
    *,
    seen: Mapping[str, Mapping[str, Sequence[str]] | None],
    costs: Mapping[str, Mapping[str, Sequence[float]]],
) -> list[Measurement]:
    """What the gate needs to know of each restorer.

    Args:
        versus: what was measured.
        seen: by restorer the hashes of the images that it was trained and selected on; None where that is not known.
        costs: by restorer resource to values.
    """
    return [
        Measurement(
            model=name,
            holdout=versus.sha256,
            protocol=versus.protocol.name,
            rows=[
                ImageRow(name=row.name, scene=row.scene, slices=row.slices, metrics=row.scores[name])
                for row in versus.rows
            ],
            resources=costs.get(name, {}),
            seen=_overlap(versus, seen.get(name)),
        )
        for name in versus.names
    ]


def _overlap(versus: Versus, images: Mapping[str, Sequence[str]] | None) -> frozenset[str] | None:
    if images is None:
        return None
    known = {digest for digests in images.values() for digest in digests}
    return frozenset(row.name for row in versus.rows if row.files & known)


def slice_lines(models: Sequence[Measurement], better: Better, *, alpha: float) -> list[Line]:
    """Means and gain of every metric on every slice, over scenes; the gain with its interval where that is known.

    Args:
        models: one, or two of the same images, of which the first is the one in question.
        better: metric to the better direction, the most important first.
        alpha: error of each bound.
    """
    return list(_lines(models, better, alpha))


def _lines(models: Sequence[Measurement], better: Better, alpha: float) -> Iterator[Line]:
    tables = [{row.name: row for row in model.rows} for model in models]
    slices = sorted({name for row in models[0].rows for name in row.slices})
    for part in ("all", *slices):
        for metric, direction in better.items():
            names = sorted(
                name
                for name, row in tables[0].items()
                if (part == "all" or part in row.slices)
                and all(math.isfinite(_value(table, name, metric)) for table in tables)
            )
            if not names:
                continue
            scenes = [tables[0][name].scene for name in names]
            ours, *rest = (cluster_means([_value(table, name, metric) for name in names], scenes) for table in tables)
            facts: dict[str, Any] = {"slice": part, "metric": metric, "num_images": len(names), "num_scenes": len(ours)}
            if not rest:
                yield Line(**facts, ours=float(ours.mean()))
                continue
            gains = (ours - rest[0]) * (1 if direction == "higher" else -1)
            low = high = None
            if len(gains) > 1 and not bool((interval := mean_interval(gains, alpha=alpha)).degenerate):
                low, high = float(interval.low), float(interval.high)
            yield Line(
                **facts, ours=float(ours.mean()), theirs=float(rest[0].mean()), gain=float(np.mean(gains)), low=low,
                high=high,
            )  # fmt: skip


def image_lines(models: Sequence[Measurement], better: Better) -> list[ImageLine]:
    """Every image, by the first metric: where the first model lost most first; without a second the worst first.

    An image on which the first model has no value comes before all.
    """
    first, direction = next(iter(better.items()))
    tables = [{row.name: row for row in model.rows} for model in models]
    lines = []
    for name, row in tables[0].items():
        values: dict[str, tuple[float | None, float | None, float | None]] = {}
        for metric, way in better.items():
            ours, *rest = (_value(table, name, metric) for table in tables)
            theirs = rest[0] if rest else math.nan
            gain = ours - theirs if way == "higher" else theirs - ours
            values[metric] = (_known(ours), _known(theirs), _known(gain))
        shown = [part for part in sorted(row.slices) if part.startswith("content_")]
        lines.append(ImageLine(name=name, scene=row.scene, slices=shown, values=values))

    def place(line: ImageLine) -> float:
        own, _, gain = line.values[first]
        if len(models) > 1:
            return -math.inf if gain is None else gain
        return -math.inf if own is None else own if direction == "higher" else -own

    return sorted(lines, key=place)


def _value(table: Mapping[str, ImageRow], name: str, metric: str) -> float:
    row = table.get(name)
    return math.nan if row is None else float(row.metrics.get(metric, math.nan))


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None
