"""The same application on a local Ray: it answers, outlives a replica that is killed, and ends when it is asked to."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request

import numpy as np
import psutil
import pytest
from serving.conftest import decoded, encoded, picture

from sr_lab.images import resize_bicubic, to_levels, to_tensor
from sr_lab.serving.ray_serve import serve_on
from sr_lab.sweeps.launchers import Local


def post(address: str, data: bytes) -> bytes:
    request = urllib.request.Request(f"{address}/v1/restore", data, method="POST")
    with urllib.request.urlopen(request, timeout=120) as answer:
        assert answer.headers["x-model-version"] == "bicubic"
        return answer.read()


def replicas(server: psutil.Process) -> list[psutil.Process]:
    found = []
    for child in server.children(recursive=True):
        try:
            if "ServeReplica" in " ".join(child.cmdline()):
                found.append(child)
        except psutil.Error:
            continue
    return found


def test_replicas_answer_and_a_killed_one_is_replaced(tmp_path):
    pytest.importorskip("ray.serve", reason="needs Ray Serve: pip install 'ray[serve]'")
    command = ["serve", "restorer=bicubic", "scale=2", "port=0", "launcher=ray", "launcher.num_workers=2"]
    with subprocess.Popen(
        [sys.executable, "-m", "sr_lab.cli", *command], cwd=tmp_path, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as server:  # fmt: skip
        threading.Thread(target=(told := []).extend, args=(server.stderr,), daemon=True).start()
        try:
            said = next((line for line in server.stdout if line.startswith("answering at")), "")
            assert said, "".join(told)
            address = said.split()[-1]
            image = picture(30, 20)
            wanted = to_levels(resize_bicubic(to_tensor(image), scale=2), np.uint8)
            np.testing.assert_array_equal(decoded(post(address, encoded(image))), wanted)
            before = replicas(psutil.Process(server.pid))
            assert len(before) == 2
            before[0].kill()
            failed = 0
            for _ in range(40):
                try:
                    np.testing.assert_array_equal(decoded(post(address, encoded(image))), wanted)
                except (urllib.error.URLError, ConnectionError):  # sent to the one that died
                    failed += 1
                    time.sleep(0.5)
            assert failed < 20
            np.testing.assert_array_equal(decoded(post(address, encoded(image))), wanted)
            for _ in range(600):
                now = replicas(psutil.Process(server.pid))
                if len(now) == 2 and before[0] not in now:
                    break
                time.sleep(0.2)
            assert len(now) == 2, now
            server.send_signal(signal.SIGTERM)
            assert server.wait(240) == 143
        finally:
            left = psutil.Process(server.pid).children(recursive=True) if server.poll() is None else []
            server.kill()
            for child in left:
                with contextlib.suppress(psutil.Error):
                    child.kill()


def test_a_launcher_that_serves_nothing_is_named():
    with pytest.raises(ValueError, match="launcher=ray"):
        serve_on(Local(), lambda: None)
