"""RRDBNet: the generator of ESRGAN and Real-ESRGAN."""

from collections.abc import Sequence
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.nn import functional

from sr_lab.networks.base import Network
from sr_lab.networks.blocks import checked_widths, conv
from sr_lab.networks.padding import cut, pad_to_multiple

RES_SCALE = 0.2
SLOPE = 0.2
INNER = 4  # convolutions of a dense block before its last one

# Scale: the factor by which the input is unshuffled first, and those of the enlargements at the end.
STAGES = {1: (4, (2, 2)), 2: (2, (2, 2)), 3: (1, (3,)), 4: (1, (2, 2)), 8: (1, (2, 2, 2))}


class DenseBlock(nn.Module):
    """Five densely connected convolutions; the residual is scaled by 0.2 (ESRGAN, figure 4).

    Initialised as by the authors: Kaiming normal times 0.1, biases 0. ``growths`` are the channels that each of the
    four inner convolutions adds.
    """

    def __init__(self, *, channels: int, growths: Sequence[int]) -> None:
        super().__init__()
        known = accumulate([channels, *growths])
        self.layers = nn.ModuleList(
            [conv(before, after) for before, after in zip(known, [*growths, channels], strict=True)]
        )
        for layer in self.layers:
            assert isinstance(layer, nn.Conv2d)
            assert layer.bias is not None
            nn.init.kaiming_normal_(layer.weight)
            with torch.no_grad():
                layer.weight.mul_(0.1)
            nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        known = [features]
        *inner, last = self.layers
        for layer in inner:
            known.append(functional.leaky_relu(layer(torch.cat(known, dim=1)), SLOPE, inplace=True))
        residual: Tensor = last(torch.cat(known, dim=1))
        return features + residual * RES_SCALE


class RRDB(nn.Module):
    """Residual in residual dense block: three dense blocks, and a scaled skip over them."""

    def __init__(self, *, channels: int, growths: Sequence[int]) -> None:
        super().__init__()
        parts = (growths[start : start + INNER] for start in range(0, 3 * INNER, INNER))
        self.blocks = nn.Sequential(*(DenseBlock(channels=channels, growths=part) for part in parts))

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        residual: Tensor = self.blocks(features)
        return features + residual * RES_SCALE


class RRDBNet(Network):
    """Generator of ESRGAN (Wang et al. 2018, arXiv:1809.00219) and of Real-ESRGAN (arXiv:2107.10833).

    At scale 2 and 1 the input is pixel-unshuffled by 2 or 4 first and enlarged by 4, as in Real-ESRGAN; sizes
    that are no such multiple are padded by reflection. 23 blocks have 16,697,987 parameters at x4 and
    16,703,171 at x2; 6 blocks ("anime") 4,467,779 at x4.

    Args:
        scale: Enlargement factor, 1, 2, 3, 4 or 8.
        num_channels: Number of channels of the images.
        num_blocks: RRDBs.
        num_features: Number of channels between the blocks.
        growth: Number of channels that each inner convolution adds.
        widths: The same number for each convolution, 12 for each RRDB, where they were pruned; None for ``growth``.
    """

    def __init__(
        self,
        *,
        scale: int,
        num_channels: int = 3,
        num_blocks: int = 23,
        num_features: int = 64,
        growth: int = 32,
        widths: Sequence[int] | None = None,
    ) -> None:
        super().__init__(scale=scale, num_channels=num_channels)
        if scale not in STAGES:
            raise ValueError(f"scale={scale}: RRDBNet enlarges by {', '.join(map(str, STAGES))}")
        self.unshuffle, self.factors = STAGES[scale]
        self.stride = self.unshuffle
        self.head = conv(num_channels * self.unshuffle**2, num_features)
        growths = checked_widths(widths, count=3 * INNER * num_blocks, default=growth)
        parts = (growths[start : start + 3 * INNER] for start in range(0, len(growths), 3 * INNER))
        self.body = nn.Sequential(*(RRDB(channels=num_features, growths=part) for part in parts))
        self.trunk = conv(num_features, num_features)
        self.upsampler = nn.ModuleList([conv(num_features, num_features) for _ in self.factors])
        self.high = conv(num_features, num_features)
        self.tail = conv(num_features, num_channels)

    def forward(self, low: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h * scale, w * scale)."""
        height, width = low.shape[-2:]
        if self.unshuffle > 1:
            low = functional.pixel_unshuffle(pad_to_multiple(low, self.unshuffle), self.unshuffle)
        features = self.head(low)
        features = features + self.trunk(self.body(features))
        for factor, layer in zip(self.factors, self.upsampler, strict=True):
            enlarged = functional.interpolate(features, scale_factor=float(factor), mode="nearest")
            features = functional.leaky_relu(layer(enlarged), SLOPE, inplace=True)
        restored: Tensor = self.tail(functional.leaky_relu(self.high(features), SLOPE, inplace=True))
        return cut(restored, height * self.scale, width * self.scale) if self.unshuffle > 1 else restored
