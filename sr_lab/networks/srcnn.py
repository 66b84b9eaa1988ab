"""SRCNN: three convolutions over the bicubically enlarged image."""

from torch import Tensor, nn

from sr_lab.images import resize_bicubic
from sr_lab.networks.base import Network
from sr_lab.networks.blocks import conv


class SRCNN(Network):
    """Super-resolution convolutional network (Dong et al. 2014, arXiv:1501.00092).

    Args:
        scale: Enlargement factor; made by bicubic interpolation before the first convolution.
        num_channels: Number of channels of the images: 1 for the paper's luma networks (9-1-5: 8,129 parameters), 3 for
            RGB.
        num_features: Numbers of filters of the first and of the second layer.
        kernels: Kernel sizes of the three layers; the paper's are 9-1-5, 9-3-5 and 9-5-5.
    """

    def __init__(
        self,
        *,
        scale: int,
        num_channels: int = 3,
        num_features: tuple[int, int] = (64, 32),
        kernels: tuple[int, int, int] = (9, 1, 5),
    ) -> None:
        super().__init__(scale=scale, num_channels=num_channels)
        first, second = num_features
        self.layers = nn.Sequential(
            conv(num_channels, first, kernels[0]),
            nn.ReLU(inplace=True),
            conv(first, second, kernels[1]),
            nn.ReLU(inplace=True),
            conv(second, num_channels, kernels[2]),
        )

    def forward(self, low: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h * scale, w * scale)."""
        enlarged: Tensor = self.layers(resize_bicubic(low, scale=float(self.scale)))
        return enlarged
