"""What turns a low image into a restored one: a network with its tiles and channels, or bicubic interpolation."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sr_lab.images import resize_bicubic, rgb_to_y
from sr_lab.networks.base import GenerativeNetwork
from sr_lab.networks.moments import sample_moments
from sr_lab.networks.tiling import restore_tiled

Restorer = Callable[[Tensor], Tensor]
"""Maps a low image (1, C, h, w), values in [0, 1], to (1, C, h * scale, w * scale), not rounded."""


class BicubicRestorer:
    """MATLAB's bicubic enlargement: the baseline. Not clamped, not rounded.

    Args:
        scale: enlargement factor.

    Raises:
        ValueError: if it is not a positive number.
    """

    def __init__(self, *, scale: int) -> None:
        if not isinstance(scale, int | float) or scale <= 0:
            raise ValueError(f"scale={scale} must be a positive number")
        self.scale = scale
        self.metadata: Mapping[str, Any] | None = None
        self.seen: Mapping[str, Sequence[str]] | None = {}

    def __call__(self, low: Tensor) -> Tensor:
        """(B, C, h, w) to (B, C, h * scale, w * scale)."""
        return resize_bicubic(low, scale=float(self.scale))


class NetworkRestorer:
    """A network applied whole or, to a large image, in blended tiles, whatever the image's channels.

    - A grey image and a network for RGB: the network gets the image in all three channels; the mean of the
      output channels is the restored image.
    - An RGB image and a network for one channel: the network restores the luma, the colour differences are
      enlarged by bicubic interpolation, as such networks are used in the literature (SRCNN, FSRCNN).

    Args:
        network: with attributes ``scale`` and ``num_channels``; it is put into evaluation mode, on ``device``.
        tile: side of a tile in low-resolution pixels; a smaller image is restored in one piece.
        overlap: low-resolution pixels that neighbouring tiles share.
        device: where to compute.
        seed: of the samples of a generative network: the same for every image.
        num_steps: evaluations of a generative network for a sample; None for as many as it was trained for.
        metadata: what is known of the network's training, for records.
        seen: hashes of the images that it was trained and selected on, by use; None where they are not known.

    Raises:
        ValueError: if the tiles cannot overlap so, or ``num_steps`` is given to a network that draws no samples.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        tile: int = 512,
        overlap: int = 32,
        device: torch.device | str = "cpu",
        seed: int = 0,
        num_steps: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        seen: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        if num_steps is not None and not isinstance(network, GenerativeNetwork):
            raise ValueError(f"num_steps={num_steps}: {type(network).__name__} draws no samples, leave it out")
        if not 0 <= 2 * overlap < tile:
            raise ValueError(f"overlap={overlap} must be at least 0 and below half of tile={tile}")
        self.network = network.eval().to(device)
        self.scale = _count(network, "scale")
        self.num_channels = _count(network, "num_channels")
        self.tile = tile
        self.overlap = overlap
        self.seed = seed
        self.num_steps = num_steps
        self.metadata = metadata
        self.seen = seen

    @property
    def generative(self) -> bool:
        """Whether there are several images to a low one, one a seed."""
        return isinstance(self.network, GenerativeNetwork)

    def __call__(self, low: Tensor) -> Tensor:
        """(B, C, h, w) to (B, C, h * scale, w * scale): ``sample`` with the restorer's own seed."""
        return self.sample(low, seed=self.seed)

    def sample(self, low: Tensor, *, seed: int) -> Tensor:
        """(B, C, h, w) to (B, C, h * scale, w * scale); ``seed`` counts where the network is generative.

        Raises:
            ValueError: if the network cannot take this number of channels.
        """
        channels = low.shape[1]
        if channels == self.num_channels:
            return self._restore(low, seed)
        if channels == 1 and self.num_channels == 3:
            return self._restore(low.expand(-1, 3, -1, -1), seed).mean(dim=1, keepdim=True)
        if channels == 3 and self.num_channels == 1:
            enlarged = resize_bicubic(low, scale=float(self.scale))
            gain = self._restore(rgb_to_y(low), seed) - rgb_to_y(enlarged)
            # The same amount added to R, G and B leaves both colour differences and adds 219/255 of it to the luma.
            return enlarged + gain * (255 / 219)
        raise ValueError(f"the network restores {self.num_channels} channels, the image has {channels}")

    def moments(self, low: Tensor, *, num: int) -> tuple[Tensor, Tensor]:
        """Mean and variance of each value over ``num`` samples, of the restorer's own seed and the next ones.

        Both (B, C, h * scale, w * scale), float32; see ``sample_moments``.
        """
        return sample_moments(lambda seed: self.sample(low, seed=seed), num=num, seed=self.seed)

    def _restore(self, low: Tensor, seed: int) -> Tensor:
        if isinstance(self.network, GenerativeNetwork):
            return self.network.sample(
                low, seeds=[seed], num_steps=self.num_steps, tile=self.tile, overlap=self.overlap
            )
        return restore_tiled(self.network, low, tile=self.tile, overlap=self.overlap)


class MeanRestorer:
    """The mean of several restorers' images, not rounded in between.

    Args:
        restorers: at least one, of one scale.
    """

    def __init__(self, restorers: Sequence[Restorer]) -> None:
        self.restorers = list(restorers)

    def __call__(self, low: Tensor) -> Tensor:
        """(B, C, h, w) to (B, C, h * scale, w * scale)."""
        return torch.stack([restorer(low) for restorer in self.restorers]).mean(dim=0)


def _count(network: nn.Module, name: str) -> int:
    value = getattr(network, name, None)
    if not isinstance(value, int):
        raise ValueError(f"{type(network).__name__} does not say its {name}: give it the attribute {name!r}")
    return value
