"""Refuses what a composed configuration names and nobody knows.

Hydra rejects a misspelt override of a known node. What it lets pass is checked here on the composed
whole: ``+key`` additions, misspelt keys in experiment files, arguments that a ``_target_`` does not take.
"""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sr_lab.base.errors import ConfigError
from sr_lab.base.extras import remedy
from sr_lab.config.tree import nearest

HYDRA_KEYS = {"_target_", "_partial_", "_recursive_", "_convert_", "_args_"}


def check(command: str, config: DictConfig, known: DictConfig) -> None:
    """Refuses keys that neither the command's own configuration nor a ``_target_``'s signature knows."""
    given, own = OmegaConf.to_container(config), OmegaConf.to_container(known)
    if lost := [str(key) for key in own if key not in given]:
        raise ConfigError(f"{lost[0]} is empty: give {lost[0]}=... (srlab {command} --help)")
    if errors := list(_unknown(given, own, path="")) or list(_words(given, own, path="")):
        raise ConfigError("\n".join(errors))
    if missing := list(_missing(given, own, path="")):
        them = " ".join(f"{key}=..." for key in missing)
        has = "has" if len(missing) == 1 else "have"
        raise ConfigError(f"{', '.join(missing)} {has} no value: give {them} (srlab {command} --help)")
    try:
        OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(str(error).splitlines()[0]) from error


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


def _words(node: Any, known: Any, *, path: str) -> Iterator[str]:
    """Messages about words where the command has a number or a switch: ``no`` is a word, and would count as true."""
    if not isinstance(node, dict) or not isinstance(known, dict) or node.get("_target_") != known.get("_target_"):
        return
    target = node.get("_target_")
    parameters = (_parameters(locate(target)) if target else None) or {}
    for key, value in node.items():
        default = known.get(key)
        if isinstance(default, bool | int | float) and isinstance(value, str) and "${" not in value:
            if key in parameters and "str" in str(parameters[key].annotation):
                continue
            kind = "true or false" if isinstance(default, bool) else "a number"
            yield f"{join(path, key)}={value}: give {kind}"
        yield from _words(value, default, path=join(path, key))


def unknown_arguments(node: dict[Any, Any], path: str) -> Iterator[str]:
    """Messages about arguments that the ``_target_`` of ``node`` does not take."""
    target = str(node["_target_"])
    try:
        function = locate(target)
    except ConfigError as error:
        yield f"{join(path, '_target_')}: {error}"
        return
    parameters = _parameters(function)
    if parameters is None or any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for key in node:
        if key not in parameters and key not in HYDRA_KEYS:
            valid = [name for name in parameters if name != "self"]
            yield f"unknown key {join(path, key)!r}: {target} takes no {key!r}.{nearest(str(key), valid)}"


def _parameters(function: Any) -> Mapping[str, inspect.Parameter] | None:
    """Of its signature; None where it does not tell."""
    try:
        return inspect.signature(function).parameters
    except (TypeError, ValueError):
        return None


def locate(target: str) -> Any:
    """The object at a dotted path; ``ConfigError`` names the nearest one that exists."""
    module_name, _, attribute = target.rpartition(".")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        package, _, missing = module_name.rpartition(".")
        hint = ""
        if package and error.name == module_name and hasattr(importlib.import_module(package), "__path__"):
            siblings = [module.name for module in pkgutil.iter_modules(importlib.import_module(package).__path__)]
            hint = nearest(missing, siblings)
        if told := remedy(str(error.name)):
            raise ConfigError(f"{target}: {told}") from error
        if not str(error.name).startswith("sr_lab"):
            hint += " A package of your own has to be installed, or its folder named by PYTHONPATH."
        raise ConfigError(f"no module {error.name!r}.{hint}") from error
    except Exception as error:
        raise ConfigError(f"{module_name} cannot be imported: {type(error).__name__}: {error}") from error
    if not hasattr(module, attribute):
        raise ConfigError(f"{module_name} has no {attribute!r}.{nearest(attribute, dir(module))}")
    return getattr(module, attribute)


def join(path: str, key: Any) -> str:
    """The dotted path of ``key`` below ``path``."""
    return f"{path}.{key}" if path else str(key)


def _closest(key: Any, known: Iterable[Any]) -> str:
    hint = nearest(str(key), [str(k) for k in known])
    match = re.search(r"'([^']*)'", hint)
    return match.group(1) if match else ""
