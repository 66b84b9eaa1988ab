"""The one table of scores: image x restorer x metric, of any number of restorers on the same images.

Bicubic is a restorer like others: who wants to stand beside it names it. ``scoring.score`` fills the table.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sr_lab.evaluation.benchmark import Benchmark, decode
from sr_lab.evaluation.measuring import NOT_SCORED, context_of, draw, finished, raise_if_out_of_memory
from sr_lab.evaluation.pictures import Pictures
from sr_lab.images import full_precision
from sr_lab.images.found import Reading, Truth
from sr_lab.inference.restorers import Restorer
from sr_lab.metrics.base import PerImageMetric, Words
from sr_lab.metrics.protocol import Protocol

if TYPE_CHECKING:
    from pandas import DataFrame

    from sr_lab.evaluation.film import Film

WHOLE = ""
"""In an image's reasons: the metric's place where the restoration itself failed, and with it every metric."""


@dataclass(frozen=True, kw_only=True)
class ImageScores:
    """One image of the table.

    Attributes:
        name: Path of the original below its benchmark, without the suffix; after ``PART/`` where the part has a name.
        part: Name of the benchmark in the table.
        index: Place of the image in that benchmark.
        size: Width and height of the target; zeros where it could not be made.
        files: SHA-256 of the original and, where it is given, of the low image.
        scene: What the image shows; the images of one scene are dependent.
        slices: Groups that it belongs to.
        values: Restorer to metric key to value, as it was measured; without what could not be.
        seconds: Restorer to the time of its restoration.
        reasons: Restorer to metric key to the reason why there is no value; ``WHOLE`` stands for all metrics.
        references: ``original`` and ``low`` (the input) to metric key to value, of metrics where these tell something.
        readings: Restorer, ``original`` or ``low`` to task to what was found there, in pixels of the original.
        truth: What the original is known to show.
        fit: Of a given low image, how well MATLAB's bicubic of the original explains it, in decibels.
        clip: Of a frame the clip that it belongs to.
        original: Metric key to the value that the original itself has, of metrics that are of one clip alone.
    """

    name: str
    part: str = ""
    index: int = 0
    size: tuple[int, int] = (0, 0)
    files: tuple[str, ...] = ()
    scene: str = ""
    slices: frozenset[str] = frozenset()
    values: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)
    reasons: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    references: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    readings: Mapping[str, Mapping[str, Reading]] = field(default_factory=dict, repr=False)
    truth: Truth | None = None
    fit: float | None = None
    clip: str = ""
    original: Mapping[str, float] = field(default_factory=dict)

    def value(self, restorer: str, metric: str) -> float:
        """The value in a cell of the table; NaN where it is empty."""
        return self.values.get(restorer, {}).get(metric, math.nan)

    @property
    def reason(self) -> str:
        """Why cells of this image are empty, in one line; empty where none is."""
        found: dict[str, None] = {}
        for reasons in self.reasons.values():
            found |= dict.fromkeys(text if key == WHOLE else f"{key}: {text}" for key, text in reasons.items())
        return "; ".join(found)


@dataclass(frozen=True, kw_only=True)
class Scores:
    """What was measured of restorers on the images of one or several benchmarks.

    A mean is over the images on which every restorer has a value of that metric, so that means can be compared; an
    image counts at most the metric's ceiling in it (100 dB of PSNR), while the table keeps the value itself.

    Attributes:
        restorers: By name; the first one is the one in question.
        benchmarks: By name; a single one may have the empty name.
        metrics: The metrics that were measured, by key, in the order asked for.
        not_measured: Metric key to the reason why it was not measured at all.
        asked: Every metric that was asked for, by key.
        images: Every image, scored or not, benchmark after benchmark.
        sha256: Hash over names and bytes of every file; of several benchmarks over their names and degradations too.
        seconds: Wall time of the whole.
        samples: Restorations of each image by a generative first restorer.
        facts: What is recorded beside the numbers.
        drawn: Pictures that were taken while the image was at hand, by its name.
        copies: Near copies among the originals, which count as one scene, in words.
        films: Pictures of clips, by their names.
    """

    restorers: Mapping[str, Restorer]
    benchmarks: Mapping[str, Benchmark]
    metrics: Mapping[str, PerImageMetric]
    not_measured: Mapping[str, str]
    asked: Mapping[str, PerImageMetric] = field(default_factory=dict)
    images: Sequence[ImageScores]
    sha256: str
    seconds: float
    samples: int = 1
    facts: Mapping[str, Any] = field(default_factory=dict)
    drawn: Mapping[str, Pictures] = field(default_factory=dict, repr=False)
    copies: Sequence[str] = ()
    films: Mapping[str, "Film"] = field(default_factory=dict, repr=False)

    @property
    def names(self) -> tuple[str, ...]:
        """The restorers' names; the first one is the one in question."""
        return tuple(self.restorers)

    @property
    def benchmark(self) -> Benchmark:
        """The first benchmark, which is the only one of an evaluation."""
        return next(iter(self.benchmarks.values()))

    @property
    def scale(self) -> int:
        """Enlargement factor."""
        return self.benchmark.scale

    @property
    def protocol(self) -> Protocol:
        """What was compared with what."""
        return self.benchmark.protocol

    @property
    def first_key(self) -> str:
        """The metric that the images are ranked by: the first one that was measured."""
        return next(iter(self.metrics))

    def words(self, key: str) -> Words:
        """How a metric, measured or not, and its values are written for people."""
        metric = self.metrics.get(key) or self.asked.get(key)
        return Words.of_key(key) if metric is None else metric.words

    @property
    def scored(self) -> list[ImageScores]:
        """The images of which the first restorer has any value."""
        return [image for image in self.images if image.values.get(self.names[0])]

    @property
    def failed(self) -> list[ImageScores]:
        """The images of which it has none."""
        return [image for image in self.images if not image.values.get(self.names[0])]

    @property
    def clips(self) -> dict[str, list[ImageScores]]:
        """The frames of each clip; empty where images were scored."""
        found: dict[str, list[ImageScores]] = {}
        for image in self.images:
            if image.clip:
                found.setdefault(image.clip, []).append(image)
        return found

    @property
    def complete(self) -> bool:
        """Whether no cell of the table is empty, and there is one."""
        return bool(self.images) and not any(image.reasons for image in self.images)

    @property
    def degradation_fit(self) -> float | None:
        """PSNR of MATLAB's bicubic of the originals against the given low images, at most 60; None: none were given."""
        fits = [image.fit for image in self.scored if image.fit is not None]
        return sum(fits) / len(fits) if fits else None

    @property
    def means(self) -> dict[str, dict[str, float]]:
        """Restorer to metric key to mean."""
        return {name: {key: self.mean(key, name) for key in self.metrics} for name in self.names}

    @property
    def table(self) -> "DataFrame":
        """One row for each image and restorer: its names, scene and size, a column a metric, seconds, reason."""
        from pandas import DataFrame

        rows = [
            {
                "image": image.name,
                "scene": image.scene,
                "width": image.size[0],
                "height": image.size[1],
                "restorer": name,
                **{key: image.value(name, key) for key in self.metrics},
                "seconds": image.seconds.get(name, math.nan),
                "protocol": self.protocol.name,
                "reason": "; ".join(image.reasons.get(name, {}).values()),
            }
            for image in self.images
            for name in self.names
        ]
        return DataFrame(rows)

    @property
    def tasks(self) -> "DataFrame":
        """What tasks gain: a row for each number, source and group, with intervals over scenes; see ``TaskLine``."""
        from pandas import DataFrame

        from sr_lab.evaluation.tasks import as_dicts, task_lines

        return DataFrame(as_dicts(task_lines(self)))

    def report(self, path: Path | str, *, num_pictures: int = 12) -> dict[str, Any]:
        """Writes summary.json, per_image.csv, report.html and comparison.png; see ``report.write_report``.

        Args:
            path: Folder of the four files.
            num_pictures: Images whose crops the page shows, the worst first.

        Returns:
            The content of ``summary.json``.
        """
        from sr_lab.evaluation.report import write_report

        return write_report(self, Path(path), num_pictures=num_pictures)

    def mean(self, key: str, restorer: str | None = None) -> float:
        """Mean of a metric over the images on which every restorer has it; by default of the first restorer."""
        name = self.names[0] if restorer is None else restorer
        return self.metrics[key].mean(image.value(name, key) for image in self._shared(key))

    def clip_mean(self, clip: str, key: str, restorer: str | None = None) -> float:
        """Mean of a metric over the frames of a clip; NaN where it has none."""
        name = self.names[0] if restorer is None else restorer
        own = [image for image in self._shared(key) if image.clip == clip]
        return self.metrics[key].mean(image.value(name, key) for image in own)

    def mean_of_clips(self, key: str, restorer: str | None = None) -> float:
        """Mean over the clips of each clip's mean, where every frame of a long clip counts less than in ``mean``."""
        means = [self.clip_mean(clip, key, restorer) for clip in self.clips]
        known = [value for value in means if not math.isnan(value)]
        return sum(known) / len(known) if known else math.nan

    def original_mean(self, key: str, clip: str | None = None) -> float:
        """Mean of what the originals themselves have in a metric, over all frames or those of a clip."""
        rows = [image for image in self.images if clip is None or image.clip == clip]
        known = [image.original[key] for image in rows if key in image.original]
        return sum(known) / len(known) if known else math.nan

    def gain(self, image: ImageScores, key: str) -> float:
        """Improvement of the first restorer over the second on one image, both under the ceiling; positive is better.

        Zero where there is no second one: a restorer does not improve on itself.
        """
        metric = self.metrics[key]
        ours, theirs = (min(image.value(name, key), metric.ceiling) for name in (self.names[0], self.names[:2][-1]))
        return ours - theirs if metric.higher_is_better else theirs - ours

    def mean_gain(self, key: str) -> float:
        """Mean improvement of the first restorer over the second; positive is better."""
        difference = self.mean(key) - self.mean(key, self.names[:2][-1])
        return difference if self.metrics[key].higher_is_better else -difference

    def worst_first(self) -> list[ImageScores]:
        """The scored images by the first metric: least gain over the second restorer first; alone, the worst value."""
        key, sign = self.first_key, 1 if self.metrics[self.first_key].higher_is_better else -1

        def place(image: ImageScores) -> float:
            found = self.gain(image, key) if len(self.names) > 1 else sign * image.value(self.names[0], key)
            return -math.inf if math.isnan(found) else found

        return sorted(self.scored, key=place)

    def low(self, image: ImageScores) -> Tensor:
        """The low image (1, C, h, w) that the restorers were given."""
        return self.benchmarks[image.part].read(image.index)[0]

    def pictures(self, images: Iterable[ImageScores], *, difference: bool = False) -> dict[str, Pictures]:
        """The crop of each image where the first restorer errs most; the second one takes the place of bicubic.

        Args:
            images: Images of this table.
            difference: True: where it errs most beyond the second restorer.

        Returns:
            Pictures by the image's name; without the images that a restorer fails on.
        """
        return {
            image.name: found
            for image in images
            if (found := None if difference and not image.clip else self.drawn.get(image.name)) is not None
            or (found := self._drawn_now(image, difference=difference)) is not None
        }

    def _shared(self, key: str) -> list[ImageScores]:
        return [image for image in self.images if all(key in image.values.get(name, {}) for name in self.names)]

    def _drawn_now(self, image: ImageScores, *, difference: bool) -> Pictures | None:
        benchmark = self.benchmarks[image.part]
        if image.clip or benchmark.protocol.clips:
            return None
        chosen = dict(list(self.restorers.items())[:2])
        try:
            with torch.inference_mode(), full_precision(benchmark.device):
                decoded = decode(benchmark.pairs[image.index], device=benchmark.device)
                low, target = benchmark.inputs(decoded, image.index)
                restored = {name: finished(restorer(low), target) for name, restorer in chosen.items()}
                context = context_of(benchmark, image.index, low, chosen, self.samples, decoded.levels)
                return draw(restored, low, target, context, self.metrics, benchmark.scale, difference=difference)
        except NOT_SCORED as error:
            raise_if_out_of_memory(error)
            return None
