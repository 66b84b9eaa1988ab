"""One image of a benchmark: restored, measured and drawn, and what may go wrong with it."""

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from sr_lab.base.errors import SRLabError
from sr_lab.evaluation.benchmark import Benchmark
from sr_lab.evaluation.pairs import Pair
from sr_lab.evaluation.pictures import Pictures, stretch_of, take_pictures
from sr_lab.images import full_precision
from sr_lab.images.found import Reading
from sr_lab.inference.restorers import BicubicRestorer, NetworkRestorer, Restorer
from sr_lab.metrics.base import Context, PerImageMetric

NOT_SCORED = (ValueError, OSError, RuntimeError, MemoryError)
"""What leaves cells of the table empty: the fault of one image, and no reason to leave the others unscored."""


class OutOfMemory(SRLabError, RuntimeError):
    """There is not enough memory for an image: no fault of that image."""


def finished(restored: Tensor, target: Tensor) -> Tensor:
    """The restored image, computed, of the target's shape, free of NaN and infinity."""
    if restored.shape != target.shape:
        raise ValueError(f"the restorer returned {tuple(restored.shape)}, the target is {tuple(target.shape)}")
    restored = restored.float()
    if not bool(torch.isfinite(restored).all()):
        raise ValueError("the restored image holds NaN or infinity")
    return restored


def context_of(
    benchmark: Benchmark, index: int, low: Tensor, restorers: Mapping[str, Restorer], samples: int, levels: int
) -> Context:
    """What a metric may look at; the variance over samples is the first restorer's."""
    truth = benchmark.truth.get(benchmark.pairs[index].name)
    context = Context(low=low, degrade=partial(benchmark.degrade_again, index=index), levels=levels, truth=truth)
    if samples > 1:
        restorer = next(iter(restorers.values()))
        assert isinstance(restorer, NetworkRestorer)
        context = replace(context, variance=restorer.moments(low, num=samples)[1])
    return context


def measured_of(
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
                value = float(metric.measure(restored, target, context))
            if not (metric.of_some and math.isnan(value)):
                values[key] = value
        except NOT_SCORED as error:
            reasons[key] = reason_of(pair, error)
    return values, reasons


def references_of(
    metrics: Mapping[str, PerImageMetric], target: Tensor, context: Context
) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, Reading]]]:
    """Values of the original and of the input, and what was found there, of the metrics that say so."""
    values: dict[str, dict[str, float]] = {}
    for key, metric in metrics.items():
        try:
            found = metric.references(target, context)
        except NOT_SCORED as error:  # is told of the restorers, whose value is not measured either
            raise_if_out_of_memory(error)
            continue
        for source, value in found.items():
            values.setdefault(source, {})[key] = value
    readings = {"original": readings_of(metrics, target)}
    if context.low is not None:
        scale = target.shape[-1] / context.low.shape[-1]
        low = readings_of(metrics, context.low).items()
        readings["low"] = {task: tuple(one.scaled(scale) for one in things) for task, things in low}
    return values, {source: found for source, found in readings.items() if found}


def readings_of(metrics: Mapping[str, PerImageMetric], image: Tensor) -> dict[str, Reading]:
    """What the metrics found in an image, by task; without what cannot be read."""
    found: dict[str, Reading] = {}
    for metric in metrics.values():
        try:
            found |= metric.readings(image)
        except NOT_SCORED as error:
            raise_if_out_of_memory(error)
    return found


def draw(
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
    except NOT_SCORED as error:
        raise_if_out_of_memory(error)
        return None


def reason_of(pair: Pair, error: Exception) -> str:
    """The error's text, with the file where it does not name one."""
    raise_if_out_of_memory(error, pair)
    text = str(error) or type(error).__name__
    files = [str(file) for file in (pair.low, pair.high) if file is not None]
    return text if any(file in text for file in files) else f"{files[0]}: {text}"


def raise_if_out_of_memory(error: Exception, pair: Pair | None = None) -> None:
    """Raises ``OutOfMemory`` if that is what the error says: it is no property of the image."""
    text = str(error)
    exhausted = isinstance(error, MemoryError | torch.OutOfMemoryError)
    if exhausted or any(words in text for words in ("can't allocate memory", "not enough memory", "out of memory")):
        where = "" if pair is None else f"{pair.high}: "
        said = text.splitlines()[0] if text else type(error).__name__
        raise OutOfMemory(
            f"{where}the memory does not suffice ({said}): give a smaller tile=, or device=cpu, or free some"
        ) from error
