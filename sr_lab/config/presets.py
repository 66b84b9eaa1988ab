"""The presets of degradations: what settings are called, and the ladder of severities."""

from typing import Any

from omegaconf import DictConfig, OmegaConf

from sr_lab.config.compose import build, plain
from sr_lab.config.tree import find_option, options

LADDER, LEVELS = "severity", ("weak", "standard", "severe")


def preset_name(degradation: DictConfig, *, scale: int) -> str:
    """Name of the preset with exactly these settings, else the class."""
    settings = plain(degradation)
    for name in options("degradation"):
        node = _preset(name, scale)
        if "defaults" not in node and plain(node) == settings:
            return name
    return str(settings.get("_target_", "")).rsplit(".", 1)[-1] + " (settings of its own)"


def severity_ladder(*, scale: int) -> dict[str, Any]:
    """The severity preset, one level at a time; none where the preset or a level is missing."""
    if LADDER not in options("degradation"):
        return {}
    levels = {}
    for level in LEVELS:
        node = _preset(LADDER, scale)
        weights = OmegaConf.select(node, "ops.level.weights")
        if weights is None or level not in weights:
            return {}
        for name in weights:
            weights[name] = float(name == level)
        levels[level] = build(node)
    return levels


def _preset(name: str, scale: int) -> DictConfig:
    file = find_option("degradation", name)
    assert file is not None, name
    whole = OmegaConf.create({"scale": scale, "degradation": OmegaConf.load(file)})
    node = whole.degradation
    assert isinstance(node, DictConfig)
    return node
