"""The Open Inference Protocol v2 over gRPC: the door beside HTTP, to the same service, keys, limits and audit log."""

import contextlib
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from sr_lab.base.extras import remedy
from sr_lab.base.words import counted
from sr_lab.serving.answering import Parts, accounted
from sr_lab.serving.asking import Ask
from sr_lab.serving.inference_protocol import (
    RESTORED,
    TYPES,
    checked_shape,
    loaded,
    metadata_of,
    restore_tensor,
)
from sr_lab.serving.keys import Caller
from sr_lab.serving.messages import protocol
from sr_lab.serving.models import Pixels
from sr_lab.serving.problems import Problem

_ROOM = 1 << 16
"""Bytes of a message beside its tensor."""
_CODES = {
    401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND", 408: "DEADLINE_EXCEEDED",
    413: "RESOURCE_EXHAUSTED", 429: "RESOURCE_EXHAUSTED", 500: "INTERNAL", 503: "UNAVAILABLE",
}  # fmt: skip


class InferenceServer:
    """Answers the protocol's calls.

    Args:
        parts: What the server is made of.
    """

    def __init__(self, parts: Parts) -> None:
        self.parts = parts
        self.messages = protocol().messages

    async def ServerLive(self, request: Any, context: Any) -> Any:
        """Whether the process computes."""
        return self.messages["ServerLiveResponse"](live=self.parts.service.runner.alive)

    async def ServerReady(self, request: Any, context: Any) -> Any:
        """Whether requests are answered."""
        return self.messages["ServerReadyResponse"](ready=self.parts.ready)

    async def ModelReady(self, request: Any, context: Any) -> Any:
        """Whether a model is loaded in that version."""
        found = loaded(self.parts, request.name, request.version or None)
        return self.messages["ModelReadyResponse"](ready=found is not None)

    async def ServerMetadata(self, request: Any, context: Any) -> Any:
        """What the server is."""
        return self.messages["ServerMetadataResponse"](name="sr_lab", version=version("sr-lab"))

    async def ModelMetadata(self, request: Any, context: Any) -> Any:
        """What a model takes and gives."""
        async with _refusals(context):
            self.parts.keys.identify(_headers(context), "models")
            found = loaded(self.parts, request.name, request.version or None)
            if found is None:
                raise Problem(404, f"there is no model {request.name[:60]}", kind="model")
            return self.messages["ModelMetadataResponse"](**metadata_of(found))

    async def ModelInfer(self, request: Any, context: Any) -> Any:
        """Restores the tensor ``low``; the call's own deadline is that of its images."""
        id = request.id if request.id.isascii() and 0 < len(request.id) <= 64 else uuid.uuid4().hex
        headers = _headers(context)
        async with (
            _refusals(context),
            accounted(self.parts, headers=headers, scope="restore", route="grpc/ModelInfer", id=id) as counts,
        ):
            model = loaded(self.parts, request.model_name, request.model_version or None)
            if model is None:
                raise Problem(404, f"there is no model {request.model_name[:60]} of that version", kind="model")
            low, datatype = _tensor(request, most=self.parts.service.limits.pixels)
            restored = await restore_tensor(self.parts.service, self._ask(id, model.name, counts.caller, context), low)
            counts.take(200, {"x-model": model.name, "x-model-version": model.version, "x-tier": "best"})
            output = {"name": RESTORED, "datatype": datatype, "shape": list(restored.shape)}
            return self.messages["ModelInferResponse"](
                model_name=model.name, model_version=model.version, id=request.id, outputs=[output],
                raw_output_contents=[restored.tobytes()],
            )  # fmt: skip

    def _ask(self, id: str, model: str, caller: Caller, context: Any) -> Ask:
        left = context.time_remaining()
        client = caller.name if caller.name != "-" else context.peer().rpartition(":")[0]
        deadline = None if left is None or left > self.parts.service.limits.longest_deadline else max(left, 1e-3)
        return Ask(
            id=f"{id}.{uuid.uuid4().hex[:8]}", caller=caller, client=client, model=model, deadline=deadline,
            begin=self.parts.service.clock(),
        )  # fmt: skip


@contextlib.asynccontextmanager
async def _refusals(context: Any) -> AsyncIterator[None]:
    """A refusal as the call's status; what else goes wrong is the server's fault, and told without its text."""
    import grpc

    try:
        yield
    except Problem as problem:
        trailing = tuple((name.lower(), value) for name, value in problem.headers.items())
        code = getattr(grpc.StatusCode, _CODES.get(problem.status, "INVALID_ARGUMENT"))
        await context.abort(code, problem.detail, trailing)


def _headers(context: Any) -> Mapping[str, str]:
    return {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}


def _tensor(request: Any, *, most: int) -> tuple[Pixels, str]:
    """The tensor ``low``, (B, H, W, C), and its type's name."""
    if len(request.inputs) != 1 or len(request.raw_input_contents) > 1:
        raise Problem(400, "one input low is needed", kind="protocol")
    given = request.inputs[0]
    shape = list(given.shape)
    count = checked_shape(given.name, given.datatype, shape, most=most)
    kind = TYPES[given.datatype]
    if request.raw_input_contents:
        raw = request.raw_input_contents[0]
        if len(raw) != count * np.dtype(kind).itemsize:
            raise Problem(400, f"the tensor has {len(raw)} bytes, and not those of its shape", kind="protocol")
        return np.frombuffer(raw, kind).reshape(shape), given.datatype
    values = np.asarray(given.contents.uint_contents, np.int64)
    if len(values) != count or values.max() > np.iinfo(kind).max:
        raise Problem(400, f"uint_contents are not {counted(count, 'value')} of {given.datatype}", kind="protocol")
    return values.astype(kind).reshape(shape), given.datatype


def make_grpc_server(
    parts: Parts, *, host: str, port: int, certificate: Path | None = None, private_key: Path | None = None
) -> tuple[Any, int]:
    """A server that listens, within the event loop that runs now; it answers as soon as it is started.

    Args:
        parts: What it is made of.
        host: Address to listen at.
        port: 0 takes a free one.
        certificate: File of the TLS certificate; None: no TLS.
        private_key: File of its key.

    Returns:
        The server of ``grpc.aio``, and its port.

    Raises:
        ValueError: If grpcio is not installed.
        OSError: If the address is taken.
    """
    try:
        import grpc

        declared = protocol()
    except ImportError as error:
        raise ValueError(f"grpc_port={port}: {remedy('grpc')}") from error
    most = parts.service.limits.body_bytes + _ROOM
    server = grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", most),
            ("grpc.max_send_message_length", -1),
            ("grpc.so_reuseport", 0),
        ]
    )
    servicer = InferenceServer(parts)
    handlers = {
        name: grpc.unary_unary_rpc_method_handler(
            getattr(servicer, name), request_deserializer=given.FromString, response_serializer=_bytes_of
        )
        for name, (given, _) in declared.methods.items()
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(declared.service, handlers),))
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        if certificate is None or private_key is None:
            taken = server.add_insecure_port(address)
        else:
            credentials = grpc.ssl_server_credentials([(private_key.read_bytes(), certificate.read_bytes())])
            taken = server.add_secure_port(address, credentials)
    except RuntimeError as error:
        raise OSError(f"cannot listen at {address}: give another grpc_port=") from error
    return server, int(taken)


_bytes_of: Callable[[Any], bytes] = lambda message: bytes(message.SerializeToString())  # noqa: E731
