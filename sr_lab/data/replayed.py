"""Degraded images made again from their manifest: what is made, and whether it can be."""

import itertools
import json
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath

from sr_lab.base.files import sha256
from sr_lab.data.degraded import Unit
from sr_lab.data.degraded_rows import Row
from sr_lab.data.stores import Store
from sr_lab.degradations.base import Degradation


def replayed_units(rows: Sequence[Row]) -> list[Unit]:
    """What the rows of a manifest tell to make, each with the draw that it records."""
    groups = itertools.groupby(rows, key=lambda row: (row.seed, row.epoch, row.index))
    clips = ((key, list(clip)) for key, clip in groups)
    return [Unit(tuple(row.name for row in clip), key, clip[0].params) for key, clip in clips]


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
