"""Samplers: from a low image to one of the high images that it may come from.

A ``Denoiser`` is any callable as ``sr_lab.networks.unet.UNet``: (low, noisy, time, base) -> image in [0, 1]. The
functions ``estimate_clean`` and ``estimate_velocity`` say what it is given and what its answer means; training and
sampling share them, so that they cannot drift apart.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from sr_lab.diffusion.schedule import (
    flow_start,
    from_diffusion,
    input_scale,
    resshift_posterior,
    resshift_start,
    to_diffusion,
)
from sr_lab.images import resize_bicubic

Denoiser = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
Generators = torch.Generator | Sequence[torch.Generator]


def draw_noise(like: Tensor, generator: Generators) -> Tensor:
    """Standard normal noise of the shape, type and device of ``like`` (B, ...).

    Args:
        like: what the noise is for.
        generator: one for the batch; or one for each image, and an image's noise does not depend on its batch.
            Noise is drawn where the generator lives: a CPU generator gives the same noise for every device.

    Raises:
        ValueError: if there is not one generator for each image.
    """
    if isinstance(generator, torch.Generator):
        drawn = torch.randn(like.shape, generator=generator, device=generator.device)
        return drawn.to(like)
    if len(generator) != len(like):
        raise ValueError(f"{len(generator)} generators for {len(like)} images: give one, or one for each image")
    return torch.cat([draw_noise(image[None], own) for image, own in zip(like, generator, strict=True)])


def sample_resshift(
    denoise: Callable[[Tensor, int], Tensor],
    base: Tensor,
    *,
    eta: Tensor,
    generator: Generators,
    kappa: float = 2.0,
) -> Tensor:
    """Ancestral sampling of ResShift's chain (paper, algorithm 2); no noise is added at the last step.

    Args:
        denoise: (x_t, t) -> estimate of the clean image, t = T ... 1.
        base: (B, C, H, W), the enlarged low image; in [-1, 1], as all states are.
        eta: (T + 1,), see ``resshift_eta``.
        generator: see ``draw_noise``.
        kappa: strength of the noise, as in training.

    Returns:
        (B, C, H, W): the last estimate.
    """
    shares: list[float] = eta.tolist()
    state = resshift_start(base, draw_noise(base, generator), shares[-1], kappa=kappa)
    for step in range(len(shares) - 1, 0, -1):
        keep, pull, variance = resshift_posterior(shares[step], shares[step - 1], kappa=kappa)
        state = keep * state + pull * denoise(state, step)
        if step > 1:
            state = state + variance**0.5 * draw_noise(state, generator)
    return state


def sample_flow(velocity: Callable[[Tensor, float], Tensor], start: Tensor, *, num_steps: int = 25) -> Tensor:
    """Euler's method along a flow from time 0 (``start``) to time 1, with equal steps.

    Args:
        velocity: (x_t, t) -> dx / dt, t = 0, 1 / num_steps, ...
        start: (B, C, H, W), see ``flow_start``.
        num_steps: PMRF uses 25 to 50.

    Raises:
        ValueError: if there is no step.
    """
    if num_steps < 1:
        raise ValueError(f"num_steps={num_steps}: must be at least 1")
    state = start
    for step in range(num_steps):
        state = state + velocity(state, step / num_steps) / num_steps
    return state


def estimate_clean(
    network: Denoiser, low: Tensor, state: Tensor, step: Tensor, base: Tensor, *, eta: Tensor, kappa: float = 2.0
) -> Tensor:
    """The network's estimate of the clean image at ResShift's steps ``step`` (B,); state and result in [-1, 1].

    ``low`` and ``base`` are in [0, 1].
    """
    share = eta.to(step.device)[step]
    scaled = state * torch.as_tensor(input_scale(share, kappa=kappa)).to(state).view(-1, 1, 1, 1)
    time = (step / (len(eta) - 1)).to(state)
    return to_diffusion(network(low, scaled, time, base))


def estimate_velocity(network: Denoiser, low: Tensor, state: Tensor, time: Tensor, mean: Tensor) -> Tensor:
    """The network's velocity at PMRF's times ``time`` (B,): its correction of ``mean``; all images in [0, 1]."""
    return network(low, to_diffusion(state), time, mean) - mean


def restore_resshift(
    network: Denoiser,
    low: Tensor,
    *,
    scale: int,
    eta: Tensor,
    generator: Generators,
    kappa: float = 2.0,
    base: Tensor | None = None,
) -> Tensor:
    """One sample of the high image: (B, C, h, w) -> (B, C, h * scale, w * scale), [0, 1], not clamped.

    Args:
        network: trained with ``estimate_clean`` under the same ``eta`` and ``kappa``.
        low: (B, C, h, w), values in [0, 1].
        scale: enlargement factor.
        eta: see ``resshift_eta``.
        generator: see ``draw_noise``.
        kappa: strength of the noise, as in training.
        base: what the chain starts from, in [0, 1]; None for the bicubic enlargement of ``low``.
    """
    enlarged = resize_bicubic(low, scale=float(scale)) if base is None else base

    def denoise(state: Tensor, step: int) -> Tensor:
        steps = torch.full((len(low),), step, device=low.device)
        return estimate_clean(network, low, state, steps, enlarged, eta=eta, kappa=kappa)

    sample = sample_resshift(denoise, to_diffusion(enlarged), eta=eta, generator=generator, kappa=kappa)
    return from_diffusion(sample)


def restore_flow(
    network: Denoiser,
    low: Tensor,
    mean: Tensor,
    *,
    generator: Generators,
    sigma: float = 0.1,
    num_steps: int = 25,
) -> Tensor:
    """One PMRF sample: moves ``mean``, a PSNR network's restoration (B, C, H, W) of ``low``, onto the photographs."""

    def velocity(state: Tensor, time: float) -> Tensor:
        times = torch.full((len(low),), time, device=low.device, dtype=low.dtype)
        return estimate_velocity(network, low, state, times, mean)

    return sample_flow(velocity, flow_start(mean, draw_noise(mean, generator), sigma=sigma), num_steps=num_steps)
