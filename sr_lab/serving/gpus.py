"""How busy the GPUs are, by NVIDIA's management library, where its package and a GPU are there."""

import logging
from collections.abc import Iterator
from typing import Any

from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

log = logging.getLogger(__name__)


class Gpus(Collector):
    """Gauges of each GPU, read when Prometheus asks.

    Args:
        library: The module ``pynvml`` of the package nvidia-ml-py, initialised.
    """

    def __init__(self, library: Any) -> None:
        self.library = library

    def collect(self) -> Iterator[Metric]:
        """The gauges; a GPU that does not answer has none."""
        made = {
            "busy": GaugeMetricFamily(
                "srlab_gpu_busy_ratio", "Share of the time in which the GPU computed.", labels=("gpu",)
            ),
            "used": GaugeMetricFamily("srlab_gpu_memory_bytes", "Memory of the GPU that is used.", labels=("gpu",)),
            "total": GaugeMetricFamily("srlab_gpu_memory_limit_bytes", "Memory of the GPU.", labels=("gpu",)),
            "heat": GaugeMetricFamily("srlab_gpu_temperature_celsius", "Temperature of the GPU.", labels=("gpu",)),
        }
        nvml = self.library
        for index in range(nvml.nvmlDeviceGetCount()):
            try:
                handle = nvml.nvmlDeviceGetHandleByIndex(index)
                memory = nvml.nvmlDeviceGetMemoryInfo(handle)
                values = {
                    "busy": nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100, "used": memory.used,
                    "total": memory.total, "heat": nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU),
                }  # fmt: skip
            except nvml.NVMLError as error:
                log.debug("GPU %d does not answer: %s", index, error)
                continue
            for name, number in values.items():
                made[name].add_metric((str(index),), number)
        yield from made.values()


def find_gpus() -> Gpus | None:
    """The GPUs of this machine; None without the package nvidia-ml-py (``pip install 'sr-lab[gpu]'``) or a driver."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    return Gpus(pynvml)
