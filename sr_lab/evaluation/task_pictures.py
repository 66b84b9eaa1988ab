"""Crops of what a task found: the place of an image where the first restorer errs most, from every source."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher

import torch
from torch import Tensor

from sr_lab.evaluation.benchmark import decode
from sr_lab.evaluation.measuring import NOT_SCORED, finished, raise_if_out_of_memory
from sr_lab.evaluation.pictures import Array, picture_of
from sr_lab.evaluation.scores import ImageScores, Scores
from sr_lab.evaluation.tasks import sources_of, tasks_of, value_of
from sr_lab.images import full_precision
from sr_lab.images.found import Found, Reading
from sr_lab.tasks.base import LOW, ORIGINAL, TaskMetric

_WIDEST = 720


@dataclass(frozen=True, kw_only=True)
class Place:
    """One place of an image, from every source.

    Attributes:
        image: Name of the image.
        task: Of what was found.
        truth: What is there.
        crops: Source to the pixels of the place, (H, W, 3); those of the input are fewer.
        found: Source to what was found there.
        values: Source to the value of the task's first number, of the whole image.
        metric: Key of that number.
    """

    image: str
    task: str
    truth: str
    crops: Mapping[str, Array]
    found: Mapping[str, str]
    values: Mapping[str, float]
    metric: str


def places(scores: Scores, *, most: int = 6) -> list[Place]:
    """The worst places of each task, at most ``most`` in all; images that cannot be restored again are left out."""
    tasks = tasks_of(scores)
    found: list[Place] = []
    for name in tasks:
        key = next(
            key for key, metric in scores.metrics.items() if isinstance(metric, TaskMetric) and metric.task.name == name
        )
        for image in _worst(scores, key)[: max(1, most // len(tasks))]:
            place = _place(scores, image, name, key)
            found += [] if place is None else [place]
    return found


def _worst(scores: Scores, key: str) -> list[ImageScores]:
    """By how far the first restorer is behind the original; of equal ones a picture of each group first."""
    sign = 1 if scores.metrics[key].higher_is_better else -1
    ours = scores.names[0]

    def behind(image: ImageScores) -> float:
        return sign * (value_of(image, ORIGINAL, key) - image.value(ours, key))

    return sorted((image for image in scores.images if not math.isnan(behind(image))), key=lambda image: -behind(image))


def _place(scores: Scores, image: ImageScores, task: str, key: str) -> Place | None:
    known = image.truth.found.get(task) if image.truth is not None else None
    truth = tasks_of(scores)[task].certain(image.readings.get(ORIGINAL, {}).get(task, ())) if known is None else known
    if not truth:
        return None
    ours = image.readings.get(scores.names[0], {}).get(task, ())
    thing = max(truth, key=lambda thing: _unlike(_there(ours, thing), thing))
    pictures = _restored(scores, image)
    if pictures is None:
        return None
    scale = scores.scale
    height, width = pictures[ORIGINAL].shape[-2:]
    left, top, right, bottom = _around(thing, width, height, scale)
    crops = {}
    for source, whole in pictures.items():
        factor = scale if source == LOW else 1
        part = whole[..., top // factor : bottom // factor, left // factor : right // factor]
        crops[source] = picture_of(part)
    found = {source: _said(_there(image.readings.get(source, {}).get(task, ()), thing)) for source in pictures}
    values = {source: value_of(image, source, key) for source in pictures}
    return Place(image=image.name, task=task, truth=thing.text, crops=crops, found=found, values=values, metric=key)


def _restored(scores: Scores, image: ImageScores) -> dict[str, Tensor] | None:
    benchmark = scores.benchmarks[image.part]
    try:
        with torch.inference_mode(), full_precision(benchmark.device):
            decoded = decode(benchmark.pairs[image.index], device=benchmark.device)
            low, target = benchmark.inputs(decoded, image.index)
            images = {name: finished(restorer(low), target) for name, restorer in scores.restorers.items()}
    except NOT_SCORED as error:
        raise_if_out_of_memory(error)
        return None
    images |= {LOW: low, ORIGINAL: target}
    return {source: images[source] for source in sources_of(scores)}


def _there(reading: Reading, thing: Found) -> Reading:
    return tuple(one for one in reading if thing.holds(one) or one.holds(thing))


def _unlike(found: Reading, thing: Found) -> float:
    """How far what was found at a place is from what is there, 0 to 1."""
    said = " ".join(one.text for one in found)
    return 1 - SequenceMatcher(None, said, thing.text, autojunk=False).ratio()


def _said(found: Sequence[Found]) -> str:
    return (
        " ".join(one.text if one.confidence == 1 else f"{one.text} ({one.confidence:.2f})" for one in found)
        or "nothing"
    )


def _around(thing: Found, width: int, height: int, scale: int) -> tuple[int, int, int, int]:
    """The thing's box and a little more, at whole low pixels, not wider or higher than shows well."""
    room = 2 * scale
    left, top = (max(0, int(end - room) // scale * scale) for end in thing.box[:2])
    right = min(width, -(-int(thing.box[2] + room) // scale) * scale, left + _WIDEST // scale * scale)
    bottom = min(height, -(-int(thing.box[3] + room) // scale) * scale, top + _WIDEST // scale * scale)
    return left, top, max(right, left + scale), max(bottom, top + scale)
