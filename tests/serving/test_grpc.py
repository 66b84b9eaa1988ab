"""The Open Inference Protocol over gRPC, as tritonclient speaks it, which nobody here wrote."""

import asyncio
import contextlib
import threading

import numpy as np
import pytest
from serving.conftest import make, picture
from serving.test_app import expected

from sr_lab.serving.keys import Keys, new_key
from sr_lab.serving.limits import Limits

pytest.importorskip("grpc", reason="needs grpcio: pip install grpcio")
triton = pytest.importorskip("tritonclient.grpc", reason="needs tritonclient: pip install 'tritonclient[http]'")

from sr_lab.serving.grpc_door import make_grpc_server  # noqa: E402
from sr_lab.serving.messages import protocol  # noqa: E402


@contextlib.contextmanager
def answering(parts, **options):
    """A server in a thread of its own; its port."""
    loop, ready, found = asyncio.new_event_loop(), threading.Event(), []

    async def start():
        server, port = make_grpc_server(parts, host="127.0.0.1", port=0, **options)
        await server.start()
        found.extend((server, port))

    def run():
        loop.run_until_complete(start())
        ready.set()
        loop.run_forever()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert ready.wait(60)
    try:
        yield found[1]
    finally:
        asyncio.run_coroutine_threadsafe(found[0].stop(10), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(30)
        loop.close()
        parts.service.close()


def low_of(image):
    low = triton.InferInput("low", list(image.shape), "UINT16" if image.dtype == np.uint16 else "UINT8")
    low.set_data_from_numpy(image)
    return low


def test_another_ones_client_gets_the_image_of_http():
    parts, _ = make()
    with answering(parts) as port, triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
        assert client.is_server_live()
        assert client.is_server_ready()
        assert client.is_model_ready("photos", "1")
        assert not client.is_model_ready("photos", "7")
        assert client.get_server_metadata().name == "sr_lab"
        told = client.get_model_metadata("photos")
        assert (told.versions, told.inputs[0].datatype, list(told.inputs[0].shape)) == (["1"], "UINT8", [-1, -1, -1, 3])
        images = np.stack([picture(12, 9, seed=seed) for seed in (1, 2)])
        result = client.infer("photos", [low_of(images)], request_id="7")
        assert (result.get_response().id, result.get_response().model_version) == ("7", "1")
        for image, restored in zip(images, result.as_numpy("restored"), strict=True):
            np.testing.assert_array_equal(restored, expected(image))
        deep = picture(8, 8, dtype=np.uint16)
        assert client.infer("fast", [low_of(deep[None])]).as_numpy("restored").dtype == np.uint16
        assert b'route="grpc/ModelInfer",status="200"' in parts.service.measures.page()


def test_refusals_are_told_as_statuses_of_calls(tmp_path):
    (key, digest), file = new_key(), tmp_path / "keys.yaml"
    file.write_text(f"web: {{sha256: {digest}, scopes: [restore], megapixels_per_second: 0.00001}}\n")
    parts, _ = make(Limits(pixels=1000), keys=Keys(file))
    parts.audit.file = tmp_path / "audit.jsonl"
    low, known = low_of(picture(8, 8)[None]), {"x-api-key": key}
    with answering(parts) as port, triton.InferenceServerClient(f"127.0.0.1:{port}") as client:

        def refused(model: str = "photos", given=low, **options) -> str:
            with pytest.raises(triton.InferenceServerException) as found:
                client.infer(model, [given], **{"headers": known, **options})
            return str(found.value)

        assert "UNAUTHENTICATED" in refused(headers={})
        assert "NOT_FOUND" in refused("nobody")
        assert "RESOURCE_EXHAUSTED" in refused(given=low_of(picture(40, 40)[None]))
        assert "INVALID_ARGUMENT" in refused(given=low_of(picture(8, 8)))
        assert client.infer("photos", [low], headers=known).as_numpy("restored").shape == (1, 16, 16, 3)
        assert "wait" in refused()  # the key's rate
        with pytest.raises(triton.InferenceServerException, match="PERMISSION_DENIED"):
            client.get_model_metadata("photos", headers=known)
        parts.draining = True
        assert "UNAVAILABLE" in refused()
        assert not client.is_server_ready()
    lines = (tmp_path / "audit.jsonl").read_text()
    assert lines.count("grpc/ModelInfer") == 7
    assert '"key": "web"' in lines
    assert len(parts.service.runner.queue) == parts.open == parts.service.memory.held == 0


def test_a_call_that_is_given_up_leaves_nothing_in_the_queue():
    parts, _ = make()
    with answering(parts) as port, triton.InferenceServerClient(f"127.0.0.1:{port}") as client:
        with pytest.raises(triton.InferenceServerException):
            client.infer("photos", [low_of(picture(190, 190)[None])], client_timeout=0.001)
        low = picture(6, 6)
        np.testing.assert_array_equal(
            client.infer("photos", [low_of(low[None])]).as_numpy("restored")[0], expected(low)
        )
    assert len(parts.service.runner.queue) == parts.open == parts.service.memory.held == 0


def test_the_messages_are_those_of_the_public_protocol():
    from tritonclient.grpc import service_pb2

    def fields(message) -> list:
        return [
            (
                field.name, field.number, field.type, field.is_repeated,
                field.containing_oneof and field.containing_oneof.name,
                fields(field.message_type) if field.message_type and "Entry" in field.message_type.name else None,
            )
            for field in message.fields
        ]  # fmt: skip

    ours, theirs = protocol().messages, service_pb2.DESCRIPTOR.message_types_by_name
    assert protocol().service in {service.full_name for service in service_pb2.DESCRIPTOR.services_by_name.values()}
    for name, message in ours.items():
        assert fields(message.DESCRIPTOR) == [
            each for each in fields(theirs[name]) if each[0] in {field.name for field in message.DESCRIPTOR.fields}
        ], name
        for nested in message.DESCRIPTOR.nested_types:
            assert fields(nested) == fields(theirs[name].nested_types_by_name[nested.name])
