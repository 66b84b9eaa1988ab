"""Queues that go away and come back empty, results in an object store, clocks that jump: each job once, none lost."""

import contextlib
import shutil
import socket
import subprocess
import time
from collections import Counter

import fsspec
import pytest
from serving.conftest import decoded, encoded, make, picture
from serving.test_jobs import wait
from starlette.testclient import TestClient

from sr_lab.serving.app import make_app
from sr_lab.serving.job_queue import JobQueue
from sr_lab.serving.jobs import JobSettings

REDIS = shutil.which("redis-server")


@contextlib.contextmanager
def redis_at(port: int):
    """A Redis server that keeps nothing on disk, killed at the end."""
    command = [REDIS, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            for _ in range(500):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                    break
                time.sleep(0.02)
            yield server
        finally:
            server.kill()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as found:
        return found.getsockname()[1]


def send(client: TestClient, count: int, first: int = 0) -> list[str]:
    answers = [client.post("/v1/jobs", content=encoded(picture(8, 8, seed=first + each))) for each in range(count)]
    assert [answer.status_code for answer in answers] == [202] * count, answers[0].text
    return [answer.json()["id"] for answer in answers]


@pytest.mark.skipif(REDIS is None, reason="needs redis-server: apt install redis-server")
def test_a_redis_that_is_killed_loses_no_job_and_does_none_twice(tmp_path):
    pytest.importorskip("redis", reason="needs redis: pip install redis")
    port = free_port()
    with redis_at(port):
        settings = JobSettings(folder=str(tmp_path), redis=f"redis://127.0.0.1:{port}")
        parts, _ = make(jobs=settings)
        done, do = Counter(), parts.jobs._do
        parts.jobs._do = lambda place: (done.update([place.name]), do(place))
        start, parts.jobs.start = parts.jobs.start, lambda: None
        with TestClient(make_app(parts)) as client:
            ids = send(client, 3)
            assert len(parts.jobs.queue) == 3
            # killed with what waits in it; what is sent meanwhile is taken all the same
            subprocess.run(["redis-cli", "-p", str(port), "shutdown", "nosave"], check=False, capture_output=True)
            ids += send(client, 2, first=3)
            assert len(parts.jobs.queue) == 5
            start()
            time.sleep(0.3)
            assert not done
            with redis_at(port):
                for id in ids:
                    wait(client, id)
                    assert decoded(client.get(f"/v1/jobs/{id}/result").content).shape == (16, 16, 3)
                assert done == Counter(ids)


def test_names_that_a_queue_has_lost_are_put_back(tmp_path):
    now, waiting = [0.0], ["a", "b"]
    queue = JobQueue(tmp_path, redis=None, unfinished=lambda: waiting, clock=lambda: now[0])
    queue.put("a")
    assert queue.take() == "a"
    assert queue.take() is None
    now[0] += 31  # an empty queue is compared with the folder
    assert queue.take() is None
    assert [queue.take(), queue.take(), queue.take()] == ["a", "b", None]
    away = JobQueue(tmp_path / "gone", redis="redis://127.0.0.1:1", unfinished=lambda: waiting)
    away.put("c")
    assert len(away) == 2
    with pytest.raises(Exception, match=r"127\.0\.0\.1:1"):
        away.take()


@pytest.mark.parametrize("kind", ["memory", "file"])
def test_results_may_lie_in_an_object_store(tmp_path, kind):
    root = f"memory://results-{tmp_path.name}" if kind == "memory" else f"file://{tmp_path}/results"
    parts, _ = make(jobs=JobSettings(folder=str(tmp_path / "jobs"), results=root))
    with TestClient(make_app(parts)) as client:
        (id,) = send(client, 1)
        wait(client, id)
        fs, place = fsspec.core.url_to_fs(root)
        assert [path.rpartition("/")[2] for path in fs.ls(place, detail=False)] == [f"{id}.png"]
        assert client.get(f"/v1/jobs/{id}/result").content == fs.cat_file(f"{place}/{id}.png")
        fs.rm(f"{place}/{id}.png")
        gone = client.get(f"/v1/jobs/{id}/result")
        assert (gone.status_code, gone.json()["type"]) == (404, "urn:srlab:problem:job")


def test_a_clock_that_jumps_ages_no_job_and_no_request(tmp_path, monkeypatch):
    parts, _ = make(jobs=JobSettings(folder=str(tmp_path), keep_seconds=3600))
    with TestClient(make_app(parts)) as client:
        (id,) = send(client, 1)
        wait(client, id)
        for jump in (10 * 365 * 86400, -5 * 365 * 86400):
            monkeypatch.setattr(time, "time", lambda now=time.time, jump=jump: now() + jump)
            parts.jobs._clean()
            assert client.get(f"/v1/jobs/{id}").json()["state"] == "done"
            assert client.post("/v1/restore?deadline=20", content=encoded(picture(8, 8))).status_code == 200
            (other,) = send(client, 1, first=abs(jump))
            wait(client, other)
        monkeypatch.undo()
        parts.jobs._began += 7200  # two hours later
        parts.jobs._clean()
        assert client.get(f"/v1/jobs/{id}").status_code == 404
