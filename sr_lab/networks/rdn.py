"""RDN: densely connected blocks whose outputs are all fused before upsampling."""

import torch
from torch import Tensor, nn

from sr_lab.networks.base import Network
from sr_lab.networks.blocks import PixelShuffleUpsampler, conv


class ResidualDenseBlock(nn.Module):
    """Densely connected convolutions, local feature fusion and local residual (paper, section 3.2)."""

    def __init__(self, *, channels: int, growth: int, num_layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([conv(channels + growth * index, growth) for index in range(num_layers)])
        self.fusion = conv(channels + growth * num_layers, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        known = [features]
        for layer in self.layers:
            known.append(layer(torch.cat(known, dim=1)).relu_())
        fused: Tensor = self.fusion(torch.cat(known, dim=1)) + features
        return fused


class RDN(Network):
    """Residual dense network (Zhang et al. 2018, arXiv:1802.08797).

    The paper's D16 C8 G64 has 22,123,395 parameters at x2 and 22,271,107 at x4; D20 C6 G32 has 5,764,227 at x4.
    As in the authors' code the convolutions see the range of 255 and no mean colour is subtracted; outside,
    images stay in [0, 1].

    Args:
        scale: Enlargement factor, 1, 2, 3, 4 or 8.
        num_channels: Number of channels of the images.
        num_blocks: Number of residual dense blocks (D).
        num_layers: Number of convolutions of each block (C).
        growth: Number of channels that each of them adds (G).
        num_features: Number of channels between the blocks (G0), and after upsampling.
        value_range: Factor by which images are multiplied before the first convolution: what 1.0 becomes.
    """

    def __init__(
        self,
        *,
        scale: int,
        num_channels: int = 3,
        num_blocks: int = 16,
        num_layers: int = 8,
        growth: int = 64,
        num_features: int = 64,
        value_range: float = 255.0,
    ) -> None:
        super().__init__(scale=scale, num_channels=num_channels)
        self.value_range = value_range
        self.head = conv(num_channels, num_features)
        self.entry = conv(num_features, num_features)
        self.blocks = nn.ModuleList(
            [ResidualDenseBlock(channels=num_features, growth=growth, num_layers=num_layers) for _ in range(num_blocks)]
        )
        self.fusion = nn.Sequential(conv(num_blocks * num_features, num_features, 1), conv(num_features, num_features))
        self.upsampler = PixelShuffleUpsampler(scale=scale, channels=num_features)
        self.tail = conv(num_features, num_channels)

    def forward(self, low: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h * scale, w * scale)."""
        shallow = self.head(low * self.value_range)
        features = self.entry(shallow)
        outputs = []
        for block in self.blocks:
            features = block(features)
            outputs.append(features)
        features = self.fusion(torch.cat(outputs, dim=1)) + shallow
        enlarged: Tensor = self.tail(self.upsampler(features)) / self.value_range
        return enlarged
