"""Auditing image folders: unreadable files, duplicates, and test images that sit in the training data."""

from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from sr_lab.base.files import write_json
from sr_lab.base.signals import Stopped
from sr_lab.base.words import counted
from sr_lab.data.audit import AuditReport
from sr_lab.data.audit import audit as audit_files
from sr_lab.images import list_images

__all__ = ["AuditReport", "audit"]


def audit(
    *, train: Sequence[Path], test: Sequence[Path], report: Path | None = None, exclude: Path | None = None
) -> AuditReport:
    """Compares every image of the training folders with those of the test folders and with one another.

    Args:
        train: Folders of training images, searched with everything below them.
        test: Folders of validation and test images.
        report: File for the whole report as JSON; None writes none.
        exclude: File for the training files to leave out, as ``FolderSource`` takes it; None writes none.

    Raises:
        ValueError: If a folder is missing or holds no image.
        Stopped: If the process is asked to end; nothing is written then.
    """
    files, others = _files(train), _files(test)
    with tqdm(total=len(files) + len(others), desc="audit", unit="file", delay=1, leave=False, disable=None) as bar:
        seen = 0

        def tell() -> None:
            nonlocal seen
            seen += 1
            bar.update()

        try:
            found = audit_files(files, others, progress=tell)
        except Stopped as stop:
            text = (
                f"{counted(seen, 'file', 'was/were', of=len(files) + len(others))} looked at, nothing is "
                f"written; an audit begins anew"
            )
            raise stop.saying(text, goes_on=True) from None
    if report is not None:
        write_json(report, found.to_dict())
    if exclude is not None:
        write_json(exclude, found.exclusions)
    return found


def _files(folders: Sequence[Path]) -> list[Path]:
    """The images of several folders, each file once."""
    return list(dict.fromkeys(file for folder in folders for file in list_images(folder)))
