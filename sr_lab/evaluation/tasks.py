"""What tasks gain from restoration: the same task on the input, bicubic, each restorer and the original, paired."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from sr_lab.base.statistics import cluster_means
from sr_lab.base.statistics.bootstrap import bootstrap_mean
from sr_lab.evaluation.scores import ImageScores, Scores
from sr_lab.images.found import Reading
from sr_lab.tasks.base import LOW, ORIGINAL, Task, TaskMetric
from sr_lab.tasks.detection import match

BICUBIC = "bicubic"


@dataclass(frozen=True, kw_only=True)
class TaskLine:
    """One number of a task, of one source, over a group of images.

    Attributes:
        metric: Key of the metric.
        source: ``low``, a restorer or ``original``.
        group: Group of the truth, as ``12 px``; empty for all images.
        mean: Over scenes.
        low: Lower end of the 95 % interval, by bootstrap over scenes; None of a single scene.
        high: Upper end.
        gain: Mean paired improvement over bicubic, positive is better; None of bicubic itself.
        gain_low: Lower end of its interval.
        gain_high: Upper end.
        num_images: Images that have the number from every source.
        num_scenes: Scenes, as documents, among them.
    """

    metric: str
    source: str
    group: str
    mean: float
    low: float | None
    high: float | None
    gain: float | None
    gain_low: float | None
    gain_high: float | None
    num_images: int
    num_scenes: int

    @property
    def verdict(self) -> str:
        """``better`` or ``worse`` than bicubic where the interval of the gain leaves out 0, else ``like``."""
        if self.gain is None or self.gain_low is None or self.gain_high is None:
            return ""
        return "better" if self.gain_low > 0 else "worse" if self.gain_high < 0 else "like"


@dataclass(frozen=True, kw_only=True)
class Threshold:
    """A detector's threshold as it is, and chosen anew after restoration.

    Attributes:
        task: Of the detector.
        source: What it looked at.
        given: The threshold.
        recall: With it, of all things together.
        precision: With it.
        f1: Harmonic mean of the two.
        chosen: The threshold with the largest F1 on all images.
        chosen_f1: F1 where the threshold is chosen on one half of the scenes and F1 is that of the other, both ways.
        curve: Recall and precision over thresholds from low to high.
    """

    task: str
    source: str
    given: float
    recall: float
    precision: float
    f1: float
    chosen: float
    chosen_f1: float
    curve: Sequence[tuple[float, float, float]]


def tasks_of(scores: Scores) -> dict[str, Task]:
    """The tasks of a table, by name."""
    return {metric.task.name: metric.task for metric in scores.metrics.values() if isinstance(metric, TaskMetric)}


def sources_of(scores: Scores) -> list[str]:
    """The input, bicubic, the restorers and the original, in this order."""
    restorers = [name for name in scores.names if name != BICUBIC]
    return [LOW, *([BICUBIC] if BICUBIC in scores.names else []), *restorers, ORIGINAL]


def task_lines(scores: Scores, *, alpha: float = 0.05, num_draws: int = 2000) -> list[TaskLine]:
    """Every number of every task, over all images and by the groups of the truth.

    Args:
        scores: The table.
        alpha: Error of an interval.
        num_draws: Draws of each bootstrap.
    """
    found = []
    for key, metric in scores.metrics.items():
        if not isinstance(metric, TaskMetric):
            continue
        for group in ["", *groups_of(scores)]:
            images = [image for image in scores.images if not group or (image.truth and image.truth.group == group)]
            found += _lines(scores, key, group, images, alpha, num_draws)
    return found


def groups_of(scores: Scores) -> list[str]:
    """The groups of the truth, in the order of the numbers in their names."""
    names = {image.truth.group for image in scores.images if image.truth is not None and image.truth.group}

    def place(name: str) -> tuple[float, str]:
        digits = "".join(letter if letter.isdigit() or letter == "." else " " for letter in name).split()
        return (float(digits[0]) if digits else math.inf, name)

    return sorted(names, key=place) if len(names) > 1 else []


def value_of(image: ImageScores, source: str, key: str) -> float:
    """The value of a restorer, the input or the original; NaN where there is none."""
    if source in (LOW, ORIGINAL) and source not in image.values:
        return image.references.get(source, {}).get(key, math.nan)
    return image.value(source, key)


def thresholds(scores: Scores) -> list[Threshold]:
    """Of each detector with confidences and each source, what its threshold and one chosen anew give."""
    found = []
    for name, task in tasks_of(scores).items():
        if task.threshold is None:
            continue
        for source in sources_of(scores):
            tables = _tables(scores, task, source)
            if not tables or not any(len(truth) for _, _, truth in tables):
                continue
            steps = [round(0.05 * k, 2) for k in range(1, 20)]
            curve = [(step, *_rates(tables, step)) for step in steps]
            recall, precision = _rates(tables, task.threshold)
            found.append(
                Threshold(
                    task=name, source=source, given=task.threshold, recall=recall, precision=precision,
                    f1=_f1(recall, precision), chosen=_best(tables, steps), chosen_f1=_crossed(tables, steps),
                    curve=curve,
                )
            )  # fmt: skip
    return found


def as_dicts(lines: Sequence[TaskLine]) -> list[dict[str, Any]]:
    """JSON-able."""
    return [asdict(line) | {"verdict": line.verdict} for line in lines]


def failing(lines: Sequence[TaskLine], metric: str, *, margin: float = 0.1) -> str | None:
    """The largest group in which bicubic is worse than the original by more than ``margin``; None: in none."""
    by = {(line.source, line.group): line.mean for line in lines if line.metric == metric and line.group}
    groups = [group for source, group in by if source == BICUBIC]
    bad = [
        group for group in groups
        if (ORIGINAL, group) in by and abs(by[BICUBIC, group] - by[ORIGINAL, group]) > margin
    ]  # fmt: skip
    return bad[-1] if bad else None


def _lines(
    scores: Scores, key: str, group: str, images: Sequence[ImageScores], alpha: float, num_draws: int
) -> list[TaskLine]:
    sources = sources_of(scores)
    whole = [image for image in images if not any(math.isnan(value_of(image, source, key)) for source in sources)]
    if not whole:
        return []
    scenes = [image.scene for image in whole]
    means = {source: cluster_means([value_of(image, source, key) for image in whole], scenes) for source in sources}
    sign = 1 if scores.metrics[key].higher_is_better else -1
    found = []
    for source in sources:
        own = bootstrap_mean(means[source], alpha=alpha, num_draws=num_draws)
        gain = None
        if source != BICUBIC and BICUBIC in means:
            gain = bootstrap_mean(sign * (means[source] - means[BICUBIC]), alpha=alpha, num_draws=num_draws)
        found.append(
            TaskLine(
                metric=key, source=source, group=group, mean=own.mean, low=_known(own.low), high=_known(own.high),
                gain=None if gain is None else gain.mean, gain_low=None if gain is None else _known(gain.low),
                gain_high=None if gain is None else _known(gain.high), num_images=len(whole),
                num_scenes=len(set(scenes)),
            )
        )  # fmt: skip
    return found


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


Table = tuple[str, Reading, Reading]
"""Scene, everything that was found, and what is there."""


def _tables(scores: Scores, task: Task, source: str) -> list[Table]:
    found = []
    for image in scores.images:
        if task.name not in image.readings.get(source, {}) or task.name not in image.readings.get(ORIGINAL, {}):
            continue
        known = image.truth.found.get(task.name) if image.truth is not None else None
        truth = task.certain(image.readings[ORIGINAL][task.name]) if known is None else known
        found.append((image.scene or image.name, image.readings[source][task.name], truth))
    return found


def _rates(tables: Sequence[Table], threshold: float) -> tuple[float, float]:
    """Recall and precision of all images together."""
    found, false, there = 0, 0, 0
    for _, reading, truth in tables:
        matches = match(tuple(one for one in reading if one.confidence >= threshold), truth)
        found, false, there = found + matches.num_found, false + len(matches.false), there + len(truth)
    return found / there if there else 0.0, found / (found + false) if found + false else 1.0


def _f1(recall: float, precision: float) -> float:
    return 2 * recall * precision / (recall + precision) if recall + precision else 0.0


def _best(tables: Sequence[Table], steps: Sequence[float]) -> float:
    return max(steps, key=lambda step: _f1(*_rates(tables, step)))


def _crossed(tables: Sequence[Table], steps: Sequence[float]) -> float:
    """F1 of thresholds that were chosen on the other half of the scenes."""
    scenes = sorted({scene for scene, _, _ in tables})
    if len(scenes) < 2:
        return math.nan
    first = set(scenes[::2])
    halves = [[table for table in tables if (table[0] in first) == side] for side in (True, False)]
    counts = np.zeros(3)
    for ours, theirs in (halves, halves[::-1]):
        step = _best(ours, steps)
        for _, reading, truth in theirs:
            matches = match(tuple(one for one in reading if one.confidence >= step), truth)
            counts += (matches.num_found, len(matches.false), len(truth))
    found, false, there = counts
    return _f1(found / there if there else 0.0, found / (found + false) if found + false else 1.0)
