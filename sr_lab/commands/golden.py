"""Make a golden set: pairs of images that a service restores again and again, so that a silent regression shows.

    srlab golden photos=data/photos output=golden scale=2
    srlab serve name=photos golden=folder golden.folder=golden

Of each photo the middle is kept, and made small by MATLAB's bicubic; photos of one folder below are the frames of a
clip, whose flicker is measured. golden.json has the hash of every file: a pair that was changed is not measured, and an
alert says so. Take photos that no model was trained on.
"""

from pathlib import Path

from omegaconf import DictConfig

from sr_lab.config.words import counted, line, setting
from sr_lab.workflows.golden import GoldenSet, make_golden


def run(cfg: DictConfig) -> int:
    """Makes the set; see the module's docstring."""
    made = call(cfg)
    clips = len({pair.clip for pair in made.pairs} - {""})
    pairs = f"{counted(len(made.pairs), 'pair')} of scale {made.scale}, {counted(clips, 'clip')} among them"
    print(f"{pairs}, in {made.folder}")
    print(f"serve it with: {line('serve', 'name=NAME', 'golden=folder', setting('golden.folder', cfg.output))}")
    return 0


def call(cfg: DictConfig) -> GoldenSet:
    """The set that ``cfg`` describes."""
    return make_golden(Path(cfg.photos), Path(cfg.output), scale=cfg.scale, num=cfg.num, side=cfg.side)
