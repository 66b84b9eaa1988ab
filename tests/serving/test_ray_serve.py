"""The same application on a local Ray: replicas follow the queue, one that is killed is replaced, and it ends."""

import contextlib
import http.client
import os
import signal
import subprocess
import sys
import threading
import time
import types
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest
from serving.conftest import decoded, encoded, make, picture

from sr_lab.commands import serve
from sr_lab.config.compose import compose
from sr_lab.images import resize_bicubic, to_levels, to_tensor
from sr_lab.serving.ray_serve import Replica, serve_on
from sr_lab.serving.scaling import QueuePolicy, QueueScaling, num_replicas
from sr_lab.sweeps.launchers import Local, Ray

SERVER = """
import os
import sys
import time
from pathlib import Path
import torch
from sr_lab.base import signals
from sr_lab.serving.ray_serve import serve_on
from sr_lab.serving.scaling import QueueScaling
from sr_lab.serving.server import Models, make_parts
from sr_lab.sweeps.launchers import Ray

waiting, slow, begun = (Path(name).resolve() for name in ("waiting", "slow", "begun"))


def make():
    parts = make_parts(Models(restorer="bicubic", scale=2, more={}, device=torch.device("cpu")))
    parts.service.runner.seconds = lambda: float(waiting.read_text())  # what waits is planted
    compute = parts.service.runner._restore

    def slowly(batch):
        if slow.exists():  # in the middle of a batch
            (begun / str(os.getpid())).touch()
            time.sleep(1)
        compute(batch)

    parts.service.runner._restore = slowly
    return parts


scaling = QueueScaling(seconds=5, least=1, most=2, up_after=0, down_after=1, over=1, every=0.5)
try:
    with signals.handled():
        serve_on(Ray(), make, port=0, scaling=scaling, started=lambda where: print("answering at", where, flush=True))
except signals.Stopped as stop:
    sys.exit(stop.exit_code)
"""


def enlarged(image):
    return to_levels(resize_bicubic(to_tensor(image), scale=2), np.uint8)


def clear_pictures():
    """No value of their enlargements lies near the middle between two levels, where a float's last bit would decide."""
    for seed in range(40):
        image = picture(6, 5, seed=seed)
        levels = 255 * resize_bicubic(to_tensor(image).double(), scale=2)
        if (levels - levels.floor() - 0.5).abs().min() > 1e-3:
            yield image


def post(address: str, data: bytes) -> bytes:
    """The answer; asked again where the proxy, which begins anew as replicas come and go, hung up without a word."""
    request = urllib.request.Request(f"{address}/v1/restore", data, method="POST")
    for left in reversed(range(3)):
        try:
            with urllib.request.urlopen(request, timeout=120) as answer:
                assert answer.headers["x-model-version"] == "bicubic"
                return answer.read()
        except (http.client.RemoteDisconnected, ConnectionResetError):
            if not left:
                raise
    raise AssertionError


def replicas(server: psutil.Process) -> list[psutil.Process]:
    found = []
    for child in server.children(recursive=True):
        try:
            if "ServeReplica" in " ".join(child.cmdline()):
                found.append(child)
        except psutil.Error:
            continue
    return found


def until(server: psutil.Process, count: int, *, without: psutil.Process | None = None) -> list[psutil.Process]:
    """Waits until there are so many replicas; there are never more than the hard cap."""
    now = []
    for _ in range(1200):
        now = replicas(server)
        assert len([each for each in now if each != without]) <= 2
        if len(now) == count and without not in now:
            return now
        time.sleep(0.2)
    raise AssertionError(now)


@pytest.mark.slow
def test_replicas_follow_the_queue_and_a_killed_one_is_replaced(tmp_path):
    pytest.importorskip("ray.serve", reason="needs Ray Serve: pip install 'ray[serve]'")
    (tmp_path / "server.py").write_text(SERVER)
    (tmp_path / "waiting").write_text("0")
    with subprocess.Popen(
        [sys.executable, "server.py"], cwd=tmp_path, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)},
    ) as server:  # fmt: skip
        threading.Thread(target=(told := []).extend, args=(server.stderr,), daemon=True).start()
        process = psutil.Process(server.pid)
        try:
            said = next((line for line in server.stdout if line.startswith("answering at")), "")
            assert said, "".join(told)
            address = said.split()[-1]
            pictures = list(clear_pictures())
            image = pictures[0]
            wanted = enlarged(image)
            np.testing.assert_array_equal(decoded(post(address, encoded(image))), wanted)
            assert len(replicas(process)) == 1
            (tmp_path / "waiting").write_text("600")  # which a hundred replicas would be asked for
            before = until(process, 2)
            (tmp_path / "begun").mkdir()
            (tmp_path / "slow").touch()
            sent = []
            with ThreadPoolExecutor(8) as pool:
                while {each.name for each in (tmp_path / "begun").iterdir()} != {str(each.pid) for each in before}:
                    if sum(not answer.done() for _, answer in sent) < 8:
                        each = pictures[len(sent) % len(pictures)]
                        sent.append((each, pool.submit(post, address, encoded(each))))
                    time.sleep(0.02)
                before[0].kill()  # a batch is in flight on both
                for each, answer in sent:  # none is lost, each is its own
                    np.testing.assert_array_equal(decoded(answer.result()), enlarged(each))
            (tmp_path / "slow").unlink()
            until(process, 2, without=before[0])
            (tmp_path / "waiting").write_text("1")
            until(process, 1)
            np.testing.assert_array_equal(decoded(post(address, encoded(image))), wanted)
            server.send_signal(signal.SIGTERM)
            assert server.wait(240) == 143
        finally:
            left = process.children(recursive=True) if server.poll() is None else []
            server.kill()
            for child in left:
                with contextlib.suppress(psutil.Error):
                    child.kill()


@pytest.mark.parametrize(
    ("waiting", "wanted"),
    [([0.0], 2), ([4.9, 5.0], 2), ([5.0, 5.1], 3), ([24.0, 0.0], 5), ([25.1], 6), ([1e9], 6), ([], 2)],
)
def test_a_replica_more_for_each_five_seconds_that_wait_up_to_the_hard_cap(waiting, wanted):
    context = types.SimpleNamespace(
        aggregated_metrics={"queue_seconds": dict(enumerate(waiting))} if waiting else {}, target_num_replicas=2,
        capacity_adjusted_min_replicas=2, capacity_adjusted_max_replicas=6,
    )  # fmt: skip
    assert QueuePolicy(seconds=5.0)(context) == (wanted, {})
    if waiting:
        assert num_replicas(waiting, seconds=5.0, least=2, most=6) == wanted


def test_where_no_replica_tells_anything_there_are_as_many_as_before():
    context = types.SimpleNamespace(aggregated_metrics={}, target_num_replicas=5)
    assert QueuePolicy(seconds=5.0)(context)[0] == 5


def test_a_replica_tells_what_waits_for_it():
    parts, _ = make()
    replica = Replica(lambda: parts, poll=60.0)
    parts.service.runner.seconds = lambda: 7.5
    assert replica.record_autoscaling_stats() == {"queue_seconds": 7.5}
    replica._watching.close()
    parts.service.close()


def test_the_command_hands_the_scaling_on(monkeypatch):
    given = {}
    monkeypatch.setattr("sr_lab.serving.ray_serve.serve_on", lambda *_, **more: given.update(more))
    words = ["restorer=bicubic", "scale=2", "scaling=queue", "scaling.most=7"]
    serve.call(compose("serve", [*words, "launcher=ray"]))
    assert (given["scaling"].seconds, given["scaling"].most) == (5.0, 7)
    with pytest.raises(ValueError, match="give launcher=ray too"):
        serve.call(compose("serve", words))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [({"least": 3, "most": 2}, "least=3"), ({"seconds": 0.0}, "seconds=0"), ({"over": 1.0}, "over=1"),
     ({"down_after": -1.0}, "down_after=-1")],
)  # fmt: skip
def test_a_scaling_that_cannot_be_is_refused(wrong, said):
    with pytest.raises(ValueError, match=said):
        QueueScaling(**wrong)


def test_a_launcher_that_serves_nothing_is_named():
    with pytest.raises(ValueError, match="launcher=ray"):
        serve_on(Local(), lambda: None)


def test_a_number_of_replicas_beside_a_scaling_is_refused():
    with pytest.raises(ValueError, match=r"launcher\.num_workers=2 beside scaling="):
        serve_on(Ray(num_workers=2), lambda: None, scaling=QueueScaling())
