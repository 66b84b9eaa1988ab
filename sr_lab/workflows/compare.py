"""Two restorers side by side on the same images: means, gains with intervals, and where the first loses most."""

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from sr_lab.base.files import require_folder_name, write_text
from sr_lab.base.provenance import git_state
from sr_lab.base.signals import deferred, saying
from sr_lab.base.statistics import cluster_means, mean_interval
from sr_lab.base.words import counted
from sr_lab.degradations.base import Degradation
from sr_lab.evaluation.clips import benchmark_of
from sr_lab.evaluation.headings import heading
from sr_lab.evaluation.scores import WHOLE, Scores
from sr_lab.evaluation.scoring import score
from sr_lab.evaluation.versus_page import ImageLine, Line, Page, render
from sr_lab.inference.restorers import Restorer
from sr_lab.metrics.base import PerImageMetric
from sr_lab.metrics.protocol import Protocol
from sr_lab.promotion import ImageRow, Measurement
from sr_lab.workflows.load import choose_device

__all__ = ["NUMBERS", "PAGE", "Comparison", "Line", "compare", "image_lines", "measurements", "slice_lines"]

PAGE, NUMBERS = "compare.html", "compare.json"
"""Names of the files of a comparison."""

Better = Mapping[str, Literal["higher", "lower"]]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What was found out about two restorers.

    Attributes:
        scores: The table of both.
        lines: Means and gain of every metric on every slice.
        page: The page that shows them side by side, HTML.
        alpha: Error of each bound of an interval.
        measurements: What the gate needs to know of each, in their order. Times are not measured, and what a restorer
            has learnt from is known of artefacts alone.
    """

    scores: Scores
    lines: Sequence[Line]
    page: str
    alpha: float
    measurements: tuple[Measurement, ...]

    @property
    def text(self) -> str:
        """Means and gain of every metric over all images, a line each."""
        first, second = self.scores.names[:2]
        rows = [f"{first} against {second}, positive is better for the first:"]
        for line in (line for line in self.lines if line.slice == "all"):
            bounds = ""
            if line.low is not None:
                bounds = f", {1 - 2 * self.alpha:.0%} interval [{line.low:+.4f}, {line.high:+.4f}]"
            rows.append(
                f"  {line.metric}: {line.ours:.4f} and {line.theirs:.4f}, gain {line.gain:+.4f}{bounds} "
                f"({counted(line.num_images, 'image')}, {counted(line.num_scenes, 'scene')})"
            )
        return "\n".join(rows)

    @property
    def failures(self) -> dict[str, dict[str, str]]:
        """Restorer to image to the reason why it has no value there."""
        return {name: reasons_of(self.scores, name) for name in self.scores.names}


def compare(
    restorers: Mapping[str, Restorer],
    benchmark: Path | str,
    *,
    scale: int,
    protocol: Protocol,
    metrics: Mapping[str, PerImageMetric],
    degradation: Degradation | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
    alpha: float = 0.05,
    num_pictures: int = 12,
    report: Path | None = None,
    progress: bool = True,
) -> Comparison:
    """Scores two restorers on the same images and says on which the first one loses.

    Args:
        restorers: Two restorers by name; a gain is of the first one over the second.
        benchmark: Folder with ``HR/`` and ``LR/``, or with originals; its scenes.csv or subfolders tell scenes.
        scale: Enlargement factor.
        protocol: What is restored and compared with what.
        metrics: Metrics by any name, in order of importance; recorded under their ``key``.
        degradation: Makes the low images where the benchmark has none; by default the field's bicubic.
        seed: Seed of the draws of a random degradation; both restorers get the same draws.
        device: Where the metrics are computed; the restorers must expect images there.
        alpha: Error of each bound of an interval.
        num_pictures: Images whose crops the page shows, where the first one lost most first.
        report: Folder for compare.html and compare.json; None writes nothing.
        progress: Whether a progress bar is shown where there is a terminal.

    Raises:
        ValueError: if there are not two restorers, the settings do not fit together, or an image can be scored on none.
        Stopped: if the process is asked to end; it says what is written.
    """
    if report is not None:
        require_folder_name(report, key="report")
    device = choose_device(device)
    if len(restorers) != 2:
        raise ValueError(f"a comparison is of two restorers, given are {len(restorers)}: {', '.join(restorers)}")
    folder = Path(benchmark)
    source = benchmark_of(folder, scale=scale, protocol=protocol, degradation=degradation, seed=seed, device=device)
    with saying("while the images were scored; nothing is written"):
        scores = score(
            restorers,
            {folder.name: source},
            metrics=metrics,
            describe=True,
            progress=" against ".join(restorers) if progress else None,
        )
    require_scored(scores, scores.names)
    better: dict[str, Literal["higher", "lower"]] = {
        key: "higher" if metric.higher_is_better else "lower" for key, metric in scores.metrics.items()
    }
    seen = {name: getattr(restorer, "seen", None) for name, restorer in restorers.items()}
    known = {name: getattr(restorer, "metadata", None) or {} for name, restorer in restorers.items()}
    unknown = {name: metadata.get("unknown_history", []) for name, metadata in known.items()}
    models = measurements(scores, scores.names, seen=seen, costs={}, unknown=unknown)
    lines = slice_lines(models, better, alpha=alpha)
    images = image_lines(models, better)
    by_name = {image.clip or image.name: image for image in reversed(scores.images)}
    first, second = scores.names
    page = Page(
        title=f"{first} against {second}",
        subtitle=f"{heading('both', str(benchmark), scale)}: {counted(len(scores.images), 'image')}, "
        f"protocol {protocol.name}.",
        names=scores.names,
        metrics=list(better),
        words={key: metric.words for key, metric in scores.metrics.items()},
        level=1 - 2 * alpha,
        lines=lines,
        images=images,
        pictures=scores.pictures([by_name[image.name] for image in images[:num_pictures]], difference=True),
        facts={
            "a": first,
            "b": second,
            "benchmark": str(benchmark),
            "files' SHA-256": scores.sha256,
            "protocol": protocol.definition,
            "not measured": "; ".join(f"{key}: {why}" for key, why in scores.not_measured.items()) or "nothing",
            "code": git_state().commit or "unknown",
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    )
    found = Comparison(scores=scores, lines=lines, page=render(page), alpha=alpha, measurements=tuple(models))
    if report is not None:
        numbers = {"a": first, "b": second, "protocol": protocol.name, "sha256": scores.sha256, "alpha": alpha}
        text = json.dumps({**numbers, "lines": [asdict(line) for line in lines]}, indent=2)
        with saying(f"{report / PAGE} and {NUMBERS} are written"), deferred():
            write_text(report / PAGE, found.page)
            write_text(report / NUMBERS, text + "\n")
    return found


def require_scored(scores: Scores, names: Sequence[str]) -> None:
    """Refuses a table with an image of which none of these restorers has any value.

    Raises:
        ValueError: naming the first such image.
    """
    for image in scores.images:
        if not any(image.values.get(name) for name in names):
            raise ValueError(f"{image.name} could not be scored at all: {image.reason}: repair or remove it")


def reasons_of(scores: Scores, name: str) -> dict[str, str]:
    """Image to the reason why a restorer lacks values there, in words."""
    return {
        image.name: "; ".join(f"{key}: {text}" if key else text for key, text in image.reasons[name].items())
        for image in scores.images
        if name in image.reasons
    }


def measurements(
    scores: Scores,
    names: Sequence[str],
    *,
    seen: Mapping[str, Mapping[str, Sequence[str]] | None],
    costs: Mapping[str, Mapping[str, Sequence[float]]],
    architectures: Mapping[str, str | None] | None = None,
    unknown: Mapping[str, Sequence[str]] | None = None,
) -> list[Measurement]:
    """What the gate needs to know of each restorer: its column of the table, no value above its metric's ceiling.

    Args:
        scores: The table.
        names: Restorers of it.
        seen: Restorer to the hashes of the images that it was trained and selected on; None where that is not known.
        costs: Restorer to resource to values.
        architectures: Restorer to a hash of what its network is, without the weights; None where that is not known.
        unknown: Restorer to the public weights that it comes from, whose training images nobody has recorded.
    """
    return [
        Measurement(
            model=name,
            holdout=scores.sha256,
            protocol=scores.protocol.name,
            rows=_clip_rows(scores, name) if scores.clips else _image_rows(scores, name),
            resources=costs.get(name, {}),
            seen=_overlap(scores, seen.get(name)),
            architecture=(architectures or {}).get(name),
            unknown=tuple((unknown or {}).get(name, ())),
        )
        for name in names
    ]


def _image_rows(scores: Scores, name: str) -> list[ImageRow]:
    return [
        ImageRow(
            name=image.name,
            scene=image.scene,
            slices=image.slices,
            metrics={key: min(value, scores.metrics[key].ceiling) for key, value in image.values.get(name, {}).items()},
        )
        for image in scores.images
    ]


def _clip_rows(scores: Scores, name: str) -> list[ImageRow]:
    """A row for each clip, which is one scene: the means over its frames; none of what failed on any of them."""
    rows = []
    for clip, frames in scores.clips.items():
        metrics: dict[str, float] = {}
        for key, metric in scores.metrics.items():
            failed = any({WHOLE, key} & frame.reasons.get(name, {}).keys() for frame in frames)
            values = [frame.values[name][key] for frame in frames if key in frame.values.get(name, {})]
            if values and not failed:
                metrics[key] = metric.mean(values)
        rows.append(ImageRow(name=clip, scene=frames[0].scene, slices=frames[0].slices, metrics=metrics))
    return rows


def _overlap(scores: Scores, images: Mapping[str, Sequence[str]] | None) -> frozenset[str] | None:
    if images is None:
        return None
    known = {digest for digests in images.values() for digest in digests}
    return frozenset(image.clip or image.name for image in scores.images if known.intersection(image.files))


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
