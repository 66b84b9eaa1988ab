"""Folders of images here or in an object store, under one face: a path, ``file://``, ``s3://``, ``gs://`` (fsspec)."""

import io
import os
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any

import fsspec
import numpy as np
import numpy.typing as npt

from sr_lab.base.files import replacing
from sr_lab.base.words import counted
from sr_lab.images import IMAGE_SUFFIXES, ImageError, read_image, write_image
from sr_lab.images.extras import Extras, read_extras
from sr_lab.images.folders import tell_unread, walk_images

_HEAD = 1 << 16
_REQUESTS = 16


class Store:
    """Files below a root, by their names relative to it.

    A file appears whole or not at all: here by renaming, in an object store because that is how these work.

    Args:
        uri: a path, or what fsspec understands; credentials come from the environment.

    Raises:
        ValueError: if there is no such kind of store, or its package is not installed.
    """

    def __init__(self, uri: str | Path) -> None:
        self.uri = str(uri)
        try:
            self.fs, self.root = fsspec.core.url_to_fs(self.uri)
        except (ImportError, ValueError) as error:
            raise ValueError(f"{self.uri}: {error}") from error
        self.local = Path(self.root) if "file" in _protocols(self.fs) else None

    def images(self) -> list[str]:
        """Names of all image files, sorted; hidden ones are left out.

        Raises:
            ValueError: if there is none.
        """
        if self.local is not None and not self.local.is_dir():
            raise ValueError(f"{self.uri} is not a folder")
        names, others = self._search("")
        tell_unread(self.uri, others)
        if not names:
            raise ValueError(f"{self.uri} holds no image ({', '.join(sorted(IMAGE_SUFFIXES))})")
        return names

    def names(self, below: str = "") -> list[str]:
        """As ``images``, of one folder, and empty if there is none."""
        return self._search(below)[0]

    def _search(self, below: str) -> tuple[list[str], list[str]]:
        """Names of image files and of other ones, sorted; see ``images.folders.walk_images``."""
        if self.local is not None:
            if not (folder := self.local / below).is_dir():
                return [], []
            found, others = walk_images(folder)
            return sorted(path.relative_to(self.local).as_posix() for path in found), others
        root = self.root.rstrip("/")
        try:
            files = [str(path)[len(root) :].lstrip("/") for path in self.fs.find(self._path(below).rstrip("/"))]
        except FileNotFoundError:
            return [], []
        shown = sorted(name for name in files if not any(part.startswith(".") for part in PurePosixPath(name).parts))
        names = [name for name in shown if PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES]
        return names, [name for name in shown if name not in set(names)]

    def is_file(self) -> bool:
        """Whether the root is one file."""
        return self.local.is_file() if self.local is not None else bool(self.fs.isfile(self.root))

    def is_folder(self) -> bool:
        """Whether the root is a folder that is there."""
        return self.local.is_dir() if self.local is not None else bool(self.fs.isdir(self.root))

    def lies_in(self, other: "Store") -> bool:
        """Whether the root is that of another store or below it, whatever way they were written."""
        return self._place.startswith(other._place)

    @property
    def _place(self) -> str:
        root = self.root.rstrip("/") if self.local is None else self.local.resolve()
        return f"{type(self.fs).__name__}://{root}/"

    def has(self, name: str) -> bool:
        """Whether there is such a file."""
        return bool(self.fs.exists(self._path(name)))

    def read_image(self, name: str) -> npt.NDArray[Any]:
        """The image, (H, W, C); see ``images.read_image``."""
        if self.local is not None:
            return read_image(self.local / name)
        with tempfile.TemporaryDirectory(prefix="srlab-") as folder:
            file = self.fetch(name, Path(folder))
            try:
                return read_image(file)
            except ImageError as error:
                raise ImageError(str(error).replace(str(file), f"{self.uri}/{name}")) from error

    def extras(self, names: Sequence[str]) -> list[tuple[str, Extras]]:
        """What the headers of images tell; of a file in an object store its first 64 KiB are looked at."""
        if self.local is None:
            with ThreadPoolExecutor(max_workers=_REQUESTS) as pool:
                return list(pool.map(lambda name: (name, self._extras(name)), names))
        return [(name, self._extras(name)) for name in names]

    def _extras(self, name: str) -> Extras:
        try:
            if self.local is None:
                return read_extras(io.BytesIO(self.fs.cat_file(self._path(name), start=0, end=_HEAD)))
            with (self.local / name).open("rb") as stream:
                return read_extras(stream)
        except OSError:  # it is told when the image is read
            return Extras()

    def write_image(self, name: str, image: npt.NDArray[np.uint8] | npt.NDArray[np.uint16]) -> None:
        """Writes an image in the format of the name's suffix; see ``images.write_image``."""
        if self.local is not None:
            write_image(self.local / name, image)
            return
        with tempfile.TemporaryDirectory(prefix="srlab-") as folder:
            file = Path(folder) / PurePosixPath(name).name
            write_image(file, image)
            self.put(file, name)

    def fetch(self, name: str, folder: Path) -> Path:
        """A local copy of a file, below ``folder``; where the store is local, the file itself."""
        if self.local is not None:
            return self.local / name
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(self.fs.cat_file(self._path(name)))
        return file

    def put(self, file: Path, name: str) -> None:
        """Stores a local file, replacing one of that name."""
        self.write_bytes(name, file.read_bytes())

    def write_bytes(self, name: str, content: bytes) -> None:
        """Stores ``content``, replacing a file of that name."""
        if self.local is not None:
            with replacing(self.local / name, durable=False) as partial:
                partial.write_bytes(content)
            return
        path = self._path(name)
        self.fs.makedirs(os.path.dirname(path), exist_ok=True)  # noqa: PTH120 - a name in a store, not a path
        self.fs.pipe_file(path, content)

    def read_bytes(self, name: str) -> bytes | None:
        """The content of a file; None if there is none."""
        try:
            content: bytes = self.fs.cat_file(self._path(name))
        except FileNotFoundError:
            return None
        return content

    def remove(self, name: str) -> None:
        """Removes a folder and what is below it, if it is there."""
        if self.fs.exists(self._path(name)):
            self.fs.rm(self._path(name), recursive=True)

    def _path(self, name: str) -> str:
        return f"{self.root.rstrip('/')}/{name}"


def open_stores(input: str | Path, output: str | Path) -> tuple[Store, Store]:
    """Where images are taken from, and where what is made of them is written.

    Raises:
        ValueError: If ``output`` lies in ``input``.
    """
    source, target = Store(input), Store(output)
    if target.lies_in(source):
        raise ValueError(f"output={output} lies in input={input}: its images would become input")
    return source, target


def distinct_stems(names: Sequence[str]) -> list[str]:
    """Names without suffix.

    Raises:
        ValueError: where two become one.
    """
    seen: dict[str, str] = {}
    clashes = []
    for name in names:
        stem = PurePosixPath(name).with_suffix("").as_posix()
        if stem in seen:
            clashes.append(f"{seen[stem]} and {name}")
        seen.setdefault(stem, name)
    if clashes:
        more = f" and {counted(len(clashes) - 5, 'more pair')}" if len(clashes) > 5 else ""
        raise ValueError(f"{'; '.join(clashes[:5])}{more} would be written to one file: rename one of them")
    return list(seen)


def _protocols(filesystem: Any) -> tuple[str, ...]:
    protocol = filesystem.protocol
    return (protocol,) if isinstance(protocol, str) else tuple(protocol)
