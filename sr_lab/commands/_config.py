"""Composing a command's configuration, and refusing what it does not know.

Hydra rejects a misspelt override of a known node. What it lets pass is checked here on the composed
whole: ``+key`` additions, misspelt keys in experiment files, arguments that a ``_target_`` does not take.
"""

import importlib
import inspect
import pkgutil
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra import main as hydra_main
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import ConfigCompositionException, HydraException, InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sr_lab.cli import config_dir, nearest

HYDRA_KEYS = {"_target_", "_partial_", "_recursive_", "_convert_", "_args_"}


class ConfigError(ValueError):
    """The configuration names something that does not exist."""


def compose(command: str, overrides: list[str]) -> DictConfig:
    """The checked configuration of ``command`` under Hydra ``overrides``.

    Raises:
        ConfigError: on any key, option, file or argument that does not exist; it names the nearest one.
    """
    names = [override for override in overrides if override.partition("=")[0] in _names_of_options(command)]
    try:
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            config = hydra_compose(command, [override for override in overrides if override not in names])
        for override in names:
            OmegaConf.update(config, *override.split("=", 1))
    except (HydraException, ConfigCompositionException, OmegaConfBaseException) as error:
        raise ConfigError(_explain(command, overrides, error)) from error
    _check(command, config, _known(command))
    return config


def setting(key: str, value: object) -> str:
    """The override that gives ``key`` this text as it is: in quotes where Hydra would read something else (a comma)."""
    text = str(value)
    try:
        plainly = OverridesParser.create().parse_override(f"{key}={text}").value() == text
    except HydraException:
        plainly = False
    return f"{key}={text}" if plainly else f"{key}={QuotedString(text=text, quote=Quote.single).with_quotes()}"


def to_yaml(config: DictConfig) -> str:
    """The configuration with every interpolation resolved, as YAML."""
    text: str = OmegaConf.to_yaml(config, resolve=True)
    return text


def plain(config: DictConfig) -> dict[str, Any]:
    """The resolved configuration as plain dictionaries, lists and values."""
    container = OmegaConf.to_container(config, resolve=True)
    assert isinstance(container, dict)
    return {str(key): value for key, value in container.items()}


def build(node: Any, **arguments: Any) -> Any:
    """The object that a ``_target_`` node describes; its own error where it refuses, without Hydra's wrapping.

    Its ``ValueError`` begins with the node's place, because equal fields stand in several; so does a value of the wrong
    type, which becomes a ``ValueError`` too.
    """
    try:
        return instantiate(node, _convert_="all", **arguments)
    except InstantiationException as error:
        cause, (_, found, place) = error.__cause__, str(error).rpartition("full_key: ")
        if found and type(cause) in (ValueError, TypeError):
            raise ValueError(f"{place}: {cause}") from cause
        if isinstance(cause, ValueError | OSError | RuntimeError):
            raise cause from None
        raise


def multirun(command: str, overrides: list[str]) -> int:
    """Runs ``command`` for every combination of comma-separated ``overrides`` (Hydra's own ``-m``).

    Where the command has a ``name``, what is swept becomes part of it, so that each run has its own folder.

    Returns:
        The largest exit code of the runs.
    """
    known = _known(command)
    swept = tuple(override.partition("=")[0] + "=" for override in overrides if "," in override)
    codes: list[int] = []

    def job(config: DictConfig) -> None:
        _check(command, config, known)
        if "name" in config:
            settings = [text for text in HydraConfig.get().overrides.task if text.startswith(swept)]
            config.name = "/".join([config.name, ",".join(settings)])
        codes.append(int(importlib.import_module(f"sr_lab.commands.{command}").run(config) or 0))

    sys.argv = [f"srlab {command}", *overrides, "--multirun"]
    hydra_main(version_base="1.3", config_path=str(config_dir()), config_name=command)(job)()
    return max(codes, default=1)


def _names_of_options(command: str) -> set[str]:
    """The command's keys whose value is the name of an option that it hands on: ``experiment`` of demo and sweep.

    Hydra takes the name of every folder of conf/ for a group, also where the command has only a value of that name.
    """
    content = OmegaConf.load(config_dir() / f"{command}.yaml")
    groups = {str(key) for entry in content.pop("defaults", []) if isinstance(entry, DictConfig) for key in entry}
    return {str(key) for key in content if key not in groups and (config_dir() / str(key)).is_dir()}


def _known(command: str) -> DictConfig:
    """The command's own configuration, without overrides: the keys that exist."""
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return hydra_compose(command, [])


def _check(command: str, config: DictConfig, known: DictConfig) -> None:
    """Refuses keys that neither the command's own configuration nor a ``_target_``'s signature knows."""
    given, own = OmegaConf.to_container(config), OmegaConf.to_container(known)
    if lost := [str(key) for key in own if key not in given]:
        raise ConfigError(f"{lost[0]} is empty: give {lost[0]}=... (srlab {command} --help)")
    if errors := list(_unknown(given, own, path="")) or list(_words(given, own, path="")):
        raise ConfigError("\n".join(errors))
    try:
        missing = sorted(OmegaConf.missing_keys(config))
        if not missing:
            OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError(str(error).splitlines()[0]) from error
    if missing:
        raise ConfigError(f"{missing[0]} has no value: give {missing[0]}=... (srlab {command} --help)")


def _unknown(node: Any, known: Any, *, path: str) -> Iterator[str]:
    """Messages about the keys below ``node`` that do not exist, depth first."""
    if isinstance(node, list):
        for index, child in enumerate(node):
            yield from _unknown(child, None, path=f"{path}[{index}]")
    if not isinstance(node, dict):
        return
    if "_target_" in node:
        yield from _unknown_arguments(node, path)
    elif isinstance(known, dict) and "_target_" not in known and known:
        components = all(_is_component(value) for value in known.values())
        keys = [key for key, child in node.items() if child is None or _is_component(child)] if components else [*known]
        remedy = " Choose it too, or leave its settings out by ~{}." if components else ""
        for key in node:
            if key not in keys:
                place, near = _join(path, key), _closest(key, keys)
                hint = f"Did you mean {_join(path, near)!r}?" if near else f"Keys here: {', '.join(map(str, keys))}."
                yield f"unknown key {place!r}. {hint}{remedy.format(place)}"
    for key, child in node.items():
        yield from _unknown(child, known.get(key) if isinstance(known, dict) else None, path=_join(path, key))


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
            yield f"{_join(path, key)}={value}: give {kind}"
        yield from _words(value, default, path=_join(path, key))


def _unknown_arguments(node: dict[Any, Any], path: str) -> Iterator[str]:
    target = str(node["_target_"])
    try:
        function = locate(target)
    except ConfigError as error:
        yield f"{_join(path, '_target_')}: {error}"
        return
    parameters = _parameters(function)
    if parameters is None or any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        return
    for key in node:
        if key not in parameters and key not in HYDRA_KEYS:
            valid = [name for name in parameters if name != "self"]
            yield f"unknown key {_join(path, key)!r}: {target} takes no {key!r}.{nearest(str(key), valid)}"


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
        raise ConfigError(f"no module {error.name!r}.{hint}") from error
    if not hasattr(module, attribute):
        raise ConfigError(f"{module_name} has no {attribute!r}.{nearest(attribute, dir(module))}")
    return getattr(module, attribute)


def _join(path: str, key: Any) -> str:
    return f"{path}.{key}" if path else str(key)


def _closest(key: Any, known: Iterable[Any]) -> str:
    hint = nearest(str(key), [str(k) for k in known])
    match = re.search(r"'([^']*)'", hint)
    return match.group(1) if match else ""


def _explain(command: str, overrides: list[str], error: Exception) -> str:
    """One message for Hydra's composition errors, with the nearest valid name."""
    text = str(error)
    known = _known(command)
    if option := re.search(r"Could not find '([^']+)'\n\nAvailable options in '([^']+)':((?:\n\t.+)*)", text):
        name, group, listing = option.groups()
        options = listing.split()
        return f"no option {name!r} in {group}.{nearest(name.rsplit('/')[-1], options)} Options: {', '.join(options)}"
    if group := re.search(r"Could not override '([^']+)'\.\s+No match in the defaults list", text):
        return f"no group {group.group(1)!r}.{nearest(group.group(1), _paths(known))}"
    for override in overrides:
        try:
            parsed = OverridesParser.create().parse_override(override)
        except HydraException as broken:
            name, equals, value = override.partition("=")
            quoted = f", text with such characters as {shlex.quote(setting(name, value))}" if equals else ""
            return f"cannot read {override!r}: {str(broken).splitlines()[0]}. Settings are given as key=value{quoted}"
        key = parsed.key_or_group
        if not parsed.is_add() and key not in _paths(known) and f"'{key}'" in text:
            if _may_be_added(key, known):
                group = key.rpartition(".")[2]
                file = f"{group}@" if (config_dir() / group).is_dir() else ""
                return f"{key!r} is not set so far: to add it, write +{file}{override}"
            return f"unknown key {key!r}.{nearest(key, _paths(known))}"
    return text.splitlines()[0] if len(text.splitlines()) == 1 else " ".join(line.strip() for line in text.splitlines())


def _may_be_added(key: str, known: DictConfig) -> bool:
    """Whether the mapping that the key would be in is free, or of a ``_target_`` that takes it."""
    parent, _, name = key.rpartition(".")
    node = OmegaConf.select(known, parent) if parent else None
    if not isinstance(node, DictConfig):
        return False
    if "_target_" not in node:
        return not node
    return not list(_unknown_arguments({"_target_": node._target_, name: None}, ""))


def _paths(node: Any, path: str = "") -> list[str]:
    """Dotted paths of every key below ``node``."""
    if not isinstance(node, DictConfig):
        return []
    paths: list[str] = []
    for key in node:
        here = _join(path, key)
        paths.append(here)
        child = None if OmegaConf.is_interpolation(node, key) or OmegaConf.is_missing(node, key) else node[key]
        paths += _paths(child, here)
    return paths
