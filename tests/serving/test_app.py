import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from serving.conftest import LIMITS, decoded, encoded, make, picture, restorer
from starlette.testclient import TestClient

from sr_lab.images import to_levels, to_tensor
from sr_lab.serving.app import make_admin_app, make_app
from sr_lab.serving.keys import Keys, new_key
from sr_lab.serving.scheduler import Work


def expected(image, seed: int = 1):
    return to_levels(restorer(seed)(to_tensor(image)).detach(), image.dtype)


def test_the_answer_is_the_image_of_the_whole_whatever_else_is_in_the_queue(served):
    images = [picture(h, w, seed=h) for h, w in ((40, 50), (100, 70), (7, 9), (33, 32), (64, 128), (31, 90))]
    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(lambda image: served.client.post("/v1/restore", content=encoded(image)), images))
    for image, answer in zip(images, answers, strict=True):
        assert answer.status_code == 200, answer.text
        np.testing.assert_array_equal(decoded(answer.content), expected(image))
        assert answer.headers["x-model"] == "photos"
        assert answer.headers["x-model-version"] == "1"
        assert answer.headers["x-tier"] == "best"
        assert answer.headers["x-warning"] == "Invented detail."
        assert float(answer.headers["x-seconds"]) > 0
        assert answer.headers["x-lr-consistency"].endswith(" dB")


@pytest.mark.parametrize(
    ("accept", "media", "exact"),
    [
        ("image/png", "image/png", True), ("image/jpeg", "image/jpeg", False), ("image/webp", "image/webp", True),
        ("image/avif", "image/avif", None), ("image/jxl;q=1, image/png;q=0.5", "image/jxl", None),
        ("application/x-npy", "application/x-npy", True), ("*/*", "image/png", True),
    ],
)  # fmt: skip
def test_accept_chooses_the_format(served, accept, media, exact):
    image = picture()
    answer = served.client.post("/v1/restore", content=encoded(image), headers={"accept": accept})
    assert (answer.status_code, answer.headers["content-type"]) == (200, media)
    if exact is not None:
        difference = np.abs(decoded(answer.content).astype(int) - expected(image))
        assert difference.max() == 0 if exact else difference.mean() < 12


def test_a_form_names_what_the_query_names(served):
    image = picture(dtype=np.uint8)
    form = {"tier": "fast", "scale": "2", "deadline": "20"}
    answer = served.client.post("/v1/restore", files={"image": ("a.png", encoded(image))}, data=form)
    assert (answer.status_code, answer.headers["x-tier"], answer.headers["x-model-version"]) == (200, "fast", "1")
    assert decoded(answer.content).shape == (80, 100, 3)


def test_sixteen_bits_and_grey_stay_what_they_are(served):
    for image in (picture(dtype=np.uint16), picture(channels=1)):
        answer = served.client.post("/v1/restore", content=encoded(image))
        assert answer.status_code == 200, answer.text
        levels = 1 if image.dtype == np.uint16 else 0  # of 65,535: other shapes, other sums
        np.testing.assert_allclose(decoded(answer.content).astype(int), expected(image), rtol=0, atol=levels)
    answer = served.client.post(
        "/v1/restore", content=encoded(picture(dtype=np.uint16)), headers={"accept": "image/jpeg"}
    )
    assert answer.status_code == 406


@pytest.mark.parametrize(
    ("status", "kind", "query", "content", "headers"),
    [
        (415, "image", "", b"no image", {}),
        (400, "empty", "", b"", {}),
        (415, "image", "", encoded(picture())[:200], {}),
        (413, "pixels", "", encoded(picture(201, 201)), {}),
        (413, "bytes", "", b"x" * 200_001, {}),
        (406, "accept", "", encoded(picture()), {"accept": "text/html"}),
        (404, "model", "?model=nobody", encoded(picture()), {}),
        (422, "scale", "?scale=3&model=photos", encoded(picture()), {}),
        (400, "parameter", "?scale=large", encoded(picture()), {}),
        (400, "parameter", "?deadline=nan", encoded(picture()), {}),
        (400, "parameter", "?size=3", encoded(picture()), {}),
        (400, "tier", "?tier=cheap", encoded(picture()), {}),
        (400, "form", "", b"--x\r\nbroken", {"content-type": "multipart/form-data; boundary=x"}),
        (400, "form", "", b"--x--", {"content-type": "multipart/form-data"}),
    ],
)
def test_what_is_wrong_is_a_problem_of_the_client(served, status, kind, query, content, headers):
    answer = served.client.post(f"/v1/restore{query}", content=content, headers={"x-request-id": "abc-1", **headers})
    problem = answer.json()
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    assert problem["type"] == f"urn:srlab:problem:{kind}"
    assert problem["instance"] == "urn:srlab:request:abc-1"
    assert answer.headers["x-request-id"] == "abc-1"
    assert served.parts.open == served.service.memory.held == len(served.service.runner.queue) == 0


def test_a_header_that_promises_a_bomb_is_refused_before_it_is_decoded(served):
    data = bytearray(encoded(picture()))
    data[16:24] = (2**31 - 1).to_bytes(4, "big") * 2
    answer = served.client.post("/v1/restore", content=bytes(data))
    assert (answer.status_code, answer.json()["type"]) == (413, "urn:srlab:problem:pixels")


def test_what_cannot_be_in_time_is_refused_or_restored_by_the_fast_model(served):
    runner = served.service.runner
    image, slow = picture(), served.source.load("1")
    group = runner.group(slow, slow.plan(40, 50), 3, "uint8")
    runner.queue.costs[group] = 16.0 / len(slow.plan(40, 50).tiles)  # 16 s, and a quarter for safety
    served.service.shelf.get("photos")
    answer = served.client.post("/v1/restore?deadline=3", content=encoded(image))
    assert (answer.status_code, answer.headers["x-tier"]) == (200, "fast")
    answer = served.client.post("/v1/restore?deadline=3&tier=best", content=encoded(image))
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:srlab:problem:deadline")
    answer = served.client.post("/v1/restore?deadline=30&tier=best", content=encoded(image))
    assert answer.status_code == 200


def test_a_full_queue_says_when_to_come_again(served):
    service = served.service
    model = service.shelf.get("photos")
    plan = model.plan(40, 50)
    group = service.runner.group(model, plan, 3, "uint8")
    service.runner.queue.costs[group] = 1.0
    num = len(plan.tiles)
    held = Work(id="held", group=group, num_tiles=10 * num, deadline=service.clock() + 10.6 * num * 1.25)
    service.runner.insert(held, model, plan)
    try:
        answer = served.client.post(f"/v1/restore?deadline={2 * num}&tier=best", content=encoded(picture()))
    finally:
        service.runner.cancel("held")
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["retry-after"]) <= 10 * num
    assert "come again" in answer.json()["detail"]
    metrics = served.client.get("/metrics").text
    assert 'srlab_shed_total{reason="time"} 1.0' in metrics


def test_states_models_and_metrics(served):
    client = served.client
    assert client.get("/healthz").json() == {"alive": True}
    assert client.get("/readyz").json()["ready"]
    client.post("/v1/restore", content=encoded(picture()))
    models = client.get("/v1/models").json()["models"]
    assert [(model["name"], model["version"], model["scale"]) for model in models] == [
        ("photos", "1", 2),
        ("fast", "1", 2),
    ]
    text = client.get("/metrics").text
    for line in (
        'srlab_requests_total{route="/v1/restore",status="200",tier="best"} 1.0',
        'srlab_model_info{alias="",model="photos",version="1"} 1.0',
        "srlab_queue_seconds 0.0", "srlab_registry_up 1.0", "srlab_requests_open 0.0",
    ):  # fmt: skip
        assert line in text
    assert client.get("/nothing").json()["type"] == "urn:srlab:problem:route"
    assert client.get("/v1/restore").status_code == 405
    paths = client.get("/openapi.json").json()["paths"]
    assert {"/v1/restore", "/v1/models", "/healthz", "/readyz", "/metrics"} <= set(paths)
    served.parts.draining = True
    assert client.get("/readyz").status_code == 503
    assert client.post("/v1/restore", content=encoded(picture())).status_code == 503


def test_keys_have_scopes_and_rates_and_change_without_a_restart(tmp_path):
    time = [0.0]
    (key, digest), (other, second) = new_key(), new_key()
    file = tmp_path / "keys.yaml"
    file.write_text(f"web: {{sha256: {digest}, scopes: [restore], megapixels_per_second: 0.001}}\n")
    keys = Keys(file, clock=lambda: time[0])
    parts, _ = make(keys=keys)
    parts.audit.file = tmp_path / "audit.jsonl"
    with TestClient(make_app(parts), raise_server_exceptions=False) as client:

        def send(key: str):
            return client.post("/v1/restore", content=encoded(picture()), headers={"authorization": f"Bearer {key}"})

        assert client.post("/v1/restore", content=b"").status_code == 401
        assert send("srlab_wrong").status_code == 401
        assert client.get("/v1/models", headers={"x-api-key": key}).status_code == 403
        assert send(key).status_code == 200
        assert send(key).status_code == 200  # 2 x 8,000 pixels of 10,000: the second is owed
        refused = send(key)
        assert (refused.status_code, refused.headers["retry-after"]) == (429, "7")
        time[0] += 7
        assert send(key).status_code == 200
        file.write_text(f"app: {{sha256: {second}}}\n")
        time[0] += 2
        assert (send(key).status_code, send(other).status_code) == (401, 200)
        file.write_text("app: [broken")
        time[0] += 2
        assert send(other).status_code == 200  # a damaged file leaves the keys as they were
        file.unlink()
        time[0] += 2
        assert send(other).status_code == 200
    lines = [json.loads(line) for line in (tmp_path / "audit.jsonl").read_text().splitlines()]
    assert {line["key"] for line in lines} == {None, "web", "app"}
    assert key not in (tmp_path / "audit.jsonl").read_text()
    assert lines[-1]["model"] == "photos/1"


@pytest.mark.parametrize(
    ("text", "told"),
    [("[]", "mapping"), ("a: {}", "sha256"), (f"a: {{sha256: {'a' * 64}, scopes: [all]}}", "no scope all"),
     (f"a: {{sha256: {'a' * 64}, rate: 3}}", "rate is not known"), ("a: [", "cannot be read")],
)  # fmt: skip
def test_a_file_of_keys_that_is_wrong_is_named(tmp_path, text, told):
    (file := tmp_path / "keys.yaml").write_text(text)
    with pytest.raises(ValueError, match=told):
        Keys(file)


def test_an_administrator_takes_the_former_version_back_at_once(tmp_path):
    key, digest = new_key()
    (tmp_path / "keys.yaml").write_text(f"boss: {{sha256: {digest}, scopes: [admin, restore]}}\n")
    parts, source = make(keys=Keys(tmp_path / "keys.yaml"))
    headers = {"x-api-key": key}
    with TestClient(make_app(parts)) as client, TestClient(make_admin_app(parts)) as admin:
        assert client.get("/admin/models", headers=headers).status_code == 404
        assert admin.get("/admin/models").status_code == 401
        assert admin.post("/admin/models/photos/back", headers=headers).status_code == 409
        source.now = "2"
        assert admin.post("/admin/look", headers=headers).json()["models"][0]["version"] == "2"
        assert admin.post("/admin/models/photos/back", headers=headers).json() == {"name": "photos", "version": "1"}
        admin.post("/admin/look", headers=headers)
        answer = client.post("/v1/restore", content=encoded(picture()), headers=headers)
        assert answer.headers["x-model-version"] == "1"  # what was taken back does not come again by itself
        assert source.loads == ["1", "2"]
        assert "srlab_registry_mismatch" in admin.get("/metrics").text


def test_the_page_stands_alone(served):
    text = served.client.get("/")
    assert text.status_code == 200
    assert "photos, version 1, 2x" in text.text
    assert "Invented detail." in text.text
    assert "http://" not in text.text.replace("http://www.w3.org", "")
    assert LIMITS.pixels == served.service.limits.pixels
