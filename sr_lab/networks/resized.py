"""A network for another factor: its image, resized."""

from torch import Tensor

from sr_lab.images import resize_bicubic
from sr_lab.networks.base import Network


class Resized(Network):
    """Enlarges by a network's own factor, then shrinks to the wanted one by MATLAB's antialiased bicubic.

    Args:
        network: What enlarges.
        scale: The wanted factor, below the network's.

    Raises:
        ValueError: If it is not below.
    """

    def __init__(self, *, network: Network, scale: int) -> None:
        if not scale < network.scale:
            raise ValueError(f"scale={scale} must be below the network's own factor of {network.scale}")
        super().__init__(scale=scale, num_channels=network.num_channels)
        self.network = network
        self.stride = network.stride

    def forward(self, low: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h * scale, w * scale)."""
        height, width = low.shape[-2:]
        return resize_bicubic(self.network(low), size=(height * self.scale, width * self.scale))
