"""What the service costs beside the bare work, and how it behaves when more comes than it can do.

    python benchmarks/serving.py                 # overhead of one client, throughput, thumbnails beside a large picture
    python benchmarks/serving.py fuzz=2000       # damaged files: statuses, memory, temporary files
    python benchmarks/serving.py seconds=60      # how long the load at 70 % and at 200 % lasts

One process, one computing thread, loopback; the client is in another process. The model is small (EDSR, 4 blocks of 32
channels, x2, random weights), its images are 256x256. Times are of this machine in this moment: compare within a run.
"""

import gc
import http.client
import multiprocessing
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import psutil
import torch
import uvicorn

from sr_lab.inference.restorers import NetworkRestorer
from sr_lab.networks.edsr import EDSR
from sr_lab.serving.answering import Parts
from sr_lab.serving.app import make_app
from sr_lab.serving.keys import Keys
from sr_lab.serving.limits import Limits
from sr_lab.serving.models import Served
from sr_lab.serving.pictures import FORMATS, decode
from sr_lab.serving.runner import Runner
from sr_lab.serving.service import Service
from sr_lab.serving.shelf import Shelf


class Fixed:
    """The one model."""

    name = "small"

    def version(self) -> str:
        return "1"

    def load(self, version: str) -> Served:
        torch.manual_seed(0)
        network = EDSR(scale=2, num_features=32, num_blocks=4)
        return Served(name=self.name, version=version, restorer=NetworkRestorer(network), tile=256)


def started(limits: Limits) -> tuple[Parts, uvicorn.Server, int]:
    shelf = Shelf([Fixed()])
    service = Service(shelf=shelf, runner=Runner(), limits=limits)
    shelf.warm = service.warm
    shelf.load()
    service.runner.start()
    parts = Parts(service=service, keys=Keys(None))
    server = uvicorn.Server(
        uvicorn.Config(make_app(parts), port=0, log_config=None, access_log=False, timeout_keep_alive=600)
    )
    threading.Thread(target=server.run, daemon=True).start()
    while not server.started:
        time.sleep(0.01)
    return parts, server, server.servers[0].sockets[0].getsockname()[1]


def picture(height: int, width: int) -> bytes:
    noise = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return cv2.imencode(".png", cv2.GaussianBlur(noise, (9, 9), 2))[1].tobytes()


def ask(port: int, data: bytes, query: str, count: int, times: object, every: float = 0.0) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=900)
    for _ in range(count):
        begin = time.perf_counter()
        connection.request("POST", f"/v1/restore{query}", data, {"Accept": "image/png"})
        answer = connection.getresponse()
        answer.read()
        times.put((answer.status, time.perf_counter() - begin))  # type: ignore[attr-defined]
        if every:
            time.sleep(max(0.0, every - (time.perf_counter() - begin)))


def clients(port: int, data: bytes, *, num: int, count: int, query: str = "", every: float = 0.0):
    context = multiprocessing.get_context("spawn")
    times = context.Queue()
    workers = [context.Process(target=ask, args=(port, data, query, count, times, every)) for _ in range(num)]
    begin = time.perf_counter()
    for worker in workers:
        worker.start()
    found = [times.get() for _ in range(num * count)]
    for worker in workers:
        worker.join()
    return found, time.perf_counter() - begin


def row(name: str, found: list[tuple[int, float]], seconds: float) -> None:
    good = sorted(spent for status, spent in found if status == 200)
    told = dict(Counter(status for status, _ in found))
    if not good:
        print(f"{name:<44}{told}")
        return
    at = [good[min(len(good) - 1, int(part * len(good)))] * 1e3 for part in (0.5, 0.95, 0.99)]
    print(f"{name:<44}{at[0]:8.1f}{at[1]:9.1f}{at[2]:9.1f} ms {len(good) / seconds:7.2f}/s  {told}", flush=True)


def main(*, seconds: float = 20.0, fuzz: int = 0) -> None:
    torch.set_num_threads(1)
    parts, _, port = started(Limits(deadline=5.0, requests=2000, longest_deadline=3600))
    service, data = parts.service, picture(256, 256)
    model = service.shelf.get("small")
    if fuzz:
        damage(parts, port, fuzz)
        return

    def bare() -> float:
        begin = time.perf_counter()
        low = decode(data, max_pixels=2**25)
        with torch.inference_mode():
            restored = model.compute([low])
        image = restored[0].mul(255).clamp(0, 255).add(0.5).to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
        FORMATS["png"].encode(image)
        return time.perf_counter() - begin

    bare()
    pairs: list[tuple[float, float]] = []
    connection = http.client.HTTPConnection("127.0.0.1", port)
    for _ in range(20):
        without = bare()
        begin = time.perf_counter()
        connection.request("POST", "/v1/restore?deadline=3000", data)
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        answer.read()
        pairs.append((without, time.perf_counter() - begin))
    least = [min(column) * 1e3 for column in zip(*pairs, strict=True)]
    middle = [statistics.median(column) * 1e3 for column in zip(*pairs, strict=True)]
    print(
        f"one client, interleaved: bare {least[0]:.1f} ms, served {least[1]:.1f} (least); "
        f"{middle[0]:.1f}, {middle[1]:.1f} (median); overhead {middle[1] - middle[0]:.1f} ms"
    )
    begin = time.process_time()
    for _ in range(10):
        bare()
    alone, begin = (time.process_time() - begin) / 10, time.process_time()
    clients(port, data, num=1, count=10, query="?deadline=3000")
    served = (time.process_time() - begin) / 10
    print(f"processor time a request: bare {alone * 1e3:.1f} ms, served {served * 1e3:.1f}", flush=True)
    low = decode(data, max_pixels=2**25)
    begin, count = time.perf_counter(), 0
    while time.perf_counter() - begin < seconds / 2:
        model.compute([low])
        count += 1
    engine = count / (time.perf_counter() - begin)
    print(f"bare engine: {engine:.2f} images/s\n{'':<44}{'p50':>8}{'p95':>9}{'p99':>9}")
    num = max(4, int(engine * seconds / 4))
    found, spent = clients(port, data, num=4, count=num // 4, query="?deadline=3000")
    row("4 clients without a pause (saturation)", found, spent)
    service_rate = len(found) / spent
    print(f"throughput at saturation: {service_rate / engine:.2f} of the bare engine")
    rate = 0.7 * service_rate
    found, spent = clients(
        port, data, num=4, count=max(2, int(rate * seconds / 4)), every=4 / rate, query="?deadline=3000"
    )
    row("70 % of that", found, spent)
    rss = psutil.Process().memory_info().rss
    found, spent = clients(port, data, num=24, count=max(2, int(2 * service_rate * seconds / 24)), query="?deadline=1")
    row("24 clients without a pause, deadline 1 s", found, spent)
    gc.collect()
    print(f"memory after it: {(psutil.Process().memory_info().rss - rss) / 2**20:+.0f} MiB")
    small = picture(64, 64)
    found, spent = clients(port, small, num=1, count=40, query="?deadline=3000")
    row("thumbnails of 64x64, idle", found, spent)
    large = picture(2500, 2500)
    stop = threading.Thread(target=lambda: clients(port, large, num=1, count=1, query="?deadline=3000"))
    stop.start()
    while not service.runner.seconds() > 1:
        time.sleep(0.05)
    found, spent = clients(port, small, num=1, count=40, query="?deadline=3000")
    row("beside a picture of 2500x2500", found, spent)
    print(f"of which {service.runner.seconds():.0f} s were still to be computed")
    os._exit(0)


def damage(parts: Parts, port: int, count: int) -> None:
    """Damaged files: no answer of 5xx, no growth."""
    sys.path[0] = str(Path(__file__).parents[1] / "tests")  # this file is called like the package there
    from serving.test_hostile import damaged, valid_files

    draw, statuses = random.Random(1), Counter[int]()
    files, rss = list(valid_files().values()), 0
    before = set(Path(tempfile.gettempdir()).iterdir())
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    for number in range(count):
        connection.request("POST", "/v1/restore?deadline=100", damaged(files[number % len(files)], draw) or b"x")
        answer = connection.getresponse()
        answer.read()
        statuses[answer.status] += 1
        if number == count // 2:
            rss = psutil.Process().memory_info().rss
    grown = (psutil.Process().memory_info().rss - rss) / 2**20
    left = {name for name in set(Path(tempfile.gettempdir()).iterdir()) - before if name.name.startswith("srlab-")}
    print(
        f"{count} damaged files: {dict(sorted(statuses.items()))}; memory in the second half {grown:+.1f} MiB; "
        f"files left: {len(left)}"
    )
    assert not any(status >= 500 for status in statuses)
    os._exit(0)


if __name__ == "__main__":
    options = dict(word.split("=") for word in sys.argv[1:])
    main(seconds=float(options.get("seconds", 20)), fuzz=int(options.get("fuzz", 0)))
