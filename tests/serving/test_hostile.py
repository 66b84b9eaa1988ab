"""Damaged files of every format, strange requests, and the protocol as another's client speaks it."""

import asyncio
import io
import json
import random
import threading
import time

import cv2
import numpy as np
import pytest
import tifffile
from serving.conftest import encoded, make, picture
from starlette.testclient import TestClient

from sr_lab.serving.app import make_app
from sr_lab.serving.limits import Gone, Limits, read_body
from sr_lab.serving.pictures import accepted, facts_of
from sr_lab.serving.problems import Problem


def valid_files() -> dict[str, bytes]:
    """A small file of every format that is read."""
    image, stream, npy = picture(12, 10), io.BytesIO(), io.BytesIO()
    tifffile.imwrite(stream, image, photometric="rgb")
    np.save(npy, image)
    return {
        "png": encoded(image), "jpeg": encoded(image, ".jpg"), "bmp": encoded(image, ".bmp"), "tiff": stream.getvalue(),
        "webp": cv2.imencode(".webp", image, [cv2.IMWRITE_WEBP_QUALITY, 101])[1].tobytes(), "npy": npy.getvalue(),
    }  # fmt: skip


def damaged(data: bytes, draw: random.Random) -> bytes:
    """Cut, with bytes changed, doubled, or with parts of it elsewhere."""
    content = bytearray(data)
    kind = draw.randrange(5)
    if kind == 0:
        return bytes(content[: draw.randrange(len(content))])
    if kind == 1:
        for _ in range(draw.randint(1, 8)):
            content[draw.randrange(min(len(content), 64))] = draw.randrange(256)  # the header
    if kind == 2:
        for _ in range(draw.randint(1, 20)):
            content[draw.randrange(len(content))] = draw.randrange(256)
    if kind == 3:
        begin = draw.randrange(len(content))
        content[begin : begin + 4] = draw.choice([b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff"])
    if kind == 4:
        begin, end = sorted(draw.randrange(len(content)) for _ in range(2))
        content[begin:begin] = content[begin:end]
    return bytes(content)


@pytest.mark.parametrize("kind", sorted(valid_files()))
def test_no_damaged_file_is_the_servers_fault(served, kind):
    data, draw = valid_files()[kind], random.Random(0)
    assert served.client.post("/v1/restore?tier=fast", content=data).status_code == 200
    for _ in range(35):
        hostile = damaged(data, draw) or b"x"
        answer = served.client.post("/v1/restore?tier=fast", content=hostile)
        assert answer.status_code in (200, 413, 415, 422), (answer.status_code, answer.text, hostile)
    assert served.service.memory.held == served.parts.open == len(served.service.runner.queue) == 0
    assert served.service.runner.alive


class Sender:
    """A client's messages, one after the other, on a clock that they move."""

    def __init__(self, *parts: tuple[float, bytes | None], ends: bool = False) -> None:
        self.parts, self.now, self.ends = list(parts), 0.0, ends

    async def receive(self) -> dict:
        if not self.parts:
            await asyncio.sleep(3600)
        seconds, body = self.parts.pop(0)
        self.now += seconds
        if body is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": body, "more_body": bool(self.parts) or not self.ends}

    def read(self, length: str | None = None) -> bytes:
        limits = Limits(body_seconds=30, bytes_per_second=100, body_bytes=1000)
        return asyncio.run(read_body(self.receive, length=length, limits=limits, clock=lambda: self.now))


def test_slow_large_and_vanishing_bodies_end():
    for sender, status in (
        (Sender((1, b"x"), (4, b"x")), 408),  # fewer than 100 bytes a second
        (Sender(*[(0.5, b"x" * 90)] * 9, (29, b"x")), 408),
        (Sender((0, b"x" * 600), (0, b"x" * 600)), 413),
    ):
        with pytest.raises(Problem) as found:
            sender.read()
        assert found.value.status == status
    with pytest.raises(Gone):
        Sender((0, b"x"), (0, None)).read()
    for length, status in (("1001", 413), ("-1", 400), ("9" * 5, 413), ("²", 400)):
        with pytest.raises(Problem) as found:
            Sender().read(length)
        assert found.value.status == status


def test_a_body_that_is_there_is_taken_however_long_this_process_was_busy():
    assert Sender((40, b"x" * 90), ends=True).read() == b"x" * 90
    assert Sender((1, b"x" * 90), (40, b"x"), ends=True).read() == b"x" * 91


def test_a_client_that_vanishes_is_dropped_and_counted():
    parts, _ = make()
    app = make_app(parts)
    data = encoded(picture(180, 180))
    sent, messages = [], [{"type": "http.request", "body": data, "more_body": False}, {"type": "http.disconnect"}]

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "POST", "path": "/v1/restore",
        "raw_path": b"/v1/restore", "query_string": b"", "headers": [], "client": ("127.0.0.1", 1), "scheme": "http",
        "server": ("127.0.0.1", 80), "root_path": "",
    }  # fmt: skip
    asyncio.run(app(scope, receive, send))
    assert sent[0]["status"] == 499
    parts.service.close()
    assert len(parts.service.runner.queue) == parts.service.memory.held == parts.open == 0
    assert b"srlab_disconnected_total 1.0" in parts.service.measures.page()


def test_what_was_accepted_is_finished_when_the_server_ends():
    parts, _ = make()
    answers = []
    with TestClient(make_app(parts)) as client:
        thread = threading.Thread(
            target=lambda: answers.append(client.post("/v1/restore", content=encoded(picture(90, 90))))
        )
        thread.start()
        while not len(parts.service.runner.queue) and thread.is_alive():
            time.sleep(0.001)
        parts.draining = True
        refused = client.post("/v1/restore", content=encoded(picture()))
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        thread.join()
    assert answers[0].status_code == 200


def test_an_audit_log_whose_disk_is_gone_stops_nobody(served, tmp_path):
    served.parts.audit.file = tmp_path / "gone" / "audit.jsonl"
    assert served.client.post("/v1/restore", content=encoded(picture(8, 8))).status_code == 200
    assert "srlab_audit_failures 1.0" in served.client.get("/metrics").text


def test_accept_headers_of_all_kinds():
    for header, wanted in (
        ("image/png;q=0.1,image/jxl;q=0.2", "jxl"), ("image/*", "png"), ("", "png"), ("text/html,*/*;q=0.1", "png"),
        ("image/png;q=x", None), ("image/jpeg;q=0", None), ("image/JPEG ; Q=1", "jpg"), (",,;;", "png"),
    ):  # fmt: skip
        assert accepted(header) == wanted


def test_headers_tell_what_decoding_will_give():
    for image in (picture(9, 7), picture(9, 7, channels=1), picture(9, 7, dtype=np.uint16)):
        facts = facts_of(encoded(image))
        assert (facts.height, facts.width, facts.channels, facts.deep) == (*image.shape, image.dtype == np.uint16)
    for data in valid_files().values():
        assert (facts_of(data).height, facts_of(data).width, facts_of(data).channels) == (12, 10, 3)


def infer(client: TestClient, content: object, binary: bytes = b"", **headers: str):
    head = json.dumps(content).encode()
    headers = {"inference-header-content-length": str(len(head)), **headers} if binary else headers
    return client.post("/v2/models/photos/infer", content=head + binary, headers=headers)


def test_the_inference_protocol_with_and_without_binary_tensors(served):
    client, image = served.client, picture(6, 5)
    assert client.get("/v2").json()["name"] == "sr_lab"
    assert client.get("/v2/health/live").status_code == client.get("/v2/health/ready").status_code == 200
    assert client.get("/v2/models/photos/versions/1/ready").status_code == 200
    assert client.get("/v2/models/photos/versions/7/ready").status_code == 404
    assert client.get("/v2/models/photos").json()["inputs"][0]["shape"] == [-1, -1, -1, 3]
    low = {"name": "low", "datatype": "UINT8", "shape": [1, 6, 5, 3]}
    plain = infer(client, {"inputs": [{**low, "data": image.ravel().tolist()}], "id": "7"})
    assert (plain.status_code, plain.json()["id"]) == (200, "7"), plain.text
    given = {**low, "parameters": {"binary_data_size": image.nbytes}}
    ask = {"inputs": [given], "outputs": [{"name": "restored", "parameters": {"binary_data": True}}]}
    answer = infer(client, ask, image.tobytes())
    length = int(answer.headers["inference-header-content-length"])
    assert json.loads(answer.content[:length])["outputs"][0]["shape"] == [1, 12, 10, 3]
    assert list(answer.content[length:]) == plain.json()["outputs"][0]["data"]


@pytest.mark.parametrize(
    "content",
    [
        [], {}, {"inputs": []}, {"inputs": [3]}, {"inputs": [{"name": "x"}]},
        {"inputs": [{"name": "low", "datatype": "FP32", "shape": [1, 1, 1, 1], "data": [0]}]},
        {"inputs": [{"name": "low", "datatype": "UINT8", "shape": [1, 1, 1], "data": [0]}]},
        {"inputs": [{"name": "low", "datatype": "UINT8", "shape": [1, 1, 1, -1], "data": [0]}]},
        {"inputs": [{"name": "low", "datatype": "UINT8", "shape": [1, 1, 1, 3], "data": [0]}]},
        {"inputs": [{"name": "low", "datatype": "UINT8", "shape": [1, 1, 1, 1], "data": [256]}]},
        {"inputs": [{"name": "low", "datatype": "UINT8", "shape": [1, 1, 1, 1], "data": ["a"]}]},
        {"inputs": [{"name": "low", "datatype": "UINT8", "shape": [1, 1, 1, 1]}]},
        {"inputs": [{"name": "low", "datatype": "UINT8", "shape": [2**40, 2**40, 1, 3], "data": []}]},
        {"inputs": [{"name": "low", "datatype": "UINT8", "shape": [1] * 4, "parameters": {"binary_data_size": 9}}]},
    ],
)  # fmt: skip
def test_what_is_no_inference_request_is_the_clients_fault(served, content):
    assert 400 <= infer(served.client, content).status_code < 500


def test_the_inference_protocol_refuses_what_is_no_json(served):
    for body, headers in ((b"{", {}), (b"[" * 5000, {}), (b"{}", {"inference-header-content-length": "9"})):
        assert served.client.post("/v2/models/photos/infer", content=body, headers=headers).status_code == 400
    assert served.client.post("/v2/models/nobody/infer", content=b"{}").status_code == 404
