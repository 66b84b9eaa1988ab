"""Dotted paths: of keys, of the objects that ``_target_`` names, and what those take."""

import importlib
import inspect
import pkgutil
from collections.abc import Iterator, Mapping
from typing import Any

from sr_lab.base.errors import ConfigError
from sr_lab.base.extras import remedy
from sr_lab.config.tree import nearest

HYDRA_KEYS = {"_target_", "_partial_", "_recursive_", "_convert_", "_args_"}


def unknown_arguments(node: dict[Any, Any], path: str) -> Iterator[str]:
    """Messages about arguments that the ``_target_`` of ``node`` does not take."""
    target = str(node["_target_"])
    try:
        function = locate(target)
    except ConfigError as error:
        yield f"{join(path, '_target_')}: {error}"
        return
    taken = parameters(function)
    if taken is None or any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values()):
        return
    for key in node:
        if key not in taken and key not in HYDRA_KEYS:
            valid = [name for name in taken if name != "self"]
            yield f"unknown key {join(path, key)!r}: {target} takes no {key!r}.{nearest(str(key), valid)}"


def parameters(function: Any) -> Mapping[str, inspect.Parameter] | None:
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
