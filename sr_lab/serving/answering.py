"""What every route does: who asks, which request it is, its body, its answer when refused, a line in the audit log."""

import asyncio
import contextlib
import json
import math
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fastapi import Request
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.responses import Response

from sr_lab.inference.prepared import COLOURS
from sr_lab.serving.asking import Ask
from sr_lab.serving.edge import EdgeBundle
from sr_lab.serving.keys import ANYBODY, AuditLog, Caller, Keys, Scope
from sr_lab.serving.limits import Gone, read_body
from sr_lab.serving.logs import ANSWERS as ANSWER_LOG
from sr_lab.serving.logs import REQUEST
from sr_lab.serving.pictures import ANSWERS, accepted
from sr_lab.serving.problems import MEDIA, Problem
from sr_lab.serving.schemas import RESTORE_PARAMETERS
from sr_lab.serving.service import Service

IMAGE_FIELD = "image"
_TRUTH = {"true": True, "false": False}
CLIENT_GONE = 499


@dataclass
class Parts:
    """What the application is made of.

    Attributes:
        service: What restores.
        keys: Who may call.
        audit: Who called what.
        jobs: What is too large to wait for; None: there are no jobs.
        golden: What restores a golden set on schedule; None: nothing does.
        leaving: Whether the server is about to end: requests are still taken, and should be sent elsewhere.
        draining: Whether it takes no requests any more.
        study: What collects the answers of a study; None: there is none.
        edge: The model that the page computes in the browser; None: it computes none.
    """

    service: Service
    keys: Keys
    audit: AuditLog = field(default_factory=lambda: AuditLog(None))
    jobs: Any = None
    golden: Any = None
    leaving: bool = False
    draining: bool = False
    open: int = 0
    study: Any = None
    edge: EdgeBundle | None = None

    @property
    def ready(self) -> bool:
        """Whether requests should be sent here."""
        ending = self.leaving or self.draining
        return self.service.shelf.ready and self.service.runner.alive and not ending


def problem_response(error: Problem, id: str) -> Response:
    """The answer to a request that is refused."""
    content = json.dumps(error.content(id)).encode()
    return Response(content, error.status, {"X-Request-ID": id, **error.headers}, media_type=MEDIA)


def request_id(request: Request) -> str:
    """The request's id: the client's, where it is a plain one."""
    if not hasattr(request.state, "id"):
        given = request.headers.get("x-request-id", "")
        plain = 0 < len(given) <= 64 and given.isascii() and given.replace("-", "").replace("_", "").isalnum()
        request.state.id = given if plain else uuid.uuid4().hex
    return str(request.state.id)


async def counted(
    request: Request, parts: Parts, scope: Scope, work: Callable[[Caller], Awaitable[Response]]
) -> Response:
    """Does the work for whoever may ask for it, counts the answer and writes it into the audit log."""
    route = getattr(request.scope.get("route"), "path", request.url.path)
    id = request_id(request)
    try:
        async with accounted(parts, headers=request.headers, scope=scope, route=route, id=id) as counts:
            response = await work(counts.caller)
            counts.take(response.status_code, response.headers)
    except Problem as problem:
        response = problem_response(problem, id)
    except Gone:
        response = Response(status_code=CLIENT_GONE)
    response.headers["X-Request-ID"] = id
    return response


@dataclass
class Counts:
    """What is counted of a request.

    Attributes:
        caller: Who asks.
        status: Of its answer.
        tier: ``best`` or ``fast``.
        model: What restored.
    """

    caller: Caller
    status: int = 200
    tier: str = ""
    model: str = ""

    def take(self, status: int, headers: Mapping[str, str]) -> None:
        """What an answer's headers say."""
        version = headers.get("x-model-version", "")
        self.status, self.tier = status, headers.get("x-tier", "")
        self.model = f"{headers.get('x-model', '')}/{version}" if version else ""


@contextlib.asynccontextmanager
async def accounted(
    parts: Parts, *, headers: Mapping[str, str], scope: Scope, route: str, id: str
) -> AsyncIterator[Counts]:
    """Admits whoever may ask; what comes of it is counted and written into the audit log, whatever protocol it is.

    Raises:
        Problem: If the caller may not, or the server ends or has too many requests; and what the work raises.
    """
    service, counts = parts.service, Counts(Caller(name=""))
    REQUEST.set(id)
    begin = service.clock()
    try:
        counts.caller = parts.keys.identify(headers, scope)
        if parts.draining:
            raise Problem(503, "the server is ending", kind="closing", headers={"Retry-After": "5"})
        if parts.open >= service.limits.requests:
            service.measures.shed.labels("requests").inc()
            raise Problem(429, "too many requests at once", kind="requests", headers={"Retry-After": "1"})
        parts.open += 1
        service.measures.requests_open.set(parts.open)
        try:
            yield counts
        finally:
            parts.open -= 1
    except Problem as problem:
        counts.status = problem.status
        raise
    except (Gone, asyncio.CancelledError):
        counts.status = CLIENT_GONE
        service.measures.gone.inc()
        raise
    except Exception:
        counts.status = 500
        raise
    finally:
        service.measures.requests.labels(route, str(counts.status), counts.tier).inc()
        caller, seconds = counts.caller if counts.caller.name else None, round(service.clock() - begin, 4)
        audit(parts, caller, route, counts.status, id, model=counts.model, seconds=seconds)
        told = {"route": route, "status": counts.status, "seconds": seconds, "model": counts.model, "tier": counts.tier}
        ANSWER_LOG.info("answered", extra={"request": id, **told})


async def read_image_body(request: Request, parts: Parts, *, most: int) -> tuple[bytes, dict[str, str]]:
    """The image's file and the further fields of a request, within the limits."""
    service = parts.service
    length = request.headers.get("content-length")
    begin = service.clock()
    data = await read_body(request.receive, length=length, limits=service.limits, clock=service.clock, most=most)
    service.measures.stage.labels("body").observe(service.clock() - begin)
    if not request.headers.get("content-type", "").lower().startswith("multipart/form-data"):
        return data, {}

    async def stream() -> AsyncIterator[bytes]:
        yield data

    fields: dict[str, str] = {}
    try:
        parser = MultiPartParser(request.headers, stream(), max_files=1, max_fields=10, max_part_size=4096)  # type: ignore[arg-type]
        parser.spool_max_size = len(data) + 1  # what is in memory already needs no file
        content = await parser.parse()
    except (MultiPartException, KeyError, ValueError, AssertionError) as error:
        raise Problem(
            400, f"the multipart body cannot be read ({getattr(error, 'message', error)})", kind="form"
        ) from None
    image = None
    for name, value in content.multi_items():
        if isinstance(value, str):
            fields[name] = value
        elif name == IMAGE_FIELD:
            image = await value.read()
    await content.close()
    if not image:
        raise Problem(400, f"the multipart body has no file {IMAGE_FIELD!r}", kind="form")
    return image, fields


def asked(request: Request, caller: Caller, fields: dict[str, str], *, format: str, begin: float, rank: int = 0) -> Ask:
    """What the query, the fields of the form, or the headers ask for."""
    given = {**fields, **request.query_params}
    unknown = set(given) - {name for name, _ in RESTORE_PARAMETERS}
    if unknown:
        raise Problem(400, f"there is no parameter {sorted(unknown)[0][:60]!r}", kind="parameter")
    return Ask(
        id=request_id(request), caller=caller, client=client_of(request, caller),
        model=given.get("model"), tier=given.get("tier", "auto"), format=format, rank=rank,
        scale=_number(given, "scale", int), deadline=_number(given, "deadline", float), begin=begin,
        background=_named(given, "background", COLOURS), strip=_named(given, "strip", _TRUTH) or False,
        quality=_number(given, "quality", int, most=100) or 95,
        consistency=_named(given, "consistency", {"exact": "exact"}), parent=request.headers.get("traceparent"),
    )  # fmt: skip


def answer_format(request: Request, *, beside: str | None = None) -> str:
    """The format of the answer that ``Accept`` asks for.

    Args:
        request: The request.
        beside: A media type that is no format of images, and says nothing of it.

    Raises:
        Problem: If there is none that can be had.
    """
    given = request.headers.get("accept", "*/*").split(",")
    wanted = [part for part in given if beside is None or part.split(";")[0].strip().lower() != beside]
    format = accepted(",".join(wanted) or "*/*")
    if format is None:
        known = ", ".join(each.media for each in ANSWERS.values())
        raise Problem(406, f"accept one of {known}", kind="accept")
    return format


def client_of(request: Request, caller: Caller) -> str:
    """What a client is known by: its key, or its address."""
    return caller.name if caller is not ANYBODY or request.client is None else request.client.host


def _named(given: dict[str, str], name: str, values: Mapping[str, Any]) -> Any:
    text = given.get(name)
    if text is not None and text not in values:
        raise Problem(400, f"{name}={text[:60]}: one of {', '.join(values)}", kind="parameter")
    return None if text is None else values[text]


def _number(given: dict[str, str], name: str, kind: type, *, most: float = 1e6) -> Any:
    text = given.get(name)
    if text is None:
        return None
    try:
        value = kind(text)
        if not (math.isfinite(value) and 0 < value <= most):
            raise ValueError
    except (ValueError, OverflowError):
        raise Problem(400, f"{name}={text[:60]} must be a number above 0, at most {most:g}", kind="parameter") from None
    return value


async def unless_gone(request: Request, work: Any) -> Any:
    """The result of the work, which is dropped as soon as the client has gone."""
    doing = asyncio.ensure_future(work)
    watching = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({doing, watching}, return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise Gone
        return doing.result()
    finally:
        watching.cancel()
        if not doing.done():
            doing.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await doing


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def audit(parts: Parts, caller: Caller | None, route: str, status: int, id: str, **more: Any) -> None:
    """A line in the audit log."""
    line = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "request": id,
        "key": None if caller is None else caller.name, "route": route, "status": status, **more,
    }  # fmt: skip
    parts.audit.write(json.dumps(line))
