"""One clip of a benchmark, frame by frame, by every restorer: a row of the table for each frame that is scored."""

import time
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import tee
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sr_lab.evaluation.clips import ClipBenchmark
from sr_lab.evaluation.film import Film, Reel
from sr_lab.evaluation.measuring import NOT_SCORED, finished, measured_of, raise_if_out_of_memory, reason_of
from sr_lab.evaluation.scores import WHOLE, ImageScores
from sr_lab.images import full_precision, to_uint8
from sr_lab.images.moment import Frame, Moment
from sr_lab.inference.clips import restored_frames
from sr_lab.inference.restorers import Restorer
from sr_lab.metrics.base import ClipMetric, Context, PerImageMetric
from sr_lab.metrics.protocol import ProtocolMismatch


def score_clip(
    blank: ImageScores,
    benchmark: ClipBenchmark,
    restorers: Mapping[str, Restorer],
    metrics: Mapping[str, PerImageMetric],
    *,
    filmed: bool,
) -> tuple[list[ImageScores], Film | None]:
    """The rows of a clip and, if asked for, what a report shows of it.

    A frame's row has its own values, and those of the step or window that ends with it. What cannot be read or restored
    ends the clip: its further frames have the reason.

    Args:
        blank: Name, part, scene and place of the clip.
        benchmark: Where it lies.
        restorers: By name.
        metrics: By key.
        filmed: Whether pictures are taken.
    """
    index, pair = blank.index, benchmark.pairs[blank.index]
    try:
        timing = pair.frames.timing
        numbers = benchmark.protocol.frames(timing.count)
    except NOT_SCORED as error:
        return [replace(blank, reasons={name: {WHOLE: reason_of(pair, error)} for name in restorers})], None
    whole = {key: metric for key, metric in metrics.items() if isinstance(metric, ClipMetric)}
    metrics = {key: metric for key, metric in metrics.items() if key not in whole}
    kept: dict[str, list[tuple[int, Frame, Frame]]] = {name: [] for name in restorers}
    deepest = max((metric.frames_before for metric in metrics.values()), default=0) + 1
    lows: deque[Frame] = deque(maxlen=deepest)
    targets: deque[Frame] = deque(maxlen=deepest)
    shown: dict[str, deque[Frame]] = {name: deque(maxlen=deepest) for name in restorers}
    reel = Reel(blank.name, list(restorers), scale=benchmark.scale) if filmed else None
    frames = benchmark.frames(index)
    given, *copies = tee(frames, len(restorers) + 1)
    streams = {
        name: _timed(restorer, (each.low for each in copy))
        for (name, restorer), copy in zip(restorers.items(), copies, strict=True)
    }
    rows: list[ImageScores] = []
    failed: dict[str, str] = {}
    for number in range(timing.count):
        row = replace(blank, name=f"{blank.name}/{number:05d}", files=())
        try:
            with torch.inference_mode(), full_precision(benchmark.device):
                low, target = next(given)
                box = benchmark.protocol.box(*target.shape[-2:])
        except StopIteration:
            break
        except ProtocolMismatch:
            raise
        except NOT_SCORED as error:
            left = [replace(row, name=f"{blank.name}/{each:05d}") for each in numbers if each >= number]
            reason = reason_of(pair, error)
            rows += [replace(each, reasons={name: {WHOLE: reason} for name in restorers}) for each in left]
            break
        if number in numbers:
            lows.append(_array(low))
            targets.append(_array(target))
        moment = Moment(
            list(targets), list(lows), number - numbers.start, benchmark.scale, box,
            None if timing.rate is None else float(timing.rate), timing.varies,
        )  # fmt: skip
        found: dict[str, Tensor] = {}
        values: dict[str, dict[str, float]] = {}
        seconds: dict[str, float] = {}
        reasons: dict[str, dict[str, str]] = {}
        for name in restorers:
            if name not in failed:
                try:
                    with torch.inference_mode(), full_precision(benchmark.device):
                        restored, seconds[name] = next(streams[name])
                        found[name] = finished(restored, target)
                except NOT_SCORED as error:
                    failed[name] = reason_of(pair, error)
            if name in failed:
                reasons[name] = {WHOLE: failed[name]}
                continue
            if number in numbers:
                shown[name].append(_array(found[name]))
                context = _context(benchmark, index, low, moment, shown[name])
                values[name], empty = _measured(metrics, found[name], target, context, pair, benchmark, box)
                if empty:
                    reasons[name] = empty
                if whole:
                    kept[name].append((len(rows), moment.crop(shown[name][-1]), moment.crop(targets[-1])))
        if number not in numbers:
            continue
        own = _own(metrics, target, _context(benchmark, index, low, moment, targets), pair, benchmark, box)
        row = replace(
            row,
            files=pair.of_frame(number),
            size=(int(target.shape[-1]), int(target.shape[-2])),
            values=values,
            seconds=seconds,
            reasons=reasons,
            original=own,
        )
        rows.append(row)
        if reel is not None:
            reel.add(row, lows[-1], targets[-1], {name: shown[name][-1] for name in found})
    _whole_clip(whole, kept, rows)
    return rows, None if reel is None else reel.film()


def _whole_clip(
    metrics: Mapping[str, ClipMetric],
    kept: Mapping[str, list[tuple[int, Frame, Frame]]],
    rows: list[ImageScores],
) -> None:
    """Puts in what is known when a clip is at its end."""
    for key, metric in metrics.items():
        for name, frames in kept.items():
            if not frames:
                continue
            try:
                found = metric.of_clip([ours for _, ours, _ in frames], [theirs for _, _, theirs in frames])
            except NOT_SCORED as error:
                raise_if_out_of_memory(error)
                for place, _, _ in frames:
                    own = {**rows[place].reasons.get(name, {}), key: str(error)}
                    rows[place] = replace(rows[place], reasons={**rows[place].reasons, name: own})
                continue
            for (place, _, _), value in zip(frames, found, strict=True):
                values = {**rows[place].values, name: {**rows[place].values[name], key: value}}
                rows[place] = replace(rows[place], values=values)


def _timed(restorer: Restorer, lows: Iterator[Tensor]) -> Iterator[tuple[Tensor, float]]:
    """Restored frames and the time that each took."""
    frames = restored_frames(restorer, lows)
    while True:
        clock = time.perf_counter()
        try:
            frame = next(frames)
        except StopIteration:
            return
        yield frame, time.perf_counter() - clock


def _context(benchmark: ClipBenchmark, index: int, low: Tensor, moment: Moment, shown: Any) -> Context:
    return Context(
        low=low,
        degrade=(lambda image: benchmark.degrade_again(image, index)),
        moment=moment,
        shown=list(shown),
    )


def _measured(
    metrics: Mapping[str, PerImageMetric],
    restored: Tensor,
    target: Tensor,
    context: Context,
    pair: Any,
    benchmark: ClipBenchmark,
    box: tuple[int, int, int, int],
) -> tuple[dict[str, float], dict[str, str]]:
    """Values and reasons; NaN of a temporal metric is no value and no failure: no frame before, nothing still."""
    values: dict[str, float] = {}
    reasons: dict[str, str] = {}
    for whole in (True, False):
        chosen = {key: metric for key, metric in metrics.items() if metric.whole is whole}
        images = (restored, target) if whole else (_cropped(restored, box), _cropped(target, box))
        found, empty = measured_of(chosen, *images, context, pair, benchmark.device)
        values |= found
        reasons |= empty
    return {
        key: values[key]
        for key, metric in metrics.items()
        if key in values and not (metric.frames_before and np.isnan(values[key]))
    }, reasons


def _own(
    metrics: Mapping[str, PerImageMetric],
    target: Tensor,
    context: Context,
    pair: Any,
    benchmark: ClipBenchmark,
    box: tuple[int, int, int, int],
) -> dict[str, float]:
    own = {key: metric for key, metric in metrics.items() if metric.own}
    return _measured(own, target, target, context, pair, benchmark, box)[0]


def _cropped(image: Tensor, box: tuple[int, int, int, int]) -> Tensor:
    top, left, height, width = box
    return image[..., top : top + height, left : left + width]


def _array(image: Tensor) -> Frame:
    """(1, C, H, W) as (H, W, C) of 8 bits."""
    return np.ascontiguousarray(to_uint8(image)[0].permute(1, 2, 0).cpu().numpy())
