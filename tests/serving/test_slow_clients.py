"""Clients that send or read drop by drop over real sockets: they are ended, and hold up nobody meanwhile."""

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Callable, Iterator

import httpx
import psutil
import pytest
from serving.conftest import answering, decoded, encoded, make, picture

from sr_lab.serving.limits import Limits

HEAD = b"POST /v1/restore HTTP/1.1\r\nHost: here\r\n"


@pytest.fixture
def parts():
    made, _ = make(Limits(body_seconds=1.5, bytes_per_second=4096, pixels=10**6, body_bytes=10**7))
    return made


@contextlib.contextmanager
def connected(address: str, **options: int) -> Iterator[socket.socket]:
    host, port = address.removeprefix("http://").split(":")
    with socket.socket() as own:
        own.settimeout(60)
        for name, value in options.items():
            own.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
        own.connect((host, int(port)))
        yield own


def drip(own: socket.socket, drop: bytes) -> None:
    """Sends drop after drop until something comes back, or the server has ended it."""
    own.settimeout(0.05)
    with contextlib.suppress(ConnectionError):
        while True:
            own.sendall(drop)
            with contextlib.suppress(TimeoutError):
                own.recv(1, socket.MSG_PEEK)
                break
    own.settimeout(60)


def answer_of(own: socket.socket) -> tuple[int, http.client.HTTPResponse, bytes]:
    answer = http.client.HTTPResponse(own)
    answer.begin()
    return answer.status, answer, answer.read()


def until(done: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not done():
        assert time.monotonic() < end
        time.sleep(0.02)


def others(address: str, meanwhile: threading.Thread) -> int:
    """Restores for somebody else as long as a thread lives; how often."""
    image, count = picture(20, 24), 0
    with httpx.Client(base_url=address, timeout=60) as client:
        wanted = client.post("/v1/restore", content=encoded(image)).content
        while meanwhile.is_alive():
            answer = client.post("/v1/restore", content=encoded(image))
            assert (answer.status_code, answer.content) == (200, wanted)
            count += 1
    return count


@pytest.mark.parametrize("drop", [b"x", b""], ids=["a byte now and then", "nothing any more"])
def test_a_body_that_drips_is_refused_while_others_are_answered(parts, drop):
    found = []

    def slow(address: str) -> None:
        with connected(address) as own:
            own.sendall(HEAD + b"Content-Length: 50000\r\n\r\n" + encoded(picture())[:100])
            drip(own, drop)
            found.append(answer_of(own))

    with answering(parts) as address:
        thread = threading.Thread(target=slow, args=(address,))
        thread.start()
        assert others(address, thread) >= 1
        thread.join()
        [(status, answer, content)] = found
        assert (status, answer.headers["content-type"]) == (408, "application/problem+json")
        assert b"urn:srlab:problem:slow" in content
        assert answer.headers["connection"] == "close"
        until(lambda: parts.open == 0)
    assert parts.service.memory.held == 0


def test_a_client_that_vanishes_in_its_body_leaves_nothing(parts):
    with answering(parts) as address:
        with connected(address) as own:
            own.sendall(HEAD + b"Content-Length: 50000\r\n\r\n" + encoded(picture())[:100])
            until(lambda: parts.open == 1)
        until(lambda: parts.open == 0)
        assert 'srlab_requests_total{route="/v1/restore",status="499"' in httpx.get(f"{address}/metrics").text
    assert parts.service.memory.held == len(parts.service.runner.queue) == 0


def test_a_head_that_drips_is_cut_off_and_one_that_comes_is_not(monkeypatch):
    monkeypatch.setattr("sr_lab.serving.connections.HEAD_SECONDS", 2.5)
    with answering(make(Limits(body_seconds=60, pixels=10**6, body_bytes=10**7))[0]) as address:
        data = encoded(picture(20, 24))
        with connected(address) as own:
            for _ in range(2):  # the second head has its own time
                own.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(data))
                time.sleep(1.5)  # a body is no head
                own.sendall(data)
                assert answer_of(own)[0] == 200
            own.sendall(HEAD + b"X-Slow: ")
            drip(own, b"x")
            with contextlib.suppress(ConnectionError):
                assert own.recv(100) == b""
        with connected(address) as own:
            drip(own, b"")
            with contextlib.suppress(ConnectionError):
                assert own.recv(100) == b""


@pytest.mark.skipif(not hasattr(socket, "TCP_USER_TIMEOUT"), reason="needs Linux: its TCP_USER_TIMEOUT")
def test_an_answer_that_nobody_takes_is_dropped(parts, monkeypatch):
    monkeypatch.setattr("sr_lab.serving.connections.UNREAD_SECONDS", 2.0)
    image = picture(200, 200)

    def left(port: int) -> bool:
        here = psutil.Process().net_connections("tcp")
        return any(each.raddr and each.raddr.port == port and each.status == "ESTABLISHED" for each in here)

    with answering(parts) as address:
        data = encoded(image)
        head = HEAD.replace(b" HTTP", b"?tier=fast HTTP", 1) + b"Accept: application/x-npy\r\n"
        with connected(address, SO_RCVBUF=4096) as own:
            own.sendall(head + b"Content-Length: %d\r\n\r\n" % len(data) + data)
            own.recv(1, socket.MSG_PEEK)
            until(lambda: not left(own.getsockname()[1]))
        with connected(address, SO_RCVBUF=60_000) as own:  # one that takes it slowly has it whole
            own.sendall(head + b"Content-Length: %d\r\n\r\n" % len(data) + data)
            answer, taken = http.client.HTTPResponse(own), b""
            answer.begin()
            while part := answer.read(50_000):
                taken += part
                time.sleep(0.25)
            assert decoded(taken).shape == (400, 400, 3)
