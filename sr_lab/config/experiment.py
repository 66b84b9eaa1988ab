"""An experiment file made from another one: the winner of a sweep stands alone, its settings in their places."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import QuotedString

from sr_lab.base.errors import ConfigError
from sr_lab.base.files import write_text
from sr_lab.config.tree import find_option, is_group, nearest, options


def winner_text(experiment: str, name: str, overrides: Sequence[str], *, comment: Sequence[str]) -> str:
    """The experiment ``experiment`` with ``overrides``, as the text of a file that stands alone.

    Args:
        experiment: Name of a file of conf/experiment.
        name: Name of the new one.
        overrides: Settings as the command line has them.
        comment: Lines that come first.
    """
    source = find_option("experiment", experiment)
    if source is None:
        raise ConfigError(f"no experiment {experiment!r}.{nearest(experiment, options('experiment'))}")
    content: dict[str, Any] = yaml.safe_load(source.read_text(encoding="utf-8"))
    groups = {key: value for entry in content.pop("defaults", []) for key, value in entry.items()}
    settings: dict[str, Any] = {"name": name, **{key: value for key, value in content.items() if key != "name"}}
    for parsed in OverridesParser.create().parse_overrides(list(overrides)):
        value = _plain(parsed.value())
        key = parsed.key_or_group
        if is_group(key) and not isinstance(value, Mapping):
            groups[f"override /{key}"] = value
        else:
            _set(settings, key.split("."), value)
    defaults = [{key: value} for key, value in groups.items()]
    body = yaml.safe_dump({"defaults": defaults, **settings} if defaults else settings, sort_keys=False, width=120)
    return "".join(["# @package _global_\n", *(f"# {line}\n" for line in comment), body])


def write_winner(folder: Path, name: str, text: str) -> Path:
    """Writes the experiment file; one of that name with other content is left as it is.

    Raises:
        ValueError: if there is another one of that name.
    """
    file = folder / f"{name}.yaml"
    if file.exists() and file.read_text(encoding="utf-8") != text:
        raise ValueError(f"{file} exists, with other content: it is left as it is. Give winner=DIR, or remove it")
    write_text(file, text)
    return file


def _set(node: dict[str, Any], path: Sequence[str], value: Any) -> None:
    for part in path[:-1]:
        child = node.get(part)
        node = node.setdefault(part, {}) if isinstance(child, dict) or child is None else {}
    node[path[-1]] = value


def _plain(value: Any) -> Any:
    if isinstance(value, QuotedString):
        return value.text
    if isinstance(value, list):
        return [_plain(child) for child in value]
    if isinstance(value, dict):
        return {str(_plain(key)): _plain(child) for key, child in value.items()}
    return value
