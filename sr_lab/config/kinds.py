"""What kind of value each key takes: a text, several, a number, a switch, a mapping; and values that are of another.

Of an argument its annotation tells the kind; of a command's own key the tables here, else its default.
"""

import math
from collections.abc import Iterator
from types import UnionType
from typing import Any, get_args

from sr_lab.base.words import word
from sr_lab.config.targets import join, locate, parameters

TEXTS = frozenset({
    "a", "action", "admin_host", "alertmanager", "alias", "api_keys", "artefact", "b", "background", "benchmark",
    "browser", "by", "calibration", "certificate", "conservative", "consistency", "current", "default_uri", "device",
    "directory", "display", "engine", "estimate", "experiment", "fast", "folder", "format", "holdout", "host",
    "images", "initial", "input", "inputs", "intended_use", "interval", "kind", "label", "manifest", "mirror",
    "monitor", "name", "objective", "old", "output", "pairs", "people", "photos", "precision", "preview",
    "private_key", "question", "reason", "reference", "refine", "replay", "report", "request", "restorer", "run",
    "settle", "state", "storage", "stream", "study", "target", "title", "traces", "tracking_uri", "uri", "url", "web",
    "where", "winner",
    "audit.exclude", "golden.check", "register.model", "report.seed", "report.sweep", "serve.audit",
})  # fmt: skip
"""Keys of commands whose value is one text, whatever it looks like: a name, a place, a sentence."""
ONE_OR_SEVERAL = frozenset({"audit.test", "audit.train", "evaluate.restorer", "weights.fetch"})
"""Keys of commands that take one text, or a list of them."""
LISTS: dict[str, type] = {
    "artefacts": str, "engines": str, "size": int, "sizes": int, "weights": float, "selected_on": str,
    "cases": str, "drift": str, "faults": str, "exclude": str, "needs": str, "policies": str,
    "demo_canary.policy": str,
    "promote": str, "train": str, "only": str, "restorers": str, "beside": str, "gallery.runs": str,
    "exports": str, "extras": str,
    "demo_loop.rollout": str, "demo_loop.serve": str, "noises": float, "qualities": float,
}  # fmt: skip
"""Keys of commands that take a list, and of what."""
MAPPINGS = frozenset({"baseline", "gallery.pictures", "more", "prices", "study.pictures", "tags"})
"""Keys of commands that take a mapping of values."""
WORDS = {"logs": ("text", "json"), "missing": ("error", "skip"), "monitor_mode": ("max", "min")}
"""Keys of commands that take one of these words."""
NUMBERS: dict[str, type] = {
    "version": int, "num_images": int, "num_steps": int, "overlap": int, "max_seconds": float, "scale": float,
    "heartbeat": float, "grace": float, "seconds": float, "stale_minutes": float, "wait_seconds": float,
    "noise": float, "quality": float, "batch_size": int, "codecs": int, "admin_port": int, "grpc_port": int,
    "poll_seconds": float, "max_hours": float, "votes": int, "amount": float, "width": int, "height": int, "tile": int,
    "keep_days": float, "speed": float,
}  # fmt: skip
"""Keys of commands that may be null and else are numbers, or whose default looks whole and that need not be."""
RANGES: dict[str, tuple[float, float]] = {
    "batch_size": (1, math.inf), "codecs": (1, math.inf), "tile": (1, math.inf), "num_runs": (1, math.inf),
    "num_images": (1, math.inf), "votes": (1, math.inf), "study.margin": (0, 0.5), "study.draws": (2, math.inf),
    "memory_bytes": (1, math.inf), "poll": (0.01, math.inf), "poll_seconds": (0, math.inf),
    "drain_seconds": (0, math.inf), "max_hours": (0, math.inf), "max_seconds": (0, math.inf),
    "wait_seconds": (0, math.inf), "port": (0, 65535), "admin_port": (0, 65535), "grpc_port": (0, 65535),
}  # fmt: skip
"""Least and largest value of keys of commands: outside of it there is nothing that the key could mean."""
MAY_BE_NULL = frozenset({"num_trials", "give_up"})
"""Keys of commands whose default is a number and that may be null."""
OR_AUTO = frozenset({"input_noise"})
"""Keys of commands that take a number, or the word auto."""


def kind_of(command: str, key: str) -> str | None:
    """What a table says of a command's key: text, texts, list, mapping, word or number; None where none names it."""
    own = f"{command}.{key}"
    tables = {
        "text": TEXTS, "texts": ONE_OR_SEVERAL, "list": LISTS, "mapping": MAPPINGS, "word": WORDS, "number": NUMBERS,
    }  # fmt: skip
    found = [kind for name in (own, key) for kind, table in tables.items() if name in table]
    return found[0] if found else None


def wrong_values(command: str, given: dict[Any, Any], known: dict[Any, Any]) -> Iterator[str]:
    """Messages about values that are not of the kind that their key has: ``no`` is a word, and would count as true.

    Args:
        command: The command whose configuration it is.
        given: Its configuration as plain values, not resolved.
        known: The same without overrides.
    """
    for key, value in given.items():
        if not _left_open(value) and (said := _wrong_own(command, str(key), value, known.get(key))):
            yield f"{key}={_shown(value)}: {said}"
    yield from _wrong_below(given, known, path="")


def _wrong_own(command: str, key: str, value: Any, default: Any) -> str | None:
    """What to give instead of the value of a command's own key; None if nothing is wrong with it."""
    if isinstance(value, float) and math.isnan(value):
        return None  # is told with the others
    kind = kind_of(command, key)
    if kind == "text" and value is None and isinstance(default, str) and default != "???":
        return "give it a value"
    if value is None and kind is not None and default in (None, "???"):
        return None
    if kind == "text":
        return _no_text(value)
    if kind == "texts":
        several = value if isinstance(value, list) else [value]
        wrong = not several or not all(isinstance(each, str) and each for each in several)
        return "give one, or several as [A,B]; text that looks like a number stands in quotes" if wrong else None
    if kind == "list":
        return _no_list(value, LISTS.get(f"{command}.{key}", LISTS.get(key, str)))
    if kind == "mapping":
        return None if isinstance(value, dict) else f"give a mapping, as {key}={{NAME: VALUE}}"
    if kind == "word":
        return None if value in WORDS[key] else f"give {' or '.join(WORDS[key])}"
    if key in OR_AUTO and value == "auto":
        return None
    number = _own(key, default)
    return None if number is None else _no_number(key, value, number, None) or _out_of_range(command, key, value)


def _wrong_below(node: Any, known: Any, *, path: str) -> Iterator[str]:
    """Messages about NaN everywhere, and about arguments below ``node`` that are not what their annotation says."""
    if isinstance(node, list):
        for index, child in enumerate(node):
            yield from _wrong_below(child, None, path=f"{path}[{index}]")
    if not isinstance(node, dict):
        return
    target = node.get("_target_")
    taken = (parameters(locate(target)) if target else None) or {}
    for key, value in node.items():
        place, default = join(path, key), known.get(key) if isinstance(known, dict) else None
        if isinstance(value, float) and math.isnan(value):
            yield f"{place}=nan: give a number"
        elif not _left_open(value):
            kind = _annotated(taken[key].annotation) if key in taken else None
            if kind is None and path and key not in taken and isinstance(default, bool | int | float):
                kind = (bool if isinstance(default, bool) else float, True)
            if kind is not None and (said := _no_number(str(key), value, kind, target)) is not None:
                yield f"{place}={_shown(value)}: {said}"
        yield from _wrong_below(value, default, path=place)


def _left_open(value: Any) -> bool:
    """Whether a value is another key's, or one that has to be given."""
    return isinstance(value, str) and ("${" in value or value == "???")


def _own(key: str, default: Any) -> tuple[type, bool] | None:
    """The kind of a command's own key, and whether it may be null; None where it is of no number or switch."""
    if isinstance(default, bool):
        return bool, False
    if isinstance(default, int | float) or (default in (None, "???") and key in NUMBERS):
        return NUMBERS.get(key, type(default)), default is None or key in MAY_BE_NULL
    return None


def _no_text(value: Any) -> str | None:
    """What is wrong with the value of a key that takes one text; None if nothing is."""
    if isinstance(value, list | dict):
        return "give one; brackets and braces that belong to it stand in quotes"
    return "it is empty, give it a value" if value == "" else None


def _no_list(value: Any, of: type) -> str | None:
    """What to give instead of a value that is no list of such; None if it is one."""
    what = {str: "texts, as [A,B]", int: "whole numbers, as [1,2]", float: "numbers, as [0.5,2]"}[of]
    kinds = {str: str | dict, int: int, float: int | float}[of]
    if isinstance(value, list) and all(isinstance(each, kinds) and not isinstance(each, bool) for each in value):
        return None
    return f"give a list of {what}"


def _annotated(annotation: Any) -> tuple[type, bool] | None:
    """The kind that an annotation asks for, and whether it may be null; None where it is of no number or switch."""
    kinds = set(get_args(annotation)) if isinstance(annotation, UnionType) else {annotation}
    may_be_null = type(None) in kinds
    kinds -= {type(None)}
    if kinds in ({int}, {float}, {bool}):
        return kinds.pop(), may_be_null
    return (float, may_be_null) if kinds == {int, float} else None


def _no_number(key: str, value: Any, kind: tuple[type, bool], target: Any) -> str | None:
    """What to give instead of a value that is no number or switch of this kind; None if it is one.

    A whole number cannot be negative, a command's or an argument of ours, but for seeds.
    """
    what, may_be_null = kind
    if value is None:
        return None if may_be_null else "give true or false" if what is bool else "give a number"
    if what is bool:
        return None if isinstance(value, bool) or value in (0, 1) else "give true or false"
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "give a number"
    if what is int and isinstance(value, float):
        whole = math.isfinite(value) and value == int(value)
        return f"give a whole number{f', as {int(value)}' if whole else ''}"
    ours = target is None or str(target).startswith("sr_lab.")
    if what is int and key != "seed" and ours and value < 0:
        return "give a number of at least 0"
    return None


def _out_of_range(command: str, key: str, value: Any) -> str | None:
    """What to give instead of a number of a command's own key; None if it lies in the key's range."""
    least, most = RANGES.get(f"{command}.{key}", RANGES.get(key, (-math.inf, math.inf)))
    if value is None or least <= value <= most:
        return None
    return f"give a number of at least {least:g}" if most == math.inf else f"give a number from {least:g} to {most:g}"


def _shown(value: Any) -> str:
    """A value as the command line has it, without the quotes of a text."""
    return value if isinstance(value, str) else word(value)
