"""Image files of a folder: one rule for links, hidden names, and what is not read, whoever looks."""

import logging
import os
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from sr_lab.base.words import counted
from sr_lab.images.headers import ImageError

IMAGE_SUFFIXES = frozenset(
    {".avif", ".bmp", ".heic", ".heif", ".jpeg", ".jpg", ".jxl", ".png", ".tif", ".tiff", ".webp"}
)
"""Of the files that are taken for images; HEIC is only read, and like JPEG XL needs a package."""
LOG = logging.getLogger(__name__)
_MOST_SHOWN = 5
_told: set[str] = set()


def list_images(folder: Path) -> list[Path]:
    """All image files below a folder, by suffix, sorted; see ``walk_images``. What is not read is said, once.

    Raises:
        ImageError: if the folder does not exist, cannot be searched or holds no image.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ImageError(f"{folder} is not a folder")
    paths, others = walk_images(folder)
    tell_unread(str(folder), others)
    if not paths:
        raise ImageError(f"{folder} holds no image file ({', '.join(sorted(IMAGE_SUFFIXES))})")
    return sorted(paths)


def walk_images(folder: Path) -> tuple[list[Path], list[str]]:
    """The image files below a folder, and the names of what is not read.

    Links to files and folders are followed, but for a folder that the link itself lies in. Hidden files and folders are
    left out and not named; other files, and links to nothing, are named.

    Raises:
        ImageError: if a folder cannot be searched.
    """
    found: list[Path] = []
    others: list[str] = []

    def search(here: Path, above: frozenset[tuple[int, int]]) -> None:
        try:
            stat = here.stat()
            entries = sorted(os.scandir(here), key=lambda entry: entry.name)
        except OSError as error:
            raise ImageError(f"{here} cannot be searched: {error.strerror}") from error
        place = (stat.st_dev, stat.st_ino)
        if place in above:
            return
        for entry in entries:
            path = here / entry.name
            if entry.name.startswith("."):
                continue
            if path.is_dir():
                search(path, above | {place})
            elif path.suffix.lower() in IMAGE_SUFFIXES and path.is_file():
                found.append(path)
            else:
                dangling = " (a link to nothing)" if path.is_symlink() and not path.exists() else ""
                others.append(f"{path.relative_to(folder).as_posix()}{dangling}")

    search(Path(folder), frozenset())
    return found, others


def tell_unread(place: str, names: Sequence[str]) -> None:
    """Says once in a process which files are not read: how many of which kind, and the first of them."""
    if not names:
        return
    kinds = Counter(PurePosixPath(name.removesuffix(" (a link to nothing)")).suffix.lower() for name in names)
    counts = ", ".join(f"{kind or 'without suffix'}: {count}" for kind, count in kinds.most_common(_MOST_SHOWN))
    shown = ", ".join(names[:_MOST_SHOWN]) + (", ..." if len(names) > _MOST_SHOWN else "")
    message = f"not read in {place}: {counted(len(names), 'file')} ({counts}): {shown}"
    if message not in _told:
        _told.add(message)
        LOG.warning("%s", message)


def by_stem(folder: Path) -> dict[str, Path]:
    """Image files of a folder by their path below it, without suffix; composed and decomposed accents are equal.

    Raises:
        ImageError: If two files have one name; every such pair is named, up to a few.
    """
    found: dict[str, Path] = {}
    twice = []
    for file in list_images(folder):
        stem = unicodedata.normalize("NFC", file.relative_to(folder).with_suffix("").as_posix())
        if stem in found:
            twice.append(f"{found[stem]} and {file}")
        found.setdefault(stem, file)
    if twice:
        more = f" and {len(twice) - _MOST_SHOWN} more" if len(twice) > _MOST_SHOWN else ""
        shown = "; ".join(twice[:_MOST_SHOWN])
        raise ImageError(f"{shown}{more} have the same name but for the suffix: remove one of each")
    return found


def partners(high: Sequence[str], low: Sequence[str], *, scale: int | None = None) -> dict[str, str | None]:
    """The low image of each high one: of the same name or, as in DIV2K, with ``x4`` behind it.

    Args:
        high: Names of the high images, as ``by_stem`` gives them.
        low: Names of the low images.
        scale: Enlargement factor; None takes any factor that stands behind a name, where there is but one.

    Raises:
        ImageError: If an image has low ones of several factors and ``scale`` is not given.
    """
    there = set(low)
    factors: dict[str, list[str]] = {}
    for name in low:
        stem, mark, factor = name.rpartition("x")
        if mark and factor.isdecimal() and (scale is None or int(factor) == scale):
            factors.setdefault(stem, []).append(name)
    found: dict[str, str | None] = {}
    for name in high:
        others = factors.get(name, [])
        if name not in there and len(others) > 1:
            raise ImageError(f"{name} has several low images ({', '.join(others)}): give the folder of one factor")
        found[name] = name if name in there else next(iter(others), None)
    return found
