"""Scoring a restorer on a benchmark beside bicubic, and recording that in the run whose weights were measured."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from sr_lab.base.files import require_folder_name
from sr_lab.base.provenance import git_state
from sr_lab.base.signals import deferred, saying
from sr_lab.base.words import counted
from sr_lab.degradations.base import Degradation
from sr_lab.evaluation.clips import benchmark_of
from sr_lab.evaluation.measuring import OutOfMemory
from sr_lab.evaluation.report import COMPARISON, REPORT, SUMMARY, not_measured_on
from sr_lab.evaluation.scores import ImageScores, Scores
from sr_lab.evaluation.scoring import score
from sr_lab.evaluation.text import gain_lines, mean_lines
from sr_lab.inference.consistency import LoadedRestorer
from sr_lab.inference.restorers import BicubicRestorer, MeanRestorer, NetworkRestorer, Restorer
from sr_lab.metrics.base import PerImageMetric
from sr_lab.metrics.protocol import Protocol
from sr_lab.metrics.variance import SampleVariance
from sr_lab.tasks.base import Task, metrics_of
from sr_lab.workflows.load import choose_device

__all__ = [
    "BICUBIC",
    "COMPARISON",
    "REPORT",
    "SUMMARY",
    "BicubicRestorer",
    "ImageScores",
    "LoadedRestorer",
    "MeanRestorer",
    "NetworkRestorer",
    "OutOfMemory",
    "Restorer",
    "SampleVariance",
    "Scores",
    "evaluate",
    "gain_lines",
    "mean_lines",
    "not_measured_on",
]  # fmt: skip

BICUBIC = "bicubic"
"""What the restorer that all others are measured beside is called."""

TRUSTED_FIT = 45.0
"""Decibels below which bicubic is not what made the given low images; 8-bit files of it reach 58.9 and more."""


def evaluate(
    restorer: Restorer,
    benchmark: Path | str,
    *,
    name: str,
    scale: int,
    protocol: Protocol,
    metrics: Mapping[str, PerImageMetric],
    tasks: Mapping[str, Task] | None = None,
    beside: Mapping[str, Restorer] | None = None,
    degradation: Degradation | None = None,
    seed: int = 0,
    samples: int = 1,
    device: torch.device | str = "cpu",
    facts: Mapping[str, Any] | None = None,
    report: Path | None = None,
    num_pictures: int = 12,
    run: Path | None = None,
    progress: bool = True,
) -> Scores:
    """Scores a restorer and, unless it is that itself, bicubic interpolation on every image of a benchmark.

    An image that cannot be read, restored or measured leaves its cells of the table empty, with the reason, and the
    others are scored.

    Args:
        restorer: Maps a low image (1, C, h, w), values in [0, 1], to the restored one; its ``metadata``, if it has
            such, is recorded as what is known of its weights.
        benchmark: Folder with ``HR/`` and ``LR/``, or with originals; under a protocol for clips folders of
            frames or video files.
        name: What the restorer is called.
        scale: Enlargement factor.
        protocol: What is restored and compared with what.
        metrics: Metrics by any name, in order of importance; recorded under their ``key``.
        tasks: Tasks by any name: text, codes, faces, objects; their numbers are metrics like others, and are also
            measured of the input and of the original.
        beside: Further restorers by name, scored on the same images for the tables of tasks.
        degradation: Makes the low images where the benchmark has none; by default the field's bicubic.
        seed: Seed of the draws of a random degradation; image k always gets the same draw.
        samples: Restorations of each image by a generative network; the first one is scored, their variance measured.
        device: Where the metrics are computed; the restorer must expect images there.
        facts: What else is recorded beside the numbers.
        report: Folder for summary.json, per_image.csv, report.html and comparison.png; None writes nothing.
        num_pictures: Images whose crops the page shows, the worst first.
        run: Folder of the tracked run that made these weights, in which the numbers are recorded; needs ``report``.
        progress: Whether a progress bar is shown where there is a terminal.

    Returns:
        The table of scores; the first restorer is the one in question, the second one bicubic.

    Raises:
        ValueError: if the folder, the degradation, the scale, the metrics or the run do not fit together.
        OutOfMemory: if an image does not fit into the memory.
        Stopped: if the process is asked to end; it says what is written.
    """
    if report is not None:
        require_folder_name(report, key="report")
    device = choose_device(device)
    metadata: Mapping[str, Any] | None = getattr(restorer, "metadata", None)
    weights = dict(metadata or {}).get("sha256", {}).get("weights.safetensors")
    if run is not None:
        from sr_lab.tracking.evaluations import require_own_weights
        from sr_lab.tracking.places import require_reopenable

        if report is None:
            raise ValueError(f"run={run}: the report is recorded with the numbers, so give report= too")
        require_own_weights(run, restorer=name, weights=weights)
        require_reopenable(run / "tracking")
    source = benchmark_of(
        Path(benchmark), scale=scale, protocol=protocol, degradation=degradation, seed=seed, device=device
    )
    restorers: dict[str, Restorer] = {name: restorer}
    if not isinstance(restorer, BicubicRestorer):
        if name == BICUBIC:
            raise ValueError(f"name={name}: this is what bicubic interpolation is called, give another one")
        restorers[BICUBIC] = BicubicRestorer(scale=scale)
    if clash := sorted(({*restorers, "low", "original"} if tasks else {*restorers}) & {*(beside or {})}):
        raise ValueError(f"beside={clash[0]} is in the table already: leave it out")
    restorers |= beside or {}
    metrics = {**metrics, **metrics_of(tasks or {})}
    if samples > 1:
        metrics = {**metrics, "sample_variance": SampleVariance()}
    with saying("while the images were scored; nothing is written"):
        scores = score(
            restorers,
            {"": source},
            metrics=metrics,
            samples=samples,
            scenes=bool(tasks),
            draw_up_to=num_pictures + 4,
            progress=f"{name} x{scale}" if progress else None,
        )
    known = {"restorer_metadata": dict(metadata)} if metadata is not None else {}
    scores = replace(
        scores,
        facts={
            **(facts or {}),
            **known,
            "device": str(device),
            "commit": git_state().commit,
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "cautions": cautions(scores, metadata or {}),
        },
    )
    if report is not None:
        (report / SUMMARY).unlink(missing_ok=True)
        with saying(f"the report in {report} is not whole: it has no {SUMMARY}"):
            scores.report(report, num_pictures=num_pictures)
    if run is not None and report is not None:
        told = f"the report in {report} is written, and its numbers are recorded in {run}"
        with saying(told), deferred():  # all of it or nothing: a signal waits
            _record(scores, report, run, weights=weights, step=dict(metadata or {}).get("metrics", {}).get("step", 0))
    return scores


def cautions(scores: Scores, metadata: Mapping[str, Any]) -> list[str]:
    """What a reader must know to read the numbers right; a sentence each."""
    found = []
    net = getattr(scores.metrics.get("lpips"), "net", None)
    if net in metadata.get("perceptual_backbones", []):
        found.append(
            f"LPIPS ({net}) is no independent judge here: the model was trained on a loss that looks through the same "
            f"network; measure with another one (metrics.lpips.net=...)"
        )
    trained = metadata.get("protocol")
    if trained not in (None, scores.protocol.name):
        found.append(
            f"the weights were chosen under protocol {trained}, these numbers are of {scores.protocol.name}: they are "
            f"not comparable with those of the training (protocol={trained} gives such)"
        )
    fit = scores.degradation_fit
    if fit is not None and fit < TRUSTED_FIT and "lr_consistency" in scores.metrics:
        found.append(
            f"LR consistency and invented detail assume that MATLAB's bicubic made the given low images, and it did "
            f"not: the originals themselves reach {fit:.1f} dB"
        )
    for key, images in not_measured_on(scores).items():
        first = next(iter(images))
        found.append(
            f"{key} could not be measured on {len(images)} of {counted(len(scores.scored), 'image')} ({first}), "
            f"and its mean "
            "leaves them out"
        )
    for key, metric in scores.metrics.items():
        above = sum(image.value(scores.names[0], key) > metric.ceiling for image in scores.scored)
        if above:
            found.append(
                f"{counted(above, 'image', 'has/have', of=len(scores.scored))} a {key} above {metric.ceiling:g} "
                f"(equal images an "
                f"infinite one): in the mean each of them counts as {metric.ceiling:g}"
            )
    return found


def _record(scores: Scores, report: Path, run: Path, *, weights: str | None, step: int) -> None:
    """Adds the evaluation to the tracked run, all of it after the report is whole."""
    from sr_lab.tracking.evaluations import GAIN, Evaluation, name_of, record

    projected = scores.facts.get("consistency") is not None  # another image of the same weights: a key of its own
    ours, theirs = scores.names[0], scores.names[:2][-1]
    means = {key: scores.mean(key) for key in scores.metrics}
    gains = {f"{GAIN}{key}": scores.mean_gain(key) for key in scores.metrics}
    rows = [
        {
            "image": image.name,
            **{key: image.value(ours, key) for key in scores.metrics},
            "bicubic": {key: image.value(theirs, key) for key in scores.metrics},
        }
        for image in scores.scored
    ]
    record(
        run,
        Evaluation(
            name=name_of(scores.benchmark.folder, scores.scale) + ("_consistent" if projected else ""),
            protocol=scores.protocol.name,
            means={**means, **gains},
            rows=rows,
            weights=weights,
            not_measured=scores.not_measured,
        ),
        step=int(step),
        files=[report / name for name in (SUMMARY, REPORT, COMPARISON)],
    )
