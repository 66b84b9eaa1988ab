"""What the networks that draw images by denoising have in common."""

from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sr_lab.base.randomness import device_normal_table, image_noise
from sr_lab.base.words import counted
from sr_lab.diffusion.sampling import Denoiser, Noise
from sr_lab.networks.base import GenerativeNetwork
from sr_lab.networks.tiling import apply_tiled
from sr_lab.networks.unet import UNet

GRAPH_STEPS = 4
"""Most evaluations in an exported graph: it unrolls them, and takes seconds for each."""


class DenoisingNetwork(GenerativeNetwork):
    """A generative network around a denoiser, which is evaluated ``num_steps`` times for an image.

    Args:
        denoiser: Network that is trained; scale and channels are its own.
        num_steps: Number of evaluations for a sample, where none is asked for.
    """

    def __init__(self, *, denoiser: UNet, num_steps: int) -> None:
        super().__init__(scale=denoiser.scale, num_channels=denoiser.num_channels)
        if num_steps < 1:
            raise ValueError(f"num_steps={num_steps}: must be at least 1")
        self.denoiser = denoiser
        self.num_steps = num_steps
        self.stride = denoiser.stride
        device_normal_table(torch.device("cpu"))  # before any export, whose graph takes the table as a constant

    @abstractmethod
    def estimate(self, low: Tensor, high: Tensor, *, noise: Tensor, uniform: Tensor) -> Tensor:
        """The estimate of ``high`` that training compares with it, at a state between ``high`` and the start.

        Args:
            low: (B, C, h, w), values in [0, 1].
            high: (B, C, h * scale, w * scale), what a sample should be.
            noise: of the shape of ``high``, standard normal: field 0 of ``sample``.
            uniform: (B,) float64, in [0, 1): decides the time of each image's state.

        Returns:
            Of the shape of ``high``.
        """

    @abstractmethod
    def transport(self, low: Tensor, *, seeds: Sequence[int]) -> Tensor:
        """As ``sample``, with an image that the first field of noise decides alone: what a student can learn."""

    def for_graph(self) -> nn.Module:
        """The sample of seed 0 in at most ``GRAPH_STEPS`` evaluations."""
        return _Graph(self, min(self.num_steps, GRAPH_STEPS))

    def noise(self, low: Tensor, seeds: Sequence[int]) -> Noise:
        """Fields of noise for the high images of ``low``: number of the field -> (len(seeds), C, H, W).

        Raises:
            ValueError: if there are neither one seed nor as many as images.
        """
        if len(seeds) != 1 and len(seeds) != low.shape[0]:
            raise ValueError(
                f"{counted(len(seeds), 'seed')} for {counted(low.shape[0], 'image')}: give one, or one for each image"
            )
        shape = (low.shape[1], low.shape[2] * self.scale, low.shape[3] * self.scale)
        return lambda field: image_noise(seeds, shape, plane=field, device=low.device).to(low.dtype)

    def _tiled(self, tile: int | None, overlap: int) -> Denoiser:
        """The denoiser, or its application by tiles."""
        if tile is None:
            return self.denoiser

        def denoise(low: Tensor, noisy: Tensor, time: Tensor, base: Tensor) -> Tensor:
            def piece(low: Tensor, noisy: Tensor, base: Tensor) -> Tensor:
                image: Tensor = self.denoiser(low, noisy, time, base)
                return image

            return apply_tiled(
                piece, low, noisy, base, scale=self.scale, tile=tile, overlap=overlap, stride=self.stride
            )

        return denoise


class _Graph(nn.Module):
    def __init__(self, network: DenoisingNetwork, num_steps: int) -> None:
        super().__init__()
        self.network, self.num_channels, self.num_steps = network, network.num_channels, num_steps

    def forward(self, low: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h * scale, w * scale)."""
        return self.network.sample(low, seeds=[0], num_steps=self.num_steps)
