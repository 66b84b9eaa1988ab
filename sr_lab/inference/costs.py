"""What two restorers cost, in paired runs: one after the other, on the same image and machine."""

import math
import time
import weakref
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sr_lab.inference.restorers import Restorer

LATENCY, MEMORY = "latency_s", "memory_bytes"


def paired_costs(
    restorers: Mapping[str, Restorer], low: Tensor, *, num_runs: int, least_seconds: float = 0.05
) -> dict[str, dict[str, list[float]]]:
    """Time and memory of each restorer, run by run.

    In every run each restorer has its turn, in changing order, so that what the machine does meanwhile meets all of
    them alike. A restoration that takes less than ``least_seconds`` is repeated within the run, equally often for
    all, and its mean time counts. One warm-up run is not counted.

    Args:
        restorers: by name.
        low: (1, C, h, w), on the device that they expect.
        num_runs: runs to count.
        least_seconds: shortest time worth measuring.

    Returns:
        By name: ``latency_s``, one value a run, and ``memory_bytes``, see ``peak_memory``.
    """
    with torch.inference_mode():
        memory = {name: peak_memory(restorer, low) for name, restorer in restorers.items()}
        slowest = max(_seconds(restorer, low, 1) for restorer in restorers.values())
        repeats = max(1, math.ceil(least_seconds / max(slowest, 1e-9)))
        times: dict[str, list[float]] = {name: [] for name in restorers}
        for run in range(num_runs):
            for name in [*restorers][:: 1 if run % 2 == 0 else -1]:
                times[name].append(_seconds(restorers[name], low, repeats))
    return {name: {LATENCY: times[name], MEMORY: [float(memory[name])]} for name in restorers}


def peak_memory(restorer: Restorer, low: Tensor) -> int:
    """Bytes of the weights and of all that is alive at the worst moment of one restoration.

    On a GPU what the allocator gave out. On the CPU the tensors that exist at the same time: the same in every run, but
    without the scratch memory inside an operation.
    """
    network = getattr(restorer, "network", None)
    weights = 0
    if isinstance(network, nn.Module):
        weights = sum(int(tensor.nbytes) for tensor in (*network.parameters(), *network.buffers()))
    if low.device.type == "cuda":
        torch.cuda.synchronize(low.device)
        torch.cuda.reset_peak_memory_stats(low.device)
        before = torch.cuda.memory_allocated(low.device)
        restorer(low)
        torch.cuda.synchronize(low.device)
        return weights + int(torch.cuda.max_memory_allocated(low.device)) - int(before)
    with _LiveTensors() as alive:
        restorer(low)
    return int(weights + alive.peak)


class _LiveTensors(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Follows the storages that operations make, until they are freed."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.now = self.peak = 0
        self._known: dict[int, Any] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            if isinstance(leaf, Tensor):
                self._follow(leaf.untyped_storage())
        return out

    def _follow(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._known:
            return

        def freed(_: object) -> None:
            del self._known[key]
            self.now -= size

        self._known[key] = weakref.ref(storage, freed)
        self.now += size
        self.peak = max(self.peak, self.now)


def _seconds(restorer: Restorer, low: Tensor, repeats: int) -> float:
    """Mean time of one restoration."""
    _wait(low.device)
    start = time.perf_counter()
    for _ in range(repeats):
        restorer(low)
    _wait(low.device)
    return (time.perf_counter() - start) / repeats


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
