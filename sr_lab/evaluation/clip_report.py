"""What an evaluation says of clips beside what it says of frames: means of clips, and curves over time."""

import csv
import io
import math
from typing import Any

from sr_lab.evaluation.scores import Scores

PER_CLIP = "per_clip.csv"
_LEFT, _TOP, _WIDTH, _HEIGHT = 64, 10, 926, 130


def clip_summary(scores: Scores) -> dict[str, Any]:
    """The entries of ``summary.json`` for clips; the other means in it are of frames."""
    keys, first, other = list(scores.metrics), scores.names[0], scores.names[:2][-1]
    own = [key for key in keys if scores.metrics[key].own]
    return {
        "mean_of": "frames",
        "num_clips": len(scores.clips),
        "mean_of_clips": {key: _number(scores.mean_of_clips(key)) for key in keys},
        "bicubic_mean_of_clips": {key: _number(scores.mean_of_clips(key, other)) for key in keys},
        "original": {key: _number(scores.original_mean(key)) for key in own},
        "clips": {
            clip: {
                "num_frames": len(frames),
                **{key: _number(scores.clip_mean(clip, key, first)) for key in keys},
                "bicubic": {key: _number(scores.clip_mean(clip, key, other)) for key in keys},
                "original": {key: _number(scores.original_mean(key, clip)) for key in own},
            }
            for clip, frames in scores.clips.items()
        },
    }


def per_clip_csv(scores: Scores) -> str:
    """One line a clip: its means of the restorer, of bicubic, and of the original itself where it has one."""
    keys, first, other = list(scores.metrics), scores.names[0], scores.names[:2][-1]
    own = [key for key in keys if scores.metrics[key].own]
    columns = ["clip", "frames", *keys, *(f"bicubic_{key}" for key in keys), *(f"original_{key}" for key in own)]
    stream = io.StringIO()
    writer = csv.DictWriter(stream, [*columns, "protocol"], lineterminator="\n")
    writer.writeheader()
    for clip, frames in scores.clips.items():
        values = {key: scores.clip_mean(clip, key, first) for key in keys}
        values |= {f"bicubic_{key}": scores.clip_mean(clip, key, other) for key in keys}
        values |= {f"original_{key}": scores.original_mean(key, clip) for key in own}
        cells = {key: "" if math.isnan(value) else f"{value:.6f}" for key, value in values.items()}
        writer.writerow({"clip": clip, "frames": len(frames), **cells, "protocol": scores.protocol.name})
    return stream.getvalue()


def clip_curves(scores: Scores) -> dict[str, list[dict[str, Any]]]:
    """Clip to charts over its frames, one a metric, in pixels of a drawing 1000 wide and 150 high.

    A chart has the metric's key and lines: the restorer's, the second one's, and the original's own where it has one.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for clip, frames in scores.clips.items():
        for key, metric in scores.metrics.items():
            lines: dict[str, list[tuple[int, float]]] = {}
            for name in scores.names[:2]:
                lines[name] = [
                    (place, min(frame.value(name, key), metric.ceiling))
                    for place, frame in enumerate(frames)
                    if math.isfinite(frame.value(name, key))
                ]
            if metric.own:
                lines["original"] = [
                    (place, frame.original[key]) for place, frame in enumerate(frames) if key in frame.original
                ]
            values = [value for line in lines.values() for _, value in line]
            if len(values) < 2:
                continue
            low, high = min(values), max(values)
            span = (high - low) or 1.0

            def point(place: int, value: float, low: float = low, span: float = span, last: int = len(frames)) -> str:
                x = _LEFT + _WIDTH * place / max(1, last - 1)
                return f"{x:.1f},{_TOP + _HEIGHT * (1 - (value - low) / span):.1f}"

            found.setdefault(clip, []).append(
                {
                    "key": key,
                    "low": low,
                    "high": high,
                    "lines": {name: " ".join(point(*each) for each in line) for name, line in lines.items() if line},
                }
            )
    return found


def _number(value: float) -> float | None:
    return value + 0.0 if math.isfinite(value) else None
