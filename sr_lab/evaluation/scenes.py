"""Which images of a benchmark show the same scene: they depend on one another, and count as one observation."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from sr_lab.base.words import counted

FILE = "scenes.csv"


def merge_copies(scenes: Mapping[str, str], files: Mapping[str, Path]) -> tuple[dict[str, str], list[str]]:
    """The scenes, those that show one picture made one: near copies are no independent observations.

    Args:
        scenes: Scene by name.
        files: Original by name.

    Returns:
        Scene by name, and what was found, a line for each group.
    """
    from sr_lab.data.audit import same_pictures

    names = {str(file): name for name, file in files.items()}
    merged, said = dict(scenes), []
    for group in same_pictures([files[name] for name in sorted(files)]):
        members = [names[str(file)] for file in group]
        found = sorted({merged[name] for name in members})
        if len(found) < 2:
            continue
        merged = {name: found[0] if scene in found else scene for name, scene in merged.items()}
        shown = ", ".join(members[:3]) + (", ..." if len(members) > 3 else "")
        said.append(f"{counted(len(members), 'image')} show one picture ({shown})")
    return merged, said


def find_scenes(folder: Path, names: Sequence[str], *, clips: bool = False) -> dict[str, str]:
    """The scene of each image of a benchmark.

    ``scenes.csv`` in the benchmark's folder names it: columns ``name`` (as in ``names``, with or without the suffix
    of the file) and ``scene``, a line for each image. Without that file the images of one subfolder (frames of a clip,
    slices of a patient) are one scene, and an image outside of any subfolder is its own.

    Args:
        folder: of the benchmark.
        names: paths of the originals below their folder, without suffix.
        clips: whether the names are of clips: each is a scene of its own, in a subfolder, too.

    Returns:
        Scene by name.

    Raises:
        ValueError: if the file lacks a column or an image.
    """
    file = folder / FILE
    if not file.is_file():
        if clips:
            return {name: name for name in names}
        parents = {name: PurePosixPath(name).parent.as_posix() for name in names}
        return {name: name if parent == "." else parent for name, parent in parents.items()}
    with file.open(encoding="utf-8-sig", newline="") as stream:
        reader = csv.DictReader(stream)
        if not {"name", "scene"} <= set(reader.fieldnames or ()):
            raise ValueError(f"{file} needs the columns name and scene, it has {', '.join(reader.fieldnames or ())}")
        given = {row["name"].strip(): row["scene"].strip() for row in reader}
    bare = {PurePosixPath(name).with_suffix("").as_posix(): scene for name, scene in given.items() if name}
    scenes = {name: given.get(name) or bare.get(name) or "" for name in names}
    if missing := [name for name, scene in scenes.items() if not scene]:
        raise ValueError(
            f"{file} names no scene for {len(missing)} of {counted(len(names), 'image')}, {missing[0]} among them"
        )
    return scenes
