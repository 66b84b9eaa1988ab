"""What the service counts, under the names of Prometheus: base units, bounded labels."""

import os
import time
from collections.abc import Callable, Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from sr_lab.base.memory import whole_memory
from sr_lab.serving.gpus import find_gpus

SECONDS = tuple(0.01 * 2**power for power in range(14))
"""Factor 2 from 0.01 to 82 seconds."""
SIZES = (0.1, 1.0, 10.0)
USES = {0: "request", 1: "job", 2: "spare"}
"""What computing is for, by rank: somebody waits, a job, or what no client asked for (shadows, the golden set)."""


def num_processors() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def size_class(megapixels: float) -> str:
    """The class of a restored image's size, in megapixels."""
    for top in SIZES:
        if megapixels <= top:
            return f"to_{top:g}"
    return f"above_{SIZES[-1]:g}"


class _Capacity(Collector):
    """Processor seconds that the service could have used: what is idle is the difference."""

    def __init__(self) -> None:
        self.begin = time.monotonic()

    def collect(self) -> Iterator[Metric]:
        """The counter."""
        yield CounterMetricFamily(
            "srlab_processor_seconds", "Processor time that the service could have used.",
            value=(time.monotonic() - self.begin) * num_processors(),
        )  # fmt: skip


class Measures:
    """The metrics of one server.

    Args:
        queue_seconds: Tells the seconds of work that waits.
    """

    def __init__(self, *, queue_seconds: Callable[[], float]) -> None:
        own = self.registry = CollectorRegistry()
        self.requests = Counter(
            "srlab_requests_total", "Answers by route, status and tier.", ("route", "status", "tier"), registry=own
        )
        self.shed = Counter(
            "srlab_shed_total", "Requests refused with 429, by what was short.", ("reason",), registry=own
        )
        self.gone = Counter("srlab_disconnected_total", "Clients that left before their answer.", registry=own)
        self.late = Counter("srlab_late_total", "Accepted requests answered after their deadline.", registry=own)
        self.seconds = Histogram(
            "srlab_request_seconds", "From the first byte to the answer, by restored megapixels.", ("megapixels",),
            buckets=SECONDS, registry=own,
        )  # fmt: skip
        self.pixel_seconds = Histogram(
            "srlab_seconds_per_megapixel", "Time of an answer by restored megapixel.", buckets=SECONDS, registry=own
        )
        self.stage = Histogram(
            "srlab_stage_seconds", "Time in a stage: body, decode, tiles, check, encode.", ("stage",), buckets=SECONDS,
            registry=own,
        )  # fmt: skip
        self.tiles = Counter("srlab_tiles_total", "Tiles computed.", ("model", "version"), registry=own)
        self.tile_seconds = Counter("srlab_tile_seconds_total", "Computing time.", ("model", "version"), registry=own)
        self.batches = Counter("srlab_batches_total", "Batches computed.", registry=own)
        self.slots = Counter("srlab_batch_slots_total", "Tiles that the computed batches had room for.", registry=own)
        self.work = Counter("srlab_work_seconds_total", "Computing time by what it was for.", ("use",), registry=own)
        self.images = Counter("srlab_images_total", "Images answered.", ("model", "version"), registry=own)
        self.pixels = Counter("srlab_restored_pixels_total", "Pixels answered.", ("model", "version"), registry=own)
        self.replaced = Counter(
            "srlab_guard_replaced_total", "Images that the guard replaced, by reason.", ("reason",), registry=own
        )
        self.model = Gauge("srlab_model_info", "Models that are loaded.", ("model", "version", "alias"), registry=own)
        self.registry_up = Gauge("srlab_registry_up", "Whether the registry answered last time.", registry=own)
        self.mismatch = Gauge(
            "srlab_registry_mismatch", "Whether the alias names another version than is served.", ("model",),
            registry=own,
        )  # fmt: skip
        self.swaps = Counter("srlab_model_swaps_total", "Changes of the version that is served.", registry=own)
        self.audit_failures = Gauge("srlab_audit_failures", "Lines of the audit log that were lost.", registry=own)
        self.requests_open = Gauge("srlab_requests_open", "Requests under way.", registry=own)
        self.memory = Gauge("srlab_images_bytes", "Bytes of bodies and images held.", registry=own)
        self.memory_limit = Gauge("srlab_images_limit_bytes", "Most bytes of bodies and images held.", registry=own)
        Gauge("srlab_processors", "Processors that the service may use.", registry=own).set(num_processors())
        Gauge("srlab_machine_memory_bytes", "Memory that the service may have.", registry=own).set(whole_memory())
        ProcessCollector(registry=own)
        own.register(_Capacity())
        if (gpus := find_gpus()) is not None:
            own.register(gpus)
        Gauge("srlab_queue_seconds", "Seconds of computing that wait.", registry=own).set_function(queue_seconds)

    def page(self, accept: str = "") -> bytes:
        """The text that Prometheus reads: OpenMetrics, with exemplars, where it accepts that."""
        encode, _ = choose_encoder(accept)
        return encode(self.registry)

    @staticmethod
    def media(accept: str = "") -> str:
        """The media type of that text."""
        return choose_encoder(accept)[1]
