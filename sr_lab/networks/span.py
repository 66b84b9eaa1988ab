"""SPAN: plain convolutions whose own output, through an odd function, is the attention."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sr_lab.networks.base import Network
from sr_lab.networks.blocks import conv, no_autocast


class WideConv(nn.Module):
    """A 3x3 convolution that is learned as 1x1, 3x3 and 1x1 with a wide middle, and a 1x1 beside them.

    Their kernels are multiplied out and applied once, at each step of the training, so that training costs what the
    plain convolution costs and the two are the same function.

    Args:
        channels_in: Channels of the input.
        channels_out: Channels of the output.
        expansion: Channels of the middle, as a multiple of the input's and of the output's.
    """

    def __init__(self, channels_in: int, channels_out: int, *, expansion: int = 2) -> None:
        super().__init__()
        self.widen = nn.Conv2d(channels_in, expansion * channels_in, 1)
        self.middle = nn.Conv2d(expansion * channels_in, expansion * channels_out, 3)
        self.narrow = nn.Conv2d(expansion * channels_out, channels_out, 1)
        self.beside = nn.Conv2d(channels_in, channels_out, 1)

    def kernel(self) -> tuple[Tensor, Tensor]:
        """Weight (channels_out, channels_in, 3, 3) and bias (channels_out,) of the one convolution that this is."""
        with no_autocast(self.middle.weight.device):
            widen, narrow = self.widen.weight[:, :, 0, 0], self.narrow.weight[:, :, 0, 0]
            channels_out, wide = len(narrow), len(widen)
            inner = (narrow @ self.middle.weight.flatten(1)).view(channels_out, wide, 9)
            weight = (inner.transpose(1, 2) @ widen).transpose(1, 2).reshape(channels_out, -1, 3, 3)
            weight = weight + functional.pad(self.beside.weight, (1, 1, 1, 1))
            biases = [self.widen.bias, self.middle.bias, self.narrow.bias, self.beside.bias]
            first, second, third, fourth = (bias for bias in biases if bias is not None)
            return weight, inner.sum(2) @ first + narrow @ second + third + fourth

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels_in, h, w) -> (B, channels_out, h, w), zero padding."""
        weight, bias = self.kernel()
        return functional.conv2d(features, weight, bias, padding=1)


class Block(nn.Module):
    """Three convolutions; their sum with the input is multiplied by ``sigmoid(output) - 1/2``.

    Args:
        channels: Channels of the features.
        collapsed: Whether the convolutions are plain.
    """

    def __init__(self, channels: int, *, collapsed: bool) -> None:
        super().__init__()
        self.first, self.second, self.third = (_conv(channels, channels, collapsed=collapsed) for _ in range(3))

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C, h, w) -> the block's output, and what its first convolution activated, both (B, C, h, w)."""
        first = functional.silu(self.first(features))
        third = self.third(functional.silu(self.second(first)))
        return (third + features) * (torch.sigmoid(third) - 0.5), first


class SPAN(Network):
    """Swift parameter-free attention network (Wan et al. 2024, CVPR workshops).

    (48, 6) on RGB at x4 has, collapsed, the published 426 thousand parameters. Values are taken as they are: the
    authors' code subtracts a mean colour first in some of its models and none in others.

    Args:
        scale: Enlargement factor, any; made by one pixel shuffle at the end.
        num_channels: Channels of the images.
        num_features: Channels inside.
        num_blocks: Attention blocks; the output of the first and what the last one begins with are looked at again.
        collapsed: Whether the convolutions are plain: what a trained network becomes by ``collapse``.

    Example:
        >>> SPAN(scale=4, collapsed=True).num_parameters
        426288
    """

    def __init__(
        self,
        *,
        scale: int,
        num_channels: int = 3,
        num_features: int = 48,
        num_blocks: int = 6,
        collapsed: bool = False,
    ) -> None:
        super().__init__(scale=scale, num_channels=num_channels)
        self.arguments: Mapping[str, Any] = {
            "scale": scale, "num_channels": num_channels, "num_blocks": num_blocks, "num_features": num_features,
        }  # fmt: skip
        self.head = _conv(num_channels, num_features, collapsed=collapsed)
        self.blocks = nn.ModuleList([Block(num_features, collapsed=collapsed) for _ in range(num_blocks)])
        self.tail = _conv(num_features, num_features, collapsed=collapsed)
        self.mix = conv(4 * num_features, num_features, 1)
        self.upsampler = nn.Sequential(conv(num_features, num_channels * scale**2), nn.PixelShuffle(scale))

    def forward(self, low: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h * scale, w * scale)."""
        head = self.head(low)
        early, inside = self.blocks[0](head)
        last = early
        for block in self.blocks[1:]:
            last, inside = block(last)
        enlarged: Tensor = self.upsampler(self.mix(torch.cat([head, self.tail(last), early, inside], dim=1)))
        return enlarged

    @torch.no_grad()
    def collapse(self) -> "SPAN":
        """The same function of plain convolutions: the kernels of each are multiplied out."""
        plain = SPAN(**self.arguments, collapsed=True)
        plain.config = None if self.config is None else {**self.config, "collapsed": True}
        state: dict[str, Tensor] = {}
        for name, module in self.named_modules():
            if isinstance(module, WideConv):
                weight, bias = module.kernel()
                state |= {f"{name}.weight": weight, f"{name}.bias": bias}
            elif isinstance(module, nn.Conv2d) and f"{name}.weight" in plain.state_dict():
                state |= {f"{name}.{key}": value for key, value in module.state_dict().items()}
        plain.load_state_dict(state)
        return plain.train(self.training)

    def for_graph(self) -> nn.Module:
        """The collapsed network."""
        return self.collapse()


def _conv(channels_in: int, channels_out: int, *, collapsed: bool) -> nn.Module:
    return conv(channels_in, channels_out) if collapsed else WideConv(channels_in, channels_out)
