import contextlib
import io
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import cv2
import numpy as np
import pytest
import torch
import uvicorn
from fastapi import FastAPI
from starlette.testclient import TestClient

from sr_lab.inference.restorers import BicubicRestorer, NetworkRestorer
from sr_lab.networks.edsr import EDSR
from sr_lab.serving.app import Parts, make_app
from sr_lab.serving.connections import Protocol, Server, listen
from sr_lab.serving.keys import Keys
from sr_lab.serving.limits import Limits
from sr_lab.serving.models import Served
from sr_lab.serving.runner import Runner
from sr_lab.serving.service import Service
from sr_lab.serving.shelf import Shelf

LIMITS = Limits(pixels=40_000, body_bytes=200_000, job_pixels=80_000)


def restorer(seed: int = 0, scale: int = 2) -> NetworkRestorer:
    torch.manual_seed(seed)
    return NetworkRestorer(EDSR(scale=scale, num_features=4, num_blocks=1), overlap=20)


@dataclass
class Fixed:
    """A source whose version can be set, and whose registry can be away."""

    name: str
    now: str = "1"
    away: bool = False
    made: Callable[[str], object] = lambda version: restorer(int(version))
    loads: list[str] = field(default_factory=list)

    def version(self) -> str:
        if self.away:
            raise RuntimeError("no answer")
        return self.now

    def load(self, version: str) -> Served:
        self.loads.append(version)
        return Served(name=self.name, version=version, restorer=self.made(version), tile=32, warning="Invented detail.")


@dataclass
class Served2:
    client: TestClient
    parts: Parts
    source: Fixed

    @property
    def service(self) -> Service:
        return self.parts.service


def make(limits: Limits = LIMITS, keys: Keys | None = None, jobs=None, sources=(), **options) -> tuple[Parts, Fixed]:
    source = Fixed("photos")
    fast = Fixed("fast", made=lambda _: BicubicRestorer(scale=2))
    shelf = Shelf([source, fast, *sources])
    service = Service(shelf=shelf, runner=Runner(), limits=limits, fast="fast", keys=keys, **options)
    shelf.load()
    service.runner.start()
    parts = Parts(service=service, keys=keys or Keys(None))
    if jobs is not None:
        parts.jobs = jobs(service)
    return parts, source


@contextlib.contextmanager
def answering(parts: Parts, app: FastAPI | None = None) -> Iterator[str]:
    """The address, over a real socket, of a server with these parts."""
    config = uvicorn.Config(app or make_app(parts), http=Protocol, log_config=None, access_log=False)
    server, own = Server(config), listen("127.0.0.1", 0)
    thread = threading.Thread(target=server.run, args=([own],), daemon=True)
    thread.start()
    while not server.started and thread.is_alive():
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{own.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(60)


@pytest.fixture
def served() -> Iterator[Served2]:
    parts, source = make()
    with TestClient(make_app(parts), raise_server_exceptions=False) as client:
        yield Served2(client, parts, source)


def picture(height: int = 40, width: int = 50, channels: int = 3, dtype=np.uint8, seed: int = 0):
    levels = np.random.default_rng(seed).integers(0, np.iinfo(dtype).max, (height, width, channels), dtype=dtype)
    return cv2.GaussianBlur(levels, (5, 5), 1).reshape(height, width, channels)


def encoded(image, suffix: str = ".png") -> bytes:
    return cv2.imencode(suffix, image[..., ::-1])[1].tobytes()


def decoded(data: bytes):
    if data.startswith(b"\x93NUMPY"):
        return np.load(io.BytesIO(data))
    image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    return image[..., ::-1] if image.ndim == 3 else image[..., None]
