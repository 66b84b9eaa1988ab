"""Refuses what a composed configuration names and nobody knows.

Hydra rejects a misspelt override of a known node. What it lets pass is checked here on the composed
whole: ``+key`` additions, misspelt keys in experiment files, arguments that a ``_target_`` does not take.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sr_lab.base.errors import ConfigError
from sr_lab.config.kinds import wrong_values
from sr_lab.config.targets import join, unknown_arguments
from sr_lab.config.tree import nearest
from sr_lab.config.words import setting


def check(command: str, config: DictConfig, known: DictConfig) -> None:
    """Refuses keys that neither the command's own configuration nor a ``_target_``'s signature knows."""
    given, own = OmegaConf.to_container(config), OmegaConf.to_container(known)
    if lost := [str(key) for key in own if key not in given]:
        raise ConfigError(f"{lost[0]} is empty: give {lost[0]}=... (srlab {command} --help)")
    if errors := list(_unknown(given, own, path="")) or list(wrong_values(command, given, own)):
        raise ConfigError("\n".join(errors))
    if missing := list(_missing(given, own, path="")):
        them = " ".join(f"{key}=..." for key in missing)
        has = "has" if len(missing) == 1 else "have"
        raise ConfigError(f"{', '.join(missing)} {has} no value: give {them} (srlab {command} --help)")
    try:
        OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        place = str(error.full_key or "")
        raise ConfigError(
            f"{place}: {str(error).splitlines()[0]}: ${{KEY}} stands for what that key has; as text it is "
            f"{setting(place, '${KEY}')}"
        ) from error


def _missing(node: Any, known: Any, *, path: str) -> Iterator[str]:
    """Paths of the keys that have to be given and were not; null is no value for them."""
    for key, child in node.items():
        place, default = join(path, key), known.get(key) if isinstance(known, dict) else None
        if child == "???" or (child is None and default == "???"):
            yield place
        elif isinstance(child, dict):
            yield from _missing(child, default, path=place)


def _unknown(node: Any, known: Any, *, path: str) -> Iterator[str]:
    """Messages about the keys below ``node`` that do not exist, depth first."""
    if isinstance(node, list):
        for index, child in enumerate(node):
            yield from _unknown(child, None, path=f"{path}[{index}]")
    if not isinstance(node, dict):
        return
    if "_target_" in node:
        yield from unknown_arguments(node, path)
    elif isinstance(known, dict) and "_target_" not in known and known:
        components = all(_is_component(value) for value in known.values())
        keys = [key for key, child in node.items() if child is None or _is_component(child)] if components else [*known]
        remedy = " Choose it too, or leave its settings out by ~{}." if components else ""
        for key in node:
            if key not in keys:
                place, near = join(path, key), _closest(key, keys)
                hint = f"Did you mean {join(path, near)!r}?" if near else f"Keys here: {', '.join(map(str, keys))}."
                yield f"unknown key {place!r}. {hint}{remedy.format(place)}"
    for key, child in node.items():
        yield from _unknown(child, known.get(key) if isinstance(known, dict) else None, path=join(path, key))


def _is_component(node: Any) -> bool:
    """Whether a value is a named component (a loss, a metric); a mapping of such, or an empty one, may be added to."""
    return isinstance(node, dict) and "_target_" in node


def _closest(key: Any, known: Iterable[Any]) -> str:
    hint = nearest(str(key), [str(k) for k in known])
    match = re.search(r"'([^']*)'", hint)
    return match.group(1) if match else ""
