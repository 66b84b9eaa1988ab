"""Pages with a known truth, written as a benchmark that tasks are measured on."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sr_lab.base.files import replacing_folder, require_folder_name, write_text
from sr_lab.base.signals import saying
from sr_lab.evaluation.scenes import FILE as SCENES
from sr_lab.evaluation.truth import FILE as TRUTH
from sr_lab.images import write_image
from sr_lab.tasks.documents import Kind, pages

__all__ = ["Documents", "documents"]

_SIZES = {"text": (12, 16, 20, 24, 28, 36), "codes": (2, 3, 4, 5, 6, 8)}


@dataclass(frozen=True, kw_only=True)
class Documents:
    """Pages that were made.

    Attributes:
        folder: The benchmark's.
        num_pages: Files of it.
        num_documents: Contents; each is there in every size.
    """

    folder: Path
    num_pages: int
    num_documents: int


def documents(
    output: Path, *, kind: Kind = "text", count: int = 20, sizes: Sequence[int] | None = None, seed: int = 0
) -> Documents:
    """Writes pages as ``output/HR/size_N/*.png``, what is on them as ``truth.json``, and ``scenes.csv``.

    Args:
        output: Folder that is made.
        kind: ``text``, or ``codes``: a QR code and a bar code a page.
        count: Contents.
        sizes: Heights of the font, or sides of a module, in pixels; None: six of them.
        seed: Of every draw.

    Raises:
        FileExistsError: If the folder is there.
        ValueError: If a number is out of range.
    """
    require_folder_name(output, key="output")
    if output.exists():
        raise FileExistsError(f"{output} is there already: give another output=, or remove it")
    if kind not in _SIZES:
        raise ValueError(f"kind={kind}: text or codes")
    chosen = list(sizes or _SIZES[kind])
    truth, scenes = {}, io.StringIO()
    table = csv.writer(scenes, lineterminator="\n")
    table.writerow(["name", "scene"])
    with saying(f"{output} is not made"), replacing_folder(output) as folder:
        for page in pages(kind=kind, count=count, sizes=chosen, seed=seed):
            file = folder / "HR" / f"{page.name}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            write_image(file, page.pixels)
            truth[page.name] = page.truth.as_dict()
            table.writerow([page.name, page.scene])
        write_text(folder / TRUTH, json.dumps({"images": truth}, indent=1) + "\n")
        write_text(folder / SCENES, scenes.getvalue())
    return Documents(folder=output, num_pages=len(truth), num_documents=count)
