"""An engine in the place of the network that it computes."""

import torch
from torch import Tensor

from sr_lab.inference.engines.base import Engine
from sr_lab.networks.base import Network


class EngineNetwork(Network):
    """A network whose images an engine computes; scale, channels, stride and weights are the network's own.

    Args:
        network: what the engine was made from; it is kept for what it says of itself.
        engine: computes the images, on the CPU.

    Attributes:
        network: the same.
        engine: the same.
    """

    def __init__(self, network: Network, engine: Engine) -> None:
        super().__init__(scale=network.scale, num_channels=network.num_channels)
        self.network, self.engine = network, engine
        self.stride, self.config, self.origin = network.stride, network.config, network.origin

    def forward(self, low: Tensor) -> Tensor:
        """(B, C, h, w) to (B, C, h * scale, w * scale)."""
        tile = low.detach().to("cpu", torch.float32).contiguous().numpy()
        return torch.from_numpy(self.engine(tile)).to(low.device)
