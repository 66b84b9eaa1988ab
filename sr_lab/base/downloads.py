"""Files from the network: whole and checked or not there, and going on where a connection broke off."""

import hashlib
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path

from filelock import FileLock

from sr_lab.base.errors import SRLabError

BLOCK = 1 << 18
Progress = Callable[[int, int | None], None]
"""Called with the bytes that are there and those of the whole file; None where the server does not say."""


class DownloadError(SRLabError, OSError):
    """A file could not be brought; what has arrived of it is kept for the next try."""


def download(
    address: str, target: Path, *, sha256: str, tries: int = 3, timeout: float = 30, progress: Progress | None = None
) -> Path:
    """Brings the file at ``address`` to ``target``, which is there whole and checked or not at all.

    What has arrived lies in ``NAME.part`` beside the target, and the next call asks the server for the rest. The proxy
    variables of the environment (``HTTPS_PROXY``, ``NO_PROXY``, ...) are honoured. Two processes that want the same
    file wait for each other, and the second one finds it.

    Args:
        address: The file's http(s) address.
        target: Where it is to lie; the folder is made.
        sha256: The file's SHA-256 in hexadecimal digits, or the first of them.
        tries: How often a connection that broke off is taken up again.
        timeout: Seconds that the server may be silent.
        progress: Told of every block.

    Raises:
        DownloadError: If the server does not give the file; the message names the address and how to supply the file
            by hand.
        ValueError: If what it gives has another hash; it is removed.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part")
    lock = target.with_name(f"{target.name}.lock")
    try:
        with FileLock(lock):
            if not (target.is_file() and _digest(target).startswith(sha256)):
                _bring(address, part, target, tries=tries, timeout=timeout, progress=progress)
                _check(part, address, sha256)
                part.replace(target)
    finally:
        lock.unlink(missing_ok=True)
    return target


def _bring(address: str, part: Path, target: Path, *, tries: int, timeout: float, progress: Progress | None) -> None:
    """Adds what is missing to ``part``, in several connections where one breaks off."""
    for left in reversed(range(tries)):
        try:
            _append(address, part, timeout=timeout, progress=progress)
            return
        except urllib.error.HTTPError as error:
            raise DownloadError(
                _explained(address, target, f"the server answers {error.code} {error.reason}")
            ) from error
        except (OSError, HTTPException) as error:
            if not left:
                reason = str(getattr(error, "reason", None) or error) or type(error).__name__
                raise DownloadError(_explained(address, target, reason)) from error


def _check(part: Path, address: str, sha256: str) -> None:
    """Removes and refuses a file of another hash."""
    found = _digest(part)
    if not found.startswith(sha256):
        part.unlink()
        raise ValueError(
            f"{address} gave another file than expected: its SHA-256 is {found[:16]}..., not {sha256}...; nothing was "
            "kept. Does a proxy or a mirror answer in its place?"
        )


def _append(address: str, part: Path, *, timeout: float, progress: Progress | None) -> None:
    """Adds to ``part`` what is missing of the file."""
    have = part.stat().st_size if part.exists() else 0
    request = urllib.request.Request(address, headers={"Range": f"bytes={have}-"} if have else {})
    try:
        response = urllib.request.urlopen(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        if error.code != 416:  # nothing is missing, or the file on the server is shorter: the hash tells
            raise
        return
    with response, part.open("ab" if response.status == 206 else "wb") as stream:
        have = have if response.status == 206 else 0
        length = response.headers.get("Content-Length")
        total = None if length is None else have + int(length)
        while block := response.read(BLOCK):
            stream.write(block)
            have += len(block)
            if progress is not None:
                progress(have, total)
    if total is not None and have < total:
        raise ConnectionError(f"the connection broke off at {have} of {total} bytes")


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _explained(address: str, target: Path, reason: str) -> str:
    return f"{address} cannot be had: {reason}. Bring the file from elsewhere and put it at {target}"
