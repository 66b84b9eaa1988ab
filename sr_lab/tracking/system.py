"""The machine's load, under the names that MLflow's System-metrics page knows (without the prefix ``system/``)."""

import contextlib
import importlib
import os
from typing import Any

import psutil

Load = dict[str, float]


class SystemSampler:
    """Samples processor, memory, disk, network and, where NVIDIA's library is there, the GPUs.

    The processor's load is the mean since the sample before. Use it from the thread that made it: psutil keeps one
    beginning a thread.
    """

    def __init__(self) -> None:
        psutil.cpu_percent()
        self._network = psutil.net_io_counters()
        self._nvml, self._gpus = _open_nvml()

    def sample(self) -> Load:
        """One sample: percentages of 0..100, megabytes of 10**6 bytes, watts. A GPU that fails is left out."""
        memory, disk = psutil.virtual_memory(), psutil.disk_usage(os.sep)
        load: Load = {
            "cpu_utilization_percentage": psutil.cpu_percent(),
            "system_memory_usage_megabytes": memory.used / 1e6,
            "system_memory_usage_percentage": 100 * memory.used / memory.total,
            "disk_usage_percentage": disk.percent,
            "disk_usage_megabytes": disk.used / 1e6,
            "disk_available_megabytes": disk.free / 1e6,
        }
        network = psutil.net_io_counters()
        if network is not None and self._network is not None:
            load["network_receive_megabytes"] = (network.bytes_recv - self._network.bytes_recv) / 1e6
            load["network_transmit_megabytes"] = (network.bytes_sent - self._network.bytes_sent) / 1e6
        for index, handle in enumerate(self._gpus):
            with contextlib.suppress(self._nvml.NVMLError):
                load.update({f"gpu_{index}_{key}": value for key, value in _gpu_load(self._nvml, handle).items()})
        return {key: round(value, 1) for key, value in load.items()}


def _open_nvml() -> tuple[Any, list[Any]]:
    try:
        nvml = importlib.import_module("pynvml")
    except ImportError:
        return None, []
    try:
        nvml.nvmlInit()
        return nvml, [nvml.nvmlDeviceGetHandleByIndex(index) for index in range(nvml.nvmlDeviceGetCount())]
    except nvml.NVMLError:
        return nvml, []


def _gpu_load(nvml: Any, handle: Any) -> Load:
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    load: Load = {
        "memory_usage_percentage": 100 * memory.used / memory.total,
        "memory_usage_megabytes": memory.used / 1e6,
        "utilization_percentage": float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu),
    }
    with contextlib.suppress(nvml.NVMLError):
        watts = nvml.nvmlDeviceGetPowerUsage(handle) / 1000
        load["power_usage_watts"] = watts
        load["power_usage_percentage"] = 100_000 * watts / nvml.nvmlDeviceGetEnforcedPowerLimit(handle)
    return load
