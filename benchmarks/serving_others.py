"""The service, LitServe and Ray Serve on the same work, each in processes of its own, asked in turn by one client.

    python benchmarks/serving_others.py                  # needs ray[serve]; LitServe: pip install litserve
    python benchmarks/serving_others.py rounds=50 only=ours,litserve

The work is that of benchmarks/serving.py: a PNG of 256x256 decoded, enlarged by edge_x2, encoded as PNG. The
overhead of a server is the median over the rounds of its time less that of the bare work in the same round. LitServe
takes no raw body, so it gets the file as a form; Ray has its default proxy, and as ``ray flags`` its HAProxy and
throughput flags, which are what ``srlab serve launcher=ray`` sets.
"""

import contextlib
import http.client
import importlib.util
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
import uuid

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # for all of them: before OpenMP and OpenBLAS are loaded
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import cv2
import numpy as np
import torch

SERVERS = ("ours", "litserve", "ray", "ray flags")


def picture(height: int, width: int) -> bytes:
    noise = np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)
    return cv2.imencode(".png", cv2.GaussianBlur(noise, (9, 9), 2))[1].tobytes()


class Work:
    """Decoding, the network, encoding: nothing else."""

    def __init__(self) -> None:
        import serving

        from sr_lab.base.memory import keep_pages

        keep_pages()
        found = serving.source()
        self.model = found.load(found.version())
        self(picture(256, 256))

    def __call__(self, data: bytes) -> bytes:
        from sr_lab.images import to_levels
        from sr_lab.images.metadata import Metadata
        from sr_lab.serving.pictures import decode, encode

        with torch.inference_mode():
            restored = self.model.compute([decode(data, max_pixels=2**25).pixels])
        return encode(to_levels(restored, np.uint8), "png", Metadata(), alpha=False, quality=95)


def run_litserve(port: int) -> None:
    import litserve
    from serving_litserve import Api  # LitServe's workers find it by its module

    litserve.LitServer(Api(), accelerator="cpu", timeout=600).run(
        port=port, host="127.0.0.1", log_level="error", generate_client_file=False
    )


def run_ray(port: int) -> None:
    from ray import serve
    from ray.serve.config import HTTPOptions
    from starlette.requests import Request
    from starlette.responses import Response

    from sr_lab.base.compute import start_ray

    @serve.deployment
    class Api:
        def __init__(self) -> None:
            self.work = Work()

        async def __call__(self, request: Request) -> Response:
            if request.method == "GET":
                return Response("")
            return Response(self.work(await request.body()), media_type="image/png")

    start_ray(None)
    serve.start(http_options=HTTPOptions(host="127.0.0.1", port=port))
    serve.run(Api.bind(), route_prefix="/")
    while True:
        time.sleep(1)


def run_ours(port: int) -> None:
    import serving
    import uvicorn

    from sr_lab.serving.app import make_app

    parts = serving.make_parts(serving.Limits(longest_deadline=3600, deadline=600))
    uvicorn.run(make_app(parts), port=port, log_config=None, access_log=False)


def start(name: str) -> tuple[subprocess.Popen[bytes], int]:
    with socket.create_server(("127.0.0.1", 0)) as found:
        port = found.getsockname()[1]
    flags = {"ray": "0", "ray flags": "1"}.get(name)
    more = {} if flags is None else {"RAY_SERVE_ENABLE_HA_PROXY": flags, "RAY_SERVE_THROUGHPUT_OPTIMIZED": flags}
    server = subprocess.Popen(
        [sys.executable, __file__, f"serve={name}", f"port={port}"], stderr=subprocess.DEVNULL,
        env={**os.environ, **more}, start_new_session=True,
    )  # fmt: skip
    for _ in range(1200):
        try:
            ask(http.client.HTTPConnection("127.0.0.1", port, timeout=120), name, picture(256, 256))
            return server, port
        except (OSError, http.client.HTTPException, AssertionError):
            time.sleep(0.1)
    raise RuntimeError(f"{name} does not answer")


def ask(connection: http.client.HTTPConnection, name: str, data: bytes) -> None:
    if name == "litserve":
        edge = uuid.uuid4().hex
        head = f'--{edge}\r\nContent-Disposition: form-data; name="image"; filename="a.png"\r\n\r\n'
        body = head.encode() + data + f"\r\n--{edge}--\r\n".encode()
        connection.request("POST", "/predict", body, {"Content-Type": f"multipart/form-data; boundary={edge}"})
    else:
        connection.request("POST", "/v1/restore" if name == "ours" else "/", data)
    answer = connection.getresponse()
    content = answer.read()
    assert answer.status == 200, content[:200]
    assert content.startswith(b"\x89PNG")


def main(*, rounds: int = 30, only: str = ",".join(SERVERS)) -> None:
    work, data = Work(), picture(256, 256)
    names = [name for name in only.split(",") if name != "litserve" or importlib.util.find_spec("litserve")]
    for name in set(only.split(",")) - set(names):
        print(f"{name} is not installed: pip install {name}")
    bare: list[float] = []
    spent: dict[str, list[float]] = {name: [] for name in names}
    print(f"{rounds} rounds, milliseconds\n{'':<12}{'least':>8}{'p50':>8}{'p95':>8}{'overhead at p50':>18}")
    for name in names:  # one after the other: what a server burns while it waits would be charged to the others
        server, port = start(name)
        connection, own = http.client.HTTPConnection("127.0.0.1", port, timeout=600), []
        for _ in range(rounds):
            begin = time.perf_counter()
            work(data)
            own.append(time.perf_counter() - begin)
            begin = time.perf_counter()
            ask(connection, name, data)
            spent[name].append(time.perf_counter() - begin)
        over = statistics.median(b - a for a, b in zip(own, spent[name], strict=True)) * 1e3
        row(name, spent[name], f"{over:18.1f}")
        bare += own
        server.terminate()
        server.wait(120)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(server.pid, signal.SIGKILL)  # LitServe's workers outlive it
    row("bare work", bare, "")


def row(name: str, times: list[float], more: str) -> None:
    ordered = sorted(times)
    at = [ordered[min(len(ordered) - 1, int(part * len(ordered)))] * 1e3 for part in (0, 0.5, 0.95)]
    print(f"{name:<12}" + "".join(f"{each:8.1f}" for each in at) + more, flush=True)


if __name__ == "__main__":
    options = dict(word.split("=") for word in sys.argv[1:])
    if "serve" in options:
        {"ours": run_ours, "litserve": run_litserve}.get(options["serve"], run_ray)(int(options["port"]))
    else:
        main(rounds=int(options.get("rounds", 30)), only=options.get("only", ",".join(SERVERS)))
