"""Exemplars, traces and logs of the service: what they tell of a request, and what they never do."""

import json
import logging

import pytest
from serving.conftest import encoded, make, picture
from starlette.testclient import TestClient

from sr_lab.serving import logs
from sr_lab.serving.app import make_app
from sr_lab.serving.logs import JsonLines
from sr_lab.serving.tracing import SpanTraces, Traces, traces_to

OPEN = {"accept": "application/openmetrics-text; version=1.0.0"}


def client_of(**options) -> TestClient:
    parts, _ = make(**options)
    return TestClient(make_app(parts), raise_server_exceptions=False)


def test_a_slow_request_is_found_by_its_exemplar():
    with client_of() as client:
        client.post("/v1/restore", content=encoded(picture()), headers={"X-Request-ID": "mine-1"})
        told = client.get("/metrics", headers=OPEN)
        assert told.headers["content-type"].startswith("application/openmetrics-text")
        assert told.text.endswith("# EOF\n")
        found = [line for line in told.text.splitlines() if "srlab_request_seconds_bucket" in line and "#" in line]
        assert len(found) == 1
        assert '# {request_id="mine-1"}' in found[0]
        plain = client.get("/metrics")
        assert plain.headers["content-type"].startswith("text/plain")
        assert "mine-1" not in plain.text


def test_a_request_has_spans_of_its_stages_and_its_batches_are_linked():
    pytest.importorskip("opentelemetry.sdk")
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    kept = InMemorySpanExporter()
    with client_of(traces=SpanTraces(SimpleSpanProcessor(kept))) as client:
        headers = {"traceparent": f"00-{'ab' * 16}-{'cd' * 8}-01"}
        assert client.post("/v1/restore", content=encoded(picture(90, 90)), headers=headers).status_code == 200
        exemplars = client.get("/metrics", headers=OPEN).text
    spans = {}
    for span in kept.get_finished_spans():
        spans.setdefault(span.name, []).append(span)
    assert set(spans) == {"restore", "decode", "queue", "batch", "tiles", "check", "encode"}
    root = spans["restore"][0]
    assert root.parent.span_id == int("cd" * 8, 16)
    assert format(root.context.trace_id, "032x") == "ab" * 16
    assert f'trace_id="{"ab" * 16}"' in exemplars
    for name in ("decode", "queue", "tiles", "check", "encode"):
        assert [span.parent.span_id for span in spans[name]] == [root.context.span_id], name
    assert len(spans["batch"]) > 1
    for span in spans["batch"]:
        assert span.parent is None
        assert [link.context.span_id for link in span.links] == [root.context.span_id]
    told = json.dumps([dict(span.attributes) for each in spans.values() for span in each])
    assert "127.0.0.1" not in told
    assert "testclient" not in told


def test_without_a_collector_nothing_is_traced():
    traces = traces_to(None)
    assert type(traces) is Traces
    with traces.request("a"), traces.stage("decode", "a"):
        assert traces.exemplar("a") == {"request_id": "a"}


@pytest.fixture
def lines():
    """What is logged, as lines of JSON."""
    told: list[dict] = []

    class Keep(logging.Handler):
        def emit(self, record):
            told.append(json.loads(self.format(record)))

    handler = Keep()
    handler.setFormatter(JsonLines())
    before = logs.ANSWERS.level
    logging.getLogger("sr_lab").addHandler(handler)
    logs.ANSWERS.setLevel(logging.INFO)
    yield told
    logging.getLogger("sr_lab").removeHandler(handler)
    logs.ANSWERS.setLevel(before)


def test_a_line_of_json_an_answer_without_the_client(lines):
    with client_of() as client:
        client.post("/v1/restore", content=encoded(picture()), headers={"X-Request-ID": "mine-2"})
        client.post("/v1/restore?model=secret-words", content=b"secret", headers={"X-Request-ID": "mine-3"})
    answers = [line for line in lines if line["logger"] == "sr_lab.answers"]
    assert [(line["request"], line["status"]) for line in answers] == [("mine-2", 200), ("mine-3", 415)]
    assert answers[0]["model"] == "photos/1"
    assert set(answers[0]) == {
        "time",
        "level",
        "logger",
        "message",
        "request",
        "route",
        "status",
        "seconds",
        "model",
        "tier",
    }
    assert "secret" not in json.dumps(lines)
    assert "testclient" not in json.dumps(lines)


def test_an_error_tells_its_place_and_not_its_text():
    try:
        raise ValueError("the client's name is Ann")
    except ValueError:
        import sys

        record = logging.LogRecord("sr_lab.x", logging.ERROR, __file__, 1, "failed", (), sys.exc_info())
    told = JsonLines().format(record)
    assert json.loads(told)["error"]["kind"] == "ValueError"
    assert "test_an_error_tells_its_place_and_not_its_text" in told
    assert "Ann" not in told
