"""Scoring a restorer on a benchmark: every image, beside bicubic, under one protocol."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor
from tqdm import tqdm

from sr_lab.degradations.base import Degradation
from sr_lab.degradations.resize import Bicubic
from sr_lab.evaluation.pairs import Pair, find_pairs, fingerprint
from sr_lab.evaluation.pictures import Pictures, take_pictures
from sr_lab.images import full_precision, read_image, to_tensor
from sr_lab.inference.restorers import BicubicRestorer, NetworkRestorer, Restorer
from sr_lab.metrics.base import Context, PerImageMetric
from sr_lab.metrics.consistency import LRConsistency
from sr_lab.metrics.protocol import Protocol


@dataclass(frozen=True)
class ImageScore:
    """What was measured on one image.

    Attributes:
        name: path of the original below the benchmark, without the suffix.
        size: width and height of the target.
        scores: metric key to value, of the restorer.
        bicubic: the same, of bicubic restoration.
        seconds: time of the restoration.
        pictures: the crop to show.
        fit: of a given low image, how well the assumed degradation of the original explains it, in decibels.
    """

    name: str
    size: tuple[int, int]
    scores: Mapping[str, float]
    bicubic: Mapping[str, float]
    seconds: float
    pictures: Pictures
    fit: float | None = None


@dataclass(frozen=True)
class Failure:
    """An image that could not be scored, and why."""

    name: str
    reason: str


@dataclass(frozen=True)
class Evaluation:
    """All that one evaluation found out.

    Attributes:
        restorer: what was evaluated, as the user named it.
        benchmark: the folder, as the user named it.
        benchmark_sha256: hash over the names and bytes of its files.
        degradation: what made the low images: ``given``, ``y_classic``, or the degradation's class.
        scale: enlargement factor.
        protocol: what was compared with what.
        metrics: the metrics that were measured, by key, in the order asked for.
        images: every image that was scored, in order of name.
        failures: every image that was not.
        not_measured: metric key to the reason why it was not measured at all.
        is_baseline: the restorer is bicubic interpolation itself.
        seconds: wall time of the whole evaluation.
    """

    restorer: str
    benchmark: str
    benchmark_sha256: str
    degradation: str
    scale: int
    protocol: Protocol
    metrics: Mapping[str, PerImageMetric]
    images: list[ImageScore]
    failures: list[Failure]
    not_measured: Mapping[str, str]
    is_baseline: bool
    seconds: float

    @property
    def first_key(self) -> str:
        """The metric that the images are ranked by: the first one that was measured."""
        return next(iter(self.metrics))

    @property
    def degradation_fit(self) -> float | None:
        """PSNR of MATLAB's bicubic of the originals against the given low images, at most 60; None: none were given."""
        fits = [image.fit for image in self.images if image.fit is not None]
        return sum(fits) / len(fits) if fits else None

    @property
    def complete(self) -> bool:
        """Whether every image of the benchmark was scored."""
        return bool(self.images) and not self.failures

    def mean(self, key: str) -> float:
        """Mean over the images of the restorer's value of the metric ``key``."""
        return self.metrics[key].mean(image.scores[key] for image in self.images)

    def bicubic_mean(self, key: str) -> float:
        """The same, of bicubic restoration."""
        return self.metrics[key].mean(image.bicubic[key] for image in self.images)

    def gain(self, image: ImageScore, key: str) -> float:
        """Improvement over bicubic on one image, both under the metric's ceiling; positive is better."""
        metric = self.metrics[key]
        difference = min(image.scores[key], metric.ceiling) - min(image.bicubic[key], metric.ceiling)
        return difference if metric.higher_is_better else -difference

    def mean_gain(self, key: str) -> float:
        """Mean improvement over bicubic; positive is better."""
        difference = self.mean(key) - self.bicubic_mean(key)
        return difference if self.metrics[key].higher_is_better else -difference

    def worst_first(self) -> list[ImageScore]:
        """The images by the first metric: least gain over bicubic first; for bicubic itself the worst value."""
        key = self.first_key
        if not self.is_baseline:
            return sorted(self.images, key=lambda image: self.gain(image, key))
        return sorted(self.images, key=lambda image: image.scores[key], reverse=not self.metrics[key].higher_is_better)


class Benchmark:
    """The images of a folder at one scale, and what makes their low images.

    Args:
        folder: with ``HR/`` and ``LR/``, or with originals.
        scale: enlargement factor.
        protocol: what is restored and compared with what.
        degradation: makes the low images where the folder has none; by default the field's bicubic.
        seed: of the draws of a random degradation; image k always gets the same draw.
        device: where the images are put.

    Raises:
        ValueError: if the folder, the degradation and the scale do not fit together.
    """

    def __init__(
        self,
        folder: Path,
        *,
        scale: int,
        protocol: Protocol,
        degradation: Degradation | None = None,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.pairs = find_pairs(folder, scale=scale)
        given = self.pairs[0].low is not None
        _check_degradation(degradation, scale=scale, protocol=protocol, given=given)
        self.degradation = degradation or Bicubic(scale=scale)
        self.scale, self.protocol, self.seed, self.device = scale, protocol, seed, device
        self.low_images = (
            protocol.name if not protocol.colour else "given" if given else type(self.degradation).__name__
        )

    def read(self, index: int) -> tuple[Tensor, Tensor]:
        """Low image (1, C, h, w) and target (1, C, h * scale, w * scale) of image ``index``.

        Raises:
            ValueError, OSError: if a file does not decode or the sizes do not fit.
        """
        high, low = _read(self.pairs[index], self.device)
        return self.protocol.inputs(high, low, scale=self.scale, degrade=lambda image: self._degrade(image, index))

    def degrade_again(self, image: Tensor, index: int) -> Tensor:
        """A high image (1, C, H, W) by what made the low image of ``index``; MATLAB's bicubic where that was given."""
        return self.protocol.shrink(image, scale=self.scale, degrade=lambda image: self._degrade(image, index))

    def _degrade(self, image: Tensor, index: int) -> Tensor:
        return self.degradation.apply(image, self.degradation.draw_keyed([(self.seed, 0, index)]))


def evaluate(
    restorer: Restorer,
    benchmark: Path,
    *,
    name: str,
    scale: int,
    protocol: Protocol,
    metrics: Mapping[str, PerImageMetric],
    degradation: Degradation | None = None,
    seed: int = 0,
    samples: int = 1,
    device: torch.device | str = "cpu",
    progress: bool = True,
) -> Evaluation:
    """Scores ``restorer`` and bicubic interpolation on every image of a benchmark.

    An image that cannot be read, restored or scored is recorded in ``failures``, and the others are scored.

    Args:
        restorer: maps a low image (1, C, h, w), values in [0, 1], to the restored one.
        benchmark: folder with ``HR/`` and ``LR/``, or with originals.
        name: what to call the restorer.
        scale: enlargement factor.
        protocol: what is restored and compared with what.
        metrics: by any name, in order of importance; recorded under their ``key``.
        degradation: makes the low images where the benchmark has none; by default the field's bicubic.
        seed: of the draws of a random degradation; image k always gets the same draw.
        samples: restorations of each image by a generative network; the first one is scored, a metric may look at the
            variance over them all. 1 where nothing is drawn.
        device: where the metrics are computed; the restorer must expect images there.
        progress: show a progress bar where there is a terminal.

    Raises:
        ValueError: if the folder, the degradation, the scale or the metrics do not fit together.
    """
    start = time.perf_counter()
    source = Benchmark(benchmark, scale=scale, protocol=protocol, degradation=degradation, seed=seed, device=device)
    measured, not_measured = _usable(metrics, protocol)
    if samples < 1 or (samples > 1 and not getattr(restorer, "generative", False)):
        raise ValueError(f"samples={samples}: at least 1, and more only of a generative network, which {name} is not")
    baseline = BicubicRestorer(scale=scale)
    is_baseline = isinstance(restorer, BicubicRestorer)
    images: list[ImageScore] = []
    failures: list[Failure] = []
    bar = tqdm(source.pairs, desc=f"{name} x{scale}", unit="image", disable=None if progress else True)
    for index, pair in enumerate(bar):
        try:
            with torch.inference_mode(), full_precision(device):
                low, target = source.read(index)
                context = Context(low=low, degrade=partial(source.degrade_again, index=index))
                clock = time.perf_counter()
                restored = _finished(restorer(low), target)
                seconds = time.perf_counter() - clock
                shown = context
                if samples > 1:
                    assert isinstance(restorer, NetworkRestorer)
                    shown = replace(context, variance=restorer.moments(low, num=samples)[1])
                bicubic = restored if is_baseline else baseline(low)
                scores = _scores(measured, restored, target, shown)
                reference = scores if is_baseline else _scores(measured, bicubic, target, context)
                maps = [metric.map_of(restored, target, shown) for metric in measured.values()]
                pictures = take_pictures(
                    low=low,
                    bicubic=bicubic,
                    restored=restored,
                    target=target,
                    scale=scale,
                    maps=[item for item in maps if item is not None],
                )
                fit = None
                if source.low_images == "given":
                    fit = float(LRConsistency(scale=scale).measure(target, target, context))
        except (ValueError, OSError, RuntimeError) as error:
            failures.append(Failure(pair.name, _reason(pair, error)))
            continue
        size = (target.shape[-1], target.shape[-2])
        images.append(ImageScore(pair.name, size, scores, reference, seconds, pictures, fit))
    return Evaluation(
        restorer=name,
        benchmark=str(benchmark),
        benchmark_sha256=fingerprint(source.pairs),
        degradation=source.low_images,
        scale=scale,
        protocol=protocol,
        metrics=measured,
        images=images,
        failures=failures,
        not_measured=not_measured,
        is_baseline=is_baseline,
        seconds=time.perf_counter() - start,
    )


def _check_degradation(degradation: Degradation | None, *, scale: int, protocol: Protocol, given: bool) -> None:
    if degradation is None:
        return
    if given:
        raise ValueError("the benchmark brings its own low images (LR/): drop degradation=, or give its HR folder")
    if not protocol.colour:
        raise ValueError(
            f"protocol {protocol.name} makes its own bicubic low images: drop degradation=, or take y_crop"
        )
    if degradation.scale != scale:
        raise ValueError(f"the degradation shrinks by {degradation.scale}, the evaluation is at scale={scale}")


def _usable(
    metrics: Mapping[str, PerImageMetric], protocol: Protocol
) -> tuple[dict[str, PerImageMetric], dict[str, str]]:
    """The metrics that can be measured, by key, and the reasons of the others."""
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


def _scores(
    metrics: Mapping[str, PerImageMetric], restored: Tensor, target: Tensor, context: Context
) -> dict[str, float]:
    return {key: float(metric.measure(restored, target, context)) for key, metric in metrics.items()}


def _read(pair: Pair, device: torch.device | str) -> tuple[Tensor, Tensor | None]:
    high = to_tensor(read_image(pair.high)).to(device)
    return high, None if pair.low is None else to_tensor(read_image(pair.low)).to(device)


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
    text = str(error) or type(error).__name__
    files = [str(file) for file in (pair.low, pair.high) if file is not None]
    return text if any(file in text for file in files) else f"{files[0]}: {text}"
