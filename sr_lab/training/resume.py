"""Going on with a run, and what may change then: what changes no weight. Trials of a sweep may differ in it too."""

import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sr_lab.training.checkpoint import load_checkpoint
from sr_lab.training.run_folder import RunFolder

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
        # Validation in tiles, and of clips.
        *("model.tile", "model.overlap", "data.clips.val_frames", "data.clips.val_crop"),
        # How the data are loaded.
        *("data.name", "data.cache", "data.num_workers", "data.start_method", "data.pin_memory", "data.images_on"),
    }
)
"""Keys that change no weight, each with all that is below it."""

PLACES = frozenset(
    {
        "data.holdout",
        *(
            f"data.{part}.{key}"
            for part in ("train", "val")
            for key in ("roots", "root", "high", "low", "exclude", "videos", "frames")
        ),
    }
)
"""Where the data lie: a run that goes on compares their version."""

FREE = RUNNING | PLACES | {"callbacks"}
"""What may change when a run goes on."""

LONGER = frozenset({"max_steps", "scheduler", "model.scheduler", "model.critic_scheduler"})
"""Keys that change where a finished run is trained longer: the budget, and the schedules over it."""


@dataclass(frozen=True, kw_only=True)
class Resumed:
    """The checkpoint that a run goes on from.

    Attributes:
        file: Its file.
        step: Optimizer steps that were done.
        data_version: Version of the data that it was made on.
    """

    file: Path
    step: int
    data_version: str

    def require_same_data(self, version: str) -> None:
        """Refuses to go on with other data than the run began with.

        Raises:
            ValueError: If this is another version.
        """
        if self.data_version != version:
            raise ValueError(
                f"{self.file} was made on other data: version {self.data_version[:12]}, now {version[:12]}. Give "
                "name=... for a new run, or put the former files back"
            )


def resumable(
    folder: RunFolder, config: Mapping[str, Any], *, max_steps: int, allowed: bool = True, longer: bool = False
) -> Resumed | None:
    """The checkpoint to go on from; None where there is none.

    Args:
        folder: Folder of the run.
        config: Resolved configuration under which it is to go on.
        max_steps: Optimizer steps: the budget.
        allowed: Whether a checkpoint is gone on from; False refuses one.
        longer: Whether the run may go on to more steps than it began with.

    Raises:
        ValueError: If the checkpoint may not be gone on from, is of another configuration, or has more steps.
    """
    last = folder.checkpoint
    if not last.exists():
        return None
    if not allowed:
        raise ValueError(f"{last} exists: give name=... for a new run, or resume=true to go on with this one")
    content = load_checkpoint(last)
    provenance, step = content["sr_lab"], int(content["global_step"])
    if changed := changes(provenance["config"], config, longer=longer):
        if not longer and not changes(provenance["config"], config, longer=True):
            remedy = f"longer=true goes on from step {step} under the schedule of max_steps={max_steps}"
        else:
            remedy = "the former values go on with this one"
        raise ValueError(
            f"{last} was made under another configuration: {'; '.join(changed[:5])}. Give name=... for a new run; "
            f"{remedy}"
        )
    if step > max_steps:
        raise ValueError(f"{last} is of step {step}, max_steps={max_steps} are fewer: give at least {step}")
    return Resumed(file=last, step=step, data_version=provenance["data_version"])


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
