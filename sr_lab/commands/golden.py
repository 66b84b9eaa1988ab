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

from sr_lab.config.compose import build
from sr_lab.config.words import counted, line, setting
from sr_lab.workflows.golden import GoldenCheck, GoldenSet, check_registered, make_golden


def run(cfg: DictConfig) -> int:
    """Makes the set, or checks one; see the module's docstring."""
    if cfg.check is not None:
        found = check(cfg)
        for name, number in found.values.items():
            print(f"{name}: {number:.4f}, first {found.expected[name]:.4f}, bicubic {found.floor[name]:.4f}")
        print("\n".join([f"{found.label}: {'fell' if found.fallen else 'nothing fell'}", *found.fallen]))
        return int(cfg.on_fall) if found.fallen else 0
    made = call(cfg)
    clips = len({pair.clip for pair in made.pairs} - {""})
    pairs = f"{counted(len(made.pairs), 'pair')} of scale {made.scale}, {counted(clips, 'clip')} among them"
    print(f"{pairs}, in {made.folder}")
    print(f"serve it with: {line('serve', 'name=NAME', 'golden=folder', setting('golden.folder', cfg.output))}")
    return 0


def call(cfg: DictConfig) -> GoldenSet:
    """The set that ``cfg`` describes."""
    return make_golden(Path(cfg.photos), Path(cfg.output), scale=cfg.scale, num=cfg.num, side=cfg.side)


def check(cfg: DictConfig) -> GoldenCheck:
    """What a registered model makes of the set."""
    if cfg.name is None:
        raise ValueError(f"check={cfg.check}: give name= of the registered model whose {cfg.alias} restores it")
    return check_registered(
        Path(cfg.check),
        name=str(cfg.name),
        alias=str(cfg.alias),
        tracking_uri=str(cfg.tracking_uri),
        device=cfg.device,
        lpips=cfg.lpips,
        protocol=build(cfg.protocol),
        state=None if cfg.state is None else Path(cfg.state),
    )
