"""The demonstration of the loop: its clients count what they lose, and its page tells what was seen."""

import http.server
import json
import re
import threading
from pathlib import Path

import numpy as np
import pytest

from sr_lab.serving.clients import Answered, Clients, ask
from sr_lab.serving.loop_demo import Act, Condition, Golden, Performance, write_facts
from sr_lab.serving.loop_page import write_page
from sr_lab.serving.staging import Observer, Seen


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers every third request with 503."""

    protocol_version = "HTTP/1.1"
    seen: list[tuple[str, str]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append((self.headers["Authorization"], body.decode()))
        status = 503 if len(self.seen) % 3 == 0 else 200
        self.send_response(status)
        self.send_header("X-Model-Version", "7")
        self.send_header("Content-Length", "4")
        self.end_headers()
        self.wfile.write(b"done")

    def log_message(self, *given: object) -> None:
        """Nothing is told."""


@pytest.fixture
def address():
    Handler.seen = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_clients_come_in_bursts_with_keys_of_their_own_and_remember_every_answer(address):
    drawn = iter(range(10**6))
    lock = threading.Lock()

    def image() -> bytes:
        with lock:
            return str(next(drawn)).encode()

    with Clients(address, ["a", "b"], image, rate=500.0, size=2, threads=2) as clients:
        enough = threading.Event()
        while len(clients.answers) < 30:
            enough.wait(0.01)
    sent = [body for _, body in Handler.seen]
    assert len(set(sent)) == len(sent), "each image is sent once"
    assert {key for key, _ in Handler.seen} == {"Bearer a", "Bearer b"}
    assert len(clients.answers) == len(sent), "none is lost from the books"
    assert clients.counts == {200: len(sent) - len(sent) // 3, 503: len(sent) // 3}
    assert {answer.version for answer in clients.answers} == {"7"}
    connection = clients.connection()
    assert ask(connection, b"x", key="a").data == b"done"
    connection.close()


def test_a_connection_that_breaks_is_an_answer_too():
    clients = Clients("http://127.0.0.1:9", ["a"], lambda: b"")
    assert ask(clients.connection(), b"x", key="a").status == 0


def golden(version: str, psnr: float, text: str) -> Golden:
    image = np.zeros((8, 8, 3), np.uint8)
    return Golden(
        condition=text, version=version, psnr=psnr, answers=(version.encode(),), shown=(image[:4, :4], image, image)
    )


def performance(
    *, second: str = "rejected", status: int = 200, version: str = "2", recovered: bool = True
) -> Performance:
    worse, worst = Condition(noise=12, quality=50), Condition(quality=20)
    acts = [Act(title="one", condition=worse), Act(title="two", condition=worst)]
    acts[0].before = [golden("1", 24.0, worse.text), golden("1", 28.0, "PNG")]
    acts[0].after = [golden("2", 24.5, worse.text), golden("2", 27.9, "PNG")]
    acts[1].before = [golden("2", 23.0, worst.text), golden("2", 24.5, worse.text)]
    acts[1].after = [golden(version, 23.0, worst.text), golden(version, 24.5, worse.text)]
    for index, act in enumerate(acts):
        act.changed, act.seconds = 1e9 + 100 * index, 90.0
        act.events = [(act.changed + 20, "the service's own telemetry raises the alarm")]
        act.events += [(act.changed + 70, "the service swaps: version 2 answers")]
        act.steps = [("2001-09-09T01:46:40+00:00", "version 2 is champion")]
    acts[0].outcome, acts[1].outcome = "promoted", second
    acts[0].recovered = recovered
    shifts = {"noise": 2.0, "quality": 3.0, "blockiness": 1.0}
    seen = [
        Seen(
            time=1e9 + 10 * step, version="1" if step < 7 else "2", alarm=2 < step < 7, shifts=shifts, stage="training"
        )
        for step in range(18)
    ]
    answers = [Answered(time=1e9 + step, seconds=0.1, status=200, version="2") for step in range(150)]
    answers.append(Answered(time=1e9 + 60, seconds=0.1, status=status, version="2"))
    return Performance(acts=acts, seen=seen, answers=answers, cooldown="exit code 6: cool-down", seconds=180.0)


def test_the_page_tells_the_whole_story_and_stands_alone(tmp_path: Path):
    page = write_page(performance(), tmp_path / "loop.html").read_text()
    for words in ("The loop closed", "+0.50 dB", "-0.10 dB", "151 / ", "20 s", "70 s", "noise of 12 levels", "y_crop"):
        assert words in page, words
    assert page.count("data:image/png") == 9
    assert not re.search(r'(src|href)="https?:', page)
    write_facts(performance(), tmp_path / "loop.json")
    facts = json.loads((tmp_path / "loop.json").read_text())
    assert (facts["closed"], facts["requests"], facts["lost"]) == (True, 151, 0)
    assert facts["acts"][0]["events"][0][0] == 20.0
    assert facts["acts"][1]["answers are the same bytes"] is True


@pytest.mark.parametrize("wrong", [{"second": "promoted"}, {"status": 0}, {"version": "3"}, {"recovered": False}])
def test_it_has_not_closed_where_anything_ends_otherwise(wrong, tmp_path):
    done = performance(**wrong)
    assert not done.closed
    assert "The loop did not close as it should" in write_page(done, tmp_path / "loop.html").read_text()


def test_what_is_seen_of_a_service_and_a_watcher(tmp_path, monkeypatch):
    text = (
        'srlab_model_info{alias="champion",model="photos",version="3"} 1.0\n'
        'srlab_drift_feature_shift{feature="noise"} 2.5\nsrlab_drift_alarm 1.0\n'
    )
    monkeypatch.setattr("sr_lab.serving.staging.aliases", lambda uri, name: {"champion": 3})
    observer = Observer(metrics=lambda: text, output=tmp_path, tracking_uri="x", name="photos", every=0.01)
    seen = observer.look()
    assert (seen.version, seen.alarm, seen.shifts, seen.stage) == ("3", True, {"noise": 2.5}, "watching")
    (tmp_path / "logbook.json").write_text(json.dumps({"attempt": {"stage": "gate"}, "ended": [{"name": "a"}]}))
    assert observer.look().stage == "gate"
    assert observer.ended() == [{"name": "a"}]
    with pytest.raises(RuntimeError, match=r"the end: not within 0\.05 s"):
        observer.until(lambda seen: False, what="the end", seconds=0.05)
