import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time

import httpx
import numpy as np
from serving.conftest import answering, decoded, encoded, make, picture
from starlette.testclient import TestClient

from sr_lab.serving import job_results
from sr_lab.serving.app import make_app
from sr_lab.serving.asking import Ask
from sr_lab.serving.jobs import MOST_TRIES, JobSettings
from sr_lab.serving.limits import Limits


def wait(client: httpx.Client, id: str, state: str = "done"):
    for _ in range(3000):
        told = client.get(f"/v1/jobs/{id}").json()
        if told["state"] == state:
            return told
        time.sleep(0.02)
    raise AssertionError(told)


def test_a_job_is_done_once_and_its_result_is_that_of_a_request(tmp_path):
    parts, _ = make(Limits(pixels=1000, job_pixels=4000), jobs=JobSettings(folder=str(tmp_path)))
    image = picture()  # more than a request may have
    with TestClient(make_app(parts), raise_server_exceptions=False) as client:
        assert client.post("/v1/restore", content=encoded(image)).status_code == 413
        headers = {"idempotency-key": "one", "accept": "application/x-npy"}
        answers = [client.post("/v1/jobs", content=encoded(image), headers=headers) for _ in range(2)]
        assert [answer.status_code for answer in answers] == [202, 202], answers[0].text
        assert answers[0].json()["id"] == answers[1].json()["id"]
        id = answers[0].json()["id"]
        assert answers[0].headers["location"] == f"/v1/jobs/{id}"
        told = wait(client, id)
        result = client.get(told["result"])
        assert result.headers["x-model"] == "photos"
        assert decoded(result.content).shape == (80, 100, 3)
        assert client.get("/v1/jobs/0123").json()["type"] == "urn:srlab:problem:job"
        assert client.post("/v1/jobs", content=b"nothing").status_code == 415
        assert client.post("/v1/jobs", content=encoded(picture(80, 80))).status_code == 413
        refused = client.post("/v1/jobs?model=nobody", content=encoded(picture(9, 9))).json()["id"]
        assert wait(client, refused, "failed")["problem"]["status"] == 404


KILLED = """
    import os, sys, signal
    sys.path[:0] = sys.argv[2:]
    from serving.conftest import make
    from sr_lab.serving.jobs import JobSettings, Jobs
    from sr_lab.serving.keys import ANYBODY
    from sr_lab.serving.asking import Ask
    from serving.conftest import encoded, picture

    parts, _ = make(jobs=JobSettings(folder=sys.argv[1]))
    jobs = parts.jobs
    for number in range(3):
        jobs.send(Ask(id=str(number), format="npy"), encoded(picture(seed=number)), str(number))
    jobs.do(jobs.queue.take())
    jobs.results.store.write_bytes = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # in the middle of the second
    jobs.do(jobs.queue.take())
"""


def test_jobs_survive_a_server_that_is_killed_in_the_middle_of_one(tmp_path):
    tests = [path for path in sys.path if path.endswith("tests")]
    child = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path), *tests],
        env={**os.environ, "OMP_NUM_THREADS": "1"}, timeout=300, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert child.returncode == -signal.SIGKILL, child.stderr
    first = {file.parent.name: file.stat().st_mtime_ns for file in tmp_path.glob("*/done.json")}
    assert len(first) == 1
    parts, _ = make(jobs=JobSettings(folder=str(tmp_path)))
    done = []
    parts.jobs._do, do = lambda place: (done.append(place.name), do(place)), parts.jobs._do
    with TestClient(make_app(parts)) as client:
        ids = [file.parent.name for file in tmp_path.glob("*/ask.json")]
        for id in ids:
            wait(client, id)
            image = decoded(client.get(f"/v1/jobs/{id}/result").content)
            assert image.shape == (80, 100, 3)
            assert np.isfinite(image).all()
    assert len(ids) == 3
    assert sorted(done) == sorted(set(ids) - set(first))  # each once, and the first not again
    assert {id: (tmp_path / id / "done.json").stat().st_mtime_ns for id in first} == first


def test_a_job_that_ends_the_server_again_and_again_fails(tmp_path):
    parts, _ = make(jobs=JobSettings(folder=str(tmp_path)))
    id = parts.jobs.send(Ask(id="a"), encoded(picture()))["id"]
    (tmp_path / id / "tries").write_text("3")
    parts.jobs.do(id)
    assert parts.jobs.state(id, "-")["problem"]["status"] == 500
    parts.service.close()


def test_a_format_that_nobody_knows_is_refused_as_a_requests_is(tmp_path):
    parts, _ = make(jobs=JobSettings(folder=str(tmp_path)))
    with TestClient(make_app(parts), raise_server_exceptions=False) as client:
        data = encoded(picture(9, 9))
        for header in ("text/html", "image/png;q=0", "image/x-unknown"):
            for route in ("/v1/jobs", "/v1/restore"):
                answer = client.post(route, content=data, headers={"accept": header})
                assert (answer.status_code, answer.json()["type"]) == (406, "urn:srlab:problem:accept"), route
        assert not list(tmp_path.glob("*/ask.json"))
        for header in ("application/json", "application/json, image/webp", "*/*"):  # of the answer, not of the image
            assert client.post("/v1/jobs", content=data, headers={"accept": header}).status_code == 202


def test_a_disk_that_is_gone_takes_no_job_and_loses_none(tmp_path, monkeypatch):
    parts, _ = make(jobs=JobSettings(folder=str(tmp_path)))
    full = OSError(errno.ENOSPC, "No space left on device")

    def fails(*_: object) -> None:
        raise full

    with TestClient(make_app(parts), raise_server_exceptions=False) as client:
        taken = client.post("/v1/jobs", content=encoded(picture(9, 9))).json()["id"]
        wait(client, taken)
        monkeypatch.setattr("sr_lab.serving.jobs.write_bytes", fails)
        refused = client.post("/v1/jobs", content=encoded(picture(9, 9)))
        assert (refused.status_code, refused.json()["type"]) == (503, "urn:srlab:problem:jobs")
        assert refused.headers["retry-after"]
        assert client.get(f"/v1/jobs/{taken}/result").status_code == 200
        monkeypatch.undo()
        assert [file.parent.name for file in tmp_path.glob("*/ask.json")] == [taken]
        assert wait(client, client.post("/v1/jobs", content=encoded(picture(9, 9))).json()["id"])


class Away:
    """A store's writing that fails so many times, each in words of its own, and what restores for it, counted."""

    def __init__(self, parts, monkeypatch, failures: int) -> None:
        self.failures, self.restored, self.failed = failures, [], 0
        store, restore = parts.jobs.results.store, parts.service.restore
        self._write = store.write_bytes
        monkeypatch.setattr(store, "write_bytes", self.write)
        monkeypatch.setattr(
            parts.service, "restore", lambda ask, data: self.restored.append(ask.id) or restore(ask, data)
        )
        monkeypatch.setattr("sr_lab.serving.job_results.FIRST_WAIT", 0.001)

    def write(self, name: str, content: bytes) -> None:
        if self.failed < self.failures:
            self.failed += 1
            raise (OSError(errno.EROFS, "Read-only file system"), RuntimeError("no answer"))[self.failed % 2]
        self._write(name, content)


def test_a_result_that_cannot_be_stored_is_computed_once_and_stored_when_it_can(tmp_path, monkeypatch):
    parts, _ = make(jobs=JobSettings(folder=str(tmp_path)))
    waits, stop = [], parts.jobs._stop
    monkeypatch.setattr("sr_lab.serving.job_results.MOST_WAIT", 0.004)
    monkeypatch.setattr(stop, "wait", lambda seconds, wait=stop.wait: waits.append(seconds) or wait(seconds))
    away = Away(parts, monkeypatch, failures=2 * MOST_TRIES)  # more often than a job is tried that ends its server
    with TestClient(make_app(parts), raise_server_exceptions=False) as client:
        ids = [client.post("/v1/jobs", content=encoded(picture(9, 9, seed=seed))).json()["id"] for seed in range(2)]
        for id in ids:
            wait(client, id)
            assert decoded(client.get(f"/v1/jobs/{id}/result").content).shape == (18, 18, 3)
    assert away.failed == away.failures
    assert sorted(away.restored) == sorted(f"{id}.1" for id in ids)  # each once, at its first try
    assert [each for each in waits if each < 0.1] == [0.001, 0.002, 0.004, 0.004, 0.004, 0.004]
    assert not list(tmp_path.glob("*/made*"))
    assert not list(tmp_path.glob("*/low"))


def test_a_server_that_ends_before_its_store_comes_back_leaves_the_image_to_the_next(tmp_path, monkeypatch):
    parts, _ = make(jobs=JobSettings(folder=str(tmp_path)))
    away = Away(parts, monkeypatch, failures=10**6)
    with TestClient(make_app(parts)) as client:
        id = client.post("/v1/jobs", content=encoded(picture(9, 9))).json()["id"]
        for _ in range(3000):
            if (tmp_path / id / "made.json").is_file():
                break
            time.sleep(0.02)
        assert client.get(f"/v1/jobs/{id}").json()["state"] == "begun"
        assert client.get(f"/v1/jobs/{id}/result").status_code == 409
    monkeypatch.undo()
    (tmp_path / id / "tries").write_text(str(MOST_TRIES))  # however often servers have ended since
    assert away.restored == [f"{id}.1"]
    parts, _ = make(jobs=JobSettings(folder=str(tmp_path)))
    again = Away(parts, monkeypatch, failures=0)
    with TestClient(make_app(parts)) as client:
        wait(client, id)
        assert decoded(client.get(f"/v1/jobs/{id}/result").content).shape == (18, 18, 3)
    assert again.restored == []
    assert not list(tmp_path.glob("*/made*"))


def test_an_image_that_no_disk_takes_is_kept_in_memory(tmp_path, monkeypatch):
    parts, _ = make(jobs=JobSettings(folder=str(tmp_path)))
    full = OSError(errno.ENOSPC, "No space left on device")
    left = [3]

    def fails(path, content, write=job_results.write_bytes):
        if left[0] and path.name in ("done.json", "made"):
            left[0] -= 1
            raise full
        write(path, content)

    monkeypatch.setattr("sr_lab.serving.job_results.write_bytes", fails)
    away = Away(parts, monkeypatch, failures=0)
    with TestClient(make_app(parts)) as client:
        id = client.post("/v1/jobs", content=encoded(picture(9, 9))).json()["id"]
        wait(client, id)
        assert decoded(client.get(f"/v1/jobs/{id}/result").content).shape == (18, 18, 3)
    assert (left, away.restored) == ([0], [f"{id}.1"])


def test_a_store_that_hangs_holds_up_no_other_request(tmp_path, monkeypatch):
    monkeypatch.setattr("sr_lab.serving.job_results.READ_SECONDS", 0.2)
    parts, _ = make(jobs=JobSettings(folder=str(tmp_path)))
    hangs, answers = threading.Event(), []
    with answering(parts) as address, httpx.Client(base_url=address, timeout=60) as client:
        id = client.post("/v1/jobs", content=encoded(picture(9, 9))).json()["id"]
        wait(client, id)
        monkeypatch.setattr(parts.jobs.results.store, "read_bytes", lambda _: hangs.wait(60))
        ask = lambda: answers.append(httpx.get(f"{address}/v1/jobs/{id}/result", timeout=60))  # noqa: E731
        asking = [threading.Thread(target=ask) for _ in range(40)]  # more than there are threads for anything
        for thread in asking:
            thread.start()
        other = client.post("/v1/jobs", content=encoded(picture(9, 9, seed=1)))
        assert wait(client, other.json()["id"])
        for thread in asking:
            thread.join()
        hangs.set()
    assert {(answer.status_code, answer.json()["type"]) for answer in answers} == {(503, "urn:srlab:problem:store")}
    assert len(answers) == 40
