"""What MLflow accepts as names and values."""

import json
import math
import posixpath
import re
from collections.abc import Mapping
from typing import Any

PARAM_LIMIT = 6000
TAG_LIMIT = 8000
KEY_LIMIT = 250
NAME_LIMIT = 500
_KEY = re.compile(r"[\w\-. :/]+")


def as_text(values: Mapping[str, Any], *, limit: int, where: str) -> dict[str, str]:
    """Values as MLflow stores them: text of at most ``limit`` characters, visibly cut, nested mappings with dots.

    Args:
        values: names to anything; a list or tuple becomes JSON.
        limit: characters that the store takes.
        where: where the reader finds the whole value.
    """
    flat: dict[str, str] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            nested = as_text(value, limit=limit, where=where)
            flat.update({f"{key}.{name}": text for name, text in nested.items()} or {str(key): "{}"})
            continue
        text = json.dumps(value, default=str) if isinstance(value, list | tuple) else str(value)
        if len(text) > limit:
            note = f"... [cut: {len(text)} characters; whole in {where}]"
            text = text[: limit - len(note)] + note
        flat[str(key)] = text
    return flat


def as_name(value: object, what: str) -> str:
    """A name of a run or an experiment as text; a whole number is its digits.

    Raises:
        ValueError: if it is no text (``null``, ``true`` or ``1e3`` on a command line), empty or too long.
    """
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        kind = "nothing" if value is None else "a truth value" if isinstance(value, bool) else "a number"
        raise ValueError(
            f"{what}={'null' if value is None else value} is {kind}, not a name: give text, or put it in quotes that "
            f"the shell leaves: {what}=\"'...'\""
        )
    if not value.strip() or len(value) > NAME_LIMIT or any(ord(character) < 32 for character in value):
        raise ValueError(f"{what}={value[:40]!r}: a name is 1 to {NAME_LIMIT} characters on one line")
    return value


def check_key(key: str) -> None:
    """Refuse a name that MLflow does not take.

    Raises:
        ValueError: naming it.
    """
    clean = posixpath.normpath(key) == key and not key.startswith(("..", "/")) and key != "."
    if not _KEY.fullmatch(key) or not clean or len(key) > KEY_LIMIT:
        raise ValueError(
            f"{key!r} cannot be recorded: a name has at most {KEY_LIMIT} characters of letters, digits, _-.: / "
            "and blanks, and is a plain path such as val/psnr_y"
        )


def split_path(path: str) -> tuple[str, str]:
    """Folder (perhaps empty) and name of an artefact path.

    Raises:
        ValueError: if it leads out of the run's artefacts.
    """
    folder, _, name = path.rpartition("/")
    if not name or ".." in path.split("/") or path.startswith("/"):
        raise ValueError(f"artefact path {path!r}: give a relative path such as tables/per_image.json")
    return folder, name


def cell(value: Any) -> Any:
    """A table's cell as JSON knows it: numbers of NumPy and torch as plain ones, ``inf`` and ``nan`` as words."""
    if hasattr(value, "item"):
        value = value.item()
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
