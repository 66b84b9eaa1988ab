"""ECBSR: plain 3x3 convolutions, each learned as the sum of several linear branches."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sr_lab.networks.base import Network
from sr_lab.networks.blocks import no_autocast

SOBEL = ((1.0, 0.0, -1.0), (2.0, 0.0, -2.0), (1.0, 0.0, -1.0))
LAPLACE = ((0.0, 1.0, 0.0), (1.0, -4.0, 1.0), (0.0, 1.0, 0.0))


class EdgeConv(nn.Module):
    """The edge-oriented convolution block of ECBSR: a 3x3 convolution that is the sum of linear branches.

    A 3x3 convolution, a wider 1x1 convolution followed by a 3x3 one, three 1x1 convolutions followed by the scaled
    masks of Sobel (both directions) and Laplace, and, where the channels allow, the identity. All of them are linear:
    their kernels are summed first and applied once, at each step of the training (as SESR does, Bhardwaj et al. 2022),
    so that training costs what the plain convolution costs and the two are the same function.

    Args:
        channels_in: Channels of the input.
        channels_out: Channels of the output.
        expansion: Channels between the 1x1 and the 3x3 convolution, as a multiple of ``channels_out``.
    """

    masks: Tensor
    through: Tensor

    def __init__(self, channels_in: int, channels_out: int, *, expansion: int = 2) -> None:
        super().__init__()
        self.plain = nn.Conv2d(channels_in, channels_out, 3)
        self.widen = nn.Conv2d(channels_in, expansion * channels_out, 1, bias=False)
        self.narrow = nn.Conv2d(expansion * channels_out, channels_out, 3, bias=False)
        self.mix = nn.Conv2d(channels_in, 3 * channels_out, 1, bias=False)
        self.strength = nn.Parameter(torch.randn(3, channels_out) * 1e-3)
        sobel = torch.tensor(SOBEL)
        self.register_buffer("masks", torch.stack([sobel, sobel.T, torch.tensor(LAPLACE)]), persistent=False)
        through = torch.zeros(channels_out, channels_in, 3, 3)
        if channels_in == channels_out:
            through[:, :, 1, 1] = torch.eye(channels_in)
        self.register_buffer("through", through, persistent=False)

    def kernel(self) -> tuple[Tensor, Tensor]:
        """Weight (channels_out, channels_in, 3, 3) and bias (channels_out,) of the one convolution that this is."""
        with no_autocast(self.plain.weight.device):
            wide = torch.einsum("omhw,mi->oihw", self.narrow.weight, self.widen.weight[:, :, 0, 0])
            mixed = torch.unflatten(self.mix.weight[:, :, 0, 0], 0, (3, -1)) * self.strength[:, :, None]
            edges = torch.einsum("boi,bhw->oihw", mixed, self.masks)
            weight = self.plain.weight + wide + edges + self.through
        assert self.plain.bias is not None
        return weight, self.plain.bias

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels_in, h, w) -> (B, channels_out, h, w), zero padding."""
        weight, bias = self.kernel()
        return functional.conv2d(features, weight, bias, padding=1)


class ECBSR(Network):
    """Edge-oriented convolution blocks for real-time super-resolution (Zhang et al. 2021, ACM MM).

    Convolutions at low resolution, a PReLU after each but the last, one pixel shuffle, the image itself added to each
    sub-pixel. On luma at x4, collapsed, (4, 8), (4, 16), (10, 16) and (10, 32) have 3.6, 11.8, 25.9 and 97.8 thousand
    parameters.

    Args:
        scale: Enlargement factor, any; made by one pixel shuffle at the end.
        num_channels: Channels of the images; 1, as in the paper, is luma.
        num_blocks: Convolutions between the first and the last.
        num_features: Channels inside.
        collapsed: Whether the convolutions are plain: what a trained network becomes by ``collapse``.

    Example:
        >>> trained = ECBSR(scale=2, num_channels=1, num_blocks=2, num_features=8)
        >>> trained.collapse().num_parameters
        1564
    """

    def __init__(
        self,
        *,
        scale: int,
        num_channels: int = 1,
        num_blocks: int = 10,
        num_features: int = 16,
        collapsed: bool = False,
    ) -> None:
        super().__init__(scale=scale, num_channels=num_channels)
        self.arguments: Mapping[str, Any] = {
            "scale": scale, "num_channels": num_channels, "num_blocks": num_blocks, "num_features": num_features,
        }  # fmt: skip
        make = _plain if collapsed else EdgeConv
        layers: list[nn.Module] = [make(num_channels, num_features), nn.PReLU(num_features)]
        for _ in range(num_blocks):
            layers += [make(num_features, num_features), nn.PReLU(num_features)]
        self.body = nn.Sequential(*layers)
        self.upsampler = nn.Sequential(make(num_features, num_channels * scale**2), nn.PixelShuffle(scale))

    def forward(self, low: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h * scale, w * scale)."""
        residual: Tensor = self.upsampler(self.body(low))
        return residual + functional.interpolate(low, scale_factor=float(self.scale), mode="nearest")

    @torch.no_grad()
    def collapse(self) -> "ECBSR":
        """The same function of plain convolutions: each block's branches are summed into one kernel."""
        plain = ECBSR(**self.arguments, collapsed=True)
        plain.config = None if self.config is None else {**self.config, "collapsed": True}
        for ours, theirs in zip([*self.body, *self.upsampler], [*plain.body, *plain.upsampler], strict=True):
            if isinstance(ours, EdgeConv) and isinstance(theirs, nn.Conv2d):
                weight, bias = ours.kernel()
                theirs.load_state_dict({"weight": weight, "bias": bias})
            else:
                theirs.load_state_dict(ours.state_dict())
        return plain.train(self.training)

    def for_graph(self) -> nn.Module:
        """The collapsed network."""
        return self.collapse()


def _plain(channels_in: int, channels_out: int) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, 3, padding=1)
