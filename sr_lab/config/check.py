"""Refuses what a composed configuration names and nobody knows.

Hydra rejects a misspelt override of a known node. What it lets pass is checked here on the composed
whole: ``+key`` additions, misspelt keys in experiment files, arguments that a ``_target_`` does not take.
"""

import importlib
import inspect
import math
import pkgutil
import re
from collections.abc import Iterable, Iterator, Mapping
from types import UnionType
from typing import Any, get_args

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
    if errors := list(_unknown(given, own, path="")) or list(_kinds(given, own, path="")):
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


def _kinds(node: Any, known: Any, *, path: str) -> Iterator[str]:
    """Messages about values that are not of the kind that their key has: ``no`` is a word, and would count as true.

    Of an argument its annotation tells the kind, of a command's own key its default and ``NUMBERS``.
    """
    if isinstance(node, list):
        for index, child in enumerate(node):
            yield from _kinds(child, None, path=f"{path}[{index}]")
    if not isinstance(node, dict):
        return
    target = node.get("_target_")
    parameters = (_parameters(locate(target)) if target else None) or {}
    for key, value in node.items():
        place, default = join(path, key), known.get(key) if isinstance(known, dict) else None
        if isinstance(value, float) and math.isnan(value):
            yield f"{place}=nan: give a number"
        elif path == "" and key in NAMES and (said := _no_name(value)):
            yield f"{place}={said}"
        elif path == "" and key in WORDS and value not in (*WORDS[str(key)], "???"):
            yield f"{place}={value}: give {' or '.join(WORDS[str(key)])}"
        elif not (isinstance(value, str) and ("${" in value or value == "???")):
            kind = _annotated(parameters[key].annotation) if key in parameters else None
            if kind is None and not target:
                kind = _own(str(key), default) if path == "" else None
            if kind is None and key not in parameters and isinstance(default, bool | int | float):
                kind = (bool if isinstance(default, bool) else float, True)
            said = None if kind is None else _unlike(value, *kind)
            if said is None and kind is not None and kind[0] is int and _is_count(str(key), target):
                said = "give a number of at least 0" if value is not None and value < 0 else None
            if said is not None:
                yield f"{place}={_shown(value)}: {said}"
        yield from _kinds(value, default, path=place)


NAMES = frozenset({
    "a", "admin_host", "alias", "artefact", "b", "benchmark", "by", "certificate", "conservative", "current",
    "default_uri", "device", "directory", "engine", "fast", "folder", "format", "holdout", "host", "images",
    "initial", "input", "label", "manifest", "mirror", "monitor", "name", "old", "output", "pairs", "private_key",
    "question", "reason", "reference", "report", "run", "state", "storage", "stream", "study", "title",
    "tracking_uri", "uri", "url", "winner",
})  # fmt: skip
"""Keys of commands whose value is one text, whatever it looks like: a name, a place, a sentence."""
WORDS = {"missing": ("error", "skip"), "monitor_mode": ("max", "min")}
"""Keys of commands that take one of these words."""
NUMBERS: dict[str, type] = {
    "version": int, "num_images": int, "num_steps": int, "overlap": int, "max_seconds": float, "scale": float,
    "heartbeat": float, "grace": float, "seconds": float, "stale_minutes": float, "wait_seconds": float,
    "noise": float, "quality": float, "batch_size": int, "codecs": int, "admin_port": int, "poll_seconds": float,
    "max_hours": float, "votes": int,
}  # fmt: skip
"""Keys of commands that may be null and else are numbers, or whose default looks whole and that need not be."""
MAY_BE_NULL = frozenset({"num_trials"})
"""Keys of commands whose default is a number and that may be null."""


def _own(key: str, default: Any) -> tuple[type, bool] | None:
    """The kind of a command's own key, and whether it may be null; None where it is of no number or switch."""
    if isinstance(default, bool):
        return bool, False
    if isinstance(default, int | float) or (default in (None, "???") and key in NUMBERS):
        return NUMBERS.get(key, type(default)), default is None or key in MAY_BE_NULL
    return None


def _no_name(value: Any) -> str | None:
    """What is wrong with the value of a key that takes one text, behind its ``=``; None if nothing is."""
    if isinstance(value, list | dict):
        return f"{value}: give one; brackets and braces that belong to it stand in quotes"
    return ": it is empty, give it a value" if value == "" else None


def _is_count(key: str, target: Any) -> bool:
    """Whether a whole number cannot be negative: a command's or an argument of ours, but for seeds."""
    return key != "seed" and (target is None or str(target).startswith("sr_lab."))


def _annotated(annotation: Any) -> tuple[type, bool] | None:
    """The kind that an annotation asks for, and whether it may be null; None where it is of no number or switch."""
    kinds = set(get_args(annotation)) if isinstance(annotation, UnionType) else {annotation}
    may_be_null = type(None) in kinds
    kinds -= {type(None)}
    if kinds in ({int}, {float}, {bool}):
        return kinds.pop(), may_be_null
    return (float, may_be_null) if kinds == {int, float} else None


def _unlike(value: Any, kind: type, may_be_null: bool) -> str | None:
    """What to give instead of a value that is not of this kind; None if it is."""
    if value is None:
        return None if may_be_null else "give true or false" if kind is bool else "give a number"
    if kind is bool:
        return None if isinstance(value, bool) or value in (0, 1) else "give true or false"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "give a number"
    if kind is int and isinstance(value, float):
        whole = math.isfinite(value) and value == int(value)
        return f"give a whole number{f', as {int(value)}' if whole else ''}"
    return None


def _shown(value: Any) -> str:
    return (
        {True: "true", False: "false", None: "null"}[value] if value is None or isinstance(value, bool) else f"{value}"
    )


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
