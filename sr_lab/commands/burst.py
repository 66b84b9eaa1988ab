"""One image of several of the same still scene: a burst, or the revisits of a satellite with masks of its clouds.

    srlab burst input=FRAMES output=large.png
    srlab burst input=SCENE output=large.tif scale=3 noise=2.5
    srlab burst input=SCENES output=LARGE

The frames of a scene are the images in its folder, in the order of their names; a mask lies in masks/ under its frame's
name, 0 where the frame does not show the scene. Frames are registered on the one that sees most (ECC), a scene that is
no mere shift is refused, and the sensor's model is inverted; no network is needed. A scene that fails is named, the
others are written, and the exit code is 1. What is there already is never replaced.
"""

from omegaconf import DictConfig

from sr_lab.base.words import counted
from sr_lab.commands._telling import caution, complain
from sr_lab.config.call import called
from sr_lab.workflows.burst import restore_scenes


def run(cfg: DictConfig) -> int:
    """Runs the command; see the module's docstring."""
    whole = int(cfg.scale) if cfg.scale == int(cfg.scale) else cfg.scale
    scenes = called(restore_scenes, cfg, scale=whole, noise=None if cfg.noise is None else cfg.noise / 255)
    for scene in scenes:
        if scene.problem is not None:
            complain("burst", [f"{scene.name}: {scene.problem}"])
            continue
        caution(f"{scene.name}: {text}" for text in scene.cautions)
        print(f"{scene.output}: {counted(scene.used, 'frame')}, noise of {255 * scene.noise:.1f} levels")
    failed = sum(scene.problem is not None for scene in scenes)
    if failed:
        complain("burst", [f"{counted(failed, 'scene')} failed; the others are written"])
    return 1 if failed else 0
