"""The diffusion U-Net: estimates a clean image from a noisy one, the low image and the time."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from sr_lab.images import resize_bicubic
from sr_lab.networks.base import Network
from sr_lab.networks.blocks import conv
from sr_lab.networks.padding import cut, pad_to_multiple


def time_embedding(time: Tensor, num_features: int) -> Tensor:
    """Sines and cosines of ``1000 * time`` at geometrically spaced frequencies: (B,) -> (B, num_features), float32."""
    half = num_features // 2
    frequencies = torch.exp(-math.log(10_000) * torch.arange(half, device=time.device) / half)
    angles = 1000 * time.float()[:, None] * frequencies[None, :]
    return torch.cat([angles.cos(), angles.sin()], dim=1)


class ChannelNorm(nn.Module):
    """Layer norm over the channels of each pixel.

    Unlike the usual group norm it takes no statistics over the image: crops, tiles and whole images are
    treated alike, so that a tiled restoration equals the untiled one.
    """

    def __init__(self, *, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h, w)."""
        normed: Tensor = self.norm(features.permute(0, 2, 3, 1))
        return normed.permute(0, 3, 1, 2)


class TimedBlock(nn.Module):
    """Two normed convolutions with a skip; the time scales and shifts the features between them."""

    def __init__(self, *, channels_in: int, channels_out: int, time_features: int) -> None:
        super().__init__()
        self.norm1 = ChannelNorm(channels=channels_in)
        self.conv1 = conv(channels_in, channels_out)
        self.modulation = nn.Linear(time_features, 2 * channels_out)
        self.norm2 = ChannelNorm(channels=channels_out)
        self.conv2 = conv(channels_out, channels_out)
        self.skip = nn.Identity() if channels_in == channels_out else conv(channels_in, channels_out, 1)
        for layer in (self.conv2, self.modulation):
            nn.init.zeros_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)

    def forward(self, features: Tensor, time: Tensor) -> Tensor:
        """(B, C, h, w) features and (B, T) time features -> (B, C', h, w)."""
        inner = self.conv1(functional.silu(self.norm1(features)))
        gain, offset = self.modulation(time)[:, :, None, None].chunk(2, dim=1)
        inner = self.norm2(inner) * (1 + gain) + offset
        out: Tensor = self.conv2(functional.silu(inner)) + self.skip(features)
        return out


class UNet(Network):
    """Denoiser for ResShift in pixel space, and velocity field for flows (see ``sr_lab.diffusion``).

    A convolutional U-Net over pixel-unshuffled images: the unshuffling by 4 loses nothing, and makes the steps at
    x4 as cheap as those of a network at low resolution. It sees the noisy image and ``base`` (the bicubic
    enlargement, or another network's restoration) side by side, and returns ``base`` plus a correction that is
    zero at initialisation. Sizes that are no multiple of ``unshuffle`` times the halvings are padded by reflection.

    Args:
        scale: Enlargement factor, any.
        num_channels: Number of channels of the images.
        num_features: Number of channels at the highest resolution inside.
        multipliers: Numbers of channels at each resolution, in multiples of ``num_features``; one halving between two
            of them.
        num_blocks: Number of blocks at each resolution on the way down; one more on the way up.
        unshuffle: Number of pixels of a side that one position inside stands for.
    """

    def __init__(
        self,
        *,
        scale: int,
        num_channels: int = 3,
        num_features: int = 64,
        multipliers: Sequence[int] = (1, 2, 4),
        num_blocks: int = 2,
        unshuffle: int = 4,
    ) -> None:
        super().__init__(scale=scale, num_channels=num_channels)
        if not multipliers:
            raise ValueError("multipliers is empty: give one value for each resolution, as [1, 2, 4]")
        self.num_features, self.unshuffle = num_features, unshuffle
        self.multiple = unshuffle * 2 ** (len(multipliers) - 1)
        self.stride = self.multiple // math.gcd(self.multiple, scale)
        pixels = num_channels * unshuffle**2
        timed = 4 * num_features
        first, second = nn.Linear(num_features // 2 * 2, timed), nn.Linear(timed, timed)
        self.time = nn.Sequential(first, nn.SiLU(), second, nn.SiLU())
        self.head = conv(2 * pixels, num_features)
        widths = [num_features * multiplier for multiplier in multipliers]
        skips, channels = [num_features], num_features
        self.down = nn.ModuleList()
        for level, width in enumerate(widths):
            if level:
                self.down.append(nn.Conv2d(channels, channels, 3, 2, padding=1))
                skips.append(channels)
            for _ in range(num_blocks):
                self.down.append(TimedBlock(channels_in=channels, channels_out=width, time_features=timed))
                channels = width
                skips.append(channels)
        self.middle = nn.ModuleList(
            [TimedBlock(channels_in=channels, channels_out=channels, time_features=timed) for _ in range(2)]
        )
        self.up = nn.ModuleList()
        for level, width in reversed([*enumerate(widths)]):
            for _ in range(num_blocks + 1):
                joined = channels + skips.pop()
                self.up.append(TimedBlock(channels_in=joined, channels_out=width, time_features=timed))
                channels = width
            if level:
                self.up.append(nn.Sequential(nn.Upsample(scale_factor=2.0, mode="nearest"), conv(channels, channels)))
        self.norm = ChannelNorm(channels=channels)
        self.tail = conv(channels, pixels)
        nn.init.zeros_(self.tail.weight)
        assert self.tail.bias is not None
        nn.init.zeros_(self.tail.bias)

    def forward(
        self, low: Tensor, noisy: Tensor | None = None, time: Tensor | None = None, base: Tensor | None = None
    ) -> Tensor:
        """``base`` plus the network's correction.

        Args:
            low: (B, C, h, w), values in [0, 1]; used for ``base`` where that is not given.
            noisy: (B, C, h * scale, w * scale), the state of the diffusion, scaled to about unit variance.
                None stands for 0: with ``time`` None, all that is known is the low image (one pass).
            time: (B,), 0 at the clean image and 1 at the start of the restoration, or a flow's time; None for 1.
            base: (B, C, h * scale, w * scale), values in [0, 1]; None for the bicubic enlargement.

        Returns:
            (B, C, h * scale, w * scale), values about [0, 1].
        """
        if base is None:
            base = resize_bicubic(low, scale=float(self.scale))
        height, width = base.shape[-2:]
        if noisy is None:
            noisy = torch.zeros_like(base)
        if time is None:
            time = base.new_ones(base.shape[0])
        timed = self.time(time_embedding(time, self.num_features).to(low.dtype))
        padded = pad_to_multiple(torch.cat([noisy, 2 * base - 1], dim=1), self.multiple)
        features = self.head(functional.pixel_unshuffle(padded, self.unshuffle))
        skips = [features]
        for layer in self.down:
            features = layer(features, timed) if isinstance(layer, TimedBlock) else layer(features)
            skips.append(features)
        for layer in self.middle:
            features = layer(features, timed)
        for layer in self.up:
            if isinstance(layer, TimedBlock):
                features = layer(torch.cat([features, skips.pop()], dim=1), timed)
            else:
                features = layer(features)
        correction = functional.pixel_shuffle(self.tail(functional.silu(self.norm(features))), self.unshuffle)
        return base + cut(correction, height, width)
