"""One image of several of the same still scene: a burst, or the revisits of a satellite with masks of its clouds.

    srlab burst input=FRAMES output=large.png
    srlab burst input=SCENE output=large.tif scale=3 noise=2.5
    srlab burst input=SCENES output=LARGE

The frames of a scene are the images in its folder, in the order of their names; a mask lies in masks/ under its frame's
name, 0 where the frame does not show the scene. Frames are registered on the one that sees most (ECC), a scene that is
no mere shift is refused, and the sensor's model is inverted; no network is needed. A scene that fails is named, the
others are written, and the exit code is 1. What is there already is never replaced.
"""

import sys
from pathlib import Path

from omegaconf import DictConfig

from sr_lab.base.words import counted
from sr_lab.workflows.burst import RestoredScene, restore_scenes


def run(cfg: DictConfig) -> int:
    """Runs the command; see the module's docstring."""
    failed = 0
    for scene in call(cfg):
        if scene.problem is not None:
            failed += 1
            print(f"srlab burst: {scene.name}: {scene.problem}", file=sys.stderr)
            continue
        for caution in scene.cautions:
            print(f"caution: {scene.name}: {caution}", file=sys.stderr)
        print(f"{scene.output}: {counted(scene.used, 'frame')}, noise of {255 * scene.noise:.1f} levels")
    if failed:
        print(f"srlab burst: {counted(failed, 'scene')} failed; the others are written", file=sys.stderr)
    return 1 if failed else 0


def call(cfg: DictConfig) -> list[RestoredScene]:
    """Restores the scenes that ``cfg`` names."""
    return restore_scenes(
        Path(cfg.input),
        Path(cfg.output),
        scale=int(cfg.scale) if cfg.scale == int(cfg.scale) else cfg.scale,
        noise=None if cfg.noise is None else float(cfg.noise) / 255,
        refine=None if cfg.refine is None else str(cfg.refine),
        format=str(cfg.format),
        device=str(cfg.device),
    )
