"""What a network costs: time, parameters, operations."""

import time
from typing import Literal

import pytorch_lightning as pl
import torch
from torch.utils.flop_counter import FlopCounterMode

from sr_lab.networks.base import Network
from sr_lab.training.base import TrainingModule

Cost = dict[Literal["latency_ms", "parameters", "gigaops"], float]


class NetworkCost(pl.Callback):
    """Logs, at every validation, ``val/latency_ms``, ``val/parameters`` and ``val/gigaops`` of the final network.

    Measured once, before the training. The latency is the fastest of several calls: other work on the machine only
    ever adds to it. Operations count a multiplication and an addition as two.

    Args:
        side: Side of the low image (1, C, side, side) that is enlarged, in pixels.
        repeats: Number of timed calls, after one that is not.
    """

    measures = ("val/latency_ms", "val/parameters", "val/gigaops")
    """The keys that it logs."""

    def __init__(self, *, side: int = 64, repeats: int = 20) -> None:
        super().__init__()
        if side < 1 or repeats < 1:
            raise ValueError(f"side={side}, repeats={repeats}: must be at least 1")
        self.side, self.repeats = side, repeats
        self._cost: Cost = {}

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Measures."""
        assert isinstance(pl_module, TrainingModule)
        self._cost = network_cost(
            pl_module.final_network, side=self.side, repeats=self.repeats, device=trainer.strategy.root_device
        )

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Logs."""
        if trainer.state.fn == "fit":
            for name, value in self._cost.items():
                pl_module.log(f"val/{name}", value, sync_dist=True)


@torch.no_grad()
def network_cost(network: Network, *, side: int, repeats: int, device: torch.device | str) -> Cost:
    """Time of one call, number of parameters, operations of one call.

    Args:
        network: on ``device``; its mode is left as it was.
        side: of the low image (1, C, side, side).
        repeats: timed calls, of which the fastest counts.
        device: where it runs.
    """
    low = torch.rand(1, network.num_channels, side, side, device=device)
    training = network.training
    network.eval()
    with FlopCounterMode(display=False) as counter:
        network(low)
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        network(low)
        if low.is_cuda:
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - start)
    network.train(training)
    return {
        "latency_ms": 1e3 * min(seconds),
        "parameters": float(sum(p.numel() for p in network.parameters())),
        "gigaops": counter.get_total_flops() / 1e9,
    }
