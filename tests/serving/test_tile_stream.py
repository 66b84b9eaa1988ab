"""Tiles of an answer as they come: they are the image, the last part is the answer, and who leaves leaves nothing."""

import http.client
import itertools
import json
import threading
import time
from email.parser import BytesParser

import numpy as np
import pytest
from serving.conftest import Fixed, answering, decoded, encoded, make, picture
from starlette.testclient import TestClient

from sr_lab.serving.app import make_app

ROUTE = "/v1/restore/tiles"


def parts_of(answer) -> list[tuple[dict[str, str], bytes]]:
    """Headers and bodies, read by the standard library's parser of such messages."""
    head = f"Content-Type: {answer.headers['content-type']}\r\n\r\n".encode()
    message = BytesParser().parsebytes(head + answer.content)
    assert message.is_multipart()
    assert not message.defects
    return [(dict(part.items()), part.get_payload(decode=True)) for part in message.get_payload()]


@pytest.mark.parametrize(
    "image", [picture(60, 70), picture(60, 70, 4), picture(60, 70, 3, np.uint16)], ids=["colour", "alpha", "deep"]
)
def test_the_tiles_are_the_image_and_the_last_part_is_the_answer(served, image):
    body = encoded(image if image.shape[2] == 3 else image[..., [2, 1, 0, 3]][..., ::-1])
    plain = served.client.post("/v1/restore", content=body)
    *tiles, (headers, data) = parts_of(served.client.post(ROUTE, content=body))
    assert data == plain.content
    assert headers["Content-Type"] == "image/png"
    assert headers["X-Model-Version"] == plain.headers["x-model-version"] == "1"
    whole, seen = decoded(plain.content), np.zeros((120, 140), int)
    for told, file in tiles:
        assert told["X-Size"] == "140,120"
        left, top, width, height = map(int, told["X-Tile"].split(","))
        place = np.s_[top : top + height, left : left + width]
        seen[place] += 1
        levels = whole[place] if whole.dtype == np.uint8 else (whole[place] >> 8).astype(np.uint8)
        shown = decoded(file)
        assert told["Content-Type"] == ("image/png" if image.shape[2] == 4 else "image/jpeg")
        assert np.abs(shown.astype(int) - levels).mean() < (0.1 if image.shape[2] == 4 else 8)
    assert len(tiles) > 2
    assert (seen == 1).all()
    assert served.parts.open == served.service.memory.held == 0


def test_a_refusal_is_a_problem_and_a_failure_in_the_middle_is_one_too(served):
    assert served.client.post(ROUTE, content=b"no image").json()["type"] == "urn:srlab:problem:image"
    wrong = served.client.post(ROUTE, content=encoded(picture()), headers={"Accept": "multipart/mixed, text/html"})
    assert wrong.status_code == 406
    good = {"Accept": "multipart/mixed, image/webp"}
    assert parts_of(served.client.post(ROUTE, content=encoded(picture()), headers=good))[-1][0]["Content-Type"] == (
        "image/webp"
    )
    model, count = served.service.shelf.get("photos"), itertools.count()
    compute = model.restorer.piece

    def failing(low):
        if next(count) >= 2:
            raise RuntimeError("planted")
        return compute(low)

    model.restorer.piece = failing
    *tiles, (headers, data) = parts_of(served.client.post(f"{ROUTE}?tier=best", content=encoded(picture(60, 70))))
    assert len(tiles) == 2
    assert (headers["Content-Type"], json.loads(data)["status"]) == ("application/problem+json", 500)
    assert f'srlab_requests_total{{route="{ROUTE}",status="500",tier=""}} 1.0' in served.client.get("/metrics").text
    assert served.parts.open == served.service.memory.held == 0


def test_a_client_that_leaves_between_two_tiles_has_the_others_dropped():
    parts, _ = make(sources=[Fixed("other")])
    model, go, count = parts.service.shelf.get("photos"), threading.Semaphore(2), itertools.count()
    compute = model.restorer.piece

    def waiting(low):
        next(count)
        assert go.acquire(timeout=120)
        return compute(low)

    model.restorer.piece = waiting
    with answering(parts) as address:
        connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=120)
        connection.request("POST", f"{ROUTE}?tier=best", encoded(picture(90, 90)))
        answer = connection.getresponse()
        assert answer.status == 200
        answer.read(100)
        answer.close()
        connection.close()
        end = time.monotonic() + 120
        while parts.open and time.monotonic() < end:
            time.sleep(0.02)
        assert parts.open == 0
        go.release(1000)
        while parts.service.memory.held and time.monotonic() < end:
            time.sleep(0.02)
        assert parts.service.memory.held == 0
        assert next(count) <= 4, "its tiles were computed for nobody"
        with TestClient(make_app(parts)) as client:
            assert "srlab_disconnected_total 1.0" in client.get("/metrics").text
