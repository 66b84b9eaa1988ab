"""Folders or object stores of degraded images, with a manifest from which they can be made again, byte by byte.

Below the root lie ``LR/`` (the low images), ``HR/`` (the targets, where the degradation changes them) and
``manifest.parquet`` with one row an image. Until all are done, ``.rows/`` tells what is made and holds the rows of what
is finished, so that a stopped call goes on.
"""

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sr_lab.base.files import sha256
from sr_lab.data.degraded_rows import MANIFEST, Row, library_versions, parse_rows, write_rows
from sr_lab.data.manifest import combined_digest
from sr_lab.data.stores import Store, distinct_stems
from sr_lab.degradations.base import Degradation, Params, params_from_records, record
from sr_lab.images import crop_to_multiple, read_image, to_levels, to_tensor

LOW, HIGH = "LR", "HR"
_ROWS, _RECIPE = ".rows", ".rows/recipe.json"


@dataclass(frozen=True)
class Unit:
    """What has one draw: an image, or the frames of a clip.

    Attributes:
        names: of the images.
        key: of the draw: seed, epoch, index.
        params: the drawn parameters as JSON; None draws them.
    """

    names: tuple[str, ...]
    key: tuple[int, int, int]
    params: str | None = None


def drawn_units(names: Sequence[str], *, seed: int, clips: bool) -> list[Unit]:
    """Number k of the images is drawn by the key (seed, 0, k).

    Args:
        names: of all images, sorted.
        seed: of the draws.
        clips: whether the images of one folder are the frames of one clip, in the order of their names, and share a
            draw; only their noise differs.
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        groups.setdefault(PurePosixPath(name).parent.as_posix() if clips else name, []).append(name)
    return [Unit(tuple(group), (seed, 0, index)) for index, group in enumerate(groups.values())]


class DegradeImages:
    """Degrades one unit after the other, each called by the name of its first image, wherever that is done.

    Args:
        source: store of the high images.
        target: store of what is made.
        units: all that are to be made.
        degradation: applied to each image, cropped to a multiple of the scale.
        config: what the degradation can be built from again; kept in the manifest.

    Raises:
        ValueError: if two images would be written to one file, or the target holds what this call does not make.
    """

    def __init__(
        self,
        *,
        source: Store,
        target: Store,
        units: Sequence[Unit],
        degradation: Degradation,
        config: Mapping[str, Any],
    ) -> None:
        self.source, self.target = source, target
        self.degradation = degradation
        self.units = {unit.names[0]: unit for unit in units}
        self.numbers = {name: number for number, name in enumerate(self.units)}
        self.common: dict[str, Any] = {
            "scale": degradation.scale,
            "settings": json.dumps(degradation.settings()),
            "config": json.dumps(config),
            "versions": json.dumps(library_versions()),
        }
        self.recipe = _recipe({name: unit.key for unit in units for name in unit.names}, self.common)
        manifest = self.target.read_bytes(MANIFEST)
        rows = None if manifest is None else parse_rows(manifest, f"{target.uri}/{MANIFEST}")
        self.finished = None if rows is None else {row.name: row for row in rows}
        self._check(set(distinct_stems([name for unit in units for name in unit.names])))

    def __call__(self, name: str) -> None:
        """Makes a unit; where that is done, nothing, and where all is done, looks whether its files are still the same.

        Raises:
            ValueError: naming the image, if it cannot be read or degraded, the frames of a clip differ in size, or a
                file of a finished target has changed.
        """
        unit = self.units[name]
        if self.finished is not None:
            self._verify([self.finished[image] for image in unit.names])
        elif not self._made(unit):
            params = (
                self.degradation.draw_keyed([unit.key])
                if unit.params is None
                else params_from_records([json.loads(unit.params)])
            )
            with tempfile.TemporaryDirectory(prefix="srlab-") as scratch:
                files = {image: self.source.fetch(image, Path(scratch)) for image in unit.names}
                hashes = [sha256(file) for file in files.values()]
                low, target, dtype = degrade_files(files, self.degradation, params)
            rows = self._write(unit, low, target, dtype)
            drawn = {"params": json.dumps(record(params)[0] if params else {})}
            found = [row | {"sha256": digest} | drawn for row, digest in zip(rows, hashes, strict=True)]
            self.target.write_bytes(self._row_name(name), json.dumps(found).encode())

    def finish(self) -> list[Row]:
        """Makes the manifest of the rows, when every unit is done.

        Raises:
            ValueError: if a row is missing.
        """
        if self.finished is not None:
            return list(self.finished.values())
        rows = []
        for name in self.units:
            content = self.target.read_bytes(self._row_name(name))
            if content is None:
                raise ValueError(f"{name} is not done: the same command goes on with it")
            rows += [Row(**facts, **self.common) for facts in json.loads(content)]
        with tempfile.TemporaryDirectory(prefix="srlab-") as scratch:
            write_rows(rows, Path(scratch) / MANIFEST)
            self.target.put(Path(scratch) / MANIFEST, MANIFEST)
        self.target.remove(_ROWS)
        return rows

    def _write(self, unit: Unit, low: Tensor, target: Tensor | None, dtype: np.dtype[Any]) -> list[dict[str, Any]]:
        if not self.target.has(_RECIPE):
            self.target.write_bytes(_RECIPE, json.dumps(self.recipe).encode())
        made = [("low", LOW, low)] + ([] if target is None else [("target", HIGH, target)])
        height, width = (side * self.degradation.scale for side in low.shape[-2:])
        seed, epoch, index = unit.key
        suffix = ".png" if low.shape[1] in (1, 3) else ".tif"
        rows = []
        for number, name in enumerate(unit.names):
            row: dict[str, Any] = {"name": name, "target": "", "target_sha256": "", "width": width, "height": height}
            for part, folder, pictures in made:
                file = f"{folder}/{PurePosixPath(name).with_suffix(suffix).as_posix()}"
                self.target.write_image(file, to_levels(pictures[number : number + 1], dtype))
                row |= {part: file, f"{part}_sha256": self._sha256(file)}
            rows.append(row | {"seed": seed, "epoch": epoch, "index": index})
        return rows

    def _check(self, stems: set[str]) -> None:
        """Refuses a target that holds anything but what this call makes."""
        if self.finished is not None:
            rows = self.finished.values()
            before = _recipe({row.name: (row.seed, row.epoch, row.index) for row in rows}, asdict(next(iter(rows))))
        else:
            found = self.target.read_bytes(_RECIPE)
            before = {} if found is None else json.loads(found)
            for name in self.target.names(LOW) + self.target.names(HIGH):
                stem = PurePosixPath(name).relative_to(PurePosixPath(name).parts[0]).with_suffix("").as_posix()
                if not before or stem not in stems:
                    raise ValueError(
                        f"{self.target.uri}/{name} is there already and not of this call: give an empty output"
                    )
        if changed := [key for key, value in before.items() if value != self.recipe[key]]:
            raise ValueError(f"{self.target.uri} holds images of another {' and '.join(changed)}: give another output")

    def _made(self, unit: Unit) -> bool:
        """Whether the unit was made, and of the files that are there now."""
        content = self.target.read_bytes(self._row_name(unit.names[0]))
        return content is not None and all(
            self._source_sha256(row["name"]) == row["sha256"] for row in json.loads(content)
        )

    def _source_sha256(self, name: str) -> str:
        with tempfile.TemporaryDirectory(prefix="srlab-") as scratch:
            return sha256(self.source.fetch(name, Path(scratch)))

    def _verify(self, rows: Sequence[Row]) -> None:
        for row in rows:
            if self._source_sha256(row.name) != row.sha256:
                raise ValueError(f"{row.name} has changed since {row.low} was made of it: give another output")
            for file, digest in ((row.low, row.low_sha256), (row.target, row.target_sha256)):
                if file and self._sha256(file) != digest:
                    raise ValueError(f"{self.target.uri}/{file} is missing or has changed since: give another output")

    def _sha256(self, name: str) -> str:
        content = self.target.read_bytes(name)
        return "" if content is None else hashlib.sha256(content).hexdigest()

    def _row_name(self, name: str) -> str:
        return f"{_ROWS}/{self.numbers[name]:08d}.json"


def degrade_files(
    files: Mapping[str, Path], degradation: Degradation, params: Params
) -> tuple[Tensor, Tensor | None, np.dtype[Any]]:
    """Low images and changed targets of one draw: an image or the frames of a clip.

    Args:
        files: by the name for messages; more than one are the frames of a clip.
        degradation: applied to what is left of them after the crop to a multiple of the scale.
        params: the draw.

    Returns:
        Low images (B, C, h, w); targets (B, C, H, W), None where the degradation leaves the image; the files' dtype.

    Raises:
        ValueError: naming the image, if one cannot be read or degraded, or the frames differ in size.
    """
    name = next(iter(files))
    try:
        arrays = [read_image(files[name := each]) for each in files]
        kinds = {(array.shape, array.dtype.name): each for array, each in zip(arrays, files, strict=True)}
        if len(kinds) > 1:
            listed = " and ".join(f"{each} {shape[1]}x{shape[0]} {kind}" for (shape, kind), each in kinds.items())
            raise ValueError(f"the frames of a clip differ: {listed}; give each clip a folder of its own")
        high = crop_to_multiple(torch.cat([to_tensor(array) for array in arrays]), degradation.scale)
        if len(files) == 1:
            low, target = degradation.pair(high, params)
        else:
            low, target = (part[0] for part in degradation.pair_clip(high[None], params))
    except (ValueError, RuntimeError) as error:
        text = str(error).replace(str(files[name]), name)
        raise ValueError(text if name in text else f"{name}: {text}") from error
    return low, None if torch.equal(target, high) else target, arrays[0].dtype


def _recipe(keys: Mapping[str, tuple[int, int, int]], common: Mapping[str, Any]) -> dict[str, Any]:
    """What decides over all images, by the word for it in the error where it has changed."""
    return {
        "input": combined_digest(f"{name} {key[1]} {key[2]}" for name, key in sorted(keys.items())),
        "seed": sorted({key[0] for key in keys.values()}),
        "degradation": [common["settings"], common["config"]],
    }
