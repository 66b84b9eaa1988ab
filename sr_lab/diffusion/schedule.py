"""The chains between a low and a high image: ResShift's Markov chain, and PMRF's straight flow.

ResShift (Yue et al. 2023, arXiv:2307.12348) shifts the residual ``e0 = base - clean`` in step by step. Its states
live in [-1, 1] (``to_diffusion``), where the published kappa = 2 belongs. PMRF (Ohayon et al. 2024, arXiv:2410.00418)
moves a restoration along straight lines; its states live in [0, 1].
"""

import torch
from torch import Tensor


def to_diffusion(image: Tensor) -> Tensor:
    """[0, 1] -> [-1, 1]."""
    return 2 * image - 1


def from_diffusion(state: Tensor) -> Tensor:
    """[-1, 1] -> [0, 1]; not clamped."""
    return (state + 1) / 2


def resshift_eta(*, num_steps: int = 15, first: float = 0.02, last: float = 0.99, power: float = 0.3) -> Tensor:
    """Share ``eta_t`` of the residual at step t of ResShift (paper, equations 14 and 15).

    ``sqrt(eta_t) = sqrt(eta_1) b^(((t - 1) / (T - 1))^power (T - 1))`` with
    ``b = (sqrt(eta_T) / sqrt(eta_1))^(1 / (T - 1))``: from sqrt(eta_1) to sqrt(eta_T), geometric in a warped time.

    Args:
        num_steps: T. The published chains: 15 steps with ``first=0.02``, 4 steps with ``first=0.1``. A chain of one
            step, of which only ``last`` counts, is what a distilled student knows.
        first: sqrt(eta_1), small.
        last: sqrt(eta_T), nearly 1.
        power: growth of the step sizes; small values shift most of the residual in early.

    Returns:
        (T + 1,) float64, indexed by t; ``eta_0 = 0`` is the clean image.

    Raises:
        ValueError: if there is no step, or not 0 < first < last <= 1.
    """
    if num_steps < 1:
        raise ValueError(f"num_steps={num_steps}: the chain needs at least 1 step")
    if not 0 < first < last <= 1:
        raise ValueError(f"first={first}, last={last}: must be 0 < first < last <= 1")
    step = torch.linspace(1 if num_steps == 1 else 0, 1, num_steps, dtype=torch.float64, device="cpu")
    root = first * (last / first) ** step**power
    return torch.cat([root.new_zeros(1), root**2])


def spaced_steps(num_steps: int, total: int) -> list[int]:
    """``num_steps`` of the steps total ... 1 of a chain, evenly spaced from the first to the last; only ``total`` if 1.

    Raises:
        ValueError: if ``num_steps`` does not lie between 1 and ``total``.
    """
    if not 1 <= num_steps <= total:
        raise ValueError(f"num_steps={num_steps}: must lie between 1 and the chain's {total}")
    gap = (total - 1) / max(num_steps - 1, 1)
    return [round(total - gap * index) for index in range(num_steps)]


def resshift_noisy(clean: Tensor, base: Tensor, noise: Tensor, eta: Tensor | float, *, kappa: float = 2.0) -> Tensor:
    """State x_t ~ N(clean + eta e0, kappa^2 eta) (equation 2), images in [-1, 1]; ``eta`` is a number or (B,)."""
    eta = per_image(eta, clean)
    return clean + eta * (base - clean) + kappa * eta**0.5 * noise


def resshift_start(base: Tensor, noise: Tensor, eta: Tensor | float, *, kappa: float = 2.0) -> Tensor:
    """State from which sampling starts, ``base + kappa sqrt(eta_T) noise``: the clean image is not needed."""
    return base + kappa * per_image(eta, base) ** 0.5 * noise


def resshift_posterior(eta: float, eta_before: float, *, kappa: float = 2.0) -> tuple[float, float, float]:
    """q(x_{t-1} | x_t, clean) (equation 7): Gaussian with a mean of ``keep x_t + pull clean``.

    Returns:
        ``keep = eta_{t-1} / eta_t``, ``pull = alpha_t / eta_t`` and the variance ``kappa^2 keep alpha_t``, where
        ``alpha_t = eta_t - eta_{t-1}``.
    """
    alpha = eta - eta_before
    return eta_before / eta, alpha / eta, kappa**2 * eta_before / eta * alpha


def resshift_transport(eta: float, eta_before: float) -> tuple[float, float, float]:
    """The step without new noise that has the chain's marginals (SinSR, Wang et al. 2024, arXiv:2311.14760).

    Returns:
        ``keep``, ``pull`` and ``push`` of x_{t-1} = keep x_t + pull clean + push base, where
        ``keep = sqrt(eta_{t-1} / eta_t)``: the noise of x_t is kept, and shrunk to the size that x_{t-1} has.
    """
    keep = (eta_before / eta) ** 0.5
    return keep, 1 - eta_before - keep * (1 - eta), eta_before - keep * eta


def input_scale(eta: Tensor | float, *, kappa: float = 2.0) -> Tensor | float:
    """Factor ``1 / sqrt(kappa^2 eta + 1)`` that brings x_t to about unit variance for the network."""
    return (kappa**2 * eta + 1) ** -0.5


def flow_start(mean: Tensor, noise: Tensor, *, sigma: float = 0.1) -> Tensor:
    """PMRF's z0: the posterior mean (a PSNR network's restoration, [0, 1]) and a little noise."""
    return mean + sigma * noise


def flow_state(start: Tensor, clean: Tensor, time: Tensor | float) -> Tensor:
    """PMRF's x_t = t clean + (1 - t) z0; ``time`` is a number or (B,)."""
    time = per_image(time, clean)
    return time * clean + (1 - time) * start


def per_image(value: Tensor | float, images: Tensor) -> Tensor | float:
    """A number as it is, and (B,) numbers as (B, 1, 1, 1) of the type of ``images``."""
    return value.to(images).view(-1, 1, 1, 1) if isinstance(value, Tensor) and value.ndim else value
