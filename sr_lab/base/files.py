"""Files and folders that are written whole or not at all, their hashes, and what a place was begun with."""

import contextlib
import ctypes
import errno
import glob
import hashlib
import json
import os
import re
import shutil
import sys
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

_OF_WRITING = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS}
_MAX_SHOWN, _MAX_LENGTH = 5, 80
_OF_FILES = re.compile(
    "avif|bmp|ckpt|csv|hei[cf]|html|jpe?g|json|jxl|m4v|mkv|mov|mp4|npz|onnx|parquet|pdf|png|pth|safetensors|tiff?|txt"
    "|web[mp]|zip"
)


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Gives a temporary neighbour of ``path``, which takes its place at the end of the block.

    A reader sees the old file or the whole new one, never a part; on an error the old one stays and the
    temporary one is removed. The folder is made where it is missing, and a link is followed.

    Args:
        path: The file.
        durable: Whether the content is flushed to the disk before the change, against a power cut.

    Raises:
        OSError: If the disk is full, the folder not writable, or a device or a pipe is at ``path``; it names ``path``,
            not the temporary file.
    """
    path = _followed(path)
    _no_device(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _neighbour(path)
    try:
        with naming(path, temporary):
            yield temporary
            if durable:
                _sync(temporary)
            temporary.replace(path)
            if durable:
                _sync_folder(path.parent)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Gives a new empty folder beside ``path``, which takes its place, whole and on the disk, at the end of the block.

    What was there is lost: a place that a user names is looked at by ``require_replaceable`` before.
    Where the system can exchange two names (Linux, macOS) there is no moment at which neither the old nor the new
    folder is at ``path``. Elsewhere (some network disks) two names change one after the other, and whoever opens the
    folder through ``settle`` finds the old one even if the writer was killed between them. On an error the old one
    stays.

    Args:
        path: The folder; its parents are made where they are missing, and a link is followed.

    Raises:
        OSError: If the disk is full, the place not writable, or ``path`` a file; it names the place that was meant.
    """
    path = _followed(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    settle(path)
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "a file is where a folder is to be written", str(path))
    temporary = _neighbour(path)
    try:
        with naming(path, temporary):
            temporary.mkdir()
            yield temporary
            for file in sorted(temporary.rglob("*"), reverse=True):
                if not file.is_symlink():
                    (_sync_folder if file.is_dir() else _sync)(file)
            _sync_folder(temporary)
            if path.exists():
                _exchange(temporary, path)
            else:
                temporary.rename(path)
            _sync_folder(path.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def named_like_file(place: str | Path) -> bool:
    """Whether a name ends as those of images, videos, pages, tables and weights do.

    >>> named_like_file("look.html"), named_like_file("runs/v1.5"), named_like_file("look.html/")
    (True, False, False)
    """
    return bool(_OF_FILES.fullmatch(PurePosixPath(str(place)).suffix[1:].lower())) and not str(place).endswith("/")


def require_folder_name(place: str | Path, *, key: str) -> None:
    """Refuses a place that is named like a file where a folder is written: ``report=scores.html``, ``output=x.mkv``.

    Args:
        place: Where the folder is to be written. One that is there already may be called as it likes.
        key: What the user calls it.

    Raises:
        ValueError: If the name ends as those of images, videos, pages, tables and weights do.
    """
    if named_like_file(place) and not Path(place).is_dir():
        suffix = PurePosixPath(str(place)).suffix
        raise ValueError(f"{key}={place} would be a folder, and is named like a file: leave {suffix} out")


def require_replaceable(path: Path, *, mark: str) -> None:
    """Refuses to replace what is not of the kind that is to be written, but somebody's photos.

    Args:
        path: Where a folder is to be written. Nothing, or an empty folder, may be there, or one that holds ``mark``.
        mark: Name of a file that every folder of this kind holds.

    Raises:
        NotADirectoryError: If a file is there.
        ValueError: If another folder is there; nothing was changed.
    """
    settle(path)
    require_folder_name(path, key="output")
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, "a file is where a folder is to be written", str(path))
    if path.is_dir() and not (path / mark).is_file() and (there := next(path.iterdir(), None)) is not None:
        raise ValueError(
            f"{path} holds other files ({there.name}), which would be lost: give a folder that is new, empty, or a "
            f"former one of this kind (with {mark})"
        )


def leftovers(path: Path) -> list[Path]:
    """What killed writers of ``path`` left beside it: for those who know that no other process writes there now."""
    before, after = _around(path)
    return sorted(path.parent.glob(f"{glob.escape(before)}????????{glob.escape(after)}"))


def settle(path: Path) -> Path:
    """Puts a folder back that a killed writer had moved aside and not yet replaced; gives ``path``."""
    retired = _retired(path)
    if not path.exists() and retired.is_dir():
        with contextlib.suppress(FileNotFoundError):  # another reader was faster
            retired.rename(path)
    return path


def write_text(path: Path, text: str) -> None:
    """Replaces ``path`` by a UTF-8 text; see ``replacing``."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: Path, content: bytes) -> None:
    """Replaces ``path`` by ``content``; see ``replacing``."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)


def write_json(path: Path, data: Any, *, indent: int | None = 1) -> None:
    """Replaces ``path`` by ``data`` as JSON, with a newline at its end; see ``replacing``."""
    write_text(path, json.dumps(data, indent=indent, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """The value of a JSON file.

    Raises:
        OSError: If it cannot be read.
        ValueError: If it is not JSON in UTF-8; the file is named.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON: {error}") from error


def sha256(file: Path) -> str:
    """Hexadecimal SHA-256 of a file's bytes."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def claim(begun: Path | Mapping[str, Any], recipe: Mapping[str, Any], *, where: object, remedy: str) -> None:
    """Takes a place for what is made by ``recipe``, or refuses where it was begun with other settings.

    Args:
        begun: The recipe that the place was begun with, or the JSON file that holds it; a file that is missing is made.
        recipe: What decides over the results, as plain values by name. Names of which ``begun`` has none are new since
            then, and do not count.
        where: The place, as the user knows it.
        remedy: A sentence that says what can be done.

    Raises:
        ValueError: Naming the place, each setting that differs with both values, and the remedy.
    """
    if isinstance(begun, Path):
        if not begun.exists():
            write_json(begun, dict(recipe))
            return
        begun = read_json(begun)
        if not isinstance(begun, Mapping):
            raise ValueError(f"{where} does not say what it was begun with: {remedy}")
    now = json.loads(json.dumps(dict(recipe)))
    changed = [
        f"{key} was {_short(begun[key])}, is {_short(now.get(key))}" for key in begun if begun[key] != now.get(key)
    ]
    if changed:
        more = f"; and {len(changed) - _MAX_SHOWN} more" if len(changed) > _MAX_SHOWN else ""
        raise ValueError(f"{where} was begun with other settings: {'; '.join(changed[:_MAX_SHOWN])}{more}. {remedy}")


@contextmanager
def naming(path: Path, temporary: Path | None = None) -> Iterator[None]:
    """Lets an error of writing name ``path``: one that names no file (a full disk), or something in ``temporary``."""
    try:
        yield
    except OSError as error:
        named = None if error.filename is None else Path(os.fsdecode(error.filename))
        meant = path if named is None and error.errno in _OF_WRITING else None
        if temporary is not None and named is not None and named.is_relative_to(temporary):
            meant = path / named.relative_to(temporary)
        if meant is None:
            raise
        raise OSError(error.errno, error.strerror, str(meant)) from error


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= _MAX_LENGTH else f"{text[:_MAX_LENGTH]}..."


def _no_device(path: Path) -> None:
    """Raises OSError where something lies that is neither file nor folder: taking its place would remove a device."""
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OSError(errno.EINVAL, "is a device or a pipe and no file: give another place", str(path))


def _followed(path: Path) -> Path:
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _neighbour(path: Path) -> Path:
    """A name that no other process uses, no longer than a file system takes, with the suffix that writers go by."""
    before, after = _around(path)
    return path.with_name(f"{before}{uuid.uuid4().hex[:8]}{after}")


def _around(path: Path) -> tuple[str, str]:
    """What the names of temporary neighbours begin and end with."""
    return f".{path.stem[:30]}.", f".part{path.suffix[:20]}"


def _retired(path: Path) -> Path:
    name = path.name if len(os.fsencode(path.name)) < 200 else hashlib.sha256(os.fsencode(path.name)).hexdigest()
    return path.with_name(f".{name}.retired")


def _sync(file: Path) -> None:
    with file.open("rb") as stream:
        os.fsync(stream.fileno())


def _sync_folder(folder: Path) -> None:
    """Makes the names in a folder durable where the system allows it."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _exchange(new: Path, path: Path) -> None:
    """Lets two folders change names; ``new`` is the old one, or nothing, afterwards."""
    if _swap(new, path):
        return
    retired = _retired(path)
    shutil.rmtree(retired, ignore_errors=True)
    path.rename(retired)
    try:
        new.rename(path)
    except OSError:
        retired.rename(path)
        raise
    shutil.rmtree(retired, ignore_errors=True)


def _swap(first: Path, second: Path) -> bool:
    """Whether the system exchanged the two names in one step; nothing has changed where it did not."""
    names = os.fsencode(first), os.fsencode(second)
    try:
        library = ctypes.CDLL(None, use_errno=True)
        if sys.platform == "darwin":
            return int(library.renamex_np(*names, 2)) == 0
        here = -100  # AT_FDCWD
        return int(library.renameat2(here, names[0], here, names[1], 2)) == 0
    except (AttributeError, OSError, TypeError):  # a C library without it
        return False
