"""Two restorers on the same images: the scores of both, image by image, and the places where one loses most."""

import hashlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sr_lab.base.files import sha256
from sr_lab.degradations.base import Degradation
from sr_lab.evaluation.benchmark import Benchmark, Evaluation, evaluate
from sr_lab.evaluation.pairs import Pair
from sr_lab.evaluation.pictures import Pictures, take_pictures
from sr_lab.evaluation.scenes import find_scenes
from sr_lab.evaluation.slices import content_slices
from sr_lab.images import read_image, to_tensor
from sr_lab.inference.restorers import BicubicRestorer, Restorer
from sr_lab.metrics.base import PerImageMetric
from sr_lab.metrics.protocol import Protocol


@dataclass(frozen=True, kw_only=True)
class Part:
    """A part of what is measured on: a benchmark's folder and, for originals, what makes their low images."""

    benchmark: Path
    degradation: Degradation | None = None


@dataclass(frozen=True, kw_only=True)
class Row:
    """One image.

    Attributes:
        name: ``PART/IMAGE``.
        scene: what it shows; the images of one scene are dependent.
        slices: ``benchmark_PART``, ``degradation_NAME`` and those of ``content_slices``.
        files: SHA-256 of its original and, where it is given, its low image.
        size: width and height of the original.
        scores: restorer to metric key to value, no value above its metric's ceiling; empty for a restorer that
            failed on it.
    """

    name: str
    scene: str
    slices: frozenset[str]
    files: frozenset[str]
    size: tuple[int, int]
    scores: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, kw_only=True)
class Versus:
    """All that was measured.

    Attributes:
        names: the restorers; the first one is the one in question.
        protocol: what was compared with what.
        scale: enlargement factor.
        metrics: that were measured, by key.
        not_measured: metric key to the reason.
        rows: one an image.
        sha256: hash over parts, names and bytes of every file.
        failures: restorer to image to reason.
        seconds: wall time.
    """

    names: tuple[str, ...]
    protocol: Protocol
    scale: int
    metrics: Mapping[str, PerImageMetric]
    not_measured: Mapping[str, str]
    rows: Sequence[Row]
    sha256: str
    failures: Mapping[str, Mapping[str, str]]
    seconds: float


class Contest:
    """Restorers and the images that they are measured on.

    Args:
        restorers: by name; one, or two, of which the first is the one in question.
        parts: by name.
        scale: enlargement factor.
        protocol: what is restored and compared with what.
        metrics: by any name, in order of importance.
        seed: of random degradations; an image has the same draw for every restorer.
        device: where to compute; the restorers expect images there.
    """

    def __init__(
        self,
        restorers: Mapping[str, Restorer],
        parts: Mapping[str, Part],
        *,
        scale: int,
        protocol: Protocol,
        metrics: Mapping[str, PerImageMetric],
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.restorers = dict(restorers)
        self.parts = dict(parts)
        self.scale, self.protocol, self.metrics, self.seed, self.device = scale, protocol, metrics, seed, device
        self._benchmarks = {
            key: Benchmark(
                part.benchmark, scale=scale, protocol=protocol, degradation=part.degradation, seed=seed, device=device
            )
            for key, part in parts.items()
        }

    def measure(self) -> Versus:
        """Scores every restorer on every image.

        Raises:
            ValueError: if there is no image, or no restorer can be scored on one of them.
        """
        start = time.perf_counter()
        rows: list[Row] = []
        digest = hashlib.sha256()
        failures: dict[str, dict[str, str]] = {name: {} for name in self.restorers}
        evaluations: dict[str, Evaluation] = {}
        for key in self.parts:
            evaluations = {name: self._evaluate(name, key) for name in self.restorers}
            one = next(iter(evaluations.values()))
            digest.update(f"{key}\0{one.degradation}\0{one.benchmark_sha256}\0".encode())
            for name, evaluation in evaluations.items():
                failures[name] |= {f"{key}/{failure.name}": failure.reason for failure in evaluation.failures}
            rows += self._rows(key, evaluations)
        for row in rows:
            if not any(row.scores.values()):
                reason = next(failures[name][row.name] for name in self.restorers)
                raise ValueError(f"{row.name} could not be scored at all: {reason}: repair or remove it")
        return Versus(
            names=tuple(self.restorers),
            protocol=self.protocol,
            scale=self.scale,
            metrics=one.metrics,
            not_measured=one.not_measured,
            rows=rows,
            sha256=digest.hexdigest(),
            failures=failures,
            seconds=time.perf_counter() - start,
        )

    def low(self, name: str) -> Tensor:
        """The low image (1, C, h, w) of the row of that name."""
        benchmark, index = self._find(name)
        return benchmark.read(index)[0]

    def pictures(self, names: Sequence[str]) -> dict[str, Pictures]:
        """The crop of each image where the first restorer errs most: by squared error, less that of the second.

        In ``Pictures`` the second restorer takes the place of bicubic; without one it is bicubic's.

        Args:
            names: of rows.

        Returns:
            By name; without the images that a restorer failed on.
        """
        return {name: found for name in names if (found := self._crop(name)) is not None}

    def _crop(self, name: str) -> Pictures | None:
        benchmark, index = self._find(name)
        ours, *others = self.restorers.values()
        theirs = others[0] if others else BicubicRestorer(scale=self.scale)
        try:
            with torch.inference_mode():
                low, target = benchmark.read(index)
                restored, reference = ours(low).float(), theirs(low).float()
                error = (restored - target).square()
                if others:
                    error = error - (reference - target).square()
                return take_pictures(
                    low=low, bicubic=reference, restored=restored, target=target, scale=self.scale, error=error
                )
        except (ValueError, OSError, RuntimeError):
            return None

    def _find(self, name: str) -> tuple[Benchmark, int]:
        key, _, rest = name.partition("/")
        benchmark = self._benchmarks[key]
        return benchmark, next(index for index, pair in enumerate(benchmark.pairs) if pair.name == rest)

    def _evaluate(self, name: str, key: str) -> Evaluation:
        part = self.parts[key]
        return evaluate(
            self.restorers[name],
            part.benchmark,
            name=f"{name} on {key}",
            scale=self.scale,
            protocol=self.protocol,
            metrics=self.metrics,
            degradation=part.degradation,
            seed=self.seed,
            device=self.device,
        )

    def _rows(self, key: str, evaluations: Mapping[str, Evaluation]) -> list[Row]:
        benchmark = self._benchmarks[key]
        folder = self.parts[key].benchmark
        first = next(other for other, part in self.parts.items() if part.benchmark.resolve() == folder.resolve())
        scenes = find_scenes(folder, [pair.name for pair in benchmark.pairs])
        scored = {name: {image.name: image for image in run.images} for name, run in evaluations.items()}
        rows = []
        for pair in benchmark.pairs:
            sizes = [images[pair.name].size for images in scored.values() if pair.name in images]
            scores = {
                name: {metric: min(value, run.metrics[metric].ceiling) for metric, value in image.scores.items()}
                if (image := scored[name].get(pair.name))
                else {}
                for name, run in evaluations.items()
            }
            rows.append(
                Row(
                    name=f"{key}/{pair.name}",
                    scene=f"{first}/{scenes[pair.name]}",
                    slices=frozenset(
                        {f"benchmark_{key}", f"degradation_{benchmark.low_images}"}
                        | (_content(pair) if sizes else frozenset())
                    ),
                    files=frozenset(_hashes(pair)),
                    size=sizes[0] if sizes else (0, 0),
                    scores=scores,
                )
            )
        return rows


def _content(pair: Pair) -> frozenset[str]:
    image = to_tensor(read_image(pair.high))
    return content_slices(image) if image.shape[1] in (1, 3) else frozenset()


def _hashes(pair: Pair) -> Iterator[str]:
    for file in (pair.high, pair.low):
        if file is not None:
            yield sha256(file)
