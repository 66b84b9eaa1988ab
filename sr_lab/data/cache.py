"""The decoded cache: every image decoded once into memory-mapped files, named by their content.

A cache is a folder ``KEY/`` with ``high.bin`` (channels-first images, one after another), ``low.bin`` where low
images are kept too, and ``meta.json`` (where each image lies, checksums). It is built in a temporary neighbour and
renamed, under a lock: another process, or the next one after a kill, finds a whole cache or none.
"""

import contextlib
import hashlib
import json
import mmap
import os
import shutil
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from filelock import FileLock

from sr_lab.base.files import leftovers, replacing_folder
from sr_lab.data.manifest import num_threads

FORMAT = 1
ALIGNMENT = 64
BLOCK = 1 << 24
Part = Literal["high", "low"]
Load = Callable[[int], tuple[np.ndarray, np.ndarray | None]]


class DecodedCache:
    """A built cache, opened for reading; it may be sent to worker processes, which map the files themselves.

    Args:
        folder: the cache's folder.

    Raises:
        ValueError: if it is not whole (see ``check``).
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        meta = _read_meta(folder)
        if meta is None:
            raise ValueError(f"{folder} is not a whole cache")
        self.names: list[str] = meta["names"]
        self.dtype = np.dtype(meta["dtype"])
        self._places: dict[str, list[list[int]]] = meta["places"]
        self._maps: dict[str, np.ndarray] = {}

    def __len__(self) -> int:
        return len(self.names)

    @property
    def has_low(self) -> bool:
        """Whether low images are kept."""
        return "low" in self._places

    def shape(self, index: int, part: Part = "high") -> tuple[int, int, int]:
        """(C, H, W) of an image."""
        _, channels, height, width = self._places[part][index]
        return channels, height, width

    def image(self, index: int, part: Part = "high") -> np.ndarray:
        """An image (C, H, W), uint8 or uint16: a read-only view of the file."""
        offset, channels, height, width = self._places[part][index]
        if part not in self._maps:
            self._maps[part] = self._map(part)
        count = channels * height * width
        start = offset // self.dtype.itemsize
        return self._maps[part][start : start + count].reshape(channels, height, width)

    def _map(self, part: Part) -> np.ndarray:
        with (self.folder / f"{part}.bin").open("rb") as stream:
            mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
        return np.frombuffer(mapped, dtype=self.dtype)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": {}}


def open_or_build(
    root: Path,
    key: str,
    *,
    names: Sequence[str],
    dtype: np.dtype[Any],
    load: Load,
    progress: Callable[[], object] | None = None,
) -> DecodedCache:
    """The cache of ``key``, built if there is none or what is there is damaged.

    Args:
        root: folder of all caches.
        key: digest of everything that the content depends on.
        names: name of each image.
        dtype: uint8 or uint16; images of another depth raise.
        load: gives the high and the low (or None) image (C, H, W) of an index; called from several threads.
        progress: called once an image is written.

    Raises:
        OSError: if the disk is full or the folder cannot be written.
        ImageError: if an image does not decode.
    """
    folder = root / key
    if check(folder):
        return DecodedCache(folder)
    root.mkdir(parents=True, exist_ok=True)
    with FileLock(root / f"{key}.lock"):
        if not check(folder):
            for leftover in leftovers(folder):  # of killed builds: the lock is held
                shutil.rmtree(leftover, ignore_errors=True)
            with replacing_folder(folder) as temporary:
                _write(temporary, names, dtype, load, progress)
    return DecodedCache(folder)


def check(folder: Path) -> bool:
    """Whether ``folder`` holds a whole, undamaged cache.

    Files whose size and time stamp are those of the build are trusted; any other is read and its checksum compared.
    """
    meta = _read_meta(folder)
    if meta is None:
        return False
    for part, facts in meta["files"].items():
        file = folder / f"{part}.bin"
        try:
            stat = file.stat()
            if stat.st_size != facts["size"]:
                return False
            if stat.st_mtime_ns != facts["mtime_ns"]:
                if _crc32(file) != facts["crc32"]:
                    return False
                with contextlib.suppress(OSError):
                    os.utime(file, ns=(stat.st_atime_ns, facts["mtime_ns"]))
        except OSError:
            return False
    return True


def _read_meta(folder: Path) -> dict[str, Any] | None:
    """The content of ``meta.json``; None if it is missing, torn, edited, or of another format."""
    try:
        outer = json.loads((folder / "meta.json").read_text(encoding="utf-8"))
        body = outer["body"]
        whole = outer["sha256"] == hashlib.sha256(body.encode()).hexdigest()
        meta: dict[str, Any] = json.loads(body)
        return meta if whole and meta["format"] == FORMAT else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _write(
    folder: Path,
    names: Sequence[str],
    dtype: np.dtype[Any],
    load: Load,
    progress: Callable[[], object] | None,
) -> None:
    places: dict[str, list[list[int]]] = {}
    crcs: dict[str, int] = {}
    with contextlib.ExitStack() as stack:
        streams: dict[str, BinaryIO] = {}
        for high, low in _ahead(load, len(names)):
            for part, image in (("high", high), ("low", low)):
                if image is None:
                    continue
                assert image.dtype == dtype, f"{image.dtype} image in a {dtype} cache"
                if part not in streams:
                    streams[part] = stack.enter_context((folder / f"{part}.bin").open("wb"))
                    places[part], crcs[part] = [], 0
                places[part].append([streams[part].tell(), *image.shape])
                content = np.ascontiguousarray(image).tobytes()
                content += bytes(-len(content) % ALIGNMENT)
                streams[part].write(content)
                crcs[part] = zlib.crc32(content, crcs[part])
            if progress is not None:
                progress()
    files = {}
    for part, crc in crcs.items():
        stat = (folder / f"{part}.bin").stat()
        files[part] = {"size": stat.st_size, "mtime_ns": stat.st_mtime_ns, "crc32": crc}
    meta = {"format": FORMAT, "names": list(names), "dtype": dtype.name, "places": places, "files": files}
    body = json.dumps(meta)
    with (folder / "meta.json").open("w", encoding="utf-8") as text:
        json.dump({"sha256": hashlib.sha256(body.encode()).hexdigest(), "body": body}, text)


def _ahead(load: Load, count: int) -> Iterator[tuple[np.ndarray, np.ndarray | None]]:
    """Loads 0..count-1 in order, a few at a time in threads."""
    with ThreadPoolExecutor(max_workers=num_threads()) as pool:
        window: list[Future[tuple[np.ndarray, np.ndarray | None]]] = []
        try:
            for index in range(count):
                window.append(pool.submit(load, index))
                if len(window) > 2 * num_threads():
                    yield window.pop(0).result()
            while window:
                yield window.pop(0).result()
        finally:
            for future in window:
                future.cancel()


def _crc32(file: Path) -> int:
    crc = 0
    with file.open("rb") as stream:
        while block := stream.read(BLOCK):
            crc = zlib.crc32(block, crc)
    return crc
