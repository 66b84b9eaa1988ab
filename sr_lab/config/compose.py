"""Composing a command's configuration, and building what it describes."""

import functools
import re
import shlex
from typing import Any

from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException, HydraException, InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from sr_lab.base.errors import ConfigError
from sr_lab.config.check import check
from sr_lab.config.kinds import kind_of
from sr_lab.config.search import join_own_trees
from sr_lab.config.targets import join, unknown_arguments
from sr_lab.config.tree import config_dir, is_group, nearest, options, stamp
from sr_lab.config.words import setting

join_own_trees()


def compose(command: str, overrides: list[str]) -> DictConfig:
    """The checked configuration of ``command`` under Hydra ``overrides``.

    Raises:
        ConfigError: on any key, option, file or argument that does not exist; it names the nearest one.
    """
    of = stamp()
    overrides = [_as_text(command, override, of) for override in overrides]
    handed_on = _names_of_options(command, of)
    names = [override for override in overrides if override.partition("=")[0] in handed_on]
    try:
        with initialize_config_dir(str(config_dir()), version_base="1.3"):
            config = hydra_compose(command, [override for override in overrides if override not in names])
        for parsed in OverridesParser.create().parse_overrides(names):
            value = parsed.value()
            OmegaConf.update(config, parsed.key_or_group, getattr(value, "text", value))
    except (HydraException, ConfigCompositionException, OmegaConfBaseException, ValueError) as error:
        raise ConfigError(_explain(command, overrides, error)) from error
    except (TypeError, AttributeError) as error:  # Hydra's own, on a list in a list of options
        raise ConfigError(f"cannot compose {' '.join(overrides)}: a group takes names, as losses=[l1,l2]") from error
    check(command, config, _composed(command, of))
    return config


def _as_text(command: str, override: str, of: object) -> str:
    """An override of a key that holds text, in quotes where Hydra would read otherwise: ``name=1e3``, ``name=a,b``.

    What Hydra reads as text stays, ``${KEY}`` included; so do lists and mappings, which are refused later.
    """
    key, equals, value = override.partition("=")
    kind = kind_of(command, key)
    if kind not in ("text", "texts") or not equals or key in _groups(command, of):
        return override
    try:
        parsed = OverridesParser.create().parse_override(override)
    except HydraException:
        return setting(key, value)
    if parsed.is_sweep_override():
        return setting(key, value)
    return setting(key, value) if isinstance(parsed.value(), bool | int | float) else override


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


@functools.lru_cache(maxsize=64)
def _groups(command: str, of: object) -> set[str]:
    """The groups of options that the command has."""
    content = OmegaConf.load(config_dir() / f"{command}.yaml")
    return {str(key) for entry in content.get("defaults", []) if isinstance(entry, DictConfig) for key in entry}


@functools.lru_cache(maxsize=64)
def _names_of_options(command: str, of: object) -> set[str]:
    """The command's keys whose value is the name of an option that it hands on: ``experiment`` of demo and sweep.

    Hydra takes the name of every folder of conf/ for a group, also where the command has only a value of that name.
    """
    keys = {str(key) for key in OmegaConf.load(config_dir() / f"{command}.yaml")} - {"defaults"}
    return {key for key in keys - _groups(command, of) if is_group(key)}


@functools.lru_cache(maxsize=64)
def _composed(command: str, of: object) -> DictConfig:
    """The command's own configuration, without overrides: the keys that exist. Not to be changed."""
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return hydra_compose(command, [])


def _explain(command: str, overrides: list[str], error: Exception) -> str:
    """One message for Hydra's composition errors, with the nearest valid name."""
    text = str(error)
    known = _composed(command, stamp())
    if option := re.search(r"Could not find '([^']+)'\n\nAvailable options in '([^']+)':((?:\n\t.+)*)", text):
        name, group, listing = option.groups()
        found = listing.split()
        name = name.removeprefix(f"{group}/")
        return f"no option {name!r} in {group}.{nearest(name, found)} Options: {', '.join(found)}"
    if absent := re.search(r"Could not load '([^']+)'", text):  # one of several, as losses=[l1,frequency]
        group, _, name = absent.group(1).rpartition("/")
        listed = ", ".join(options(group))
        return f"no option {name!r} in {group}.{nearest(name, options(group))} Options: {listed}"
    if group := re.search(r"Could not override '([^']+)'\.\s+No match in the defaults list", text):
        return f"no group {group.group(1)!r}.{nearest(group.group(1), _paths(known))}"
    if "override must be a string or a list" in text:
        bare = [override for override in overrides if override.endswith("=null")]
        left = " ".join(f"~{override.partition('=')[0]}" for override in bare)
        return f"{' '.join(bare)}: a choice has no null; leave it out by {left}"
    for override in overrides:
        try:
            parsed = OverridesParser.create().parse_override(override)
        except HydraException:
            name, equals, value = override.partition("=")
            quoted = f", text with such characters as {shlex.quote(setting(name, value))}" if equals else ""
            return f"cannot read {override!r}: settings are given as key=value{quoted}"
        key = parsed.key_or_group
        if not parsed.is_add() and key not in _paths(known) and f"'{key}'" in text:
            if _may_be_added(key, known):
                group = key.rpartition(".")[2]
                file = f"{group}@" if is_group(group) else ""
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
    return not list(unknown_arguments({"_target_": node._target_, name: None}, ""))


def _paths(node: Any, path: str = "") -> list[str]:
    """Dotted paths of every key below ``node``."""
    if not isinstance(node, DictConfig):
        return []
    paths: list[str] = []
    for key in node:
        here = join(path, key)
        paths.append(here)
        child = None if OmegaConf.is_interpolation(node, key) or OmegaConf.is_missing(node, key) else node[key]
        paths += _paths(child, here)
    return paths
