"""What a retraining needs, looked at before the drift: a mistake shows on a quiet day, not after hours of training."""

from pathlib import Path

from omegaconf import DictConfig

from sr_lab.artefacts.artefact import Artefact
from sr_lab.base.files import sha256
from sr_lab.config.check import locate
from sr_lab.config.compose import build, compose
from sr_lab.config.words import setting
from sr_lab.evaluation.pairs import find_pairs
from sr_lab.evaluation.scenes import find_scenes
from sr_lab.promotion import Policy
from sr_lab.promotion.quality import QualityCheck

WHOLE = ("all", "benchmark_old", "benchmark_new")
"""Slices that hold the whole hold-out."""


def checked_recipe(cfg: DictConfig, champion: Artefact) -> DictConfig:
    """The configuration of the experiment, once nothing stands in the way of training on it and of the gate.

    Args:
        cfg: the configuration of srlab retrain.
        champion: that the training starts from.

    Raises:
        ValueError: if the experiment does not fit the champion or shows no degradation, or the hold-out cannot decide.
    """
    if not isinstance(champion.config.get("degradation"), dict):
        raise ValueError(f"the champion of {cfg.name} records no degradation, so the old conditions are not known")
    recipe = compose("train", [f"experiment={cfg.experiment}", *cfg.train])
    compose("promote", [setting("name", cfg.name), *cfg.promote])
    if recipe.scale != champion.scale:
        raise ValueError(f"experiment={cfg.experiment} is for scale {recipe.scale}, the champion for {champion.scale}")
    for part in ("train", "val"):
        if getattr(locate(recipe.data[part]["_target_"]), "paired", False):
            raise ValueError(
                f"experiment={cfg.experiment}: data.{part} brings its own low images, which the new degradation would "
                "not reach: give data with originals only, as 'train=[\"data=t91_bsds400_blind\"]'"
            )
    pairs = find_pairs(Path(cfg.holdout), scale=champion.scale)
    if pairs[0].low is not None:
        raise ValueError(f"holdout={cfg.holdout} brings its own low images (LR/): give its folder of originals")
    known = {digest for digests in (champion.metadata.get("images") or {}).values() for digest in digests}
    if seen := [pair.name for pair in pairs if sha256(pair.high) in known]:
        raise ValueError(
            f"holdout={cfg.holdout}: the champion was trained or selected on {len(seen)} of the {len(pairs)} images "
            f"({seen[0]}): give images that no training has seen"
        )
    policy: Policy = build(cfg.policy)
    checks = [check for check in policy.checks.values() if isinstance(check, QualityCheck) and check.slice in WHOLE]
    least = max((check.min_scenes for check in checks), default=0)
    if (found := len(set(find_scenes(Path(cfg.holdout), [pair.name for pair in pairs]).values()))) < least:
        raise ValueError(f"holdout={cfg.holdout} shows {found} scenes, policy {policy.name} asks for {least} or more")
    return recipe
