"""Which images of a benchmark show the same scene: they depend on one another, and count as one observation."""

import csv
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

FILE = "scenes.csv"


def find_scenes(folder: Path, names: Sequence[str]) -> dict[str, str]:
    """The scene of each image of a benchmark.

    ``scenes.csv`` in the benchmark's folder names it: columns ``name`` (as in ``names``, with or without the suffix
    of the file) and ``scene``, a line for each image. Without that file the images of one subfolder (frames of a clip,
    slices of a patient) are one scene, and an image outside of any subfolder is its own.

    Args:
        folder: of the benchmark.
        names: paths of the originals below their folder, without suffix.

    Returns:
        Scene by name.

    Raises:
        ValueError: if the file lacks a column or an image.
    """
    file = folder / FILE
    if not file.is_file():
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
        raise ValueError(f"{file} names no scene for {len(missing)} of {len(names)} images, {missing[0]} among them")
    return scenes
