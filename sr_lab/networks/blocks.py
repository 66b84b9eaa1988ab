"""Blocks that several networks share."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from sr_lab.base.words import counted


def conv(channels_in: int, channels_out: int, kernel: int = 3) -> nn.Conv2d:
    """A convolution that keeps height and width (odd ``kernel``, zero padding)."""
    return nn.Conv2d(channels_in, channels_out, kernel, padding=kernel // 2)


def no_autocast(device: torch.device) -> AbstractContextManager[object]:
    """A context in which operations keep their operands' type: kernels that are computed from weights stay exact."""
    known = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if known else nullcontext()


def checked_widths(widths: Sequence[int] | None, *, count: int, default: int) -> list[int]:
    """``widths``, or ``count`` times ``default``.

    Raises:
        ValueError: if there are not ``count`` of them, or one is below 1.
    """
    if widths is None:
        return [default] * count
    if len(widths) != count or min(widths) < 1:
        raise ValueError(f"widths={list(widths)}: this network needs {counted(count, 'number')} of at least 1")
    return list(widths)


class ResidualBlock(nn.Module):
    """conv - ReLU - conv with a scaled skip, without batch normalisation (Lim et al. 2017, figure 2c).

    ``width`` is the number of channels between the two convolutions; None for ``channels``.
    """

    def __init__(self, *, channels: int, res_scale: float, width: int | None = None) -> None:
        super().__init__()
        width = channels if width is None else width
        self.body = nn.Sequential(conv(channels, width), nn.ReLU(inplace=True), conv(width, channels))
        self.res_scale = res_scale

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        residual: Tensor = self.body(features)
        return features + residual * self.res_scale


class PixelShuffleUpsampler(nn.Sequential):
    """Sub-pixel convolutions (Shi et al. 2016): one stage for scale 2 or 3, two stages for 4, three for 8."""

    def __init__(self, *, scale: int, channels: int) -> None:
        factors = {1: [], 2: [2], 3: [3], 4: [2, 2], 8: [2, 2, 2]}.get(scale)
        if factors is None:
            raise ValueError(f"scale={scale}: the pixel-shuffle upsampler makes 1, 2, 3, 4 and 8")
        stages: list[nn.Module] = []
        for factor in factors:
            stages += [conv(channels, channels * factor**2), nn.PixelShuffle(factor)]
        super().__init__(*stages)
