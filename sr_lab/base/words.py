"""Words that are told: settings, quoted so that ``srlab`` and the shell before it read them back; counted nouns."""

import re
import shlex
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any

_PLAIN = re.compile(r"(?:[A-Za-z_/]|\.{1,2}/)[\w/.:@+-]*", re.ASCII)
"""Text that needs no quotes: nothing that Hydra's grammar, a number or a shell would read otherwise."""
_RESERVED = {"true", "false", "null", "nan", "inf"}


def setting(key: str, value: object) -> str:
    """The override that gives ``key`` this value as it is, in quotes where something else would be read.

    Args:
        key: What is overridden, as ``name`` or ``tracking.uri``.
        value: Text, a path, a number, a switch, None, or a list or mapping of such.
    """
    return f"{key}={word(value)}"


def word(value: Any) -> str:
    """A plain value as the command line reads it."""
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{_key(key)}:{word(child)}" for key, child in value.items()) + "}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int | float):
        return str(value)
    if isinstance(value, str | PathLike):
        text = str(value)
        return text if _PLAIN.fullmatch(text) and text.lower() not in _RESERVED else _quoted(text)
    if isinstance(value, Sequence):
        return "[" + ",".join(word(child) for child in value) + "]"
    return word(str(value))


def line(command: str, *settings: str) -> str:
    """The line of a shell that runs ``srlab COMMAND SETTINGS``; every command that is printed is made here."""
    return shlex.join(["srlab", command, *settings])


def _key(key: object) -> str:
    text = str(key)
    return text if re.fullmatch(r"[A-Za-z_][\w.-]*", text, re.ASCII) else _quoted(text)


def _quoted(text: str) -> str:
    """Text in single quotes; backslashes count only before a quote, and ``${`` would be filled in."""
    text = re.sub(r"(\\*)('|$)", lambda found: 2 * found[1] + ("\\'" if found[2] else ""), text)
    return "'" + re.sub(r"(\\*)\$\{", lambda found: 2 * found[1] + "\\${", text) + "'"


def counted(number: int, noun: str, verb: str = "", *, of: int | None = None) -> str:
    """A number of things, with a noun whose plural ends in s; every count that a message tells is made here.

    Args:
        number: How many there are.
        noun: What there is one of.
        verb: What follows, for one thing and for several: ``is/are``; empty for nothing.
        of: How many there are in all, where these are a part of them.

    >>> counted(1, "image"), counted(1200, "image"), counted(1, "file", "differs/differ", of=3)
    ('1 image', '1,200 images', '1 of 3 files differs')
    """
    one, _, many = verb.partition("/")
    things = f"{number:,}" if of is None else f"{number:,} of {of:,}"
    plural = (number if of is None else of) != 1
    return f"{things} {noun}{'s' if plural else ''} {one if number == 1 else many}".rstrip()
