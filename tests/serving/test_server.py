"""The server as a process: it starts, answers tritonclient, and ends when what was accepted is answered."""

import os
import signal
import subprocess
import sys
import threading
import urllib.request

import numpy as np
import pytest
from serving.conftest import decoded, encoded, picture

from sr_lab.images import resize_bicubic, to_levels, to_tensor

try:
    import tritonclient.http as triton
except ImportError:
    triton = None


def post(address: str, data: bytes, **headers: str) -> bytes:
    request = urllib.request.Request(f"{address}/v1/restore", data, headers, method="POST")
    with urllib.request.urlopen(request, timeout=120) as answer:
        assert answer.headers["x-model-version"] == "bicubic"
        return answer.read()


def infer(address: str, image, wanted) -> None:
    client = triton.InferenceServerClient(address)
    assert client.is_server_ready()
    assert client.get_model_metadata("photos")["versions"] == ["bicubic"]
    low = triton.InferInput("low", [1, *image.shape], "UINT8")
    low.set_data_from_numpy(image[None])
    for binary in (True, False):
        output = triton.InferRequestedOutput("restored", binary_data=binary)
        result = client.infer("photos", [low], outputs=[output]).as_numpy("restored")
        np.testing.assert_array_equal(result.reshape(wanted.shape), wanted)
    client.close()


def test_a_server_answers_other_peoples_clients_and_drains_at_sigterm(tmp_path):
    command = ["serve", "restorer=bicubic", "scale=2", "port=0", "name=photos", "jobs=folder", "audit=audit.jsonl"]
    with subprocess.Popen(
        [sys.executable, "-m", "sr_lab.cli", *command], cwd=tmp_path, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as server:  # fmt: skip
        try:
            said = server.stdout.readline()
            assert said.startswith("answering at http://127.0.0.1:"), said + server.stderr.read()
            address = said.split()[-1]
            image = picture(30, 20)
            wanted = to_levels(resize_bicubic(to_tensor(image), scale=2), np.uint8)
            np.testing.assert_array_equal(decoded(post(address, encoded(image))), wanted)
            if triton is not None:
                infer(address.removeprefix("http://"), image, wanted)
            large, answers = picture(900, 900), []
            thread = threading.Thread(target=lambda: answers.append(decoded(post(address, encoded(large)))))
            thread.start()
            while (
                b"srlab_requests_open 0.0" in urllib.request.urlopen(f"{address}/metrics").read() and thread.is_alive()
            ):
                pass
            server.send_signal(signal.SIGTERM)
            thread.join()
            assert answers[0].shape == (1800, 1800, 3)
            assert server.wait(120) == 143
            assert "what was accepted is answered" in server.stderr.read()
        finally:
            server.kill()
    assert (tmp_path / "audit.jsonl").read_text().count("/v1/restore") == 2
    if triton is None:
        pytest.skip("all but the part of tritonclient, which is not installed: pip install 'tritonclient[http]'")
