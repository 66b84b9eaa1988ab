"""What a request may cost before it is refused, and reading its body within that."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any

from sr_lab.serving.problems import Problem


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Limits of one server.

    Attributes:
        body_bytes: Most bytes of a request's body.
        pixels: Most pixels of a low image.
        body_seconds: Longest time in which a body comes.
        bytes_per_second: Least rate of a body after its first two seconds; slower ones are refused.
        deadline: Seconds in which a request is answered that names no deadline, or it is refused.
        longest_deadline: Most seconds that a request may name.
        requests: Most requests at once, with those whose bodies are still coming.
        memory_bytes: Most bytes of bodies, low and restored images held at once.
        job_pixels: Most pixels of a low image of a job.
        job_bytes: Most bytes of a job's body.
    """

    body_bytes: int = 64 * 2**20
    pixels: int = 2**25
    body_seconds: float = 60.0
    bytes_per_second: float = 4096.0
    deadline: float = 30.0
    longest_deadline: float = 600.0
    requests: int = 256
    memory_bytes: int = 4 * 2**30
    job_pixels: int = 2**28
    job_bytes: int = 2**30

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value <= 0:
                raise ValueError(f"limits.{name}={value} must be above 0")


Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]


async def read_body(
    receive: Receive, *, length: str | None, limits: Limits, clock: Callable[[], float], most: int | None = None
) -> bytes:
    """A request's body, within its limits.

    Args:
        receive: The ASGI messages.
        length: ``Content-Length``, if the request says it.
        limits: What is allowed.
        clock: Monotonic seconds.
        most: Bytes instead of ``limits.body_bytes``.

    Raises:
        Problem: If it is too large, too slow, empty, or breaks off.
    """
    most = most or limits.body_bytes
    if length is not None and (not length.isascii() or not length.isdecimal()):
        raise Problem(400, f"Content-Length is {length[:40]!r}, which is no number", kind="length")
    if length is not None and int(length) > most:
        raise _too_large(most)
    parts, size, begin = [], 0, clock()
    async for part, more in _parts(receive, limits, clock, begin):
        size += len(part)
        if size > most:
            raise _too_large(most)
        spent = clock() - begin
        slow = spent > limits.body_seconds or (spent > 2 and size < (spent - 2) * limits.bytes_per_second)
        if more and slow:  # what is there in full is taken: it may have waited for this process
            raise _too_slow()
        parts.append(part)
    if not size:
        raise Problem(
            400, "the body is empty: send the image's file as the body, or as multipart field 'image'", kind="empty"
        )
    return b"".join(parts)


async def _parts(
    receive: Receive, limits: Limits, clock: Callable[[], float], begin: float
) -> AsyncIterator[tuple[bytes, bool]]:
    """The parts of a body, and whether more come."""
    while True:
        left = limits.body_seconds - (clock() - begin)
        try:
            message = await asyncio.wait_for(receive(), max(0.01, min(left, 10.0)))
        except TimeoutError:
            raise _too_slow() from None
        if message["type"] == "http.disconnect":
            raise Gone
        more = bool(message.get("more_body", False))
        yield message.get("body", b""), more
        if not more:
            return


class Gone(Exception):
    """The client has gone; nobody reads an answer."""


def _too_large(most: int) -> Problem:
    return Problem(413, f"the body has more than {most} bytes: send a smaller file, or a job (/v1/jobs)", kind="bytes")


def _too_slow() -> Problem:
    return Problem(408, "the body came too slowly: send it at once", kind="slow", headers={"Connection": "close"})
