"""Bicubic interpolation as a network: the baseline that every other one is compared with."""

from torch import Tensor

from sr_lab.images import resize_bicubic
from sr_lab.networks.base import Network


class Bicubic(Network):
    """MATLAB's ``imresize`` enlargement (symmetric borders, a = -0.5), without parameters."""

    def __init__(self, *, scale: int, num_channels: int = 3) -> None:
        super().__init__(scale=scale, num_channels=num_channels)

    def forward(self, low: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h * scale, w * scale); values may leave [0, 1] at edges."""
        return resize_bicubic(low, scale=float(self.scale))
