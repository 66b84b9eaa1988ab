"""A small HTTP server in a thread, for what needs no framework: counters that are read, alerts that are taken in."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class QuietHandler(BaseHTTPRequestHandler):
    """Answers without a line on standard error for each request; methods ``do_GET``, ``do_POST`` are its user's."""

    def log_message(self, format: str, *args: object) -> None:
        """Says nothing of requests."""


@contextmanager
def listening(host: str, port: int, handler: type[QuietHandler]) -> Iterator[None]:
    """Within it requests at an address are answered.

    Raises:
        OSError: If the address cannot be listened at.
        OverflowError: If there is no such port.
    """
    server = ThreadingHTTPServer((host, port), handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
