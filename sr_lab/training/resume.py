"""What changes no weight: a run may change it when it goes on, and trials of a sweep may differ in it."""

import importlib
import inspect
from collections.abc import Mapping
from typing import Any

MOVED = {
    "sr_lab.inference.artefact.": "sr_lab.artefacts.artefact.",
    "sr_lab.training.pruning.": "sr_lab.training.early_end.",
    "sr_lab.evaluation.restorers.": "sr_lab.inference.restorers.",
}
"""Dotted paths of earlier releases, and where the same is now."""

RUNNING = frozenset(
    {
        # Where and how it runs, and what is told of it.
        *("name", "output", "fresh", "resume", "longer", "preflight", "tracking", "pictures", "tags", "experiment"),
        *("trainer", "max_seconds", "checkpoint_every", "val_every"),
        # Validation in tiles.
        *("model.tile", "model.overlap"),
        # How the data are loaded.
        *("data.name", "data.cache", "data.num_workers", "data.start_method", "data.pin_memory", "data.images_on"),
    }
)
"""Keys that change no weight, each with all that is below it."""

PLACES = frozenset(
    {
        "data.holdout",
        *(f"data.{part}.{key}" for part in ("train", "val") for key in ("roots", "root", "high", "low", "exclude")),
    }
)
"""Where the data lie: a run that goes on compares their version."""

FREE = RUNNING | PLACES | {"callbacks"}
"""What may change when a run goes on."""

LONGER = frozenset({"max_steps", "scheduler", "model.scheduler", "model.critic_scheduler"})
"""Keys that change where a finished run is trained longer: the budget, and the schedules over it."""


def moved(node: Any) -> Any:
    """A configuration with the dotted paths of earlier releases replaced by today's."""
    if isinstance(node, Mapping):
        return {key: moved(child) for key, child in node.items()}
    if isinstance(node, list):
        return [moved(child) for child in node]
    if isinstance(node, str):
        return next((new + node[len(old) :] for old, new in MOVED.items() if node.startswith(old)), node)
    return node


def what_counts(config: Mapping[str, Any], *, free: frozenset[str] = FREE) -> dict[str, Any]:
    """The values of a configuration that the weights depend on, by dotted path."""
    leaves = _leaves(moved(config))
    if config.get("data", {}).get("degradation", ...) is None:  # composed, and used by nothing
        leaves = {key: value for key, value in leaves.items() if key.partition(".")[0] != "degradation"}
    return {key: value for key, value in leaves.items() if not _is_free(key, free)}


def changes(before: Mapping[str, Any], now: Mapping[str, Any], *, longer: bool = False) -> list[str]:
    """What the weights depend on and is another than before: ``optimizer.lr was 0.1, is 0.2``.

    Args:
        before: Resolved configuration that a run began with. What a later release added to the arguments of a class
            counts as its default, and what it took away as nothing.
        now: Resolved configuration under which it is to go on.
        longer: Whether the budget of steps may be another, with the schedules over it.
    """
    free = FREE | LONGER if longer else FREE
    old, new = what_counts(before, free=free), what_counts(now, free=free)
    keys = [
        key
        for key in sorted(old.keys() | new.keys())
        if old.get(key) != new.get(key) and not _came_or_went(key, old, new)
    ]
    told = [key for key in keys if key.partition(".")[2] not in keys]  # the module's nodes repeat those at the top
    return [f"{key} was {old.get(key)}, is {new.get(key)}" for key in told]


def _came_or_went(key: str, old: Mapping[str, Any], new: Mapping[str, Any]) -> bool:
    """Whether a key is an argument that the same class had not in the other release, at its default."""
    parent, _, name = key.rpartition(".")
    target = new.get(f"{parent}._target_")
    if (key in old) == (key in new) or target is None or target != old.get(f"{parent}._target_"):
        return False
    module, _, attribute = str(target).rpartition(".")
    try:
        parameters = inspect.signature(getattr(importlib.import_module(module), attribute)).parameters
    except (ImportError, AttributeError, TypeError, ValueError):
        return False
    if key in old:
        return name not in parameters
    return name in parameters and parameters[name].default == new[key]


def _is_free(key: str, free: frozenset[str]) -> bool:
    parts = key.split(".")
    return any(".".join(parts[:count]) in free for count in range(1, len(parts) + 1))


def _leaves(node: Any, path: str = "") -> dict[str, Any]:
    """The values of nested mappings by dotted path."""
    if not isinstance(node, Mapping):
        return {path: node}
    return {
        key: value for name, child in node.items() for key, value in _leaves(child, f"{path}.{name}".strip(".")).items()
    }
