"""How busy the GPUs are, by NVIDIA's management library, where its package and a GPU are there."""

import logging
from collections.abc import Callable, Iterator
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
        """The gauges; a GPU that does not answer has none, and one that does not know a number lacks that alone."""
        made = {
            "busy": GaugeMetricFamily(
                "srlab_gpu_busy_ratio", "Share of the time in which the GPU computed.", labels=("gpu",)
            ),
            "used": GaugeMetricFamily("srlab_gpu_memory_bytes", "Memory of the GPU that is used.", labels=("gpu",)),
            "total": GaugeMetricFamily("srlab_gpu_memory_limit_bytes", "Memory of the GPU.", labels=("gpu",)),
            "heat": GaugeMetricFamily("srlab_gpu_temperature_celsius", "Temperature of the GPU.", labels=("gpu",)),
        }
        nvml = self.library
        reads: dict[str, Callable[[Any], float]] = {
            "busy": lambda handle: nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100,
            "used": lambda handle: nvml.nvmlDeviceGetMemoryInfo(handle).used,
            "total": lambda handle: nvml.nvmlDeviceGetMemoryInfo(handle).total,
            "heat": self._temperature,
        }
        for index in range(self._count()):
            try:
                handle = nvml.nvmlDeviceGetHandleByIndex(index)
            except nvml.NVMLError as error:
                log.debug("GPU %d does not answer: %s", index, error)
                continue
            for name, read in reads.items():
                try:
                    made[name].add_metric((str(index),), read(handle))
                except nvml.NVMLError as error:  # as a part of a GPU (MIG) does not know how busy it is
                    log.debug("GPU %d does not tell %s: %s", index, made[name].name, error)
        yield from made.values()

    def _count(self) -> int:
        """How many GPUs there are; none where the driver has gone, which must not take the other numbers with it."""
        try:
            return int(self.library.nvmlDeviceGetCount())
        except self.library.NVMLError as error:
            log.debug("the driver does not answer: %s", error)
            return 0

    def _temperature(self, handle: Any) -> float:
        """By the call that later drivers have, or by the one that earlier ones have and CUDA 14 takes away."""
        nvml = self.library
        try:
            return float(nvml.nvmlDeviceGetTemperatureV(handle, nvml.NVML_TEMPERATURE_GPU))
        except (AttributeError, nvml.NVMLError):
            return float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU))


def find_gpus() -> Gpus | None:
    """The GPUs of this machine; None without the package nvidia-ml-py (``pip install 'sr-lab[gpu]'``) or a driver."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        log.debug("there are no numbers of GPUs: %s", error)
        return None
    return Gpus(pynvml)
