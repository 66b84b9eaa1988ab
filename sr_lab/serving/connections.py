"""Connections of clients that send their request's head, or take their answer, so slowly that they only hold a place.

A request's body has limits of its own (``limits.read_body``); these two come before and after it, where the application
is not asked.
"""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS = 20.0
"""Longest time from a connection, or from a further request's first byte, to the end of the request's head."""
UNREAD_SECONDS = 60.0
"""Longest time in which a client takes nothing of its answer; then the connection ends, and what is kept for it."""


class Server(uvicorn.Server):
    """uvicorn that leaves the process's signals alone."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Nothing is captured."""
        yield


class Protocol(HttpToolsProtocol):
    """uvicorn's HTTP, which ends a connection whose request's head does not come."""

    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Waits for the first head from now on."""
        super().connection_made(transport)
        self._wait()

    def on_message_begin(self) -> None:
        """Waits for a further head from its first byte on; until then a connection may rest as uvicorn lets it."""
        super().on_message_begin()
        if self._late is None:
            self._wait()

    def on_headers_complete(self) -> None:
        """The head is there."""
        self._wait_no_more()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is waited for."""
        self._wait_no_more()
        super().connection_lost(exc)

    def _wait(self) -> None:
        self._late = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _wait_no_more(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens; on Linux its connections end when their answers are not taken.

    Raises:
        OSError: If the address is taken.
    """
    try:
        own = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET, backlog=512)
    except OSError as error:
        raise OSError(f"cannot listen at {host}:{port} ({error.strerror}): give another host= or port=") from error
    if hasattr(socket, "TCP_USER_TIMEOUT"):  # connections have it from the socket that takes them
        own.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(UNREAD_SECONDS * 1000))
    return own
