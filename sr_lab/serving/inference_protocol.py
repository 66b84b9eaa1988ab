"""The Open Inference Protocol v2 (KServe, Triton) over HTTP, with its binary tensor extension.

One input ``low``, UINT8 or UINT16, (B, H, W, C); one output ``restored`` of the same type, as much larger as the model
enlarges.
"""

import io
import json
import math
from dataclasses import replace
from importlib.metadata import version
from typing import Any

import numpy as np
from fastapi import FastAPI, Request
from starlette.responses import JSONResponse, Response

from sr_lab.serving.answering import Parts, client_of, counted, request_id
from sr_lab.serving.asking import Ask
from sr_lab.serving.keys import Caller
from sr_lab.serving.limits import read_body
from sr_lab.serving.models import Pixels, Served
from sr_lab.serving.problems import Problem
from sr_lab.serving.service import Service

LOW, RESTORED = "low", "restored"
TYPES: dict[str, Any] = {"UINT8": np.uint8, "UINT16": np.uint16}
_HEADER = "inference-header-content-length"


def add_inference_protocol(app: FastAPI, parts: Parts) -> None:
    """Adds the protocol's routes below ``/v2``."""

    @app.get("/v2", include_in_schema=False)
    async def server() -> JSONResponse:
        told = {"name": "sr_lab", "version": version("sr-lab"), "extensions": ["binary_tensor_data"]}
        return JSONResponse(told)

    @app.get("/v2/health/live", include_in_schema=False)
    async def live() -> Response:
        return Response(status_code=200 if parts.service.runner.alive else 503)

    @app.get("/v2/health/ready", include_in_schema=False)
    async def ready() -> Response:
        return Response(status_code=200 if parts.ready else 503)

    @app.get("/v2/models/{name}/ready", include_in_schema=False)
    @app.get("/v2/models/{name}/versions/{number}/ready", include_in_schema=False)
    async def model_ready(name: str, number: str | None = None) -> Response:
        found = loaded(parts, name, number)
        return Response(status_code=200 if found is not None else 404)

    @app.get("/v2/models/{name}", include_in_schema=False)
    @app.get("/v2/models/{name}/versions/{number}", include_in_schema=False)
    async def metadata(name: str, request: Request, number: str | None = None) -> JSONResponse:
        parts.keys.identify(request.headers, "models")
        found = loaded(parts, name, number)
        if found is None:
            raise Problem(404, f"there is no model {name[:60]}", kind="model")
        return JSONResponse(metadata_of(found))

    @app.post("/v2/models/{name}/infer", include_in_schema=False)
    @app.post("/v2/models/{name}/versions/{number}/infer", include_in_schema=False)
    async def infer(name: str, request: Request, number: str | None = None) -> Response:
        return await counted(request, parts, "restore", lambda caller: _infer(request, parts, caller, name, number))


def loaded(parts: Parts, name: str, number: str | None) -> Served | None:
    """The model of a name, where it is loaded in that version; None for the version: in any."""
    found = next((state.current for state in parts.service.shelf.states if state.name == name), None)
    return found if found is not None and number in (None, found.version) else None


async def _infer(request: Request, parts: Parts, caller: Caller, name: str, number: str | None) -> Response:
    service = parts.service
    begin = service.clock()
    length = request.headers.get("content-length")
    body = await read_body(request.receive, length=length, limits=service.limits, clock=service.clock)
    model = loaded(parts, name, number)
    if model is None:
        raise Problem(404, f"there is no model {name[:60]} of that version", kind="model")
    content, binary = _parted(body, request.headers.get(_HEADER))
    low, datatype = _input(content, binary, most=service.limits.pixels)
    ask = Ask(id=request_id(request), caller=caller, client=client_of(request, caller), model=name, begin=begin)
    restored = await restore_tensor(service, ask, low)
    told: dict[str, Any] = {
        "model_name": name, "model_version": model.version, "id": str(content.get("id", "")),
        "outputs": [{"name": RESTORED, "datatype": datatype, "shape": list(restored.shape)}],
    }  # fmt: skip
    headers = {"X-Model": model.name, "X-Model-Version": model.version}
    if not _wants_binary(content):
        told["outputs"][0]["data"] = restored.ravel().tolist()
        return JSONResponse(told, headers=headers)
    raw = restored.tobytes()
    told["outputs"][0]["parameters"] = {"binary_data_size": len(raw)}
    head = json.dumps(told).encode()
    headers["Inference-Header-Content-Length"] = str(len(head))
    return Response(head + raw, media_type="application/octet-stream", headers=headers)


async def restore_tensor(service: Service, ask: Ask, low: Pixels) -> Pixels:
    """Images of one shape, (B, H, W, C), restored one after the other, each within its own tiles.

    Raises:
        Problem: If one of them is refused.
    """
    images = []
    for index, image in enumerate(low):
        stream = io.BytesIO()
        np.save(stream, image)
        each = replace(ask, id=f"{ask.id}.{index}", format="npy")
        answer = await service.restore(each, stream.getvalue())
        images.append(np.load(io.BytesIO(answer.data), allow_pickle=False))
    return np.stack(images)


def metadata_of(model: Served) -> dict[str, Any]:
    """What the protocol tells of a model."""
    shape = [-1, -1, -1, model.num_channels]
    return {
        "name": model.name, "versions": [model.version], "platform": "sr_lab",
        "inputs": [{"name": LOW, "datatype": "UINT8", "shape": shape}],
        "outputs": [{"name": RESTORED, "datatype": "UINT8", "shape": shape}],
    }  # fmt: skip


def checked_shape(name: str, datatype: Any, shape: Any, *, most: int) -> int:
    """The values that an input of this shape has.

    Raises:
        Problem: If it is none that is restored.
    """
    if name != LOW or datatype not in TYPES:
        raise Problem(400, f"the input is {LOW}, of {' or '.join(TYPES)}", kind="protocol")
    if not isinstance(shape, list) or len(shape) != 4 or any(type(side) is not int or side < 1 for side in shape):
        raise Problem(400, "the shape is (B, H, W, C)", kind="protocol")
    if shape[0] * shape[1] * shape[2] > most:
        raise Problem(413, f"more than {most} pixels", kind="pixels")
    return math.prod(shape)


def _parted(body: bytes, length: str | None) -> tuple[dict[str, Any], bytes]:
    """The JSON of a request, and the bytes of its tensors behind it."""
    if length is not None and not (length.isascii() and length.isdecimal() and int(length) <= len(body)):
        raise Problem(400, f"Inference-Header-Content-Length is {length[:40]}", kind="protocol")
    end = len(body) if length is None else int(length)
    try:
        content = json.loads(body[:end])
    except (ValueError, RecursionError):
        raise Problem(400, "the request is not JSON", kind="protocol") from None
    if not isinstance(content, dict):
        raise Problem(400, "the request is no JSON object", kind="protocol")
    return content, body[end:]


def _input(content: dict[str, Any], binary: bytes, *, most: int) -> tuple[Pixels, str]:
    """The tensor ``low``, (B, H, W, C), and its type's name."""
    inputs = content.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise Problem(400, f"one input {LOW} is needed", kind="protocol")
    given = inputs[0]
    datatype, shape = str(given.get("datatype")), given.get("shape")
    count = checked_shape(str(given.get("name")), datatype, shape, most=most)
    parameters = given.get("parameters")
    if isinstance(parameters, dict) and "binary_data_size" in parameters:
        size = parameters["binary_data_size"]
        wanted = count * np.dtype(TYPES[datatype]).itemsize
        if size != wanted or len(binary) < wanted:
            raise Problem(400, f"the tensor has {len(binary)} bytes, and its shape needs {wanted}", kind="protocol")
        return np.frombuffer(binary[:wanted], TYPES[datatype]).reshape(shape), datatype
    try:
        values = np.asarray(given.get("data"), dtype=np.int64)
        if values.size != count or values.min() < 0 or values.max() > np.iinfo(TYPES[datatype]).max:
            raise ValueError
    except (ValueError, TypeError, OverflowError, RecursionError):
        raise Problem(400, f"the data are not {count} whole numbers of {datatype}", kind="protocol") from None
    return values.astype(TYPES[datatype]).reshape(shape), datatype


def _wants_binary(content: dict[str, Any]) -> bool:
    outputs = content.get("outputs")
    for place in (outputs[0] if isinstance(outputs, list) and outputs else None, content):
        parameters = place.get("parameters") if isinstance(place, dict) else None
        if isinstance(parameters, dict):
            for key in ("binary_data", "binary_data_output"):
                if key in parameters:
                    return bool(parameters[key])
    return False
