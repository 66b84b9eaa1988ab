"""What the service costs beside the bare work, and how it behaves when more comes than it can do.

    python benchmarks/serving.py                          # overhead, saturation, load, shedding, large, each in turn
    python benchmarks/serving.py parts=memory minutes=3   # resident memory under a load of 70 %
    python benchmarks/serving.py parts=load,shed seconds=60
    python benchmarks/serving.py parts=sizes engine=openvino   # small pictures whose sizes are new
    python benchmarks/serving.py fuzz=2000                # damaged files: statuses, memory, temporary files

The server is ``srlab serve``, with one computing thread whose engine takes all cores; the clients are in a process of
their own (load.py).
The model is edge_x2 (53 thousand parameters), its images are photo-like noise of 256x256. Times are of this machine in
this moment: compare within a run. benchmarks/serving_others.py has LitServe and Ray Serve beside it.
"""

import atexit
import http.client
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections import Counter
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as srlab serve has them; before they are loaded
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import cv2
import numpy as np
import psutil
import torch
import uvicorn

from sr_lab.base.memory import keep_pages
from sr_lab.images import to_levels
from sr_lab.images.metadata import Metadata
from sr_lab.serving.answering import Parts
from sr_lab.serving.app import make_app
from sr_lab.serving.keys import Keys
from sr_lab.serving.limits import Limits
from sr_lab.serving.pictures import decode, encode
from sr_lab.serving.runner import Runner
from sr_lab.serving.service import Service
from sr_lab.serving.shelf import Shelf
from sr_lab.serving.sources import RestorerSource


def source(engine: str = "auto") -> RestorerSource:
    """The model: it ships with the package, and is computed by the engine that srlab serve would take."""
    return RestorerSource(
        name="small", restorer="edge", scale=2, tracking_uri="sqlite:///mlflow.db", device=torch.device("cpu"),
        engine=engine,
    )  # fmt: skip


def make_parts(limits: Limits) -> Parts:
    shelf = Shelf([source()])
    service = Service(shelf=shelf, runner=Runner(), limits=limits)
    shelf.warm = service.warm
    shelf.load()
    service.runner.start()
    return Parts(service=service, keys=Keys(None))


def started(engine: str) -> tuple[psutil.Process, int]:
    """Starts ``srlab serve`` with that model; its process and port."""
    options = [f"engine={engine}", "limits.deadline=5", "limits.requests=2000", "limits.longest_deadline=3600"]
    command = [sys.executable, "-m", "sr_lab.cli", "serve", "restorer=edge", "scale=2", "port=0", *options]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    atexit.register(server.kill)
    assert server.stdout is not None
    address = server.stdout.readline()
    assert address.startswith("answering at"), "the server did not start"
    return psutil.Process(server.pid), int(address.rpartition(":")[2])


def queue_seconds(port: int) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        text = answer.read().decode()
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith("srlab_queue_seconds "))


def picture(height: int, width: int) -> bytes:
    noise = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return cv2.imencode(".png", cv2.GaussianBlur(noise, (9, 9), 2))[1].tobytes()


def load(port: int, data: bytes, query: str = "", **options: float) -> tuple[list[tuple[int, float]], float]:
    """Statuses and seconds of what clients in another process were answered, and how long it took; see load.py."""
    with tempfile.NamedTemporaryFile(suffix=".png") as file:
        file.write(data)
        file.flush()
        url = f"http://127.0.0.1:{port}/v1/restore{query}"
        words = [f"{name}={value}" for name, value in options.items()]
        command = [sys.executable, str(Path(__file__).with_name("load.py")), url, file.name, *words]
        told = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return [(status, spent) for status, spent in told["answers"]], told["seconds"]


def row(name: str, found: list[tuple[int, float]], seconds: float) -> None:
    good = sorted(spent for status, spent in found if status == 200)
    told = dict(Counter(status for status, _ in found))
    if not good:
        print(f"{name:<44}{told}")
        return
    at = [good[min(len(good) - 1, int(part * len(good)))] * 1e3 for part in (0.5, 0.95, 0.99)]
    print(f"{name:<44}{at[0]:8.1f}{at[1]:9.1f}{at[2]:9.1f} ms {len(good) / seconds:7.2f}/s  {told}", flush=True)


class Bare:
    """The same work without a server."""

    def __init__(self, engine: str) -> None:
        found = source(engine)
        self.model = found.load(found.version())

    def compute(self, pixels: np.ndarray) -> torch.Tensor:
        return self.model.compute([pixels])

    def __call__(self, data: bytes) -> float:
        begin = time.perf_counter()
        restored = self.compute(decode(data, max_pixels=2**25).pixels)
        encode(to_levels(restored, np.uint8), "png", Metadata(), alpha=False, quality=95)
        return time.perf_counter() - begin


def overhead(port: int, bare: Bare, data: bytes) -> None:
    pairs: list[tuple[float, float]] = []
    connection = http.client.HTTPConnection("127.0.0.1", port)
    for number in range(63):
        without = bare(data)
        begin = time.perf_counter()
        connection.request("POST", "/v1/restore?deadline=3000", data)
        answer = connection.getresponse()
        assert answer.status == 200, answer.read()
        answer.read()
        if number >= 3:
            pairs.append((without, time.perf_counter() - begin))
    least = [min(column) * 1e3 for column in zip(*pairs, strict=True)]
    middle = [statistics.median(column) * 1e3 for column in zip(*pairs, strict=True)]
    over = statistics.median(served - without for without, served in pairs) * 1e3
    print(
        f"one client, interleaved: bare {least[0]:.1f} ms, served {least[1]:.1f} (least); "
        f"{middle[0]:.1f}, {middle[1]:.1f} (p50); overhead of a pair at p50 {over:.1f} ms",
        flush=True,
    )


def saturation(port: int, bare: Bare, data: bytes, seconds: float) -> float:
    """Requests a second, beside the engine's, in turns."""
    low = decode(data, max_pixels=2**25).pixels
    rates: list[tuple[float, float]] = []
    for _ in range(3):
        begin, count = time.perf_counter(), 0
        while time.perf_counter() - begin < seconds / 6:
            bare.compute(low)
            count += 1
        engine = count / (time.perf_counter() - begin)
        found, spent = load(port, data, "?deadline=3000", clients=4, count=max(4, int(engine * seconds / 6 / 4)))
        rates.append((engine, len(found) / spent))
        row("4 clients without a pause (saturation)", found, spent)
    engine, served = (statistics.median(column) for column in zip(*rates, strict=True))
    share = statistics.median(served / engine for engine, served in rates)
    print(f"bare engine {engine:.2f} images/s, served {served:.2f}: {share:.2f} of it (median of 3)", flush=True)
    return served


def beside_large(port: int, seconds: float) -> None:
    for side in (256, 64):
        small = picture(side, side)
        found, spent = load(port, small, "?deadline=3000", count=60)
        row(f"thumbnails of {side}x{side}, idle", found, spent)
        idle = sorted(each for _, each in found)[int(0.95 * len(found))]
        large = http.client.HTTPConnection("127.0.0.1", port)
        large.request("POST", "/v1/restore?deadline=3000", picture(5000, 5000))
        while not queue_seconds(port) > 5:
            time.sleep(0.05)
        found, spent = load(port, small, "?deadline=3000", count=60)
        row("beside a picture that becomes 100 megapixels", found, spent)
        left = queue_seconds(port)
        print(f"p95 is {sorted(each for _, each in found)[int(0.95 * len(found))] / idle:.2f} times that of the idle "
              f"server; {left:.0f} s of the picture were left", flush=True)  # fmt: skip
        large.close()
        while queue_seconds(port) > 0:
            time.sleep(0.1)


def sizes(port: int) -> None:
    """Small pictures of sizes that have not come before, and the same once more."""
    draw = np.random.default_rng(0)
    found: list[tuple[float, float]] = []
    for height, width in draw.integers(8, 128, (40, 2)):
        small = picture(int(height), int(width))
        first, again = (load(port, small, "?deadline=3000", count=1)[0][0][1] for _ in range(2))
        found.append((first, again))
    first, again = (statistics.median(column) * 1e3 for column in zip(*found, strict=True))
    print(f"40 sizes of 8 to 127 pixels, p50: {first:.1f} ms for the first of a size, {again:.1f} for the next")


def main(*, parts: str, seconds: float, minutes: float, engine: str) -> None:
    keep_pages()
    asked = parts.split(",")
    bare, data = Bare(engine), picture(256, 256)
    server, port = started(engine)
    bare(data)
    if "overhead" in asked:
        overhead(port, bare, data)
    print(f"{'':<44}{'p50':>8}{'p95':>9}{'p99':>9}", flush=True)
    rate = saturation(port, bare, data, seconds) if {"saturation", "load", "shed", "memory"} & set(asked) else 0.0
    if "load" in asked:
        found, spent = load(port, data, "?deadline=3000", rate=0.7 * rate, seconds=seconds, clients=24)
        row("70 % of it, at random moments", found, spent)
    if "shed" in asked:
        found, spent = load(port, data, "?deadline=1", rate=2 * rate, seconds=seconds, clients=64)
        row("200 % of it, deadline 1 s", found, spent)
        late = sum(status == 200 and each > 1.05 for status, each in found)
        print(f"of those taken {late} were answered after 1.05 s", flush=True)
    if "large" in asked:
        beside_large(port, seconds)
    if "sizes" in asked:
        sizes(port)
    if "memory" in asked:
        resident = []
        for _ in range(max(2, round(minutes * 2))):
            load(port, data, "?deadline=3000", rate=0.7 * rate, seconds=30, clients=8)
            resident.append(server.memory_info().rss / 2**20)
        told = " ".join(f"{size:.0f}" for size in resident)
        grown = resident[-1] - resident[0]
        print(f"resident MiB every 30 s of 70 % load: {told}; last less first {grown:+.0f}", flush=True)
    server.kill()


def damage(count: int) -> None:
    """Damaged files: no answer of 5xx, no growth."""
    parts = make_parts(Limits(deadline=5.0, requests=2000, longest_deadline=3600))
    server = uvicorn.Server(uvicorn.Config(make_app(parts), port=0, log_config=None, access_log=False))
    threading.Thread(target=server.run, daemon=True).start()
    while not server.started:
        time.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
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
    if "fuzz" in options:
        damage(int(options["fuzz"]))
    main(
        parts=options.get("parts", "overhead,saturation,load,shed,large"),
        seconds=float(options.get("seconds", 20)),
        minutes=float(options.get("minutes", 10)),
        engine=options.get("engine", "auto"),
    )
