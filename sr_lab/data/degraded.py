"""Folders of degraded images with a manifest from which they can be made again, byte by byte.

Below the folder lie ``LR/`` (the low images), ``HR/`` (the targets, where the degradation changes them) and
``manifest.parquet`` with one row an image.
"""

import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

import torch

from sr_lab.data.degraded_rows import MANIFEST, Row, library_versions, read_rows, write_rows
from sr_lab.data.manifest import file_sha256
from sr_lab.data.stores import distinct_stems
from sr_lab.degradations.base import Degradation, Params, params_from_records, record
from sr_lab.images import IMAGE_SUFFIXES, crop_to_multiple, list_images, read_image, to_levels, to_tensor, write_image

LOW, HIGH = "LR", "HR"


def degrade_folder(
    folder: Path,
    output: Path,
    degradation: Degradation,
    *,
    seed: int,
    config: Mapping[str, Any],
    clips: bool = False,
    progress: Callable[[], object] = lambda: None,
) -> list[Row]:
    """Degrades every image of a folder; image (or clip) k of the sorted list is drawn by the key (seed, 0, k).

    Args:
        folder: of high images, searched with its folders below.
        output: made where it is missing; its manifest is removed first and written last.
        degradation: applied to each image, cropped to a multiple of the scale.
        seed: of the draws.
        config: what the degradation can be built from again; kept in the manifest.
        clips: whether the images of one folder are the frames of one clip, in the order of their names, and share a
            draw; only their noise differs.
        progress: called after each image.

    Raises:
        ValueError: if an image cannot be read or degraded, two would be written to one file, the frames of a clip
            differ in size, or the output holds images that this call does not write.
    """
    if output.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"output={output} lies in input={folder}: its images would become input; give another folder")
    names = [file.relative_to(folder).as_posix() for file in list_images(folder)]
    distinct_stems(names)
    _clear(output)
    clip_of = {name: PurePosixPath(name).parent.as_posix() if clips else name for name in names}
    common: dict[str, Any] = {
        "scale": degradation.scale,
        "settings": json.dumps(degradation.settings()),
        "config": json.dumps(config),
        "versions": json.dumps(library_versions()),
    }
    rows = []
    with _all_or_nothing(output) as written:
        for index, clip in enumerate(dict.fromkeys(clip_of.values())):
            frames = [name for name in names if clip_of[name] == clip]
            params = degradation.draw_keyed([(seed, 0, index)])
            drawn = json.dumps(record(params)[0] if params else {})
            for name, facts in zip(
                frames, degrade_files(folder, frames, output, degradation, params, written), strict=True
            ):
                facts["sha256"] = file_sha256(folder / name)
                rows.append(Row(name=name, seed=seed, epoch=0, index=index, params=drawn, **facts, **common))
                progress()
        write_rows(rows, output / MANIFEST)
    return rows


def replay_folder(
    rows: Sequence[Row],
    folder: Path,
    output: Path,
    degradation: Degradation,
    *,
    progress: Callable[[], object] = lambda: None,
) -> list[str]:
    """Makes the images of a manifest again.

    Args:
        rows: of the manifest, all of one degradation.
        folder: of the high images.
        output: made where it is missing; gets the manifest too.
        degradation: built from the manifest's configuration.
        progress: called after each image.

    Returns:
        Names of the files whose bytes are not those of the manifest.

    Raises:
        ValueError: before anything is written, if the degradation's settings are not those of the manifest, or a high
            image is missing or has changed.
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
    if output.resolve().is_relative_to(folder.resolve()):
        raise ValueError(f"output={output} lies in input={folder}: give another folder")
    for row in rows:
        if not (folder / row.name).is_file():
            raise ValueError(f"{folder / row.name} is missing: the manifest was made from it; give its folder as input")
        if file_sha256(folder / row.name) != row.sha256:
            raise ValueError(f"{folder / row.name} is not the file that the manifest was made from (SHA-256 differs)")
    _clear(output)
    differing = []
    with _all_or_nothing(output) as written:
        for _, group in itertools.groupby(rows, key=lambda row: (row.seed, row.epoch, row.index)):
            clip = list(group)
            params = params_from_records([json.loads(clip[0].params)])
            made = degrade_files(folder, [row.name for row in clip], output, degradation, params, written)
            for row, facts in zip(clip, made, strict=True):
                differing += [
                    facts[part]
                    for part in ("low", "target")
                    if (facts[part], facts[f"{part}_sha256"]) != (getattr(row, part), getattr(row, f"{part}_sha256"))
                ]
                progress()
        write_rows(rows, output / MANIFEST)
    return differing


_WRITTEN = (".png", ".tif")


@contextmanager
def _all_or_nothing(output: Path) -> Iterator[list[str]]:
    """Collects the names of written files, and removes these where the call does not come to its end."""
    written: list[str] = []
    try:
        yield written
    except BaseException:
        for name in written:
            (output / name).unlink(missing_ok=True)
        raise


def degrade_files(
    folder: Path, names: Sequence[str], output: Path, degradation: Degradation, params: Params, written: list[str]
) -> list[dict[str, Any]]:
    """Writes low images and, where they are changed, targets of one draw: an image or the frames of a clip; facts."""
    file = folder / names[0]
    try:
        arrays = [read_image(file := folder / name) for name in names]
        kinds = {(array.shape, array.dtype.name): name for array, name in zip(arrays, names, strict=True)}
        if len(kinds) > 1:
            listed = " and ".join(f"{name} {shape[1]}x{shape[0]} {kind}" for (shape, kind), name in kinds.items())
            raise ValueError(f"the frames of a clip differ: {listed}; give each clip a folder of its own")
        high = crop_to_multiple(torch.cat([to_tensor(array) for array in arrays]), degradation.scale)
        if len(names) == 1:
            low, target = degradation.pair(high, params)
        else:
            low, target = (part[0] for part in degradation.pair_clip(high[None], params))
    except (ValueError, RuntimeError) as error:
        text = str(error)
        raise ValueError(text if str(file) in text else f"{file}: {text}") from error
    changed = not torch.equal(target, high)
    suffix = _WRITTEN[0] if arrays[0].shape[2] in (1, 3) else _WRITTEN[1]
    made = []
    for number, name in enumerate(names):
        stem = PurePosixPath(name).with_suffix("").as_posix()
        facts: dict[str, Any] = {"target": "", "target_sha256": "", "width": high.shape[3], "height": high.shape[2]}
        for key, part, pictures in [("low", LOW, low), *([("target", HIGH, target)] if changed else [])]:
            facts[key] = f"{part}/{stem}{suffix}"
            written.append(facts[key])
            write_image(output / facts[key], to_levels(pictures[number : number + 1], arrays[0].dtype))
            facts[f"{key}_sha256"] = file_sha256(output / facts[key])
        made.append(facts)
    return made


def _clear(output: Path) -> None:
    """Removes what an older call left, as its manifest tells; an error where there are other images."""
    old = {path for row in read_rows(output / MANIFEST) for path in (row.low, row.target)} if _has(output) else set()
    found = [path for part in (LOW, HIGH) for path in sorted((output / part).rglob("*"))]
    images = [path for path in found if path.suffix.lower() in IMAGE_SUFFIXES]
    for path in images:
        if path.relative_to(output).as_posix() not in old:
            raise ValueError(f"{path} is there already, and no {MANIFEST} beside it tells of it: give an empty output")
    (output / MANIFEST).unlink(missing_ok=True)
    for path in images:
        path.unlink()


def _has(output: Path) -> bool:
    return (output / MANIFEST).is_file()
