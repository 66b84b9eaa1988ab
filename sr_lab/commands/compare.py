"""Two restorers side by side on the same images: means, gains with intervals, and where the first loses most.

    srlab compare a=models:/NAME@candidate b=models:/NAME@champion benchmark=DIR scale=2 report=OUT
    srlab compare a=runs/NAME/best b=bicubic benchmark=DIR scale=4 report=OUT

Writes OUT/compare.html and OUT/compare.json. Restorers are named as for srlab evaluate. It decides nothing: that is for
srlab promote. Scenes, whose images count as one observation, are told by the folder's scenes.csv, else by subfolders.
Exit code 0 only if both were scored on every image by every metric.
"""

import sys
from pathlib import Path

from omegaconf import DictConfig

from sr_lab.config.compose import build
from sr_lab.workflows.compare import PAGE, Comparison, compare
from sr_lab.workflows.load import choose_device, load_restorer


def run(cfg: DictConfig) -> int:
    """Runs the command; see the module's docstring."""
    found = call(cfg)
    print(found.text)
    print(f"page: {Path(cfg.report) / PAGE}")
    for name, failures in found.failures.items():
        for image, reason in failures.items():
            print(f"srlab compare: not scored: {name} on {image}: {reason}", file=sys.stderr)
    return 1 if any(found.failures.values()) else 0


def call(cfg: DictConfig) -> Comparison:
    """The comparison that ``cfg`` asks for, with its page and its numbers written."""
    names = [str(cfg.a), str(cfg.b)]
    if names[0] == names[1]:
        raise ValueError(f"a and b are both {names[0]}: give two restorers")
    device = choose_device(cfg.device)
    return compare(
        {
            name: load_restorer(
                name, scale=cfg.scale, tile=cfg.tile, overlap=cfg.overlap, device=device, tracking_uri=cfg.tracking_uri
            )
            for name in names
        },
        Path(cfg.benchmark),
        scale=cfg.scale,
        protocol=build(cfg.protocol),
        metrics={name: build(node) for name, node in cfg.metrics.items()},
        degradation=None if cfg.degradation is None else build(cfg.degradation),
        seed=cfg.seed,
        device=device,
        alpha=cfg.alpha,
        num_pictures=cfg.num_pictures,
        report=Path(cfg.report),
    )
