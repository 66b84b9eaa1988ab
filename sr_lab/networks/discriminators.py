"""Critics: networks that tell photographs from restored images. All return logits, no sigmoid."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm

SLOPE = 0.2


class Critic(nn.Module, ABC):
    """What every critic has in common: (B, C, H, W) images in [0, 1] -> logits, larger for more real.

    Attributes:
        num_channels: channels C of the images.
        takes_clips: whether it judges clips (B, T, C, H, W) and not their frames.
    """

    takes_clips: bool = False

    def __init__(self, *, num_channels: int) -> None:
        super().__init__()
        if num_channels < 1:
            raise ValueError(f"num_channels={num_channels}: must be at least 1")
        self.num_channels = num_channels

    @abstractmethod
    def forward(self, images: Tensor) -> Tensor:
        """Logits of the images: (B, 1), or a map (B, 1, H', W') of logits."""

    def judge(self, originals: Tensor) -> Callable[[Tensor], Tensor]:
        """What gives the logits of these images and of what was restored in their place: by default the critic."""
        return self

    @property
    def num_parameters(self) -> int:
        """Number of trainable parameters."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)


def _normed(channels_in: int, channels_out: int, kernel: int, stride: int, *, bias: bool = False) -> nn.Module:
    """A convolution with spectral norm (Miyato et al. 2018): its largest singular value is kept at 1."""
    return spectral_norm(nn.Conv2d(channels_in, channels_out, kernel, stride, padding=1, bias=bias))


class UNetCritic(Critic):
    """Real-ESRGAN's critic (Wang et al. 2021, arXiv:2107.10833): one logit a pixel, 4,376,897 parameters.

    A U-Net with spectral norm: what it says of a pixel depends on texture and on context.

    Args:
        num_channels: Number of channels of the images.
        num_features: Number of channels at full resolution; doubled at each of the three halvings.
    """

    def __init__(self, *, num_channels: int = 3, num_features: int = 64) -> None:
        super().__init__(num_channels=num_channels)
        widths = [num_features * factor for factor in (1, 2, 4, 8)]
        self.head = nn.Conv2d(num_channels, num_features, 3, padding=1)
        self.down = nn.ModuleList([_normed(wide, wider, 4, 2) for wide, wider in pairwise(widths)])
        self.up = nn.ModuleList([_normed(wider, wide, 3, 1) for wider, wide in pairwise(reversed(widths))])
        self.last = nn.ModuleList([_normed(num_features, num_features, 3, 1) for _ in range(2)])
        self.tail = nn.Conv2d(num_features, 1, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W), any size from 8x8 on -> (B, 1, H, W), the logit of each pixel."""
        if min(images.shape[-2:]) < 8:
            raise ValueError(f"images of {_size(images)}: the U-Net critic needs at least 8x8 pixels")
        features = functional.leaky_relu(self.head(images), SLOPE)
        skips = []
        for layer in self.down:
            skips.append(features)
            features = functional.leaky_relu(layer(features), SLOPE)
        for layer in self.up:
            skip = skips.pop()
            enlarged = functional.interpolate(features, size=skip.shape[-2:], mode="bilinear", align_corners=False)
            features = functional.leaky_relu(layer(enlarged), SLOPE) + skip
        for layer in self.last:
            features = functional.leaky_relu(layer(features), SLOPE)
        logits: Tensor = self.tail(features)
        return logits


class VGGCritic(Critic):
    """ESRGAN's critic (arXiv:1809.00219): one logit an image, 14,499,401 parameters for 128 pixels, 21,055,049 for 256.

    Args:
        num_channels: Number of channels of the images.
        num_features: Number of channels of the first stage; doubled up to eight times as many.
        input_size: Side of the images, 32 times a power of two (the paper's: 128 and 256). The layers depend on it.
    """

    def __init__(self, *, num_channels: int = 3, num_features: int = 64, input_size: int = 128) -> None:
        super().__init__(num_channels=num_channels)
        num_stages = input_size.bit_length() - 3
        if input_size < 32 or input_size != 4 << num_stages:
            raise ValueError(f"input_size={input_size}: must be 32, 64, 128, 256 or a further power of two")
        self.input_size = input_size
        layers: list[nn.Module] = []
        channels = num_channels
        for stage in range(num_stages):
            width = num_features * min(2**stage, 8)
            layers.append(nn.Conv2d(channels, width, 3, padding=1, bias=stage == 0))
            layers += [nn.BatchNorm2d(width)] if stage else []
            layers += [nn.LeakyReLU(SLOPE, inplace=True), nn.Conv2d(width, width, 4, 2, padding=1, bias=False)]
            layers += [nn.BatchNorm2d(width), nn.LeakyReLU(SLOPE, inplace=True)]
            channels = width
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Sequential(
            nn.Linear(channels * 16, 100), nn.LeakyReLU(SLOPE, inplace=True), nn.Linear(100, 1)
        )

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, input_size, input_size) -> (B, 1).

        Raises:
            ValueError: if the images are of another size.
        """
        if tuple(images.shape[-2:]) != (self.input_size, self.input_size):
            raise ValueError(
                f"images of {_size(images)} for a VGG critic with input_size={self.input_size}: "
                "give the critic the size of the high-resolution crops"
            )
        logits: Tensor = self.classifier(self.features(images).flatten(1))
        return logits


class PatchCritic(Critic):
    """PatchGAN (Isola et al. 2017, arXiv:1611.07004) with spectral norm: one logit for each 70x70 patch.

    2,764,737 parameters, as CycleGAN's critic with instance norm, whose place the spectral norm takes: instance
    norm would hide the brightness and the contrast that a restored image gets wrong.

    Args:
        num_channels: Number of channels of the images.
        num_features: Number of channels of the first layer; doubled at each further one, up to eight times as many.
        num_layers: Number of layers that halve the resolution; 3 make patches of 70x70 pixels.
    """

    def __init__(self, *, num_channels: int = 3, num_features: int = 64, num_layers: int = 3) -> None:
        super().__init__(num_channels=num_channels)
        if num_layers < 1:
            raise ValueError(f"num_layers={num_layers}: must be at least 1")
        widths = [num_features * min(2**index, 8) for index in range(num_layers + 1)]
        layers: list[nn.Module] = [nn.Conv2d(num_channels, num_features, 4, 2, padding=1), nn.LeakyReLU(SLOPE)]
        for index in range(num_layers):
            stride = 2 if index < num_layers - 1 else 1
            layers += [_normed(widths[index], widths[index + 1], 4, stride, bias=True), nn.LeakyReLU(SLOPE)]
        self.layers = nn.Sequential(*layers, nn.Conv2d(widths[-1], 1, 4, padding=1))
        self.least = 3 * 2**num_layers

    def forward(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, 1, H', W'), the logits of overlapping patches.

        Raises:
            ValueError: if the images are too small for one patch's logit.
        """
        if min(images.shape[-2:]) < self.least:
            raise ValueError(f"images of {_size(images)}: this patch critic needs at least {self.least}x{self.least}")
        logits: Tensor = self.layers(images)
        return logits


def _size(images: Tensor) -> str:
    return f"{images.shape[-2]}x{images.shape[-1]}"
