"""A restored image whose tiles are told as they are computed: parts of one answer, the last of them the image's file.

``multipart/mixed`` (RFC 2046), each part with its ``Content-Length``: first tiles as small JPEG files (PNG where there
is transparency), to be looked at meanwhile, whose place ``X-Tile`` says; then what ``/v1/restore`` answers, file and
headers, which is what counts: a guard, or a candidate that failed, may have put another image in place of those tiles.
"""

import asyncio
import contextlib
import json
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any

import numpy as np
from fastapi import FastAPI, Request
from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from sr_lab.images import codecs
from sr_lab.serving.answering import (
    CLIENT_GONE,
    Counts,
    Parts,
    accounted,
    answer_format,
    asked,
    problem_response,
    read_image_body,
    request_id,
    unless_gone,
)
from sr_lab.serving.asking import Answer
from sr_lab.serving.limits import Gone
from sr_lab.serving.pictures import ANSWERS, Pixels
from sr_lab.serving.problems import MEDIA, Problem
from sr_lab.serving.schemas import RESTORE_TILES

ROUTE = "/v1/restore/tiles"
PREVIEW_QUALITY = 90
Place = tuple[slice, slice]


def add_tile_stream(app: FastAPI, parts: Parts) -> None:
    """Adds the route."""

    @app.post(ROUTE, openapi_extra=RESTORE_TILES, response_class=Response, tags=["restore"])
    async def tiles(request: Request) -> Response:
        """Restores an image as ``/v1/restore`` does, and tells its tiles as they come."""
        id = request_id(request)
        try:
            async with contextlib.AsyncExitStack() as stack:
                counting = accounted(parts, headers=request.headers, scope="restore", route=ROUTE, id=id)
                counts = await stack.enter_async_context(counting)
                stream = await _begun(request, parts, counts)
                stack.callback(stream.cancel)
                # What refuses the request is known before its first tile, or with its answer.
                await unless_gone(request, stream.begins())
                return _StreamedAnswer(stream, stack.pop_all(), id)
        except Problem as problem:
            return problem_response(problem, id)
        except Gone:
            return Response(status_code=CLIENT_GONE)


async def _begun(request: Request, parts: Parts, counts: Counts) -> "TileStream":
    begin, format = parts.service.clock(), answer_format(request, beside="multipart/mixed")
    data, fields = await read_image_body(request, parts, most=parts.service.limits.body_bytes)
    ask = asked(request, counts.caller, fields, format=format, begin=begin)
    stream = TileStream(counts)
    stream.work = asyncio.create_task(parts.service.restore(ask, data, on_tile=stream.on_tile))
    stream.work.add_done_callback(lambda _: stream.told.put_nowait(None))
    return stream


class TileStream:
    """The parts of an answer.

    Args:
        counts: What is counted of the request.
    """

    def __init__(self, counts: Counts) -> None:
        self.counts, self.boundary = counts, uuid.uuid4().hex
        self.work: asyncio.Task[Answer] | None = None
        self.told: asyncio.Queue[tuple[Place, Pixels] | None] = asyncio.Queue()
        self.complete = False
        self._loop = asyncio.get_running_loop()
        self._first: tuple[Place, Pixels] | None = None

    def on_tile(self, place: Place, image: Pixels) -> None:
        """Takes a tile in; called by the computing thread."""
        self._loop.call_soon_threadsafe(self.told.put_nowait, (place, image))

    async def begins(self) -> None:
        """Waits for the first tile, or for the answer.

        Raises:
            Problem: If the request is refused.
        """
        self._first = await self.told.get()
        assert self.work is not None
        if self._first is None:
            await self.work

    def cancel(self) -> None:
        """Drops what is not computed yet."""
        if self.work is not None:
            self.work.cancel()

    async def parts(self) -> AsyncIterator[bytes]:
        """The answer's body."""
        assert self.work is not None
        told = self._first
        while told is not None:
            place, image = told
            if (part := await asyncio.to_thread(self._preview, place, image)) is not None:
                yield part
            told = await self.told.get()
        try:
            answer = await self.work
        except Problem as problem:
            self.counts.status = problem.status
            yield self._part(json.dumps(problem.content("")).encode(), MEDIA, {})
        else:
            self.counts.take(200, {name.lower(): value for name, value in answer.headers.items()})
            yield self._part(answer.data, ANSWERS[answer.format].media, answer.headers)
        yield f"--{self.boundary}--\r\n".encode()
        self.complete = True

    def _preview(self, place: Place, image: Pixels) -> bytes | None:
        """A tile as a part; None of an image that is one tile, or whose channels no picture has."""
        rows, columns = place
        height, width, channels = image.shape
        tile = image[place]
        if channels > 4 or tile.shape[:2] == (height, width):
            return None
        levels = tile if tile.dtype == np.uint8 else (tile >> 8).astype(np.uint8)
        alpha, format = channels in (2, 4), "png" if channels in (2, 4) else "jpg"
        data = codecs.encode(np.ascontiguousarray(levels), format, alpha=alpha, quality=PREVIEW_QUALITY)
        there = f"{columns.start},{rows.start},{tile.shape[1]},{tile.shape[0]}"
        return self._part(data, ANSWERS[format].media, {"X-Tile": there, "X-Size": f"{width},{height}"})

    def _part(self, data: bytes, media: str, headers: Mapping[str, str]) -> bytes:
        told = {"Content-Type": media, "Content-Length": str(len(data)), **headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in told.items())
        return b"".join((f"--{self.boundary}\r\n{lines}\r\n".encode("latin-1"), data, b"\r\n"))


class _StreamedAnswer(StreamingResponse):
    """Sends the parts; the request is open, and what it holds kept, until they are sent or their reader has gone."""

    def __init__(self, stream: TileStream, kept: contextlib.AsyncExitStack[Any], id: str) -> None:
        media = f"multipart/mixed; boundary={stream.boundary}"
        super().__init__(stream.parts(), media_type=media, headers={"X-Request-ID": id, "X-Accel-Buffering": "no"})
        self.stream, self.kept = stream, kept

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with contextlib.suppress(Gone):
            async with self.kept:
                await super().__call__(scope, receive, send)
                if not self.stream.complete:
                    raise Gone
