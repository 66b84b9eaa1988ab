"""A server that is killed in the middle of an image: its jobs are done by the next, each once and each its own."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import httpx
import numpy as np
import torch
from serving.conftest import decoded, encoded, picture, restorer

from sr_lab.images import to_levels, to_tensor

SERVER = """
    import sys, time
    sys.path[:0] = sys.argv[3:]
    from serving.conftest import answering, make
    from sr_lab.serving.jobs import JobSettings
    from sr_lab.serving.models import Served

    compute, seconds = Served.compute, float(sys.argv[2])
    Served.compute = lambda *given, **more: (time.sleep(seconds), compute(*given, **more))[1]
    with answering(make(jobs=JobSettings(folder=sys.argv[1]))[0]) as address:
        print(address, flush=True)
        sys.stdin.read()
"""


@contextlib.contextmanager
def server(folder, seconds: float):
    """A server whose tiles take so long; its process and address."""
    tests = [path for path in sys.path if path.endswith("tests")]
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SERVER), str(folder), str(seconds), *tests],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            yield process, process.stdout.readline().strip()
        finally:
            process.kill()


def test_a_server_killed_in_mid_image_loses_no_job_and_mixes_none_up(tmp_path):
    sizes = [(9, 8), (200, 190), (10, 12)]  # of one tile, of many, of one
    images = [picture(*size, seed=seed) for seed, size in enumerate(sizes)]
    lost = []

    def ask(address: str) -> None:
        try:
            lost.append(httpx.post(f"{address}/v1/restore", content=encoded(images[1]), timeout=120).status_code)
        except httpx.TransportError as error:
            lost.append(error)

    with server(tmp_path, 0.2) as (process, address), httpx.Client(base_url=address, timeout=60) as client:

        def state(id: str) -> str:
            return client.get(f"/v1/jobs/{id}").json()["state"]

        def send(number: int) -> str:
            headers = {"accept": "application/x-npy", "idempotency-key": str(number)}
            answer = client.post("/v1/jobs", content=encoded(images[number]), headers=headers)
            assert answer.status_code == 202, answer.text
            return answer.json()["id"]

        ids = [send(number) for number in range(3)]
        waiting = threading.Thread(target=ask, args=(address,))
        while state(ids[1]) != "begun":
            time.sleep(0.01)
        waiting.start()
        while b"srlab_requests_open 1.0" not in client.get("/metrics").content:
            time.sleep(0.01)
        assert [state(id) for id in ids] == ["done", "begun", "waiting"]
        process.send_signal(signal.SIGKILL)
        process.wait()
        waiting.join()
        assert len(lost) == 1
        assert isinstance(lost[0], httpx.TransportError)  # who waits learns of it, and can ask again
    first = (tmp_path / ids[0] / "done.json").stat().st_mtime_ns
    with server(tmp_path, 0.0) as (process, address), httpx.Client(base_url=address, timeout=60) as client:
        assert [send(number) for number in range(3)] == ids  # repeated requests are the same jobs
        ask(address)
        assert lost[1] == 200
        for id, image in zip(ids, images, strict=True):
            while state(id) != "done":
                time.sleep(0.01)
            with torch.inference_mode():
                wanted = to_levels(restorer(1)(to_tensor(image)), np.uint8)
            found = decoded(client.get(f"/v1/jobs/{id}/result").content)
            apart = np.abs(found.astype(int) - wanted)  # another process may round a value the other way
            assert apart.max() <= 1
            assert apart.mean() < 1e-3
    tries = [int((tmp_path / id / "tries").read_text()) for id in ids]
    assert tries == [1, 2, 1]  # the one that was being computed once more, the others not
    assert (tmp_path / ids[0] / "done.json").stat().st_mtime_ns == first
