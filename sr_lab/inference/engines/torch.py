"""PyTorch itself, with its maps in the order that its convolutions like best on a CPU."""

import copy

import torch
from torch import nn

from sr_lab.inference.engines.base import Array, Engine


class TorchEngine(Engine):
    """The network in channels-last order: the same sums as the usual order, but for the last bits of a float."""

    name = "torch"
    packages = ("torch",)
    modules = ("torch",)

    def build(self, network: nn.Module) -> None:
        """A copy of the network, whose weights are in that order."""
        self.network = copy.deepcopy(network).to("cpu", memory_format=torch.channels_last).eval()  # type: ignore[call-overload]

    @torch.inference_mode()
    def __call__(self, tile: Array) -> Array:
        """The restored tile."""
        low = torch.from_numpy(tile).to(memory_format=torch.channels_last)
        restored: Array = self.network(low).contiguous().numpy()
        return restored
