"""ResShift in pixel space, and its student of one step."""

from collections.abc import Sequence

from torch import Tensor

from sr_lab.diffusion.sampling import (
    Sampler,
    estimate_clean,
    restore_resshift,
    sample_resshift,
    transport_resshift,
)
from sr_lab.diffusion.schedule import from_diffusion, resshift_eta, resshift_noisy, spaced_steps, to_diffusion
from sr_lab.images import resize_bicubic
from sr_lab.networks.denoising import DenoisingNetwork
from sr_lab.networks.unet import UNet


class ResShift(DenoisingNetwork):
    """Follows ResShift's chain from the bicubic enlargement and noise to an image (Yue et al. 2023, arXiv:2307.12348).

    In pixel space: the denoiser unshuffles pixels where the paper has an autoencoder's latents. A chain of one step is
    a student's (SinSR, Wang et al. 2024, arXiv:2311.14760): it returns what its teacher makes of the same noise.

    Args:
        denoiser: Network that is trained; scale and channels are its own, and it estimates the clean image.
        num_steps: T of the chain; fewer steps, evenly spaced, can be asked of ``sample``.
        first: Square root of eta_1, the share of the residual at the first step; 0.02 for 15 steps and 0.1 for 4, as
            published.
        last: Square root of eta_T, the share of the residual at the last step.
        power: Exponent of the schedule between the two, see ``resshift_eta``.
        kappa: Strength of the noise.
    """

    def __init__(
        self,
        *,
        denoiser: UNet,
        num_steps: int = 15,
        first: float = 0.02,
        last: float = 0.99,
        power: float = 0.3,
        kappa: float = 2.0,
    ) -> None:
        super().__init__(denoiser=denoiser, num_steps=num_steps)
        eta = resshift_eta(num_steps=num_steps, first=first, last=last, power=power)
        self.shares: list[float] = eta.tolist()
        self.kappa = kappa
        self.eta: Tensor
        self.register_buffer("eta", eta, persistent=False)

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
        return self._restore(low, seeds, num_steps, tile, overlap, sample_resshift)

    def transport(self, low: Tensor, *, seeds: Sequence[int]) -> Tensor:
        """As ``sample`` without noise after the start; see ``DenoisingNetwork``."""
        return self._restore(low, seeds, None, None, 0, transport_resshift)

    def estimate(self, low: Tensor, high: Tensor, *, noise: Tensor, uniform: Tensor) -> Tensor:
        """The clean image estimated at a uniformly drawn step; see ``DenoisingNetwork``."""
        step = (uniform * self.num_steps).long() + 1
        share, time = self.eta[step], (step / self.num_steps).to(low.dtype)
        base = resize_bicubic(low, scale=float(self.scale))
        state = resshift_noisy(to_diffusion(high), to_diffusion(base), noise, share, kappa=self.kappa)
        return from_diffusion(estimate_clean(self.denoiser, low, state, base, share=share, time=time, kappa=self.kappa))

    def _restore(
        self, low: Tensor, seeds: Sequence[int], num_steps: int | None, tile: int | None, overlap: int, sampler: Sampler
    ) -> Tensor:
        return restore_resshift(
            self._tiled(tile, overlap),
            low,
            resize_bicubic(low, scale=float(self.scale)),
            eta=self.shares,
            steps=spaced_steps(self.num_steps if num_steps is None else num_steps, self.num_steps),
            noise=self.noise(low, seeds),
            kappa=self.kappa,
            sampler=sampler,
        )
