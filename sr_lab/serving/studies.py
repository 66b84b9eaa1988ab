"""A study over HTTP: its page, its pictures, and the answers, which are only ever added to, under a code alone."""

import asyncio
import json
import logging
import re
import threading
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request
from starlette.responses import FileResponse, JSONResponse, Response

from sr_lab.serving.answering import Parts
from sr_lab.serving.limits import Gone, read_body
from sr_lab.serving.problems import Problem
from sr_lab.study.ballots import BallotBox, Refused
from sr_lab.study.plan import PAGE, PICTURES, PLAN, Plan

log = logging.getLogger(__name__)
MOST_BYTES = 16384
_POLICY = (
    "default-src 'none'; img-src 'self' data:; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'"
)
_STATUS = {"answer": 422, "code": 401, "again": 409}


class StudyDesk:
    """The study of a folder; codes that ``srlab study more`` adds while it is served count at once.

    Args:
        folder: Of the study.

    Raises:
        FileNotFoundError: If there is no study.
        ValueError: If it was changed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stamp = 0
        self._lock = threading.Lock()
        if not (folder / PLAN).is_file():
            raise FileNotFoundError(f"study={folder} holds no {PLAN}: give the folder that srlab study create made")
        self._box = self.box()

    def box(self) -> BallotBox:
        """Where answers go."""
        with self._lock:
            stamp = (self.folder / PLAN).stat().st_mtime_ns
            if stamp != self._stamp:
                self._box = BallotBox(self.folder, Plan.read(self.folder))
                self._stamp = stamp
            return self._box

    def picture(self, name: str) -> Path | None:
        """A picture of the page; None where there is none of that name."""
        file = self.folder / PAGE / PICTURES / name
        return file if re.fullmatch(r"[0-9a-f]{24}\.png", name) and file.is_file() else None


def add_study(app: FastAPI, parts: Parts) -> None:
    """The routes below ``/study/``, where a study is served."""
    if parts.study is None:
        return
    desk: StudyDesk = parts.study

    @app.get("/study", include_in_schema=False)
    async def there() -> Response:
        return Response(status_code=308, headers={"Location": "/study/"})

    @app.get("/study/", tags=["study"], response_class=Response)
    async def page() -> Response:
        """The page that raters see."""
        text = await asyncio.to_thread((desk.folder / PAGE / "index.html").read_bytes)
        headers = {"Content-Security-Policy": _POLICY, "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
        return Response(text, media_type="text/html; charset=utf-8", headers=headers)

    @app.get("/study/pictures/{name}", tags=["study"], response_class=Response)
    async def picture(name: str) -> Response:
        """A picture of the page."""
        file = desk.picture(name)
        if file is None:
            raise Problem(404, "there is no such picture", kind="picture")
        return FileResponse(
            file, media_type="image/png", headers={"Cache-Control": "private, max-age=86400, immutable"}
        )

    @app.post("/study/ballots", tags=["study"], status_code=201, response_class=Response)
    async def ballots(request: Request) -> Response:
        """Adds an answer; it is on the disk when this is acknowledged, and is never changed."""
        given = await _json(request, parts)
        try:
            added = await asyncio.to_thread(lambda: desk.box().add(given))
        except Refused as refused:
            raise Problem(_STATUS[refused.kind], str(refused), kind="ballot") from None
        except OSError as error:
            log.error("an answer could not be written: %s", error)
            raise Problem(503, "the answer could not be written", kind="disk", headers={"Retry-After": "5"}) from None
        return JSONResponse({"added": added}, 201 if added else 200)

    @app.post("/study/answered", tags=["study"], response_class=Response)
    async def answered(request: Request) -> Response:
        """The pairs that a code has answered here."""
        given = await _json(request, parts)
        code = given.get("rater") if isinstance(given, dict) else None
        box = await asyncio.to_thread(desk.box)
        if not isinstance(code, str) or box.plan.block_of(code) is None:
            raise Problem(401, "this study has no such code", kind="ballot")
        return JSONResponse(await asyncio.to_thread(box.answered, code))


async def _json(request: Request, parts: Parts) -> Any:
    service = parts.service
    try:
        data = await read_body(
            request.receive,
            length=request.headers.get("content-length"),
            limits=service.limits,
            clock=service.clock,
            most=MOST_BYTES,
        )
        return json.loads(data)
    except Gone:
        raise Problem(400, "the request broke off", kind="body") from None
    except (ValueError, RecursionError):
        raise Problem(400, "the body is no JSON", kind="body") from None
