"""Scoring: every restorer on every image of every benchmark, into the one table (``scores.Scores``).

An original is decoded and hashed once, whatever the number of restorers and of degradations that it is shown under;
crops and maps are drawn of those images only that somebody looks at.
"""

import time
from collections.abc import Iterator, Mapping
from dataclasses import replace

import torch
from torch import Tensor
from tqdm import tqdm

from sr_lab.evaluation.benchmark import Benchmark, Decoded, decode
from sr_lab.evaluation.clip_scoring import score_clip
from sr_lab.evaluation.clips import ClipBenchmark
from sr_lab.evaluation.digests import digest_of, scenes_of
from sr_lab.evaluation.film import Film
from sr_lab.evaluation.measuring import (
    NOT_SCORED,
    context_of,
    draw,
    finished,
    measured_of,
    raise_if_out_of_memory,
    readings_of,
    reason_of,
    references_of,
)
from sr_lab.evaluation.pairs import Pair
from sr_lab.evaluation.pictures import Pictures
from sr_lab.evaluation.scores import WHOLE, ImageScores, Scores
from sr_lab.evaluation.slices import clip_slices, content_slices
from sr_lab.images import full_precision
from sr_lab.inference.restorers import Restorer
from sr_lab.metrics.base import PerImageMetric
from sr_lab.metrics.consistency import LRConsistency
from sr_lab.metrics.protocol import Protocol, ProtocolMismatch

MOST_FILMS = 8
"""Clips of which pictures are taken: a report holds them all."""


def score(
    restorers: Mapping[str, Restorer],
    benchmarks: Mapping[str, Benchmark],
    *,
    metrics: Mapping[str, PerImageMetric],
    samples: int = 1,
    describe: bool = False,
    scenes: bool = False,
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
        scenes: Whether the scenes that the benchmark's folder tells are taken over; ``describe`` looks for near copies
            too.
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
    hashes: dict[str, list[tuple[str, ...]]] = {key: [] for key in benchmarks}
    films: dict[str, Film] = {}
    drawn: dict[str, Pictures] = {}
    total = sum(len(benchmark.pairs) for benchmark in benchmarks.values())
    shown, copies = scenes_of(benchmarks, copies=describe) if describe or scenes else ({}, [])
    with tqdm(total=total, desc=progress, unit="image", disable=progress is None or None) as bar:
        for keys in _of_the_same_files(benchmarks):
            for index, pair in enumerate(benchmarks[keys[0]].pairs):
                if isinstance(clips := benchmarks[keys[0]], ClipBenchmark):
                    files = _hashes(pair)
                    content = _content_of_clip(clips, index) if describe else frozenset()
                    for key in keys:
                        benchmark = benchmarks[key]
                        assert isinstance(benchmark, ClipBenchmark)
                        name = f"{key}/{pair.name}" if key else pair.name
                        blank = ImageScores(
                            name=name, clip=name, part=key, index=index, scene=shown.get((key, pair.name), name)
                        )
                        rows, film = score_clip(
                            blank, benchmark, restorers, measured, filmed=index < min(draw_up_to, MOST_FILMS)
                        )
                        own = {f"benchmark_{key}", f"degradation_{benchmark.low_images}"} if describe else set()
                        images[key] += [replace(row, slices=frozenset(own | content)) for row in rows]
                        hashes[key].append(files)
                        if film is not None:
                            films[name] = film
                            drawn |= film.moments
                        bar.update()
                    continue
                files, opened = _opened(pair, one.device)
                if isinstance(opened, Decoded):
                    _drop_refusing(measured, not_measured, int(opened.high.shape[1]))
                content = _content(opened) if describe and isinstance(opened, Decoded) else frozenset()
                for key in keys:
                    name = f"{key}/{pair.name}" if key else pair.name
                    blank = ImageScores(
                        name=name, part=key, index=index, files=files, scene=shown.get((key, pair.name), name)
                    )
                    found, pictures = _score(
                        blank, opened, pair, restorers, benchmarks[key], measured, samples, wanted=total <= draw_up_to
                    )
                    if describe:
                        own = {f"benchmark_{key}", f"degradation_{benchmarks[key].low_images}"} | found.slices
                        found = replace(found, slices=frozenset(own | (content if found.size != (0, 0) else set())))
                    images[key].append(found)
                    hashes[key].append(files)
                    drawn |= {} if pictures is None else {name: pictures}
                    bar.update()
    return Scores(
        restorers=dict(restorers),
        benchmarks=dict(benchmarks),
        metrics=measured,
        not_measured=not_measured,
        asked={metric.key: metric for metric in metrics.values()},
        images=[image for rows in images.values() for image in rows],
        sha256=digest_of(benchmarks, hashes),
        seconds=time.perf_counter() - start,
        samples=samples,
        drawn=drawn,
        copies=tuple(copies),
        films=films,
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
    wanted: bool,
) -> tuple[ImageScores, Pictures | None]:
    """The cells of one image and, if they are wanted, its pictures."""
    try:
        if isinstance(opened, Exception):
            raise opened
        with torch.inference_mode(), full_precision(benchmark.device):
            low, target = benchmark.inputs(opened, image.index)
            context = context_of(benchmark, image.index, low, {}, 1, opened.levels)
            references, readings = references_of(metrics, target, context)
            fit = None
            if benchmark.low_images == "given":
                fit = float(LRConsistency(scale=benchmark.scale).measure(target, target, context))
    except ProtocolMismatch:
        raise
    except NOT_SCORED as error:
        return replace(image, reasons={name: {WHOLE: reason_of(pair, error)} for name in restorers}), None
    values: dict[str, dict[str, float]] = {}
    seconds: dict[str, float] = {}
    reasons: dict[str, dict[str, str]] = {}
    images: dict[str, Tensor] = {}
    of_first = context
    for place, (name, restorer) in enumerate(restorers.items()):
        try:
            with torch.inference_mode(), full_precision(benchmark.device):
                clock = time.perf_counter()
                images[name] = finished(restorer(low), target)
                seconds[name] = time.perf_counter() - clock
                shown = context
                if place == 0 and samples > 1:
                    shown = of_first = context_of(benchmark, image.index, low, {name: restorer}, samples, opened.levels)
        except NOT_SCORED as error:
            reasons[name] = {WHOLE: reason_of(pair, error)}
            images.pop(name, None)
            continue
        values[name], empty = measured_of(metrics, images[name], target, shown, pair, benchmark.device)
        readings |= {name: found} if (found := readings_of(metrics, images[name])) else {}
        if empty:
            reasons[name] = empty if values[name] else {WHOLE: next(iter(empty.values()))}
        if not values[name]:
            del values[name]
        if not wanted or place > 1:
            del images[name]
    size = (int(target.shape[-1]), int(target.shape[-2]))
    pictures = None
    if images and next(iter(restorers)) in images and len(images) == min(2, len(restorers)):
        with torch.inference_mode(), full_precision(benchmark.device):
            pictures = draw(images, low, target, of_first, metrics, benchmark.scale)
    return replace(
        image, size=size, values=values, seconds=seconds, reasons=reasons, fit=fit, references=references,
        readings=readings, truth=context.truth, slices=image.slices | _applying(values, metrics),
    ), pictures  # fmt: skip


def _applying(values: Mapping[str, Mapping[str, float]], metrics: Mapping[str, PerImageMetric]) -> set[str]:
    """The slices of the metrics of something found that apply to an image: ``with_face_recall`` has faces."""
    found = {key for key in metrics if any(key in own for own in values.values())}
    return {f"with_{key}" for key in found if metrics[key].of_some}


def _of_the_same_files(benchmarks: Mapping[str, Benchmark]) -> Iterator[list[str]]:
    """The benchmarks' names, those of equal files together: one original under several degradations."""
    left = list(benchmarks)
    while left:
        keys = [key for key in left if benchmarks[key].pairs == benchmarks[left[0]].pairs]
        left = [key for key in left if key not in keys]
        yield keys


def _opened(pair: Pair, device: torch.device | str) -> tuple[tuple[str, ...], Decoded | Exception]:
    """The hashes of a pair's files, and their pixels or why they cannot be had."""
    hashes: tuple[str, ...] = ()
    try:
        hashes = pair.hashes()
        return hashes, decode(pair, device=device)
    except NOT_SCORED as error:
        raise_if_out_of_memory(error)
        return hashes, error


def _hashes(pair: Pair) -> tuple[str, ...]:
    try:
        return pair.hashes()
    except NOT_SCORED:
        return ()


def _content_of_clip(benchmark: ClipBenchmark, index: int) -> frozenset[str]:
    """The content of the first frame, and how the clip moves."""
    try:
        with torch.inference_mode():
            return clip_slices(each.target for each in benchmark.frames(index))
    except NOT_SCORED as error:
        raise_if_out_of_memory(error)
        return frozenset()


def _content(decoded: Decoded) -> frozenset[str]:
    image = decoded.high.cpu()
    return content_slices(image) if image.shape[1] in (1, 3) else frozenset()
