"""Queues that go away and come back empty, results in an object store, clocks that jump: each job once, none lost."""

import contextlib
import shutil
import socket
import subprocess
import time
from collections import Counter

import fsspec
import httpx
import pytest
from serving.conftest import answering, decoded, encoded, make, picture
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


def send(client: httpx.Client, count: int, first: int = 0) -> list[str]:
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


@pytest.fixture
def s3(monkeypatch):
    """An S3 server on the loopback that nobody here wrote, which can be switched off and on and keeps its objects."""
    pytest.importorskip("s3fs", reason="needs s3fs: pip install 'sr-lab[s3]'")
    moto = pytest.importorskip("moto.server", reason="needs moto: pip install 'moto[server]'")
    port = free_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_MAX_ATTEMPTS": "1",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    with contextlib.ExitStack() as servers:

        def switch(on: bool) -> None:
            servers.close()
            if on:
                server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=port, verbose=False)
                server.start()
                servers.callback(server.stop)

        switch(on=True)
        fsspec.filesystem("s3", skip_instance_cache=True).mkdir("results")
        yield switch


def test_jobs_end_in_s3_whatever_that_does_meanwhile(tmp_path, s3, monkeypatch):
    monkeypatch.setattr("sr_lab.serving.job_results.FIRST_WAIT", 0.05)
    settings = JobSettings(folder=str(tmp_path), results=f"s3://results/{tmp_path.name}")
    parts, _ = make(jobs=settings)
    restored, restore = [], parts.service.restore
    monkeypatch.setattr(parts.service, "restore", lambda ask, data: restored.append(ask.id[:32]) or restore(ask, data))
    with answering(parts) as address, httpx.Client(base_url=address, timeout=60) as client:
        (first,) = send(client, 1)
        wait(client, first)
        image = client.get(f"/v1/jobs/{first}/result")
        assert decoded(image.content).shape == (16, 16, 3)
        s3(on=False)
        gone = client.get(f"/v1/jobs/{first}/result")
        assert (gone.status_code, gone.json()["type"]) == (503, "urn:srlab:problem:store")
        assert gone.headers["retry-after"]
        ids = send(client, 2, first=1)  # taken all the same
        while not (tmp_path / ids[0] / "made.json").is_file():
            time.sleep(0.01)
        assert [client.get(f"/v1/jobs/{id}").json()["state"] for id in ids] == ["begun", "waiting"]
        s3(on=True)
        assert client.get(f"/v1/jobs/{first}/result").content == image.content
        for id in ids:
            wait(client, id)
            assert decoded(client.get(f"/v1/jobs/{id}/result").content).shape == (16, 16, 3)
    assert restored == [first, *ids]  # each once
    found = fsspec.filesystem("s3", skip_instance_cache=True).ls(f"results/{tmp_path.name}", detail=False)
    assert sorted(path.rpartition("/")[2] for path in found) == sorted(f"{id}.png" for id in restored)


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
