"""Requests that schemathesis makes of the OpenAPI: nothing that a client may say is the server's fault."""

from collections import Counter

import pytest
from serving.conftest import encoded, make, picture

from sr_lab.serving.app import make_app
from sr_lab.serving.jobs import JobSettings

schemathesis = pytest.importorskip("schemathesis", reason="needs schemathesis: pip install schemathesis")
hypothesis = pytest.importorskip("hypothesis")

SETTINGS = hypothesis.settings(
    max_examples=5, derandomize=True, database=None, deadline=None, phases=[hypothesis.Phase.generate],
    suppress_health_check=list(hypothesis.HealthCheck),
)  # fmt: skip


def test_what_is_made_of_the_openapi_is_answered_as_it_says(tmp_path):
    from schemathesis.checks import not_a_server_error
    from schemathesis.generation import GenerationMode
    from schemathesis.specs.openapi import checks

    files = hypothesis.strategies.sampled_from([encoded(picture(6, 5)), encoded(picture(6, 5))[:40], b"no image"])
    schemathesis.openapi.media_type("application/octet-stream", files)
    parts, _ = make(jobs=JobSettings(folder=str(tmp_path)))
    schema = schemathesis.openapi.from_asgi("/openapi.json", make_app(parts))
    statuses = Counter()
    for found in schema.get_all_operations():
        operation = found.ok()
        for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
            try:
                strategy = operation.as_strategy(generation_mode=mode)

                @SETTINGS
                @hypothesis.given(case=strategy)
                def answered(case):
                    response = case.call()
                    statuses[case.operation.label, response.status_code] += 1
                    case.validate_response(
                        response,
                        checks=[
                            not_a_server_error, checks.status_code_conformance, checks.content_type_conformance,
                            checks.response_schema_conformance,
                        ],
                    )  # fmt: skip

                answered()
            except hypothesis.errors.Unsatisfiable:  # nothing of it can be wrong
                continue
    assert {"POST /v1/restore", "POST /v1/jobs", "GET /v1/jobs/{id}", "GET /metrics"} <= {name for name, _ in statuses}
    assert sum(statuses.values()) > 30, statuses
    assert statuses["POST /v1/restore", 200], statuses
    assert parts.open == parts.service.memory.held == 0
    assert parts.service.runner.alive
    parts.jobs.stop()
    parts.service.close()
