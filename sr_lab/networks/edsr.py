"""EDSR: residual blocks without normalisation, then sub-pixel upsampling."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sr_lab.base.words import counted
from sr_lab.networks.base import Network
from sr_lab.networks.blocks import PixelShuffleUpsampler, ResidualBlock, checked_widths, conv


class EDSR(Network):
    """Enhanced deep super-resolution (Lim et al. 2017, arXiv:1707.02921).

    As published, the mean colour is subtracted and the convolutions see the range of 255; outside, images
    stay in [0, 1]. Baseline: 16 blocks of 64 channels (x2: 1,369,859 parameters); full: 32 blocks of 256
    channels with residuals scaled by 0.1 (x2: 40,729,603).

    Args:
        scale: Enlargement factor, 1, 2, 3, 4 or 8.
        num_channels: Number of channels of the images.
        num_blocks: Number of residual blocks.
        num_features: Number of channels inside.
        res_scale: Factor of each block's residual; 0.1 keeps wide networks stable.
        mean: Colour that is subtracted, one value a channel, in [0, 1]; None takes the published mean of DIV2K for RGB
            and 0.5 for any other number of channels.
        value_range: Factor by which images are multiplied before the first convolution: what 1.0 becomes.
        widths: Numbers of channels inside each residual block, where they were pruned; None for ``num_features``.
    """

    mean: Tensor

    def __init__(
        self,
        *,
        scale: int,
        num_channels: int = 3,
        num_blocks: int = 16,
        num_features: int = 64,
        res_scale: float = 1.0,
        mean: Sequence[float] | None = None,
        value_range: float = 255.0,
        widths: Sequence[int] | None = None,
    ) -> None:
        super().__init__(scale=scale, num_channels=num_channels)
        if mean is None:
            mean = (0.4488, 0.4371, 0.4040) if num_channels == 3 else (0.5,) * num_channels
        if len(mean) != num_channels:
            raise ValueError(
                f"mean has {counted(len(mean), 'value')} for num_channels={num_channels}: give one a channel"
            )
        self.register_buffer("mean", torch.tensor(mean).view(1, -1, 1, 1), persistent=False)
        self.value_range = value_range
        self.head = conv(num_channels, num_features)
        inner = checked_widths(widths, count=num_blocks, default=num_features)
        blocks = [ResidualBlock(channels=num_features, res_scale=res_scale, width=width) for width in inner]
        self.body = nn.Sequential(*blocks, conv(num_features, num_features))
        self.upsampler = PixelShuffleUpsampler(scale=scale, channels=num_features)
        self.tail = conv(num_features, num_channels)

    def forward(self, low: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h * scale, w * scale)."""
        return self.behind_head(self.head((low - self.mean) * self.value_range))

    def behind_head(self, features: Tensor) -> Tensor:
        """First features (B, num_features, h, w) -> (B, C, h * scale, w * scale)."""
        features = features + self.body(features)
        enlarged: Tensor = self.tail(self.upsampler(features)) / self.value_range + self.mean
        return enlarged
