"""Pages that are made when the site is built: commands, every key of the configuration, studies, repository pages."""

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml
from griffe import Docstring, DocstringSectionKind
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

from sr_lab import cli
from sr_lab.config.tree import config_dir

ROOT = Path(__file__).resolve().parents[1]
PICTURES = (".png", ".jpg", ".svg", ".webp")
_LINK = re.compile(r"(?<!\!)\]\((?!https?:|#|mailto:)([^)\s]+)\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds the made pages, the studies with their pictures, and the pages of the repository."""
    pages = {
        "reference/commands.md": commands_page(),
        "reference/configuration.md": configuration_page(),
        "reference/workflows.md": workflows_page(),
        "contributing.md": (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"),
        "changelog.md": (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"),
        "data.md": (ROOT / "data" / "README.md").read_text(encoding="utf-8"),
    }
    for readme in sorted((ROOT / "experiments").glob("*/README.md")):
        folder = f"studies/{readme.parent.name}"
        pages[f"{folder}/index.md"] = _within(readme.read_text(encoding="utf-8"), readme.parent)
        for picture in readme.parent.rglob("*"):
            if picture.suffix in PICTURES:
                name = f"{folder}/{picture.relative_to(readme.parent).as_posix()}"
                files.append(File.generated(config, name, abs_src_path=str(picture)))
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    studies = [{_title(pages[name]): name} for name in pages if name.startswith("studies/")]
    config.nav = [{"Studies": studies} if list(entry) == ["Studies"] else entry for entry in config.nav or []]
    return files


def commands_page() -> str:
    """Every command: what it does, and each key with its default."""
    parts = ["# Commands\n\nEvery key is overridden as `key=value`; `srlab COMMAND --cfg` prints the composed whole.\n"]
    for name, file in cli.commands().items():
        first, _, rest = cli.docstring(file).partition("\n")
        parts.append(f"## srlab {name} {{#{name}}}\n\n{first}\n\n{_prose(rest)}\n")
        parts.append(_table(keys(config_dir() / f"{name}.yaml")))
    return "\n".join(parts)


def configuration_page() -> str:
    """Every option of every group, with each argument of what it builds."""
    parts = [
        "# Configuration\n\nA file of `conf/GROUP` names a class (`_target_`) and that class's arguments: the "
        "constructor is the schema. Choose it by `GROUP=NAME`, override an argument by its path.\n"
    ]
    for group in sorted(folder for folder in config_dir().rglob("*") if folder.is_dir()):
        options = sorted(group.glob("*.yaml"))
        name = group.relative_to(config_dir()).as_posix()
        if name.partition("/")[0] == "deploy":  # files of other programs, and the service's objectives
            options = [option for option in options if "\n_target_:" in option.read_text(encoding="utf-8")]
        if not options or name == "experiment":
            continue
        parts.append(f"## {name} {{#{name.replace('/', '-')}}}\n")
        seen: set[str] = set()
        for option in options:
            text = option.read_text(encoding="utf-8")
            comment = " ".join(line.lstrip("# ").strip() for line in _head(text))
            parts.append(f"### {name}={option.stem} {{#{name.replace('/', '-')}-{option.stem}}}\n\n{comment}\n")
            for place, node in _nodes(yaml.safe_load(text), ""):
                target = str(node["_target_"])
                at = f" at `{place}`" if place else ""
                if target in seen:
                    parts.append(f"`{target}`{at}, see above; here: {_given(node)}.\n")
                    continue
                seen.add(target)
                parts.append(f"`{target}`{at}\n\n{_table(arguments(target, node))}")
    return "\n".join(parts)


def workflows_page() -> str:
    """The public functions of every workflow, from their docstrings."""
    modules = sorted(module.name for module in pkgutil.iter_modules([str(ROOT / "sr_lab" / "workflows")]))
    parts = ["# Workflows\n\nWhat the product does: live objects and plain values in, a result out.\n"]
    return "\n".join([*parts, *(f"::: sr_lab.workflows.{name}\n" for name in modules)])


def keys(file: Path) -> list[tuple[str, str, str]]:
    """(key, default, meaning) of a command's configuration: the comment beside a key is its meaning."""
    rows: list[tuple[str, str, str]] = []
    in_defaults, above = False, ""
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.startswith("defaults:"):
            in_defaults = True
        elif in_defaults and (found := re.match(r"\s+- (?:override )?/?([\w/@.]+): *([^#]*?)\s*(?:#\s*(.*))?$", line)):
            rows.append((found[1], found[2], found[3] or "A choice, see the configuration reference."))
        elif found := re.match(r"(\w+):\s*(.*?)\s*(?:#\s+(.*))?$", line):
            in_defaults = False
            if found[1] not in {key for key, _, _ in rows}:
                default = "required" if found[2] == "???" else found[2]
                rows.append((found[1], default, found[3] or above))
        elif rows and (found := re.match(r"\s+#\s+(.*)$", line)):
            key, default, meaning = rows[-1]
            rows[-1] = (key, default, f"{meaning} {found[1]}")
        above = line.lstrip("# ") if line.startswith("# ") else ""
    return rows


def arguments(target: str, node: dict[str, Any]) -> list[tuple[str, str, str]]:
    """(argument and type, value, meaning) of the class or function at a dotted path."""
    module, _, name = target.rpartition(".")
    thing = getattr(importlib.import_module(module), name)
    try:
        parameters = inspect.signature(thing).parameters
    except (TypeError, ValueError):
        parameters = {}
    told, more = dict[str, str](), dict[str, str]()
    for base in inspect.getmro(thing) if inspect.isclass(thing) else [thing]:
        for section in Docstring(inspect.getdoc(base) or "").parse("google", warnings=False):
            if section.kind is DocstringSectionKind.parameters:
                for argument in section.value:
                    text = _plain(argument.description)
                    if found := re.match(r"See `\w+`(?:; (.+)|\.)$", text):  # the base class tells
                        more.setdefault(argument.name, (found[1] or "").capitalize())
                    else:
                        told.setdefault(argument.name, f"{text} {more.get(argument.name, '')}".strip())
    rows = []
    for key, parameter in parameters.items():
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            continue
        kind = "" if parameter.annotation is parameter.empty else inspect.formatannotation(parameter.annotation)
        default = "required" if parameter.default is parameter.empty else repr(parameter.default)
        value = _short(node[key]) if key in node else default
        rows.append((f"{key}: {kind.replace('sr_lab.', '')}" if kind else key, value, told.get(key, "")))
    return rows


def _plain(text: str) -> str:
    """An argument's description without the markup of reStructuredText: its notes, its roles, its double quotes."""
    text = re.split(r"\.\. \w+::", text)[0]
    text = re.sub(r":\w+(?::\w+)*:`~?([^`<]*?)(?: <[^>]*>)?`", r"`\1`", text)
    return " ".join(text.replace("``", "`").split())


def _prose(text: str) -> str:
    """A docstring as Markdown: what is indented is code."""
    parts = []
    for block in text.strip("\n").split("\n\n"):
        lines = block.splitlines()
        if all(line.startswith("    ") for line in lines):
            parts.append("\n".join(["```sh", *(line[4:] for line in lines), "```"]))
        else:
            parts.append(re.sub(r"(?<![`\w])([A-Z]{2,}/[\w.]+|[\w.]+=[^\s,;:()]+)", r"`\1`", block))
    return "\n\n".join(parts)


def _nodes(node: Any, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Every ``_target_`` node at or below ``node``, with its place."""
    if isinstance(node, list):
        for index, child in enumerate(node):
            yield from _nodes(child, f"{path}[{index}]")
    if not isinstance(node, dict):
        return
    if "_target_" in node:
        yield path, node
    for key, child in node.items():
        yield from _nodes(child, f"{path}.{key}".strip("."))


def _given(node: dict[str, Any]) -> str:
    words = [f"`{key}={_short(value)}`" for key, value in node.items() if not str(key).startswith("_")]
    return ", ".join(words) or "nothing is set"


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "{...}" if value else "{}"
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _table(rows: list[tuple[str, str, str]]) -> str:
    if not rows:
        return "It takes no arguments.\n"
    lines = ["| key | value | meaning |", "|---|---|---|"]
    for key, value, meaning in rows:
        cells = [f"`{_cell(key)}`", f"`{_cell(value)}`" if value else "", _cell(meaning)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _head(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if not line.startswith("#"):
            return
        if not line.startswith("# @package"):
            yield line


def _title(text: str) -> str:
    return next(line.removeprefix("# ") for line in text.splitlines() if line.startswith("# "))


def _within(text: str, folder: Path) -> str:
    """A study's page in the site: links to files that are no pictures become their names."""

    def link(found: re.Match[str]) -> str:
        place = found[1].partition("#")[0]
        target = (folder / place).resolve()
        if target.suffix in PICTURES and target.is_file():
            return found[0]
        if target.parent == folder.parent and (target / "README.md").is_file():
            return f"](../{target.name}/index.md)"
        return "]"

    without = _LINK.sub(link, text)
    return re.sub(r"\[([^\[\]]+)\](?![(\[])", r"\1", without) if without != text else text
