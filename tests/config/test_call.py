"""A workflow is called with what a configuration says of its parameters; no key of a command says nothing."""

import ast
import functools
import importlib
import inspect
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import pytest
from hydra import compose as hydra_compose
from hydra import initialize_config_dir
from omegaconf import OmegaConf

from sr_lab import cli
from sr_lab.config.call import arguments, called

NODES = {name: {"_target_": "fractions.Fraction", "numerator": name} for name in ("2", "1")}


def value_of(value: Any, annotation: Any) -> Any:
    """What becomes of a key's value where a parameter is annotated so."""

    def workflow(key: object) -> None: ...

    workflow.__annotations__["key"] = annotation
    return arguments(workflow, OmegaConf.create({"root": "runs", "key": value}))["key"]


@pytest.mark.parametrize(
    ("value", "annotation", "becomes"),
    [
        ("a/b", Path, Path("a/b")),
        ("a/b", Path | None, Path("a/b")),
        ("s3://a/b", str | Path, "s3://a/b"),
        ("${root}/b", Path, Path("runs/b")),
        ("a", str, "a"),
        ("side", Literal["side", "flicker"], "side"),
        ("a", "Path", "a"),
        (None, Path | None, None),
        (1, float, 1),
        (["a", "b"], Sequence[Path], [Path("a"), Path("b")]),
        ("a", Sequence[Path], [Path("a")]),
        ("a", Sequence[str] | None, ["a"]),
        ([1, 2], Sequence[int] | None, [1, 2]),
        (["${root}"], list[str], ["runs"]),
        ({"a": "b"}, Mapping[str, Path] | None, {"a": Path("b")}),
        ({"a": {"b": [1]}}, Mapping[str, Any], {"a": {"b": [1]}}),
        ({}, Mapping[str, Fraction], {}),
    ],
)
def test_a_value_becomes_what_the_annotation_wants(value, annotation, becomes):
    found = value_of(value, annotation)
    assert found == becomes
    assert type(found) is type(becomes)


def test_nodes_are_built_alone_and_in_mappings_in_their_order():
    assert value_of(NODES["2"], Fraction | None) == Fraction(2)
    assert value_of(NODES["2"], "Fraction") == Fraction(2)
    assert list(value_of(NODES, Mapping[str, Fraction]).items()) == [("2", Fraction(2)), ("1", Fraction(1))]


def test_a_function_gets_the_keys_of_its_names_and_what_is_given_first():
    def workflow(first: str, *, second: int = 0, third: Path | None = None) -> tuple[Any, ...]:
        return first, second, third

    cfg = OmegaConf.create({"first": "key", "second": 1, "other": 2})
    assert called(workflow, cfg) == ("key", 1, None)
    assert called(workflow, cfg, first="given", third=Path("x")) == ("given", 1, Path("x"))
    with pytest.raises(TypeError, match="first"):
        called(workflow, OmegaConf.create({"second": 1}))
    with pytest.raises(TypeError, match="other"):
        called(workflow, cfg, other=3)


def test_a_class_is_called_likewise():
    @dataclass(frozen=True, kw_only=True)
    class Settings:
        tile: int = 512
        folder: Path

    assert called(Settings, OmegaConf.create({"folder": "x", "tile": 8})) == Settings(tile=8, folder=Path("x"))


def test_the_place_of_a_node_that_refuses_is_named():
    cfg = OmegaConf.create({"metric": {"_target_": "fractions.Fraction", "numerator": "x"}})
    with pytest.raises(ValueError, match=r"^metric: "):
        called(lambda metric: metric, cfg)


@functools.cache
def keys_of(command: str) -> list[str]:
    """The keys of a command's configuration, its groups among them."""
    with initialize_config_dir(str(cli.config_dir()), version_base="1.3"):
        return [str(key) for key in hydra_compose(command, [])]


def code_of(command: str) -> list[ModuleType]:
    """A command's module, and those of ``commands`` that it calls."""
    found, todo = list[ModuleType](), [f"sr_lab.commands.{command}"]
    while todo:
        module = importlib.import_module(todo.pop())
        found.append(module)
        for node in imports_of(module):
            names = [str(node.module), *(f"{node.module}.{alias.name}" for alias in node.names)]
            files = [name for name in names if name.startswith("sr_lab.commands.") and name in sys.modules]
            todo += set(files) - {each.__name__ for each in found} - set(todo)
    return found


def imports_of(module: ModuleType) -> list[ast.ImportFrom]:
    """What a module imports, also inside of functions."""
    return [node for node in ast.walk(ast.parse(inspect.getsource(module))) if isinstance(node, ast.ImportFrom)]


@functools.cache
def calls_of(module: ModuleType) -> list[tuple[Callable[..., Any], set[str | None]]]:
    """The functions that get their arguments of a configuration, each with the parameters that are given by hand.

    None among these stands for ``**`` and what is in it.
    """
    names = dict(vars(module))
    for node in imports_of(module):
        source = importlib.import_module(str(node.module))
        names |= {alias.asname or alias.name: getattr(source, alias.name) for alias in node.names}
    return [
        (eval(ast.unparse(node.args[0]), names), {word.arg for word in node.keywords})
        for node in ast.walk(ast.parse(inspect.getsource(module)))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") in ("called", "arguments")
    ]


@functools.cache
def sources_of_others() -> set[str]:
    """The keys that another key of some file of conf/ takes its value of."""
    texts = [file.read_text(encoding="utf-8") for file in cli.config_dir().rglob("*.yaml")]
    return {key for text in texts for key in re.findall(r"\$\{(?:oc\.select:)?(\w+)", text)}


@pytest.mark.parametrize("command", cli.commands())
def test_every_parameter_without_a_default_is_given_or_a_key(command):
    keys = set(keys_of(command))
    for function, given in calls_of(importlib.import_module(f"sr_lab.commands.{command}")):
        taken = inspect.signature(function).parameters
        assert given - {None} <= set(taken), f"{command}: {function.__name__}"
        if None in given:
            continue
        lacking = {name for name, of in taken.items() if of.default is of.empty} - given - keys
        assert not lacking, f"{command}: {function.__name__} lacks {lacking}"


@pytest.mark.parametrize("command", cli.commands())
def test_every_key_is_read_by_its_command(command):
    """By its name in the source, as a parameter of what is called, or by another key or option: ``${scale}``."""
    read: set[str] = set()
    for module in code_of(command):
        tree = ast.parse(inspect.getsource(module))
        read |= set(re.findall(r"\w+", "\n".join(map(ast.unparse, tree.body[1:]))))
        read |= {name for function, _ in calls_of(module) for name in inspect.signature(function).parameters}
    assert not (dead := set(keys_of(command)) - read - sources_of_others()), (
        f"conf/{command}.yaml: nothing reads {dead}"
    )
