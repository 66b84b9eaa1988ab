"""Two restorers side by side on the same images: means, gains with intervals, and where the first loses most.

    srlab compare a=models:/NAME@candidate b=models:/NAME@champion benchmark=DIR scale=2 report=OUT
    srlab compare a=runs/NAME/best b=bicubic benchmark=DIR scale=4 report=OUT

Writes OUT/compare.html and OUT/compare.json. Restorers are named as for srlab evaluate. It decides nothing: that is for
srlab promote. Scenes, whose images count as one observation, are told by the folder's scenes.csv, else by subfolders.
Exit code 0 only if both were scored on every image.
"""

import json
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from omegaconf import DictConfig

from sr_lab.base.files import write_text
from sr_lab.base.provenance import git_state
from sr_lab.commands._restorer import choose_device, load_restorer
from sr_lab.commands._versus import image_lines, measurements, slice_lines
from sr_lab.config.compose import build
from sr_lab.evaluation.numbers import heading
from sr_lab.evaluation.versus import Contest, Part, Versus
from sr_lab.evaluation.versus_page import Line, Page, render

PAGE, NUMBERS = "compare.html", "compare.json"


def run(cfg: DictConfig) -> int:
    """Runs the command; see the module's docstring."""
    names = [str(cfg.a), str(cfg.b)]
    if names[0] == names[1]:
        raise ValueError(f"a and b are both {names[0]}: give two restorers")
    device = choose_device(cfg.device)
    contest = Contest(
        {
            name: load_restorer(
                name, scale=cfg.scale, tile=cfg.tile, overlap=cfg.overlap, device=device, tracking_uri=cfg.tracking_uri
            )[0]
            for name in names
        },
        {
            Path(cfg.benchmark).name: Part(
                benchmark=Path(cfg.benchmark), degradation=None if cfg.degradation is None else build(cfg.degradation)
            )
        },
        scale=cfg.scale,
        protocol=build(cfg.protocol),
        metrics={name: build(node) for name, node in cfg.metrics.items()},
        seed=cfg.seed,
        device=device,
    )
    versus = contest.measure()
    lines, page = _page(cfg, versus, contest)
    write_text(Path(cfg.report) / PAGE, page)
    numbers = {"a": names[0], "b": names[1], "protocol": versus.protocol.name, "sha256": versus.sha256}
    write_text(
        Path(cfg.report) / NUMBERS,
        json.dumps({**numbers, "alpha": cfg.alpha, "lines": [asdict(line) for line in lines]}, indent=2) + "\n",
    )
    print(_text(names, [line for line in lines if line.slice == "all"], cfg.alpha))
    print(f"page: {Path(cfg.report) / PAGE}")
    for name, failures in versus.failures.items():
        for image, reason in failures.items():
            print(f"srlab compare: not scored: {name} on {image}: {reason}", file=sys.stderr)
    return 1 if any(versus.failures.values()) else 0


def _page(cfg: DictConfig, versus: Versus, contest: Contest) -> tuple[list[Line], str]:
    better: dict[str, Literal["higher", "lower"]] = {
        key: "higher" if metric.higher_is_better else "lower" for key, metric in versus.metrics.items()
    }
    models = measurements(versus, seen={}, costs={})
    lines = slice_lines(models, better, alpha=cfg.alpha)
    images = image_lines(models, better)
    page = Page(
        title=f"{versus.names[0]} against {versus.names[1]}",
        subtitle=f"{heading('both', str(cfg.benchmark), cfg.scale)}: {len(versus.rows)} images, protocol "
        f"{versus.protocol.name}.",
        names=versus.names,
        metrics=list(better),
        level=1 - 2 * cfg.alpha,
        lines=lines,
        images=images,
        pictures=contest.pictures([image.name for image in images[: cfg.num_pictures]]),
        facts={
            "a": versus.names[0],
            "b": versus.names[1],
            "benchmark": str(cfg.benchmark),
            "files' SHA-256": versus.sha256,
            "protocol": versus.protocol.definition,
            "not measured": "; ".join(f"{key}: {why}" for key, why in versus.not_measured.items()) or "nothing",
            "code": git_state().commit or "unknown",
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
        },
    )
    return lines, render(page)


def _text(names: list[str], lines: list[Line], alpha: float) -> str:
    rows = [f"{names[0]} against {names[1]}, positive is better for the first:"]
    for line in lines:
        bounds = "" if line.low is None else f", {1 - 2 * alpha:.0%} interval [{line.low:+.4f}, {line.high:+.4f}]"
        rows.append(
            f"  {line.metric}: {line.ours:.4f} and {line.theirs:.4f}, gain {line.gain:+.4f}{bounds} "
            f"({line.num_images} images, {line.num_scenes} scenes)"
        )
    return "\n".join(rows)
