"""Traces of requests: decode, queue, batch, check, encode as OpenTelemetry spans. Off unless somebody wants them."""

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from sr_lab.base.extras import install
from sr_lab.serving.runner import Computed


class Traces:
    """No traces: what the service does where nobody wants them."""

    def request(self, id: str, parent: str | None = None) -> AbstractContextManager[Any]:
        """Around a request."""
        return contextlib.nullcontext()

    def stage(self, name: str, id: str) -> AbstractContextManager[Any]:
        """Around a stage of it."""
        return contextlib.nullcontext()

    def batch(self, batch: Computed) -> None:
        """Told each batch."""

    def exemplar(self, id: str) -> dict[str, str]:
        """The label by which a request of a histogram is found again: its trace's id, or its own."""
        return {"request_id": id[:64]}

    def close(self) -> None:
        """Sends what is not sent yet."""


@dataclass
class _Open:
    span: Any
    waits: int | None = None


class SpanTraces(Traces):
    """Spans of OpenTelemetry. They hold ids, sizes and times: no pixels, no names of clients.

    Args:
        processor: Takes the spans, a SpanProcessor.
        clock: That of the runner.
    """

    def __init__(self, processor: Any, *, clock: Callable[[], float] = time.monotonic) -> None:
        from opentelemetry import trace
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        self._trace, self._clock, self._parents = trace, clock, TraceContextTextMapPropagator()
        self._provider = TracerProvider(resource=Resource.create({"service.name": "srlab"}))
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("sr_lab")
        self._requests: dict[str, _Open] = {}

    @contextlib.contextmanager
    def request(self, id: str, parent: str | None = None) -> Iterator[None]:
        """The root span, or a child of the client's, by its header ``traceparent``."""
        context = None if parent is None else self._parents.extract({"traceparent": parent})
        with self._tracer.start_as_current_span("restore", context=context, attributes={"srlab.request": id}) as span:
            self._requests[id] = _Open(span)
            try:
                yield
            finally:
                self._requests.pop(id, None)

    @contextlib.contextmanager
    def stage(self, name: str, id: str) -> Iterator[None]:
        """A child of the request's span."""
        if name == "tiles" and id in self._requests:
            self._requests[id].waits = time.time_ns()
        with self._tracer.start_as_current_span(name):
            yield

    def batch(self, batch: Computed) -> None:
        """A span of its own, linked with its requests; and of each that it begins the span of its waiting."""
        begin = time.time_ns() - int((self._clock() - batch.begin) * 1e9)
        known = {id: found for id in batch.requests if (found := self._requests.get(id)) is not None}
        for found in known.values():
            if found.waits is not None:
                context = self._trace.set_span_in_context(found.span)
                queued = self._tracer.start_span("queue", context=context, start_time=min(found.waits, begin))
                queued.end(begin)
                found.waits = None
        links = [self._trace.Link(found.span.get_span_context()) for found in known.values()]
        attributes = {"srlab.model": batch.engine.label, "srlab.tiles": len(batch.requests), "srlab.rank": batch.rank}
        empty = self._trace.set_span_in_context(self._trace.INVALID_SPAN)
        span = self._tracer.start_span("batch", context=empty, links=links, attributes=attributes, start_time=begin)
        span.end(begin + int(batch.seconds * 1e9))

    def exemplar(self, id: str) -> dict[str, str]:
        """The trace's id, in hexadecimal."""
        found = self._requests.get(id)
        if found is None:
            return super().exemplar(id)
        return {"trace_id": format(found.span.get_span_context().trace_id, "032x")}

    def close(self) -> None:
        """Sends what is not sent yet."""
        self._provider.shutdown()


def traces_to(address: str | None) -> Traces:
    """Traces that are sent to a collector by OTLP over HTTP, as http://HOST:4318; None: no traces.

    Raises:
        ValueError: If the packages for it are not installed.
    """
    if address is None:
        return Traces()
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
    except ImportError as error:
        raise ValueError(f"traces={address} needs OpenTelemetry: {install('opentelemetry')}") from error
    return SpanTraces(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"{address.rstrip('/')}/v1/traces")))
