"""SRVGGNetCompact: plain convolutions at low resolution over a nearest-neighbour skip."""

from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional

from sr_lab.networks.base import Network
from sr_lab.networks.blocks import checked_widths, conv


class Compact(Network):
    """The small network of Real-ESRGAN (SRVGGNetCompact, Wang et al. 2021): fast, for videos and phones.

    At x4, 16 convolutions between the first and the last have 621,424 parameters, 32 have 1,213,296.

    Args:
        scale: Enlargement factor, any; made by one pixel shuffle at the end.
        num_channels: Number of channels of the images.
        num_features: Number of channels inside.
        num_convs: Number of 3x3 convolutions between the first and the last, each followed by a PReLU per channel.
        widths: Numbers of channels after the first convolution and after each of these, where they were pruned; None
            for ``num_features``.
    """

    def __init__(
        self,
        *,
        scale: int,
        num_channels: int = 3,
        num_features: int = 64,
        num_convs: int = 16,
        widths: Sequence[int] | None = None,
    ) -> None:
        super().__init__(scale=scale, num_channels=num_channels)
        channels = [num_channels, *checked_widths(widths, count=num_convs + 1, default=num_features)]
        layers: list[nn.Module] = []
        for before, after in pairwise(channels):
            layers += [conv(before, after), nn.PReLU(after)]
        self.body = nn.Sequential(*layers)
        self.upsampler = nn.Sequential(conv(channels[-1], num_channels * scale**2), nn.PixelShuffle(scale))

    def forward(self, low: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h * scale, w * scale)."""
        residual: Tensor = self.upsampler(self.body(low))
        return residual + functional.interpolate(low, scale_factor=float(self.scale), mode="nearest")
