"""Samplers: from a low image to one of the high images that it may come from.

A ``Denoiser`` is any callable as ``sr_lab.networks.unet.UNet``: (low, noisy, time, base) -> image in [0, 1]. The
functions ``estimate_clean`` and ``estimate_velocity`` say what it is given and what its answer means; training and
sampling share them, so that they cannot drift apart. ``Noise`` is any function of a number k = 0, 1, 2, ... that gives
standard normal noise of the state's shape: field 0 starts the sampling, field k is added after the k-th step.
"""

from collections.abc import Callable, Sequence

from torch import Tensor

from sr_lab.diffusion.schedule import (
    flow_start,
    from_diffusion,
    input_scale,
    per_image,
    resshift_posterior,
    resshift_start,
    resshift_transport,
    to_diffusion,
)

Denoiser = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
Noise = Callable[[int], Tensor]


def sample_resshift(
    denoise: Callable[[Tensor, int], Tensor],
    base: Tensor,
    *,
    eta: Sequence[float],
    steps: Sequence[int],
    noise: Noise,
    kappa: float = 2.0,
) -> Tensor:
    """Ancestral sampling of ResShift's chain (paper, algorithm 2); no noise is added at the last step.

    Args:
        denoise: (x_t, t) -> estimate of the clean image, t = T ... 1.
        base: (B, C, H, W), the enlarged low image; in [-1, 1], as all states are.
        eta: T + 1 numbers, see ``resshift_eta``.
        steps: which t are visited, descending from T; see ``spaced_steps``.
        noise: see above.
        kappa: strength of the noise, as in training.

    Returns:
        (B, C, H, W): the last estimate.
    """
    state = resshift_start(base, noise(0), eta[steps[0]], kappa=kappa)
    for count, (step, before) in enumerate(zip(steps, [*steps[1:], 0], strict=True), start=1):
        keep, pull, variance = resshift_posterior(eta[step], eta[before], kappa=kappa)
        state = keep * state + pull * denoise(state, step)
        if before:
            state = state + variance**0.5 * noise(count)
    return state


def transport_resshift(
    denoise: Callable[[Tensor, int], Tensor],
    base: Tensor,
    *,
    eta: Sequence[float],
    steps: Sequence[int],
    noise: Noise,
    kappa: float = 2.0,
) -> Tensor:
    """As ``sample_resshift``, but the start decides the image: no noise is drawn after field 0 (SinSR's teacher)."""
    state = resshift_start(base, noise(0), eta[steps[0]], kappa=kappa)
    for step, before in zip(steps, [*steps[1:], 0], strict=True):
        keep, pull, push = resshift_transport(eta[step], eta[before])
        state = keep * state + pull * denoise(state, step) + push * base
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
    network: Denoiser,
    low: Tensor,
    state: Tensor,
    base: Tensor,
    *,
    share: Tensor | float,
    time: Tensor,
    kappa: float = 2.0,
) -> Tensor:
    """The network's estimate of the clean image at a step of ResShift; state and result in [-1, 1].

    Args:
        network: see above.
        low: (B, C, h, w), in [0, 1].
        state: (B, C, H, W), x_t.
        base: (B, C, H, W), in [0, 1].
        share: eta_t, a number or (B,).
        time: (B,), t / T.
        kappa: strength of the noise.
    """
    scaled = state * per_image(input_scale(share, kappa=kappa), state)
    return to_diffusion(network(low, scaled, time, base))


def estimate_velocity(network: Denoiser, low: Tensor, state: Tensor, time: Tensor, mean: Tensor) -> Tensor:
    """The network's velocity at PMRF's times ``time`` (B,): its correction of ``mean``; all images in [0, 1]."""
    return network(low, to_diffusion(state), time, mean) - mean


Sampler = Callable[..., Tensor]
"""``sample_resshift`` or ``transport_resshift``."""


def restore_resshift(
    network: Denoiser,
    low: Tensor,
    base: Tensor,
    *,
    eta: Sequence[float],
    steps: Sequence[int],
    noise: Noise,
    kappa: float = 2.0,
    sampler: Sampler = sample_resshift,
) -> Tensor:
    """One sample of the high image: (B, C, H, W), [0, 1], not clamped.

    Args:
        network: trained with ``estimate_clean`` under the same ``eta`` and ``kappa``.
        low: (B, C, h, w), values in [0, 1].
        base: (B, C, H, W), what the chain starts from: the enlargement of ``low`` as in training, in [0, 1].
        eta: see ``resshift_eta``.
        steps: see ``sample_resshift``.
        noise: see above.
        kappa: strength of the noise, as in training.
        sampler: how the chain is followed.
    """

    def denoise(state: Tensor, step: int) -> Tensor:
        time = low.new_full((low.shape[0],), step / (len(eta) - 1))
        return estimate_clean(network, low, state, base, share=eta[step], time=time, kappa=kappa)

    return from_diffusion(sampler(denoise, to_diffusion(base), eta=eta, steps=steps, noise=noise, kappa=kappa))


def restore_flow(
    network: Denoiser,
    low: Tensor,
    mean: Tensor,
    *,
    noise: Noise,
    sigma: float = 0.1,
    num_steps: int = 25,
) -> Tensor:
    """One PMRF sample: moves ``mean``, a PSNR network's restoration (B, C, H, W) of ``low``, onto the photographs."""

    def velocity(state: Tensor, time: float) -> Tensor:
        return estimate_velocity(network, low, state, low.new_full((low.shape[0],), time), mean)

    return sample_flow(velocity, flow_start(mean, noise(0), sigma=sigma), num_steps=num_steps)
