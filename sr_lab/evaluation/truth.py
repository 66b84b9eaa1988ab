"""What the images of a benchmark are known to show: ``truth.json`` in its folder."""

from collections.abc import Sequence
from pathlib import Path

from sr_lab.base.files import read_json, sha256
from sr_lab.base.words import counted
from sr_lab.images.found import Truth

FILE = "truth.json"


def read_truth(folder: Path, names: Sequence[str]) -> dict[str, Truth]:
    """The truth by image; empty where the benchmark has no such file.

    The file holds ``{"images": {NAME: {"group": "12 px", "found": {TASK: [{"text": ..., "box": [l, t, r, b]}]}}}}``:
    names as in ``names``, places in pixels of the original, parts of a text in order of reading.

    Args:
        folder: Of the benchmark.
        names: Of its images.

    Raises:
        ValueError: if the file is damaged, or lacks an image.
    """
    file = folder / FILE
    if not file.is_file():
        return {}
    try:
        found = {str(name): Truth.parse(image) for name, image in read_json(file)["images"].items()}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f'{file} is not {{"images": {{NAME: {{"found": {{TASK: [...]}}}}}}}}: {error!r}') from error
    if missing := [name for name in names if name not in found]:
        raise ValueError(
            f"{file} says nothing of {counted(len(missing), 'image', of=len(names))}, {missing[0]} among them"
        )
    return {name: found[name] for name in names}


def truth_digest(folder: Path) -> str | None:
    """Hash of the file; None where there is none."""
    file = folder / FILE
    return sha256(file) if file.is_file() else None
