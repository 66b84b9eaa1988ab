"""Calling a workflow with what a configuration says of its parameters: the signature is the schema there, too."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, TypeVar, Union, get_args, get_origin

from omegaconf import Container, DictConfig, OmegaConf

from sr_lab.config.compose import build

T = TypeVar("T")


def called(function: Callable[..., T], cfg: DictConfig, **given: Any) -> T:
    """What a function returns with ``arguments`` of a configuration.

    Raises:
        TypeError: If a parameter without a default is neither given nor a key.
    """
    return function(**arguments(function, cfg, **given))


def arguments(function: Callable[..., Any], cfg: DictConfig, **given: Any) -> dict[str, Any]:
    """A function's parameters by name: those given here, and else what the configuration has under their names.

    A value becomes what the parameter's annotation asks for. A node with a ``_target_`` is built, a mapping of such
    becomes a dictionary of what they describe; other mappings and lists become plain ones; text becomes a ``Path``
    where the annotation has that and no ``str``, and a list of one where it asks for a list; null stays None.

    Args:
        function: A workflow, or a class.
        cfg: A command's configuration.
        **given: What the command says itself, also where the configuration has a key of that name.
    """
    taken = inspect.signature(function).parameters
    said = {name: _value(cfg[name], of.annotation) for name, of in taken.items() if name in cfg and name not in given}
    return said | given


def built(nodes: DictConfig) -> dict[str, Any]:
    """What each node of a mapping describes, as metrics, by its name."""
    return {str(name): build(node) for name, node in nodes.items()}


def _value(value: Any, wanted: Any) -> Any:
    """The value of a key as an annotation wants it, nodes built."""
    if isinstance(value, DictConfig):
        if "_target_" in value:
            return build(value)
        if any(isinstance(child, DictConfig) and "_target_" in child for child in value.values()):
            return built(value)
    return _plain(OmegaConf.to_container(value, resolve=True) if isinstance(value, Container) else value, wanted)


def _plain(value: Any, wanted: Any) -> Any:
    """A plain value as an annotation wants it; one in quotes, of what is not imported yet, leaves it as it is."""
    kinds = get_args(wanted) if get_origin(wanted) in (Union, UnionType) else (wanted,)
    parts = {get_origin(kind): get_args(kind) for kind in kinds if get_args(kind)}
    several, named = parts.get(Sequence, parts.get(list)), parts.get(Mapping)
    if isinstance(value, str) and str not in kinds:
        return Path(value) if Path in kinds else [_plain(value, several[0])] if several else value
    if isinstance(value, list):
        return [_plain(child, several[0] if several else Any) for child in value]
    if isinstance(value, dict):
        return {str(key): _plain(child, named[1] if named else Any) for key, child in value.items()}
    return value
