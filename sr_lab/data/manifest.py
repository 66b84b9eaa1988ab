"""Manifests: what a data set consists of, by content; their digest is the data version."""

import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Self

from filelock import FileLock

from sr_lab.base.compute import num_cores
from sr_lab.base.files import sha256, write_json
from sr_lab.images import ImageError, read_image

DECODING = 2  # counts the ways in which files were decoded: what one accepted, the next may find damaged
RACY_SECONDS = 2.0  # a file younger than this may still change within its time stamp's resolution


@dataclass(frozen=True, slots=True)
class Entry:
    """One image file.

    Attributes:
        path: below its root, with forward slashes.
        size: bytes.
        sha256: hexadecimal digest of the file's bytes.
        width: pixels, after EXIF orientation.
        height: pixels, after EXIF orientation.
        channels: colour channels without alpha.
        bits: 8 or 16 a sample.
    """

    path: str
    size: int
    sha256: str
    width: int
    height: int
    channels: int
    bits: int

    @property
    def identity(self) -> str:
        """What counts for the data version: path below the root, size and content."""
        return f"{self.path}\0{self.size}\0{self.sha256}\n"


@dataclass(frozen=True)
class Manifest:
    """A set of image files; the order of ``entries`` and the place of the root do not change its digest."""

    entries: tuple[Entry, ...]

    @property
    def digest(self) -> str:
        """Hexadecimal digest over path, size and hash of every file: the data version."""
        return hashlib.sha256("".join(sorted(entry.identity for entry in self.entries)).encode()).hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {"digest": self.digest, "files": [asdict(entry) for entry in self.entries]}

    @classmethod
    def from_dict(cls, data: Any, *, where: object = "the manifest") -> Self:
        """Inverse of ``to_dict``.

        Raises:
            ValueError: if a key is missing, or the digest is not that of the entries.
        """
        names = [field.name for field in fields(Entry)]
        try:
            manifest = cls(tuple(Entry(**{name: file[name] for name in names}) for file in data["files"]))
            digest = data["digest"]
        except (KeyError, TypeError) as error:
            raise ValueError(f"{where} is not a manifest ({error!r}): write it anew with srlab prepare") from error
        if manifest.digest != digest:
            raise ValueError(f"{where}: the digest does not fit the entries; it was edited or damaged")
        return manifest

    def changes(self, newer: "Manifest") -> list[str]:
        """What is different in ``newer``, one line a file."""
        old, new = ({entry.path: entry for entry in manifest.entries} for manifest in (self, newer))
        lines = [f"{path} is missing" for path in old if path not in new]
        lines += [f"{path} is new" for path in new if path not in old]
        lines += [
            f"{path} has other content (sha256 {old[path].sha256[:12]} before, {new[path].sha256[:12]} now)"
            for path in old
            if path in new and old[path].identity != new[path].identity
        ]
        return lines


class FileIndex:
    """Remembers the facts of files it has seen, so that an unchanged file is neither hashed nor decoded again.

    A file counts as unchanged while its size, modification time, change time and inode stay (as in git's index): the
    change time tells of a file that was replaced by one of the same size with its time kept (``cp -p``). The index is
    only a shortcut: a lost or damaged one is made anew, and processes may share it. What an earlier way of decoding
    accepted is looked at again.

    Args:
        path: JSON file; None remembers in memory only.
    """

    def __init__(self, path: Path | None = None) -> None:
        self.path = path
        self._known = self._load()
        self._new: dict[str, Any] = {}

    def entry(self, file: Path, *, name: str) -> Entry:
        """The facts of ``file``, called ``name`` in its manifest.

        Raises:
            ImageError: if it does not decode.
            OSError: if it cannot be read.
        """
        key, stat = str(file.resolve()), file.stat()
        known = self._known.get(key)
        if known is not None and known["stamp"] == _stamp(stat) and known["facts"]:
            return Entry(path=name, **known["facts"])
        digest = sha256(file)
        if known is not None and known["facts"] and known["digest"] == digest and known["stamp"][0] == DECODING:
            facts = known["facts"]
        else:
            image = read_image(file)
            facts = {
                "size": stat.st_size,
                "sha256": digest,
                "width": image.shape[1],
                "height": image.shape[0],
                "channels": image.shape[2],
                "bits": image.dtype.itemsize * 8,
            }
        self._learn(key, stat, digest, facts)
        return Entry(path=name, **facts)

    def digest(self, file: Path) -> str:
        """Hexadecimal SHA-256 of ``file``, which is not decoded.

        Raises:
            OSError: If it cannot be read.
        """
        key, stat = str(file.resolve()), file.stat()
        known = self._known.get(key)
        if known is not None and known["stamp"] == _stamp(stat):
            return str(known["digest"])
        digest = sha256(file)
        self._learn(key, stat, digest, None)
        return digest

    def _learn(self, key: str, stat: os.stat_result, digest: str, facts: dict[str, Any] | None) -> None:
        if time.time() - max(stat.st_mtime, stat.st_ctime) > RACY_SECONDS:
            self._known[key] = self._new[key] = {"stamp": _stamp(stat), "digest": digest, "facts": facts}

    def save(self) -> None:
        """Writes what was learnt since loading, beside what other processes wrote meanwhile."""
        if self.path is None or not self._new:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{self.path}.lock"):
            write_json(self.path, {**self._load(), **self._new}, indent=None)
        self._new = {}

    def _load(self) -> dict[str, Any]:
        if self.path is None:
            return {}
        try:
            known = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        if not isinstance(known, dict):
            return {}
        return {key: entry for key, entry in known.items() if isinstance(entry, dict) and "digest" in entry}


def _stamp(stat: os.stat_result) -> list[int]:
    return [DECODING, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]


def scan(
    files: Sequence[tuple[str, Path]], *, index: FileIndex | None = None, progress: Callable[[], object] | None = None
) -> tuple[list[Entry | None], list[str]]:
    """Hashes and decodes every file.

    Args:
        files: name and path of each.
        index: shortcut for files that have not changed.
        progress: called once a file.

    Returns:
        The facts in the order of ``files`` (None for a file that does not decode), and one message for each of those.
    """
    index = FileIndex() if index is None else index

    def look(file: tuple[str, Path]) -> Entry | str:
        try:
            return index.entry(file[1], name=file[0])
        except (ImageError, OSError) as error:
            return _named(file[1], error)
        finally:
            if progress is not None:
                progress()

    try:
        with ThreadPoolExecutor(max_workers=num_threads()) as pool:
            found = list(pool.map(look, files))
    finally:
        index.save()
    return (
        [entry if isinstance(entry, Entry) else None for entry in found],
        [message for message in found if isinstance(message, str)],
    )


def num_threads() -> int:
    """Threads for work that releases the interpreter: the cores this process may use, 16 at most."""
    return min(16, num_cores())


def combined_digest(parts: Iterable[str]) -> str:
    """One hexadecimal digest for several, in their order."""
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _named(file: Path, error: Exception) -> str:
    """The error's text, with the file's name if it lacks it."""
    text = str(error)
    return text if file.name in text else f"{file}: {text}"
