"""Commands that do one of several things: ``srlab incident show`` is ``srlab incident action=show``."""

from collections.abc import Mapping
from typing import TypeVar

from omegaconf import DictConfig

from sr_lab.base.errors import ConfigError

T = TypeVar("T")


def chosen(cfg: DictConfig, actions: Mapping[str, T]) -> T:
    """What belongs to ``cfg.action``.

    Raises:
        ConfigError: If it is none of the actions.
    """
    if cfg.action not in actions:
        raise ConfigError(f"action={cfg.action}: one of {', '.join(actions)}")
    return actions[cfg.action]
