"""What two restorers cost, in paired runs: one after the other, on the same image and machine."""

import math
import time
import weakref
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from sr_lab.inference.latency import peak_resident
from sr_lab.inference.restorers import Restorer
from sr_lab.networks.graph.network import GraphNetwork

LATENCY, MEMORY = "latency_s", "memory_bytes"
PARAMETERS, OPERATIONS = "parameters", "operations"
_RESIDENT = 8 * 2**20  # bytes; less resident memory than this shows nothing of one call

Costs = dict[str, dict[str, list[float]]]


def paired_costs(
    restorers: Mapping[str, Restorer],
    low: Tensor,
    *,
    num_runs: int,
    least_seconds: float = 0.05,
    wants_more: Callable[[Costs], bool] | None = None,
) -> Costs:
    """Time and memory of each restorer, run by run, and the work that it does.

    In every run each restorer has its turn, in changing order, so that what the machine does meanwhile meets all of
    them alike. A restoration that takes less than ``least_seconds`` is repeated within the run, equally often for
    all, and its mean time counts. One warm-up run is not counted.

    Args:
        restorers: By name.
        low: (1, C, h, w), on the device that they expect.
        num_runs: Number of runs to count.
        least_seconds: Shortest time worth measuring.
        wants_more: Is asked, with what is measured so far, whether as many runs again are made; None: they are not.

    Returns:
        By name: ``latency_s``, one value a run, ``memory_bytes``, see ``peak_memory``, and ``parameters`` and
        ``operations``, see ``counted_work``.
    """
    with torch.inference_mode():
        constant = {
            name: {MEMORY: [float(peak_memory(restorer, low))], **counted_work(restorer, low)}
            for name, restorer in restorers.items()
        }
        slowest = max(_seconds(restorer, low, 1) for restorer in restorers.values())
        repeats = max(1, math.ceil(least_seconds / max(slowest, 1e-9)))
        times: dict[str, list[float]] = {name: [] for name in restorers}
        costs = {name: {LATENCY: times[name], **constant[name]} for name in restorers}
        done, wanted = 0, num_runs
        while done < wanted:
            for run in range(done, wanted):
                for name in list(restorers)[::-1] if run % 2 else list(restorers):
                    times[name].append(_seconds(restorers[name], low, repeats))
            done = wanted
            if wants_more is not None and wants_more(costs):
                wanted = 2 * done
    return costs


def counted_work(restorer: Restorer, low: Tensor) -> dict[str, list[float]]:
    """Parameters of a network, and the operations of one restoration: the same on every machine and in every run.

    Operations are those of convolutions and matrix products, a multiplication and an addition being two.

    Args:
        restorer: The restorer; of one without a network nothing is known.
        low: (1, C, h, w), on the device that it expects.
    """
    from torch.utils.flop_counter import FlopCounterMode

    network = getattr(restorer, "network", None)
    if not isinstance(network, nn.Module):
        return {}
    if isinstance(network, GraphNetwork):
        if network.work is None:
            return {}
        pixels = low.shape[0] * low.shape[-2] * low.shape[-1]
        return {PARAMETERS: [network.work[0]], OPERATIONS: [network.work[1] * pixels]}
    with FlopCounterMode(display=False) as counter:
        restorer(low)
    return {
        PARAMETERS: [float(sum(tensor.numel() for tensor in network.parameters()))],
        OPERATIONS: [float(counter.get_total_flops())],
    }


def peak_memory(restorer: Restorer, low: Tensor) -> int:
    """Bytes of the weights and of all that is alive at the worst moment of one restoration.

    On a GPU what the allocator gave out. On the CPU the tensors that exist at the same time: the same in every run, but
    without the scratch memory inside an operation. Of an export, whose graph shows no tensors, the resident memory
    that it takes, scratch included: more, if anything. Below 8 MiB that is what else the process does, and how the
    system counts pages; the images that go in and come out count then.
    """
    network = getattr(restorer, "network", None)
    weights = 0
    if isinstance(network, GraphNetwork):
        with _LiveTensors() as alive:
            resident = peak_resident(lambda: restorer(low)) or 0
        return int(network.graph.nbytes + max(resident if resident >= _RESIDENT else 0, alive.peak))
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
