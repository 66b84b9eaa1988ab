"""PMRF: a flow from a PSNR network's restoration to a photograph."""

from collections.abc import Sequence

import torch
from torch import Tensor

from sr_lab.base.words import counted
from sr_lab.diffusion.sampling import estimate_velocity, restore_flow
from sr_lab.diffusion.schedule import flow_start, flow_state
from sr_lab.networks.base import Network
from sr_lab.networks.denoising import DenoisingNetwork
from sr_lab.networks.tiling import restore_tiled
from sr_lab.networks.unet import UNet


class PMRF(DenoisingNetwork):
    """Posterior-mean rectified flow (Ohayon et al. 2024, arXiv:2410.00418).

    Args:
        denoiser: Network that is trained; scale and channels are its own, and its correction of the mean is the
            velocity.
        mean: Trained PSNR network, whose restoration the flow starts from. It is frozen and kept in evaluation mode;
            its weights are stored with the others.
        num_steps: Euler steps of a sample; the paper's 25 to 50, or any other number.
        sigma: Standard deviation of the noise at the start of the flow.

    Raises:
        ValueError: if scale or channels of the two networks differ.
    """

    def __init__(self, *, denoiser: UNet, mean: Network, num_steps: int = 25, sigma: float = 0.1) -> None:
        super().__init__(denoiser=denoiser, num_steps=num_steps)
        if (mean.scale, mean.num_channels) != (self.scale, self.num_channels):
            raise ValueError(
                f"the mean's network is x{mean.scale} of {counted(mean.num_channels, 'channel')}, the denoiser "
                f"is x{self.scale} "
                f"of {self.num_channels}: they must agree"
            )
        self.mean = mean.requires_grad_(False).eval()
        self.sigma = sigma

    def train(self, mode: bool = True) -> "PMRF":
        """Puts all but the mean's network into training mode."""
        super().train(mode)
        self.mean.eval()
        return self

    def sample(
        self,
        low: Tensor,
        *,
        seeds: Sequence[int],
        num_steps: int | None = None,
        tile: int | None = None,
        overlap: int = 32,
    ) -> Tensor:
        """One image for each low image; see ``GenerativeNetwork``."""
        mean = self.mean(low) if tile is None else restore_tiled(self.mean, low, tile=tile, overlap=overlap)
        return restore_flow(
            self._tiled(tile, overlap),
            low,
            mean,
            noise=self.noise(low, seeds),
            sigma=self.sigma,
            num_steps=self.num_steps if num_steps is None else num_steps,
        )

    def transport(self, low: Tensor, *, seeds: Sequence[int]) -> Tensor:
        """The sample itself: no noise is drawn after the start."""
        return self.sample(low, seeds=seeds)

    def estimate(self, low: Tensor, high: Tensor, *, noise: Tensor, uniform: Tensor) -> Tensor:
        """The end of the flow that starts with the velocity at a uniformly drawn time; see ``DenoisingNetwork``.

        Its error against ``high`` is that of the velocity, ``|v - (high - z0)|``, at every time.
        """
        with torch.no_grad():
            mean = self.mean(low)
        start = flow_start(mean, noise, sigma=self.sigma)
        time = uniform.to(low.dtype)
        state = flow_state(start, high, time)
        return start + estimate_velocity(self.denoiser, low, state, time, mean)
