"""Every command that srlab prints is quoted by one function, knows its keys, and runs when it is pasted."""

import ast
import functools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from sr_lab import cli
from sr_lab.base.errors import ConfigError
from sr_lab.config.compose import compose
from sr_lab.config.words import line, setting

ROOT = Path(cli.__file__).parent
AWKWARD = 'Ann\'s runs (2), lr=0.001 [a] {b} ${c} "e" \\'
HINT = re.compile(r"\bsrlab ([a-z_]+)((?: +[^\s:;,()`']+=[^\s:;,()`']+)*)")


@functools.cache
def trees() -> dict[Path, ast.Module]:
    """Every file of the package, parsed once."""
    return {file: ast.parse(file.read_text(encoding="utf-8")) for file in sorted(ROOT.rglob("*.py"))}


def texts() -> Iterator[tuple[str, str]]:
    """Every text of the package that is no docstring, what is filled in as <>; with its place."""
    for file, tree in trees().items():
        alone = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        parts = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
        for node in ast.walk(tree):
            if id(node) in alone | parts:
                continue
            if isinstance(node, ast.JoinedStr):
                text = "".join(str(p.value) if isinstance(p, ast.Constant) else "<>" for p in node.values)
                yield text, f"{file.name}:{node.lineno}"
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value, f"{file.name}:{node.lineno}"


def lines() -> dict[str, tuple[str, list[str]]]:
    """Command and settings of every call of ``line``, by place; a value that is filled in is an awkward one."""
    found = {}
    for file, tree in trees().items():
        for node in ast.walk(tree):
            if not (isinstance(node, ast.Call) and getattr(node.func, "id", "") == "line"):
                continue
            command, *given = node.args
            if not isinstance(command, ast.Constant) or any(isinstance(word, ast.Starred) for word in given):
                continue
            settings = []
            for word in given:
                if isinstance(word, ast.Constant):
                    settings.append(word.value)
                elif isinstance(word, ast.Call) and isinstance(word.args[0], ast.Constant):
                    key = word.args[0].value
                    settings.append(setting(key, 2 if key in ("scale", "version") else AWKWARD))
            found[f"{file.relative_to(ROOT)}:{node.lineno}"] = (str(command.value), settings)
    return found


def test_no_name_is_put_into_a_command_without_quotes():
    raw = [f"{place}: {text}" for text, place in texts() if any("<>" in hint[2] for hint in HINT.finditer(text))]
    assert not raw, "use sr_lab.base.words.line and setting"


def test_commands_that_are_named_know_the_keys():
    checked = {
        (command, word.partition("=")[0]): place
        for text, place in texts()
        for command, given in HINT.findall(text)
        if command in cli.commands()
        for word in given.split()
    }
    for (command, key), place in checked.items():
        written = (cli.config_dir() / f"{command}.yaml").read_text(encoding="utf-8")
        known = re.search(rf"^{key.partition('.')[0]}:|(- |/){key}:", written, re.MULTILINE)
        assert known, f"{place}: {command} {key}"


def test_commands_that_are_printed_run_when_they_are_pasted():
    found = lines()
    assert len(found) > 8
    for place, (command, settings) in found.items():
        program, name, *pasted = shlex.split(line(command, *settings))
        assert (program, name) == ("srlab", command)
        try:
            config = compose(command, pasted)
        except ConfigError as error:
            if not re.search("ha(s|ve) no value", str(error)):
                pytest.fail(f"{place}: {error}")
            continue
        for word in pasted:
            if word in settings and word == setting(key := word.partition("=")[0], AWKWARD):
                node = config
                for part in key.split("."):
                    node = node[part]
                assert node == AWKWARD, place


@pytest.mark.parametrize("path", ["runs/mr/optimizer.lr=0.001/best", "a b/c", "x,y", "[a]", "it's", "${a}"])
def test_the_next_command_of_a_run_takes_its_folder(path):
    pasted = shlex.split(line("evaluate", setting("restorer", path), "benchmark=B", "scale=2", "report=R"))[2:]
    assert compose("evaluate", pasted).restorer == path
