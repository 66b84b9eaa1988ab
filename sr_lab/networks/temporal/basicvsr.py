"""BasicVSR: features that run through the clip in both directions, aligned by flow."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sr_lab.networks.temporal.base import ClipNetwork, flow_warp, without_keeping
from sr_lab.networks.temporal.flow import SPyNet


class BasicVSR(ClipNetwork):
    """BasicVSR (Chan et al., CVPR 2021), x4: 6,291,311 parameters at 64 channels and 30 blocks. Keys are BasicSR's.

    Memory grows with the clip: the features of the backward pass are kept for all its frames.

    Args:
        scale: Enlargement factor: 4.
        num_channels: Number of channels of the images: 3.
        num_features: Channels inside.
        num_blocks: Residual blocks of each direction.
        recompute: In training, whether a step's activations are computed again for the gradient instead of being kept.

    Raises:
        ValueError: If the scale is not 4 or the images are not RGB.
    """

    def __init__(
        self,
        *,
        scale: int = 4,
        num_channels: int = 3,
        num_features: int = 64,
        num_blocks: int = 30,
        recompute: bool = False,
    ) -> None:
        super().__init__(scale=scale, num_channels=num_channels)
        if scale != 4:
            raise ValueError(f"BasicVSR enlarges by 4, scale={scale} was asked for")
        if num_channels != 3:
            raise ValueError(f"BasicVSR takes RGB, num_channels={num_channels} was asked for")
        self.num_features, self.recompute = num_features, recompute
        self.spynet = SPyNet()
        self.backward_trunk = _Trunk(num_features + 3, num_features, num_blocks)
        self.forward_trunk = _Trunk(num_features + 3, num_features, num_blocks)
        self.fusion = nn.Conv2d(2 * num_features, num_features, 1)
        self.upconv1 = nn.Conv2d(num_features, 4 * num_features, 3, padding=1)
        self.upconv2 = nn.Conv2d(num_features, 4 * 64, 3, padding=1)
        self.conv_hr = nn.Conv2d(64, 64, 3, padding=1)
        self.conv_last = nn.Conv2d(64, 3, 3, padding=1)

    @property
    def motion(self) -> nn.Module:
        """See ``ClipNetwork``."""
        return self.spynet

    def clip(self, low: Tensor) -> Tensor:
        """(B, T, 3, h, w) to (B, T, 3, 4 * h, 4 * w)."""
        batch, count, _, height, width = low.shape
        backwards: list[Tensor] = []
        features = low.new_zeros(batch, self.num_features, height, width)
        for number in range(count - 1, -1, -1):
            if number < count - 1:
                features = flow_warp(features, self.spynet(low[:, number], low[:, number + 1]))
            features = self._run(self.backward_trunk, torch.cat([low[:, number], features], dim=1))
            backwards.append(features)
        backwards.reverse()
        frames = []
        features = torch.zeros_like(features)
        for number in range(count):
            if number:
                features = flow_warp(features, self.spynet(low[:, number], low[:, number - 1]))
            features = self._run(self.forward_trunk, torch.cat([low[:, number], features], dim=1))
            frames.append(self._run(self._enlarged, low[:, number], torch.cat([backwards[number], features], dim=1)))
        return torch.stack(frames, dim=1)

    def _run(self, part: Callable[..., Tensor], *inputs: Tensor) -> Tensor:
        return without_keeping(part, *inputs, recompute=self.recompute)

    def _enlarged(self, low: Tensor, features: Tensor) -> Tensor:
        out = F.leaky_relu(self.fusion(features), 0.1)
        out = F.leaky_relu(F.pixel_shuffle(self.upconv1(out), 2), 0.1)
        out = F.leaky_relu(F.pixel_shuffle(self.upconv2(out), 2), 0.1)
        detail: Tensor = self.conv_last(F.leaky_relu(self.conv_hr(out), 0.1))
        return detail + F.interpolate(low, scale_factor=4, mode="bilinear", align_corners=False)


class _Trunk(nn.Module):
    def __init__(self, entering: int, channels: int, num_blocks: int) -> None:
        super().__init__()
        blocks = nn.Sequential(*(_Block(channels) for _ in range(num_blocks)))
        self.main = nn.Sequential(nn.Conv2d(entering, channels, 3, padding=1), nn.LeakyReLU(0.1), blocks)

    def forward(self, features: Tensor) -> Tensor:
        """Features of one direction."""
        result: Tensor = self.main(features)
        return result


class _Block(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """The features and what is added to them."""
        result: Tensor = features + self.conv2(F.relu(self.conv1(features)))
        return result
