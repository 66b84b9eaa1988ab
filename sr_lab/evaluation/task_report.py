"""The tasks' part of an evaluation's page: tables with intervals, a chart over sizes, thresholds, crops."""

import math
from collections.abc import Sequence
from typing import Any

from sr_lab.evaluation.scores import Scores
from sr_lab.evaluation.task_pictures import places
from sr_lab.evaluation.tasks import (
    BICUBIC,
    TaskLine,
    failing,
    groups_of,
    sources_of,
    task_lines,
    tasks_of,
    thresholds,
)
from sr_lab.tasks.base import LOW, ORIGINAL, TaskMetric

_LEFT, _RIGHT, _TOP, _HEIGHT = 60, 720, 14, 220
_COLOURS = ("#c43d20", "#3f7cac", "#2f7d5b", "#a56a00", "#7a4fa3", "#4b4f56")


def task_report(scores: Scores, *, num_pictures: int = 6) -> dict[str, Any] | None:
    """What the page shows of the tasks; None where there are none.

    Args:
        scores: The table.
        num_pictures: Places that are shown, at most.
    """
    tasks = tasks_of(scores)
    if not tasks:
        return None
    lines = task_lines(scores)
    groups, sources = groups_of(scores), sources_of(scores)
    keys = [key for key, metric in scores.metrics.items() if isinstance(metric, TaskMetric)]
    return {
        "sources": sources,
        "groups": groups,
        "metrics": [
            {
                "key": key,
                "words": scores.words(key),
                "better": "more" if scores.metrics[key].higher_is_better else "less",
                "whole": [line for line in lines if line.metric == key and not line.group],
                "cells": {(line.source, line.group): line for line in lines if line.metric == key},
                "failing": failing(lines, key),
                "chart": _chart([line for line in lines if line.metric == key and line.group], groups, sources),
            }
            for key in keys
        ],
        "known": {
            name: any(image.truth is not None and name in image.truth.found for image in scores.images)
            for name in tasks
        },
        "thresholds": thresholds(scores),
        "curves": _curves(scores),
        "places": places(scores, most=num_pictures) if num_pictures else [],
        "words": scores.words,
        "named": {LOW: "the input itself", ORIGINAL: "the original", BICUBIC: "bicubic"},
    }


def _chart(lines: Sequence[TaskLine], groups: Sequence[str], sources: Sequence[str]) -> dict[str, Any] | None:
    """Means over groups, a line a source; geometry of a drawing 1000 wide."""
    if len(groups) < 2 or not lines:
        return None
    top = max(1e-9, min(1.05 if all(line.mean <= 1.05 for line in lines) else 1e9, max(line.mean for line in lines)))

    def x(group: str) -> float:
        return round(_LEFT + (_RIGHT - _LEFT) * groups.index(group) / (len(groups) - 1), 1)

    def y(value: float) -> float:
        return round(_TOP + _HEIGHT * (1 - min(value, top) / top), 1)

    curves = []
    for number, source in enumerate(sources):
        own = [line for line in lines if line.source == source]
        curves.append(
            {
                "source": source,
                "colour": _COLOURS[number % len(_COLOURS)],
                "points": " ".join(f"{x(line.group)},{y(line.mean)}" for line in own),
                "bars": [
                    (x(line.group) + 2 * number - len(sources), y(line.low), y(line.high))
                    for line in own
                    if line.low is not None and line.high is not None
                ],
                "y": 26 + 20 * number,
            }
        )
    return {
        "curves": curves,
        "ticks": [(group, x(group)) for group in groups],
        "levels": [(f"{top * part:.3g}", y(top * part)) for part in (0, 0.5, 1)],
        "height": _TOP + _HEIGHT + 30,
        "left": _LEFT,
        "right": _RIGHT,
    }


def _curves(scores: Scores) -> list[dict[str, Any]]:
    """Recall against precision over thresholds; geometry in a square of 300."""
    found = []
    sources = sources_of(scores)
    by_task: dict[str, list[Any]] = {}
    for line in thresholds(scores):
        by_task.setdefault(line.task, []).append(line)
    for task, lines in by_task.items():
        found.append(
            {
                "task": task,
                "curves": [
                    {
                        "source": line.source,
                        "colour": _COLOURS[sources.index(line.source) % len(_COLOURS)],
                        "points": " ".join(
                            f"{round(40 + 300 * recall, 1)},{round(10 + 300 * (1 - precision), 1)}"
                            for _, recall, precision in line.curve
                            if math.isfinite(recall)
                        ),
                        "x": round(40 + 300 * line.recall, 1),
                        "y": round(10 + 300 * (1 - line.precision), 1),
                        "row": 24 + 20 * number,
                    }
                    for number, line in enumerate(lines)
                ],
            }
        )
    return found
