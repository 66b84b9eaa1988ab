"""The service over HTTP: routes, errors as problem+json, headers, the audit log."""

import asyncio
import contextlib
import logging
import uuid
from collections.abc import AsyncIterator

from fastapi import FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from sr_lab.serving.answering import (
    Parts,
    answer_format,
    asked,
    audit,
    counted,
    problem_response,
    read_image_body,
    request_id,
    unless_gone,
)
from sr_lab.serving.asking import Answer
from sr_lab.serving.inference_protocol import add_inference_protocol
from sr_lab.serving.keys import Caller
from sr_lab.serving.page import add_page
from sr_lab.serving.pictures import ANSWERS
from sr_lab.serving.problems import Problem
from sr_lab.serving.schemas import CARD, HEALTH, JOB, JOB_RESULT, JOB_STATE, METRICS, MODELS, READY, RESTORE
from sr_lab.serving.studies import add_study
from sr_lab.serving.tile_stream import add_tile_stream

__all__ = ["Parts", "make_admin_app", "make_app"]

log = logging.getLogger(__name__)


def make_app(parts: Parts) -> FastAPI:
    """The application that clients talk to."""

    @contextlib.asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        if parts.jobs is not None:
            await asyncio.to_thread(parts.jobs.start)
        if parts.golden is not None:
            parts.golden.start()
        yield
        if parts.golden is not None:
            parts.golden.stop()
        if parts.jobs is not None:
            await asyncio.to_thread(parts.jobs.stop)
        await asyncio.to_thread(parts.service.close)

    app = FastAPI(
        title="sr_lab", version="1", lifespan=life, docs_url=None, redoc_url=None, openapi_url="/openapi.json",
        description="Super-resolution: images in, larger images out. Detail that the input does not hold is invented.",
    )  # fmt: skip
    app.state.parts = parts
    _add_errors(app)
    _add_restore(app, parts)
    _add_states(app, parts)
    if parts.jobs is not None:
        _add_jobs(app, parts)
    add_inference_protocol(app, parts)
    add_tile_stream(app, parts)
    add_page(app, parts)
    add_study(app, parts)
    return app


def make_admin_app(parts: Parts) -> FastAPI:
    """The routes of the administrator, for an address of their own."""
    app = FastAPI(title="sr_lab admin", version="1", docs_url=None, redoc_url=None, openapi_url=None)
    _add_errors(app)

    @app.get("/metrics")
    async def metrics(request: Request) -> Response:
        return _metrics(parts, request)

    @app.get("/admin/models")
    async def models(request: Request) -> JSONResponse:
        parts.keys.identify(request.headers, "admin")
        return JSONResponse(parts.service.told())

    @app.post("/admin/look")
    async def look(request: Request) -> JSONResponse:
        caller = parts.keys.identify(request.headers, "admin")
        audit(parts, caller, "admin/look", 200, uuid.uuid4().hex)
        well = await asyncio.to_thread(parts.service.shelf.follow)
        return JSONResponse({"followed": well, **parts.service.told()})

    @app.post("/admin/models/{name}/back")
    async def back(name: str, request: Request) -> JSONResponse:
        caller = parts.keys.identify(request.headers, "admin")
        if name not in parts.service.shelf.names:
            raise Problem(404, f"there is no model {name}", kind="model")
        try:
            now = parts.service.shelf.swap_back(name)
        except ValueError as error:
            raise Problem(409, str(error), kind="former") from None
        audit(parts, caller, "admin/back", 200, uuid.uuid4().hex, model=now.label)
        return JSONResponse({"name": name, "version": now.version})

    return app


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(Problem)
    async def problem(request: Request, error: Problem) -> Response:
        return problem_response(error, request_id(request))

    @app.exception_handler(HTTPException)
    async def other(request: Request, error: HTTPException) -> Response:
        kind = {404: "route", 405: "method"}.get(error.status_code, "http")
        headers = dict(error.headers or {})
        return problem_response(
            Problem(error.status_code, str(error.detail), kind=kind, headers=headers), request_id(request)
        )

    @app.exception_handler(Exception)
    async def failure(request: Request, error: Exception) -> Response:
        log.error("request %s failed", request_id(request), exc_info=error)
        return problem_response(
            Problem(500, "the server failed on this request; its log says why", kind="failure"), request_id(request)
        )


def _add_restore(app: FastAPI, parts: Parts) -> None:
    @app.post("/v1/restore", openapi_extra=RESTORE, response_class=Response, tags=["restore"])
    async def restore(request: Request) -> Response:
        """Restores an image: its file as the body, or as the multipart field ``image``."""
        return await counted(request, parts, "restore", lambda caller: _restore(request, parts, caller))


async def _restore(request: Request, parts: Parts, caller: Caller) -> Response:
    begin = parts.service.clock()
    format = answer_format(request)
    data, fields = await read_image_body(request, parts, most=parts.service.limits.body_bytes)
    ask = asked(request, caller, fields, format=format, begin=begin)
    answer = await unless_gone(request, parts.service.restore(ask, data))
    return image_response(answer)


def image_response(answer: Answer) -> Response:
    """The answer that holds a restored image."""
    return Response(answer.data, headers=answer.headers, media_type=ANSWERS[answer.format].media)


def _add_states(app: FastAPI, parts: Parts) -> None:
    @app.get("/v1/models", tags=["models"], openapi_extra=MODELS)
    async def models(request: Request) -> JSONResponse:
        """The models that are served, with their versions and warnings."""
        parts.keys.identify(request.headers, "models")
        return JSONResponse(parts.service.told())

    @app.get("/v1/models/{name}/card", tags=["models"], response_class=Response, openapi_extra=CARD)
    async def card(name: str, request: Request) -> Response:
        """The model card, as Markdown."""
        parts.keys.identify(request.headers, "models")
        found = next((state.current for state in parts.service.shelf.states if state.name == name), None)
        if found is None or not found.card:
            raise Problem(404, f"there is no card of {name[:60]}", kind="card")
        return Response(found.card, media_type="text/markdown; charset=utf-8")

    @app.get("/healthz", tags=["state"], openapi_extra=HEALTH)
    async def health() -> JSONResponse:
        """Whether the process lives."""
        alive = parts.service.runner.alive
        return JSONResponse({"alive": alive}, 200 if alive else 503)

    @app.get("/readyz", tags=["state"], openapi_extra=READY)
    async def ready() -> JSONResponse:
        """Whether requests are answered."""
        told = {
            "ready": parts.ready, "draining": parts.leaving or parts.draining,
            "registry_up": parts.service.shelf.registry_up,
        }  # fmt: skip
        return JSONResponse(told, 200 if told["ready"] else 503)

    @app.get("/metrics", tags=["state"], response_class=Response, openapi_extra=METRICS)
    async def metrics(request: Request) -> Response:
        """What Prometheus reads."""
        parts.keys.identify(request.headers, "metrics")
        return _metrics(parts, request)


def _add_jobs(app: FastAPI, parts: Parts) -> None:
    @app.post("/v1/jobs", openapi_extra=JOB, status_code=202, tags=["jobs"], response_class=Response)
    async def send(request: Request) -> Response:
        """Takes an image that is too large to wait for; an ``Idempotency-Key`` makes one job of repeated requests."""

        async def work(caller: Caller) -> Response:
            begin = parts.service.clock()
            format = answer_format(request, beside="application/json")
            data, fields = await read_image_body(request, parts, most=parts.service.limits.job_bytes)
            ask = asked(request, caller, fields, format=format, begin=begin, rank=1)
            told = await asyncio.to_thread(parts.jobs.send, ask, data, request.headers.get("idempotency-key"))
            return JSONResponse(told, 202, {"Location": f"/v1/jobs/{told['id']}"})

        return await counted(request, parts, "jobs", work)

    @app.get("/v1/jobs/{id}", tags=["jobs"], openapi_extra=JOB_STATE)
    async def state(id: str, request: Request) -> JSONResponse:
        """Whether a job waits, has begun, is done or has failed."""
        caller = parts.keys.identify(request.headers, "jobs")
        return JSONResponse(await asyncio.to_thread(parts.jobs.state, id, caller.name))

    @app.get("/v1/jobs/{id}/result", tags=["jobs"], response_class=Response, openapi_extra=JOB_RESULT)
    async def result(id: str, request: Request) -> Response:
        """The restored image of a job that is done."""
        caller = parts.keys.identify(request.headers, "jobs")
        data, headers, media = await parts.jobs.result(id, caller.name)
        return Response(data, headers=headers, media_type=media)


def _metrics(parts: Parts, request: Request) -> Response:
    measures, shelf = parts.service.measures, parts.service.shelf
    measures.registry_up.set(shelf.registry_up)
    measures.audit_failures.set(parts.audit.failures)
    measures.requests_open.set(parts.open)
    measures.memory.set(parts.service.memory.held)
    measures.model.clear()
    for state in shelf.states:
        measures.mismatch.labels(state.name).set(
            state.current is not None and bool(state.wanted) and state.wanted != state.current.version
        )
        if state.current is not None:
            measures.model.labels(state.name, state.current.version, state.current.alias).set(1)
    accept = request.headers.get("accept", "")
    return Response(measures.page(accept), headers={"Content-Type": measures.media(accept)})
