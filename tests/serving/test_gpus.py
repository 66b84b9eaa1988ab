"""Numbers of GPUs by the real package nvidia-ml-py, over a driver's library that is ours: no GPU is needed."""

import ctypes
import logging
from collections.abc import Callable
from typing import Any

import pytest
from serving.conftest import make

from sr_lab.serving.gpus import Gpus, find_gpus

pynvml = pytest.importorskip("pynvml", reason="needs nvidia-ml-py: pip install 'sr-lab[gpu]'")
GIB = 2**30


def _number(handle: Any) -> int:
    """Which GPU a handle is of: the library's own pointer."""
    return int(ctypes.cast(handle, ctypes.c_void_p).value or 0) - 1


class Driver:
    """``libnvidia-ml.so.1`` as the package calls it: C functions that write through pointers and return a code.

    It has two whole GPUs, and one whose part (MIG) does not know how busy it is; a fourth does not answer.
    """

    def __init__(self, *, newer: bool = True) -> None:
        self.calls: list[str] = []
        if newer:
            self.nvmlDeviceGetTemperatureV: Callable[..., int] = self._heat

    def nvmlInitWithFlags(self, flags: int) -> int:
        self.calls.append("init")
        return int(pynvml.NVML_SUCCESS)

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:
        count._obj.value = 4
        return int(pynvml.NVML_SUCCESS)

    def nvmlDeviceGetHandleByIndex_v2(self, index: Any, handle: Any) -> int:
        if index.value == 3:
            return int(pynvml.NVML_ERROR_GPU_IS_LOST)
        ctypes.cast(handle, ctypes.POINTER(ctypes.c_void_p))[0] = index.value + 1
        return int(pynvml.NVML_SUCCESS)

    def nvmlDeviceGetMemoryInfo(self, handle: Any, memory: Any) -> int:
        memory._obj.total, memory._obj.used = 80 * GIB, (_number(handle) + 1) * GIB
        return int(pynvml.NVML_SUCCESS)

    def nvmlDeviceGetUtilizationRates(self, handle: Any, rates: Any) -> int:
        if _number(handle) == 2:
            return int(pynvml.NVML_ERROR_NOT_SUPPORTED)
        rates._obj.gpu, rates._obj.memory = 25 * (_number(handle) + 1), 99
        return int(pynvml.NVML_SUCCESS)

    def nvmlDeviceGetTemperature(self, handle: Any, sensor: Any, heat: Any) -> int:
        self.calls.append("former temperature")
        assert sensor.value == 0, "NVML_TEMPERATURE_GPU"
        heat._obj.value = 50 + _number(handle)
        return int(pynvml.NVML_SUCCESS)

    def _heat(self, handle: Any, heat: Any) -> int:
        assert heat._obj.sensorType.value == 0 if hasattr(heat._obj.sensorType, "value") else not heat._obj.sensorType
        heat._obj.temperature = 50 + _number(handle)
        return int(pynvml.NVML_SUCCESS)


@pytest.fixture
def plant(monkeypatch: pytest.MonkeyPatch) -> Callable[[object], None]:
    """Has the package call a library of ours; None: there is no driver on the machine."""

    def planted(library: object) -> None:
        def load(name: str) -> object:
            if library is None:
                raise OSError(f"{name}: cannot open shared object file: No such file or directory")
            return library

        monkeypatch.setattr(pynvml, "CDLL", load)
        monkeypatch.setattr(pynvml, "nvmlLib", None)
        monkeypatch.setattr(pynvml, "_nvmlGetFunctionPointer_cache", {})

    return planted


def told(gpus: Gpus) -> dict[tuple[str, str], float]:
    return {(s.name, s.labels["gpu"]): s.value for family in gpus.collect() for s in family.samples}


@pytest.mark.parametrize("newer", [True, False])
def test_each_gpu_has_its_numbers_whatever_its_driver_knows(plant, newer):
    plant(driver := Driver(newer=newer))
    found = find_gpus()
    assert found is not None
    assert driver.calls == ["init"]
    assert told(found) == {
        **{("srlab_gpu_busy_ratio", str(n)): 0.25 * (n + 1) for n in (0, 1)},
        **{("srlab_gpu_memory_bytes", str(n)): (n + 1) * GIB for n in (0, 1, 2)},
        **{("srlab_gpu_memory_limit_bytes", str(n)): 80 * GIB for n in (0, 1, 2)},
        **{("srlab_gpu_temperature_celsius", str(n)): 50 + n for n in (0, 1, 2)},
    }
    assert ("former temperature" in driver.calls) is not newer


def test_they_stand_among_the_numbers_of_the_service(plant):
    plant(Driver())
    parts, _ = make()
    page = parts.service.measures.page().decode()
    parts.service.close()
    assert '\nsrlab_gpu_memory_bytes{gpu="1"} 2.147483648e+09\n' in page


def test_a_driver_that_goes_away_takes_only_its_own_numbers_with_it(plant):
    plant(driver := Driver())
    parts, _ = make()
    driver.nvmlDeviceGetCount_v2 = lambda count: int(pynvml.NVML_ERROR_GPU_IS_LOST)  # type: ignore[method-assign]
    pynvml._nvmlGetFunctionPointer_cache.clear()
    page = parts.service.measures.page().decode()
    parts.service.close()
    assert "\nsrlab_queue_seconds 0.0\n" in page
    assert "srlab_gpu_memory_bytes{" not in page


def test_without_a_driver_there_are_none_and_it_is_said_why(plant, caplog):
    plant(None)
    with caplog.at_level(logging.DEBUG, logger="sr_lab.serving.gpus"):
        assert find_gpus() is None
    assert "NVML Shared Library Not Found" in caplog.text
    parts, _ = make()
    assert "srlab_gpu_" not in parts.service.measures.page().decode()
    parts.service.close()
