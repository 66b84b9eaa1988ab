"""A degradation out of a manifest, which may come from anywhere: nothing but degradations of this package is made."""

import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from sr_lab.base.errors import ConfigError
from sr_lab.config.check import locate
from sr_lab.config.compose import build
from sr_lab.data.degraded_rows import Row
from sr_lab.degradations.base import Degradation

_ALLOWED = "sr_lab.degradations."


def rebuild(rows: Sequence[Row], manifest: Path) -> Degradation:
    """The degradation of a manifest; nothing but classes of ``sr_lab.degradations`` is made.

    Raises:
        ValueError: if the rows have several configurations, or one that asks for anything else.
    """
    configs = {row.config for row in rows}
    if len(configs) > 1:
        raise ValueError(f"{manifest} holds {len(configs)} degradations: replay its parts apart")
    try:
        node = json.loads(configs.pop())
        check_config(node)
    except ValueError as error:
        raise ValueError(f"{manifest}: {error}") from error
    degradation = build(OmegaConf.create(node))
    if not isinstance(degradation, Degradation):
        raise ValueError(f"{manifest}: its configuration is no degradation")
    return degradation


def check_config(node: Any) -> None:
    """Raises ``ValueError`` where a configuration from a file asks for more than degradations of this package."""
    if isinstance(node, str) and "${" in node:
        raise ValueError(f"the configuration holds the interpolation {node!r}: a manifest holds values")
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        check_config(child)
    if not isinstance(node, dict):
        return
    for key in node:
        if key.startswith("_") and key != "_target_":
            raise ValueError(f"the configuration holds {key!r}: only _target_ may be used")
    if (transform := str(node.get("transform", "albumentations."))) and not transform.startswith("albumentations."):
        raise ValueError(f"transform={transform!r}: only transforms of albumentations are replayed")
    if "_target_" in node:
        target = str(node["_target_"])
        try:
            found = locate(target) if target.startswith(_ALLOWED) else None
        except (ConfigError, AttributeError) as error:
            raise ValueError(f"_target_={target!r}: {error}") from error
        if not inspect.isclass(found) or not issubclass(found, Degradation):
            raise ValueError(f"_target_={target!r}: only degradations of {_ALLOWED[:-1]} are replayed")
