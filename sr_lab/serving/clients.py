"""Clients of a running service: they send bursts of images over HTTP, each with its own key, and remember it all."""

import http.client
import threading
import time
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

_TIMEOUT = 120.0


@dataclass(frozen=True, kw_only=True)
class Answered:
    """One request and what came of it.

    Attributes:
        time: When it was sent, seconds since the epoch.
        seconds: Until the whole answer was there.
        status: Of the answer; 0 where none came.
        version: Version of the model that answered; empty where none did.
        data: The body; empty unless it was asked for.
    """

    time: float
    seconds: float
    status: int
    version: str
    data: bytes = b""


def ask(
    connection: http.client.HTTPConnection, data: bytes, *, key: str, request: str | None = None, keep: bool = True
) -> Answered:
    """Sends one image and waits for its answer; a connection that breaks is an answer with the status 0.

    Args:
        connection: To the service.
        data: The image's file.
        key: Of the client.
        request: Id of the request; None leaves it to the service.
        keep: Whether the body of the answer is kept.
    """
    begin, clock = time.time(), time.perf_counter()
    headers = {"Authorization": f"Bearer {key}", "Accept": "image/png"}
    headers |= {} if request is None else {"X-Request-ID": request}
    try:
        connection.request("POST", "/v1/restore", data, headers)
        answer = connection.getresponse()
        body = answer.read()
        status, version = answer.status, answer.headers.get("X-Model-Version", "")
    except (OSError, http.client.HTTPException):
        connection.close()
        status, version, body = 0, "", b""
    seconds = time.perf_counter() - clock
    return Answered(time=begin, seconds=seconds, status=status, version=version, data=body if keep else b"")


class Clients:
    """Clients that come in turn, each with a burst of images, at a steady rate as far as the service keeps up.

    Args:
        address: Of the service, ``http://HOST:PORT``.
        keys: A key for each client.
        images: Makes the next file that is sent.
        rate: Bursts a second, all clients together.
        size: Images of a burst.
        threads: Bursts at a time.
    """

    def __init__(
        self,
        address: str,
        keys: Sequence[str],
        images: Callable[[], bytes],
        *,
        rate: float = 4.0,
        size: int = 2,
        threads: int = 3,
    ) -> None:
        place = urllib.parse.urlsplit(address)
        self._place = (str(place.hostname), int(place.port or 80))
        self.keys, self.images, self.rate, self.size = list(keys), images, rate, size
        self.answers: list[Answered] = []
        self._lock, self._stop = threading.Lock(), threading.Event()
        self._turn, self._due = 0, time.monotonic()
        self._threads = [threading.Thread(target=self._work, name=f"client-{n}", daemon=True) for n in range(threads)]

    def __enter__(self) -> "Clients":
        """The clients come."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        """The clients get their last answers, and go."""
        self._stop.set()
        for thread in self._threads:
            thread.join(2 * _TIMEOUT)

    def connection(self) -> http.client.HTTPConnection:
        """One more connection to the service."""
        return http.client.HTTPConnection(*self._place, timeout=_TIMEOUT)

    def get(self, path: str, *, key: str) -> bytes:
        """The body of another of the service's routes.

        Raises:
            OSError: If the service does not answer.
        """
        connection = self.connection()
        try:
            connection.request("GET", path, headers={"Authorization": f"Bearer {key}"})
            return connection.getresponse().read()
        finally:
            connection.close()

    @property
    def counts(self) -> Mapping[int, int]:
        """Number of answers by status."""
        with self._lock:
            answers = list(self.answers)
        return {status: sum(each.status == status for each in answers) for status in {each.status for each in answers}}

    def _work(self) -> None:
        connection = self.connection()
        while not self._stop.is_set():
            with self._lock:
                now = time.monotonic()
                due = self._due = max(self._due + 1 / self.rate, now - 1.0)
                client, self._turn = self._turn % len(self.keys), self._turn + 1
                images = [self.images() for _ in range(self.size)]
            if self._stop.wait(max(due - now, 0.0)):
                break
            for data in images:
                answer = ask(connection, data, key=self.keys[client], keep=False)
                with self._lock:
                    self.answers.append(answer)
        connection.close()
