"""Files that are written whole or not at all."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(path: Path, *, durable: bool = True) -> Iterator[Path]:
    """Gives a temporary neighbour of ``path``, which takes its place at the end of the block.

    A reader sees the old file or the whole new one, never a part; on an error the old one stays and the
    temporary one is removed. The folder is made where it is missing.

    Args:
        path: the file.
        durable: whether the content is flushed to the disk before the change, against a power cut.

    Raises:
        OSError: if the disk is full or the folder not writable.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{uuid.uuid4().hex[:8]}.part{path.suffix}")
    try:
        yield temporary
        if durable:
            with temporary.open("rb+") as stream:
                os.fsync(stream.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Replaces ``path`` by a UTF-8 text; see ``replacing``."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_bytes(path: Path, content: bytes) -> None:
    """Replaces ``path`` by ``content``; see ``replacing``."""
    with replacing(path) as temporary:
        temporary.write_bytes(content)
