"""Tell what a network costs: parameters, operations, reach, and time, memory and price by engine and size of a window.

    srlab profile_model restorer=edge
    srlab profile_model restorer=runs/NAME/best engines=[torch,ncnn] sizes=[64,256] prices.core_hour=0.05

A price is that of an hour of one core; CPU s/MP is the processor's time for a megapixel of the result, with what tiles
compute twice. srlab profile measures folders of images.
"""

import sys

from omegaconf import DictConfig

from sr_lab.config.words import counted
from sr_lab.workflows.profile_model import ModelProfile, profile_model


def run(cfg: DictConfig) -> int:
    """Runs the command; see the module's docstring."""
    found = call(cfg)
    radius = "not told by its layers" if found.radius is None else f"{found.radius:g} pixels"
    print(
        f"{found.network} x{found.scale}, {counted(found.channels, 'channel')}: "
        f"{counted(found.parameters, 'parameter')}, "
        f"{found.flops_per_pixel:,.0f} operations a low pixel\n"
        f"it can see {radius} to each side; tiles need {found.halo} (measured); {counted(found.threads, 'thread')}"
    )
    widths = [max(len(row[column]) for row in found.table) for column in range(len(found.table[0]))]
    for row in found.table:
        print("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))
    for engine, reason in found.unfit.items():
        print(f"srlab profile_model: {engine} left out: {reason}", file=sys.stderr)
    return 0


def call(cfg: DictConfig) -> ModelProfile:
    """Measures what ``cfg`` names."""
    return profile_model(
        str(cfg.restorer),
        sizes=[int(side) for side in cfg.sizes],
        engines=None if cfg.engines is None else [str(engine) for engine in cfg.engines],
        prices={str(key): float(price) for key, price in cfg.prices.items()},
        scale=cfg.scale,
        num_runs=int(cfg.num_runs),
        tracking_uri=cfg.tracking_uri,
    )
