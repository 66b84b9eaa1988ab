"""SAFMN: spatially adaptive feature modulation, an efficient network whose gate looks at four resolutions."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from sr_lab.networks.base import Network
from sr_lab.networks.blocks import conv
from sr_lab.networks.padding import cut, pad_to_multiple

LEVELS = 4


class ChannelNorm(nn.Module):
    """Layer normalisation over the channels of each pixel.

    Args:
        channels: Channels of the features.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        variance, mean = torch.var_mean(features, dim=1, keepdim=True, correction=0)
        normed = (features - mean) * torch.rsqrt(variance + 1e-6)
        return normed * self.weight[:, None, None] + self.bias[:, None, None]


class Modulation(nn.Module):
    """Multiplies the features by a gate made of four groups of channels, each at half the resolution of the one before.

    Args:
        channels: Channels of the features, a multiple of 4.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        part = channels // LEVELS
        self.depthwise = nn.ModuleList([nn.Conv2d(part, part, 3, padding=1, groups=part) for _ in range(LEVELS)])
        self.mix = conv(channels, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w); h and w are multiples of 8."""
        parts = []
        for level, (part, depthwise) in enumerate(zip(features.chunk(LEVELS, dim=1), self.depthwise, strict=True)):
            if level == 0:
                parts.append(depthwise(part))
            else:
                small = depthwise(functional.max_pool2d(part, 2**level))
                parts.append(functional.interpolate(small, scale_factor=float(2**level), mode="nearest"))
        return functional.gelu(self.mix(torch.cat(parts, dim=1))) * features


class Block(nn.Module):
    """Modulation, then a 3x3 and a 1x1 convolution with a wider middle; each behind a norm and under a skip.

    Args:
        channels: Channels of the features.
        expansion: Width of the middle, as a multiple of ``channels``.
    """

    def __init__(self, channels: int, *, expansion: float) -> None:
        super().__init__()
        width = int(channels * expansion)
        self.modulation = nn.Sequential(ChannelNorm(channels), Modulation(channels))
        self.mixer = nn.Sequential(ChannelNorm(channels), conv(channels, width), nn.GELU(), conv(width, channels, 1))

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        features = features + self.modulation(features)
        mixed: Tensor = features + self.mixer(features)
        return mixed


class SAFMN(Network):
    """Spatially-adaptive feature modulation (Sun et al. 2023, ICCV); (36, 8) on RGB at x4 has 239,520 parameters.

    Images whose sides are no multiples of 8 are continued by reflection, where the authors' code pools in windows of
    changing size: so tiles that start at multiples of 8 are the whole image's.

    Args:
        scale: Enlargement factor, any; made by one pixel shuffle at the end.
        num_channels: Channels of the images.
        num_features: Channels inside, a multiple of 4.
        num_blocks: Blocks between the first and the last convolution.
        expansion: Width inside a block's convolutions, as a multiple of ``num_features``.

    Example:
        >>> SAFMN(scale=4).num_parameters
        239520
    """

    stride = 2 ** (LEVELS - 1)

    def __init__(
        self,
        *,
        scale: int,
        num_channels: int = 3,
        num_features: int = 36,
        num_blocks: int = 8,
        expansion: float = 2.0,
    ) -> None:
        super().__init__(scale=scale, num_channels=num_channels)
        if num_features % LEVELS:
            raise ValueError(f"num_features={num_features}: must be a multiple of {LEVELS}")
        self.head = conv(num_channels, num_features)
        self.body = nn.Sequential(*(Block(num_features, expansion=expansion) for _ in range(num_blocks)))
        self.upsampler = nn.Sequential(conv(num_features, num_channels * scale**2), nn.PixelShuffle(scale))

    def forward(self, low: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h * scale, w * scale)."""
        height, width = low.shape[-2:]
        features = self.head(pad_to_multiple(low, self.stride))
        enlarged: Tensor = self.upsampler(features + self.body(features))
        return cut(enlarged, height * self.scale, width * self.scale)
