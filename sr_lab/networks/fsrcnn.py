"""FSRCNN: shrink, map, expand, and one deconvolution at the end."""

from torch import Tensor, nn

from sr_lab.networks.base import Network
from sr_lab.networks.blocks import conv


class FSRCNN(Network):
    """Fast SRCNN (Dong et al. 2016, arXiv:1608.00367); (56, 12, 4) on luma has 12,809 parameters.

    Args:
        scale: Enlargement factor, the stride of the 9x9 deconvolution.
        num_channels: Number of channels of the images: 1 for the paper's luma network, 3 for RGB.
        num_features: Width d of feature extraction and expansion.
        num_shrunk: Width s of the mapping layers.
        num_mapping: Number m of 3x3 mapping layers.
    """

    def __init__(
        self, *, scale: int, num_channels: int = 3, num_features: int = 56, num_shrunk: int = 12, num_mapping: int = 4
    ) -> None:
        super().__init__(scale=scale, num_channels=num_channels)
        layers: list[nn.Module] = [conv(num_channels, num_features, 5), nn.PReLU(num_features)]
        layers += [conv(num_features, num_shrunk, 1), nn.PReLU(num_shrunk)]
        for _ in range(num_mapping):
            layers += [conv(num_shrunk, num_shrunk, 3), nn.PReLU(num_shrunk)]
        layers += [conv(num_shrunk, num_features, 1), nn.PReLU(num_features)]
        self.features = nn.Sequential(*layers)
        self.deconv = nn.ConvTranspose2d(
            num_features, num_channels, 9, stride=scale, padding=4, output_padding=scale - 1
        )

    def forward(self, low: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h * scale, w * scale)."""
        enlarged: Tensor = self.deconv(self.features(low))
        return enlarged
