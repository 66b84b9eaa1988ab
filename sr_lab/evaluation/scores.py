"""The one table of scores: image x restorer x metric, of any number of restorers on the same images.

Bicubic is a restorer like others: who wants to stand beside it names it. An original is decoded and hashed once,
whatever the number of restorers and of degradations that it is shown under; crops and maps are drawn of those images
only that somebody looks at.
"""

import hashlib
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from tqdm import tqdm

from sr_lab.base.errors import SRLabError
from sr_lab.evaluation.benchmark import Benchmark, Decoded, decode
from sr_lab.evaluation.pairs import Pair, fingerprint
from sr_lab.evaluation.pictures import Pictures, stretch_of, take_pictures
from sr_lab.evaluation.scenes import find_scenes, merge_copies
from sr_lab.evaluation.slices import content_slices
from sr_lab.images import full_precision
from sr_lab.inference.restorers import BicubicRestorer, NetworkRestorer, Restorer
from sr_lab.metrics.base import Context, PerImageMetric
from sr_lab.metrics.consistency import LRConsistency
from sr_lab.metrics.protocol import Protocol, ProtocolMismatch

if TYPE_CHECKING:
    from pandas import DataFrame

WHOLE = ""
"""In an image's reasons: the metric's place where the restoration itself failed, and with it every metric."""

_NOT_SCORED = (ValueError, OSError, RuntimeError, MemoryError)


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
        fit: Of a given low image, how well MATLAB's bicubic of the original explains it, in decibels.
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
    fit: float | None = None

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
        images: Every image, scored or not, benchmark after benchmark.
        sha256: Hash over names and bytes of every file; of several benchmarks over their names and degradations too.
        seconds: Wall time of the whole.
        samples: Restorations of each image by a generative first restorer.
        facts: What is recorded beside the numbers.
        drawn: Pictures that were taken while the image was at hand, by its name.
        copies: Near copies among the originals, which count as one scene, in words.
    """

    restorers: Mapping[str, Restorer]
    benchmarks: Mapping[str, Benchmark]
    metrics: Mapping[str, PerImageMetric]
    not_measured: Mapping[str, str]
    images: Sequence[ImageScores]
    sha256: str
    seconds: float
    samples: int = 1
    facts: Mapping[str, Any] = field(default_factory=dict)
    drawn: Mapping[str, Pictures] = field(default_factory=dict, repr=False)
    copies: Sequence[str] = ()

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

    @property
    def scored(self) -> list[ImageScores]:
        """The images of which the first restorer has any value."""
        return [image for image in self.images if image.values.get(self.names[0])]

    @property
    def failed(self) -> list[ImageScores]:
        """The images of which it has none."""
        return [image for image in self.images if not image.values.get(self.names[0])]

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
            if (found := None if difference else self.drawn.get(image.name)) is not None
            or (found := self._drawn_now(image, difference=difference)) is not None
        }

    def _shared(self, key: str) -> list[ImageScores]:
        return [image for image in self.images if all(key in image.values.get(name, {}) for name in self.names)]

    def _drawn_now(self, image: ImageScores, *, difference: bool) -> Pictures | None:
        benchmark = self.benchmarks[image.part]
        chosen = dict(list(self.restorers.items())[:2])
        try:
            with torch.inference_mode(), full_precision(benchmark.device):
                decoded = decode(benchmark.pairs[image.index], device=benchmark.device)
                low, target = benchmark.inputs(decoded, image.index)
                restored = {name: _finished(restorer(low), target) for name, restorer in chosen.items()}
                context = _context(benchmark, image.index, low, chosen, self.samples, decoded.levels)
                return _draw(restored, low, target, context, self.metrics, benchmark.scale, difference=difference)
        except _NOT_SCORED as error:
            _raise_if_out_of_memory(error)
            return None


class OutOfMemory(SRLabError, RuntimeError):
    """There is not enough memory for an image: no fault of that image."""


def score(
    restorers: Mapping[str, Restorer],
    benchmarks: Mapping[str, Benchmark],
    *,
    metrics: Mapping[str, PerImageMetric],
    samples: int = 1,
    describe: bool = False,
    draw_up_to: int = 0,
    progress: str | None = None,
) -> Scores:
    """Scores every restorer on every image of every benchmark, all on the same inputs.

    What cannot be read, restored or measured leaves its cells empty, with the reason, and the rest is scored.

    Args:
        restorers: By name; each maps a low image (1, C, h, w), values in [0, 1], to the restored one.
        benchmarks: By name, all of one scale and protocol.
        metrics: By any name, in order of importance; recorded under their ``key``.
        samples: Restorations of each image by a generative first restorer; the first one is scored, a metric may look
            at the variance over them all.
        describe: Whether scenes and content slices are found, for the gate and for comparisons.
        draw_up_to: Number of images up to which pictures are taken while the image is at hand; of more images only
            those are restored once more that somebody looks at.
        progress: What the progress bar is called, shown where there is a terminal; None for no bar.

    Raises:
        ValueError: if no metric can be measured, two record the same key, or samples are asked of what draws nothing.
        OutOfMemory: if an image does not fit into the memory.
    """
    start = time.perf_counter()
    one = next(iter(benchmarks.values()))
    measured, not_measured = usable(metrics, one.protocol)
    first = next(iter(restorers))
    if samples < 1 or (samples > 1 and not getattr(restorers[first], "generative", False)):
        raise ValueError(f"samples={samples}: at least 1, and more only of a generative network, which {first} is not")
    images: dict[str, list[ImageScores]] = {key: [] for key in benchmarks}
    drawn: dict[str, Pictures] = {}
    total = sum(len(benchmark.pairs) for benchmark in benchmarks.values())
    scenes, copies = scenes_of(benchmarks) if describe else ({}, [])
    with tqdm(total=total, desc=progress, unit="image", disable=progress is None or None) as bar:
        for keys in _of_the_same_files(benchmarks):
            for index, pair in enumerate(benchmarks[keys[0]].pairs):
                files, opened = _opened(pair, one.device)
                if isinstance(opened, Decoded):
                    _drop_refusing(measured, not_measured, int(opened.high.shape[1]))
                content = _content(opened) if describe and isinstance(opened, Decoded) else frozenset()
                for key in keys:
                    name = f"{key}/{pair.name}" if key else pair.name
                    blank = ImageScores(
                        name=name, part=key, index=index, files=files, scene=scenes.get((key, pair.name), name)
                    )
                    found, pictures = _score(
                        blank, opened, pair, restorers, benchmarks[key], measured, samples, draw=total <= draw_up_to
                    )
                    if describe:
                        own = {f"benchmark_{key}", f"degradation_{benchmarks[key].low_images}"}
                        found = replace(found, slices=frozenset(own | (content if found.size != (0, 0) else set())))
                    images[key].append(found)
                    drawn |= {} if pictures is None else {name: pictures}
                    bar.update()
    return Scores(
        restorers=dict(restorers),
        benchmarks=dict(benchmarks),
        metrics=measured,
        not_measured=not_measured,
        images=[image for rows in images.values() for image in rows],
        sha256=digest_of(benchmarks, {key: [image.files for image in rows] for key, rows in images.items()}),
        seconds=time.perf_counter() - start,
        samples=samples,
        drawn=drawn,
        copies=tuple(copies),
    )


def unscored(restorers: Mapping[str, Restorer], benchmarks: Mapping[str, Benchmark]) -> Scores:
    """The table before anything is measured, for the pictures of images whose numbers are known from elsewhere."""
    return Scores(
        restorers=dict(restorers),
        benchmarks=dict(benchmarks),
        metrics={},
        not_measured={},
        images=[
            ImageScores(name=f"{key}/{pair.name}" if key else pair.name, part=key, index=index)
            for key, benchmark in benchmarks.items()
            for index, pair in enumerate(benchmark.pairs)
        ],
        sha256="",
        seconds=0.0,
    )


def usable(
    metrics: Mapping[str, PerImageMetric], protocol: Protocol
) -> tuple[dict[str, PerImageMetric], dict[str, str]]:
    """The metrics that can be measured, by key, and the reasons of the others.

    Raises:
        ValueError: if none can be, or two record the same key.
    """
    measured: dict[str, PerImageMetric] = {}
    not_measured: dict[str, str] = {}
    for metric in metrics.values():
        if metric.key in measured or metric.key in not_measured:
            raise ValueError(f"two metrics record {metric.key!r}: keep one")
        reason = metric.unavailable(protocol)
        if reason is None:
            measured[metric.key] = metric
        else:
            not_measured[metric.key] = reason
    if not measured:
        raise ValueError("no metric can be measured: " + ("; ".join(not_measured.values()) or "none was given"))
    return measured, not_measured


def _drop_refusing(measured: dict[str, PerImageMetric], not_measured: dict[str, str], num_channels: int) -> None:
    """Moves the metrics that take no images of so many channels to those that are not measured, unless none is left."""
    refused = {key: reason for key, metric in measured.items() if (reason := metric.refuses(num_channels))}
    if len(refused) < len(measured):
        for key, reason in refused.items():
            not_measured[key] = reason
            del measured[key]


def _score(
    image: ImageScores,
    opened: Decoded | Exception,
    pair: Pair,
    restorers: Mapping[str, Restorer],
    benchmark: Benchmark,
    metrics: Mapping[str, PerImageMetric],
    samples: int,
    *,
    draw: bool,
) -> tuple[ImageScores, Pictures | None]:
    """The cells of one image and, if they are wanted, its pictures."""
    try:
        if isinstance(opened, Exception):
            raise opened
        with torch.inference_mode(), full_precision(benchmark.device):
            low, target = benchmark.inputs(opened, image.index)
            context = _context(benchmark, image.index, low, {}, 1, opened.levels)
            fit = None
            if benchmark.low_images == "given":
                fit = float(LRConsistency(scale=benchmark.scale).measure(target, target, context))
    except ProtocolMismatch:
        raise
    except _NOT_SCORED as error:
        return replace(image, reasons={name: {WHOLE: _reason(pair, error)} for name in restorers}), None
    values: dict[str, dict[str, float]] = {}
    seconds: dict[str, float] = {}
    reasons: dict[str, dict[str, str]] = {}
    images: dict[str, Tensor] = {}
    of_first = context
    for place, (name, restorer) in enumerate(restorers.items()):
        try:
            with torch.inference_mode(), full_precision(benchmark.device):
                clock = time.perf_counter()
                images[name] = _finished(restorer(low), target)
                seconds[name] = time.perf_counter() - clock
                shown = context
                if place == 0 and samples > 1:
                    shown = of_first = _context(benchmark, image.index, low, {name: restorer}, samples, opened.levels)
        except _NOT_SCORED as error:
            reasons[name] = {WHOLE: _reason(pair, error)}
            images.pop(name, None)
            continue
        values[name], empty = _measured(metrics, images[name], target, shown, pair, benchmark.device)
        if empty:
            reasons[name] = empty if values[name] else {WHOLE: next(iter(empty.values()))}
        if not values[name]:
            del values[name]
        if not draw or place > 1:
            del images[name]
    size = (int(target.shape[-1]), int(target.shape[-2]))
    pictures = None
    if images and next(iter(restorers)) in images and len(images) == min(2, len(restorers)):
        with torch.inference_mode(), full_precision(benchmark.device):
            pictures = _draw(images, low, target, of_first, metrics, benchmark.scale)
    return replace(image, size=size, values=values, seconds=seconds, reasons=reasons, fit=fit), pictures


def _measured(
    metrics: Mapping[str, PerImageMetric],
    restored: Tensor,
    target: Tensor,
    context: Context,
    pair: Pair,
    device: torch.device | str,
) -> tuple[dict[str, float], dict[str, str]]:
    """The values that can be measured, and the reasons of the others."""
    values: dict[str, float] = {}
    reasons: dict[str, str] = {}
    for key, metric in metrics.items():
        try:
            with torch.inference_mode(), full_precision(device):
                values[key] = float(metric.measure(restored, target, context))
        except _NOT_SCORED as error:
            reasons[key] = _reason(pair, error)
    return values, reasons


def _draw(
    restored: Mapping[str, Tensor],
    low: Tensor,
    target: Tensor,
    context: Context,
    metrics: Mapping[str, PerImageMetric],
    scale: int,
    *,
    difference: bool = False,
) -> Pictures:
    """The pictures of one image: of the first restoration, and in bicubic's place of the second, where there is one."""
    ours, *others = restored.values()
    error = None
    maps = []
    if difference and others:
        error = (ours - target).square() - (others[0] - target).square()
    if not difference:
        maps = [item for metric in metrics.values() if (item := _map(metric, ours, target, context)) is not None]
    theirs = others[0] if others else BicubicRestorer(scale=scale)(low) if difference else ours
    stretch = None if context.levels == 255 else stretch_of(target)
    return take_pictures(
        low=low, bicubic=theirs, restored=ours, target=target, scale=scale, maps=maps, error=error, stretch=stretch
    )


def _map(metric: PerImageMetric, restored: Tensor, target: Tensor, context: Context) -> Any:
    try:
        return metric.map_of(restored, target, context)
    except _NOT_SCORED as error:
        _raise_if_out_of_memory(error)
        return None


def _context(
    benchmark: Benchmark, index: int, low: Tensor, restorers: Mapping[str, Restorer], samples: int, levels: int
) -> Context:
    """What a metric may look at; the variance over samples is the first restorer's."""
    context = Context(low=low, degrade=partial(benchmark.degrade_again, index=index), levels=levels)
    if samples > 1:
        restorer = next(iter(restorers.values()))
        assert isinstance(restorer, NetworkRestorer)
        context = replace(context, variance=restorer.moments(low, num=samples)[1])
    return context


def _of_the_same_files(benchmarks: Mapping[str, Benchmark]) -> Iterator[list[str]]:
    """The benchmarks' names, those of equal files together: one original under several degradations."""
    left = list(benchmarks)
    while left:
        keys = [key for key in left if benchmarks[key].pairs == benchmarks[left[0]].pairs]
        left = [key for key in left if key not in keys]
        yield keys


def digest_of(benchmarks: Mapping[str, Benchmark], files: Mapping[str, Sequence[tuple[str, ...]]] | None = None) -> str:
    """Hash over names and bytes of every file; of several benchmarks over their names and degradations too.

    Args:
        benchmarks: By name.
        files: Benchmark to the hashes of each of its pairs; None reads the files.
    """
    prints = {
        key: fingerprint(benchmark.pairs, None if files is None else files[key])
        for key, benchmark in benchmarks.items()
    }
    if list(prints) == [""]:
        return prints[""]
    digest = hashlib.sha256()
    for key, benchmark in benchmarks.items():
        digest.update(f"{key}\0{benchmark.low_images}\0{prints[key]}\0".encode())
    return digest.hexdigest()


def scenes_of(benchmarks: Mapping[str, Benchmark]) -> tuple[dict[tuple[str, str], str], list[str]]:
    """Scene by benchmark and image, and near copies, which are one; benchmarks of one folder show the same scenes."""
    scenes: dict[tuple[str, str], str] = {}
    copies: list[str] = []
    looked_at: dict[str, dict[str, str]] = {}
    for key, benchmark in benchmarks.items():
        folder = benchmark.folder.resolve()
        first = next(name for name, other in benchmarks.items() if other.folder.resolve() == folder)
        if first not in looked_at:
            found = find_scenes(benchmark.folder, [pair.name for pair in benchmark.pairs])
            looked_at[first], said = merge_copies(found, {pair.name: pair.high for pair in benchmark.pairs})
            copies += said
        scenes |= {(key, name): f"{first}/{scene}" for name, scene in looked_at[first].items()}
    return scenes, copies


def _opened(pair: Pair, device: torch.device | str) -> tuple[tuple[str, ...], Decoded | Exception]:
    """The hashes of a pair's files, and their pixels or why they cannot be had."""
    hashes: tuple[str, ...] = ()
    try:
        hashes = pair.hashes()
        return hashes, decode(pair, device=device)
    except _NOT_SCORED as error:
        _raise_if_out_of_memory(error)
        return hashes, error


def _content(decoded: Decoded) -> frozenset[str]:
    image = decoded.high.cpu()
    return content_slices(image) if image.shape[1] in (1, 3) else frozenset()


def _finished(restored: Tensor, target: Tensor) -> Tensor:
    """The restored image, computed, of the target's shape, free of NaN and infinity."""
    if restored.shape != target.shape:
        raise ValueError(f"the restorer returned {tuple(restored.shape)}, the target is {tuple(target.shape)}")
    restored = restored.float()
    if not bool(torch.isfinite(restored).all()):
        raise ValueError("the restored image holds NaN or infinity")
    return restored


def _reason(pair: Pair, error: Exception) -> str:
    """The error's text, with the file where it does not name one."""
    _raise_if_out_of_memory(error, pair)
    text = str(error) or type(error).__name__
    files = [str(file) for file in (pair.low, pair.high) if file is not None]
    return text if any(file in text for file in files) else f"{files[0]}: {text}"


def _raise_if_out_of_memory(error: Exception, pair: Pair | None = None) -> None:
    """Raises ``OutOfMemory`` if that is what the error says: it is no property of the image."""
    text = str(error)
    exhausted = isinstance(error, MemoryError | torch.OutOfMemoryError)
    if exhausted or any(words in text for words in ("can't allocate memory", "not enough memory", "out of memory")):
        where = "" if pair is None else f"{pair.high}: "
        said = text.splitlines()[0] if text else type(error).__name__
        raise OutOfMemory(
            f"{where}the memory does not suffice ({said}): give a smaller tile=, or device=cpu, or free some"
        ) from error
