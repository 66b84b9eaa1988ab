"""What one call costs on this machine: time by percentiles, and the memory that it adds."""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Latency:
    """Seconds of one call, and bytes.

    Attributes:
        p50: Median of the wall time.
        p95: What 95 % of the calls stay below.
        cpu: Median of the processor time of all threads.
        memory: Most resident bytes above what was resident before; None where the system does not tell.
        runs: Calls that were counted.
    """

    p50: float
    p95: float
    cpu: float
    memory: int | None
    runs: int


def measure_latency(call: Callable[[], Any], *, num_runs: int = 15, most_seconds: float = 20.0) -> Latency:
    """Times a call; one before the first counted one warms up, and its memory is the one that is told.

    Args:
        call: What is timed.
        num_runs: Most counted calls, at least 3 of which are made.
        most_seconds: Wall time after which no further call begins.
    """
    gc.collect()
    memory = peak_resident(call)
    wall, cpu = list[float](), list[float]()
    begin = time.perf_counter()
    while len(wall) < num_runs and (len(wall) < 3 or time.perf_counter() - begin < most_seconds):
        start, used = time.perf_counter(), time.process_time()
        call()
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - used)
    median, late = (float(np.percentile(wall, share)) for share in (50, 95))
    return Latency(p50=median, p95=late, cpu=float(np.median(cpu)), memory=memory, runs=len(wall))


def peak_resident(call: Callable[[], Any]) -> int | None:
    """Most resident bytes that a call adds to the process; Linux alone tells, elsewhere None."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins anew
        before = _status("VmRSS")
    except OSError:
        call()
        return None
    call()
    return max(0, _status("VmHWM") - before)


def _status(name: str) -> int:
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(1024 * int(line.split()[1]) for line in lines if line.startswith(f"{name}:"))
