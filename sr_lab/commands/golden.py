"""Make a golden set: pairs of images that a service restores again and again, so that a silent regression shows.

    srlab golden photos=data/photos output=golden scale=2
    srlab serve name=photos golden=folder golden.folder=golden
    srlab golden check=golden name=photos     # once, without a service: exit code 10 where a number fell

Of each photo the middle is kept, and made small by MATLAB's bicubic; photos of one folder below are the frames of a
clip, whose flicker is measured. golden.json has the hash of every file: a pair that was changed is not measured, and an
alert says so. Take photos that no model was trained on.

With check nothing is made: the champion restores the set as a service would, and its numbers are compared with those
that this version reached when it first came (expected.json, the service's own file) and with those of bicubic
interpolation, by the bounds of the service's alerts. Exit codes with check: 0 nothing fell, 10 something did.
"""

from pathlib import Path

from omegaconf import DictConfig

from sr_lab.config.call import called
from sr_lab.config.words import line, setting
from sr_lab.workflows.golden import check_registered, make_golden


def run(cfg: DictConfig) -> int:
    """Makes the set, or checks one; see the module's docstring."""
    if cfg.check is None:
        print(called(make_golden, cfg, folder=Path(cfg.output)).text)
        print(f"serve it with: {line('serve', 'name=NAME', 'golden=folder', setting('golden.folder', cfg.output))}")
        return 0
    if cfg.name is None:
        raise ValueError(f"check={cfg.check}: give name= of the registered model whose {cfg.alias} restores it")
    found = called(check_registered, cfg, folder=Path(cfg.check))
    print("\n".join(found.lines))
    return int(cfg.on_fall) if found.fallen else 0
