"""Score a restorer on a benchmark, beside bicubic, under a named protocol.

    srlab evaluate restorer=bicubic benchmark=Set5/x4 scale=4 protocol=y_crop report=out
    srlab evaluate restorer=runs/NAME/best benchmark=photos scale=2 report=out missing=skip
    srlab evaluate restorer=[runs/A/best,runs/B/best] self_ensemble=true benchmark=photos scale=2 report=out
    srlab evaluate restorer=runs/GENERATIVE/best samples=8 benchmark=photos scale=4 report=out

Writes OUT/summary.json (means), OUT/per_image.csv, OUT/report.html (crops, the worst images first) and
OUT/comparison.png. A benchmark is a folder with HR/ and LR/, whose images are paired by name, or one with
originals, whose low images are made by the bicubic degradation or the one given. Exit code 0 only if every
image was scored: an image that cannot be is listed in the report, and the others are scored all the same.
"""

import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from sr_lab.base.provenance import git_state
from sr_lab.commands._restorer import choose_device, load_restorer
from sr_lab.config.compose import build
from sr_lab.evaluation.benchmark import Evaluation, evaluate
from sr_lab.evaluation.numbers import format_value
from sr_lab.evaluation.report import COMPARISON, REPORT, SUMMARY, write_report
from sr_lab.inference.restorers import MeanRestorer, NetworkRestorer, Restorer
from sr_lab.metrics.variance import SampleVariance
from sr_lab.tracking.run import Run

TRUSTED_FIT = 45.0
"""Decibels below which bicubic is not what made the given low images; 8-bit files of it reach 58.9 and more."""


def run(cfg: DictConfig) -> int:
    """Runs the command; see the module's docstring."""
    report = Path(cfg.report)
    (report / SUMMARY).unlink(missing_ok=True)
    evaluation, facts = evaluation_of(cfg)
    content = write_report(evaluation, report, facts=facts, num_pictures=cfg.num_pictures)
    if cfg.run is not None:
        record(evaluation, content, report, Path(cfg.run))
    print(table(evaluation))
    print(f"report: {report / REPORT}\npicture: {report / COMPARISON}")
    for caution in facts["cautions"]:
        print(f"caution: {caution}")
    for failure in evaluation.failures:
        print(f"srlab evaluate: not scored: {failure.name}: {failure.reason}", file=sys.stderr)
    return 0 if evaluation.complete else 1


def evaluation_of(cfg: DictConfig) -> tuple[Evaluation, dict[str, Any]]:
    """The evaluation that ``cfg`` asks for, and what to record beside its numbers."""
    if not isinstance(cfg.scale, int) or cfg.scale < 1:
        raise ValueError(f"scale={cfg.scale}: a whole number of at least 1")
    device = choose_device(cfg.device)
    names = [cfg.restorer] if isinstance(cfg.restorer, str) else list(cfg.restorer)
    loaded = [
        load_restorer(
            str(name), scale=cfg.scale, tile=cfg.tile, overlap=cfg.overlap, device=device,
            tracking_uri=cfg.tracking_uri, seed=cfg.seed, num_steps=cfg.num_steps, self_ensemble=cfg.self_ensemble,
        )
        for name in names
    ]  # fmt: skip
    restorer, metadata = loaded[0] if len(loaded) == 1 else _mean_of(loaded)
    facts: dict[str, Any] = {}
    if metadata is not None:
        facts = {"tile": cfg.tile, "overlap": cfg.overlap, "restorer_metadata": metadata}
    if any(isinstance(member, NetworkRestorer) and member.generative for member, _ in loaded):
        facts |= {"seed": cfg.seed, "num_steps": cfg.num_steps, "samples": cfg.samples}
    metrics = {name: build(node) for name, node in cfg.metrics.items()}
    if cfg.samples > 1:
        metrics["sample_variance"] = SampleVariance()
    evaluation = evaluate(
        restorer,
        Path(cfg.benchmark),
        name=" + ".join(map(str, names)) + (" (x8)" if cfg.self_ensemble else ""),
        scale=cfg.scale,
        protocol=build(cfg.protocol),
        metrics=metrics,
        degradation=None if cfg.degradation is None else build(cfg.degradation),
        seed=cfg.seed,
        samples=cfg.samples,
        device=device,
    )
    facts |= {
        "device": str(device),
        "commit": git_state().commit,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "cautions": cautions(evaluation, metadata or {}),
    }
    return evaluation, facts


def _mean_of(loaded: Sequence[tuple[Restorer, dict[str, Any] | None]]) -> tuple[Restorer, dict[str, Any]]:
    """The mean of several restorers' images, and what is known of each."""
    parents = [metadata or {} for _, metadata in loaded]
    backbones = sorted({net for parent in parents for net in parent.get("perceptual_backbones", [])})
    return MeanRestorer([restorer for restorer, _ in loaded]), {"parents": parents, "perceptual_backbones": backbones}


def cautions(evaluation: Evaluation, metadata: Mapping[str, Any]) -> list[str]:
    """What a reader must know to read the numbers right; a sentence each."""
    found = []
    net = getattr(evaluation.metrics.get("lpips"), "net", None)
    if net in metadata.get("perceptual_backbones", []):
        found.append(
            f"LPIPS ({net}) is no independent judge here: the model was trained on a loss that looks through the same "
            f"network; measure with another one (metrics.lpips.net=...)"
        )
    fit = evaluation.degradation_fit
    if fit is not None and fit < TRUSTED_FIT and "lr_consistency" in evaluation.metrics:
        found.append(
            f"LR consistency and invented detail assume that MATLAB's bicubic made the given low images, and it did "
            f"not: the originals themselves reach {fit:.1f} dB"
        )
    return found


def record(evaluation: Evaluation, content: dict[str, Any], report: Path, run_folder: Path) -> None:
    """Adds an evaluation to the tracked run of ``run_folder``: numbers, per-image table, report and picture.

    Keys tell benchmark and scale, as ``test/set5_x4/psnr_y``; the protocol is a tag beside them.
    """
    scale = f"x{evaluation.scale}"
    folders = [part for part in Path(evaluation.benchmark).resolve().parts[-2:] if part != scale]
    name = "_".join([*folders, scale]).lower()
    step = int(content.get("restorer_metadata", {}).get("metrics", {}).get("step", 0))
    with Run.reopen(run_folder / "tracking", drain_seconds=60) as tracked:
        tracked.log_metrics({f"test/{name}/{key}": evaluation.mean(key) for key in evaluation.metrics}, step)
        gains = {f"test/{name}/gain_{key}": evaluation.mean_gain(key) for key in evaluation.metrics}
        tracked.log_metrics(gains, step)
        reasons = {f"test.{name}.{key}": f"not measured: {why}" for key, why in evaluation.not_measured.items()}
        tracked.log_tags({f"test.{name}.protocol": evaluation.protocol.name, **reasons})
        rows = [{"image": image.name, **image.scores, "bicubic": dict(image.bicubic)} for image in evaluation.images]
        tracked.log_table(rows, f"tables/{name}.json")
        for file in (SUMMARY, REPORT, COMPARISON):
            tracked.log_file(report / file, f"evaluation/{name}")


def table(evaluation: Evaluation) -> str:
    """The means as text: one line for the restorer, one for bicubic."""
    keys = list(evaluation.metrics)
    rows = [["", *keys], [evaluation.restorer, *(format_value(key, evaluation.mean(key)) for key in keys)]]
    if not evaluation.is_baseline:
        rows.append(["bicubic", *(format_value(key, evaluation.bicubic_mean(key)) for key in keys)])
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        f"{evaluation.benchmark}, x{evaluation.scale}, protocol {evaluation.protocol.name}, "
        f"{len(evaluation.images)} images:"
    ]
    lines += [
        "  ".join(
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]
    lines += [f"{key}: not measured: {reason}" for key, reason in evaluation.not_measured.items()]
    return "\n".join(lines)
