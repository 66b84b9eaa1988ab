"""Degraded images made again from their manifest: what is made, and whether it can be.

A manifest may come from anywhere: nothing but degradations of this package, and of those that ``SRLAB_TRUSTED`` names,
is built from it.
"""

import importlib
import itertools
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from sr_lab.base.files import sha256
from sr_lab.base.trusted import is_within, trust_hint, trusted_packages
from sr_lab.base.words import counted
from sr_lab.data.degraded import Unit
from sr_lab.data.degraded_rows import Row
from sr_lab.data.stores import Store
from sr_lab.degradations.albumentation import Albumentation
from sr_lab.degradations.base import Degradation
from sr_lab.degradations.kornia import Kornia

_DEGRADATIONS, _TRANSFORMS = "sr_lab.degradations", ("albumentations.", "kornia.")


def replayed_units(rows: Sequence[Row]) -> list[Unit]:
    """What the rows of a manifest tell to make, each with the draw that it records."""
    groups = itertools.groupby(rows, key=lambda row: (row.seed, row.epoch, row.index))
    clips = ((key, list(clip)) for key, clip in groups)
    return [Unit(tuple(row.name for row in clip), key, clip[0].params) for key, clip in clips]


def rebuild(rows: Sequence[Row], manifest: Path) -> Degradation:
    """The degradation of a manifest.

    Args:
        rows: The rows of the manifest.
        manifest: Its file, for messages.

    Raises:
        ValueError: If the rows have several configurations, or one that asks for anything but degradations.
    """
    configs = {row.config for row in rows}
    if len(configs) > 1:
        raise ValueError(f"{manifest} holds {counted(len(configs), 'degradation')}: replay its parts apart")
    try:
        degradation = build_recorded(json.loads(configs.pop()))
    except ValueError as error:
        raise ValueError(f"{manifest}: {error}") from error
    if not isinstance(degradation, Degradation):
        raise ValueError(f"{manifest}: its configuration is no degradation")
    return degradation


def build_recorded(node: Any, place: str = "degradation") -> Any:
    """What a recorded configuration describes: a value, or a degradation where there is a ``_target_``.

    Args:
        node: Plain values, lists and mappings, as JSON gives them.
        place: Where the node stands, for messages.

    Raises:
        ValueError: If it asks for anything but degradations of this package or a trusted one, or one refuses its
            arguments.
    """
    if isinstance(node, str) and "${" in node:
        raise ValueError(f"the configuration holds the interpolation {node!r}: a manifest holds values")
    if isinstance(node, list):
        return [build_recorded(child, f"{place}[{number}]") for number, child in enumerate(node)]
    if not isinstance(node, dict):
        return node
    for key in node:
        if key.startswith("_") and key != "_target_":
            raise ValueError(f"the configuration holds {key!r}: only _target_ may be used")
    kind = _degradation_class(str(node["_target_"])) if "_target_" in node else None
    wraps = kind is not None and issubclass(kind, Albumentation | Kornia)  # an argument of that name elsewhere is data
    if wraps and not str(node.get("transform")).startswith(_TRANSFORMS):
        raise ValueError(
            f"transform={node.get('transform')!r}: only transforms of albumentations and kornia are replayed"
        )
    arguments = {key: build_recorded(child, f"{place}.{key}") for key, child in node.items() if key != "_target_"}
    if kind is None:
        return arguments
    try:
        return kind(**arguments)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{place}: {error}") from error


def _degradation_class(target: str) -> type[Degradation]:
    module, _, name = target.rpartition(".")
    trusted = is_within(target, [_DEGRADATIONS, *trusted_packages()])
    try:
        found = getattr(importlib.import_module(module), name, None) if trusted else None
    except ImportError as error:
        raise ValueError(f"_target_={target!r}: {error}") from error
    if not (isinstance(found, type) and issubclass(found, Degradation)):
        hint = "" if trusted else trust_hint(target)
        raise ValueError(f"_target_={target!r}: only degradations of {_DEGRADATIONS} are replayed{hint}")
    return found


def check_replay(rows: Sequence[Row], source: Store, degradation: Degradation) -> None:
    """Whether the images of a manifest can be made again.

    Args:
        rows: of the manifest, all of one degradation.
        source: of the high images.
        degradation: built from the manifest's configuration.

    Raises:
        ValueError: if the degradation's settings are not those of the manifest, a name leads out of the folder, or a
            high image is missing or has changed.
    """
    now = json.loads(json.dumps(degradation.settings()))
    for row in rows:
        if json.loads(row.settings) != now:
            raise ValueError(
                f"{row.name} was made by other settings than this version of sr_lab builds from its configuration; "
                f"replay it with the version that made it ({row.versions})"
            )
        for path in (row.name, row.low, row.target):
            if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
                raise ValueError(f"the manifest names {path!r}, which leads out of the folder: it is not ours")
    for row in rows:
        place = f"{source.uri}/{row.name}"
        if not source.has(row.name):
            raise ValueError(f"{place} is missing: the manifest was made from it; give its folder as input")
        with tempfile.TemporaryDirectory(prefix="srlab-") as scratch:
            if sha256(source.fetch(row.name, Path(scratch))) != row.sha256:
                raise ValueError(f"{place} is not the file that the manifest was made from (SHA-256 differs)")


def differing_files(rows: Sequence[Row], made: Sequence[Row]) -> Iterator[str]:
    """Names of the files whose bytes are not those of the manifest."""
    for row, again in zip(rows, made, strict=True):
        if (again.low, again.low_sha256) != (row.low, row.low_sha256):
            yield again.low
        if (again.target, again.target_sha256) != (row.target, row.target_sha256):
            yield again.target or row.target
