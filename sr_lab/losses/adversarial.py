"""What generator and critic want of the critic's logits. All logits are large for more real."""

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor


class AdversarialLoss(ABC):
    """The two sides of a game over logits of real and restored images, (B, 1) or (B, 1, H, W).

    Args:
        weight: Factor of the generator's side in the sum that it minimises.
    """

    def __init__(self, *, weight: float) -> None:
        if weight <= 0:
            raise ValueError(f"weight={weight}: must be positive; without a critic use model=regression")
        self.weight = weight

    @abstractmethod
    def generator(self, real: Tensor, fake: Tensor) -> Tensor:
        """What the generator minimises, unweighted, a scalar; only ``fake`` depends on it."""

    @abstractmethod
    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        """What the critic minimises, a scalar."""


class Vanilla(AdversarialLoss):
    """Binary cross-entropy, non-saturating (Goodfellow et al. 2014, arXiv:1406.2661, section 3)."""

    def generator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Ln 2 at logits of 0."""
        return F.softplus(-fake).mean()

    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        """2 ln 2 at logits of 0."""
        return F.softplus(-real).mean() + F.softplus(fake).mean()


class RelativisticAverage(AdversarialLoss):
    """RaGAN, as in ESRGAN: is an image more real than the mean of the others? (Jolicoeur-Martineau, arXiv:1807.00734).

    Each side is the mean of its two cross-entropies, as in the authors' code.
    """

    def generator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Ln 2 at equal logits."""
        return self.critic(fake, real)

    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        """Ln 2 at equal logits."""
        over, under = real - fake.mean(), fake - real.mean()
        return (F.softplus(-over).mean() + F.softplus(under).mean()) / 2


class LeastSquares(AdversarialLoss):
    """LSGAN with targets 1 and 0 (Mao et al. 2017, arXiv:1611.04076, equation 9)."""

    def generator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Half the mean square distance of ``fake`` from 1."""
        return (fake - 1).square().mean() / 2

    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        """Half the sum of the mean square distances of ``real`` from 1 and ``fake`` from 0."""
        return ((real - 1).square().mean() + fake.square().mean()) / 2


class Hinge(AdversarialLoss):
    """Hinge loss (Lim and Ye 2017, arXiv:1705.02894)."""

    def generator(self, real: Tensor, fake: Tensor) -> Tensor:
        """Minus the mean of ``fake``."""
        return -fake.mean()

    def critic(self, real: Tensor, fake: Tensor) -> Tensor:
        """2 at logits of 0; 0 from 1 and -1 on."""
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()


def r1_penalty(logits: Tensor, images: Tensor) -> Tensor:
    """Half the squared gradient of the critic at real images (Mescheder et al. 2018, arXiv:1801.04406, equation 9).

    Args:
        logits: (B, ...) of ``images``; of a map of logits the mean is taken as the critic's word on the image.
        images: (B, C, H, W), with a gradient.

    Returns:
        Mean over the batch, a scalar that can be differentiated.
    """
    words = logits.float().flatten(1).mean(1)
    (gradient,) = torch.autograd.grad(words.sum(), images, create_graph=True)
    return gradient.square().flatten(1).sum(1).mean() / 2


class R1:
    """The R1 penalty in every ``every``-th step, that many times as strong (StyleGAN2, arXiv:1912.04958, appendix B).

    Args:
        weight: Factor of the penalty, the papers' gamma.
        every: Number of optimizer steps between two penalties.
    """

    def __init__(self, *, weight: float = 10.0, every: int = 16) -> None:
        if weight <= 0 or every < 1:
            raise ValueError(f"weight={weight} must be positive and every={every} at least 1; R1 is left out by null")
        self.weight, self.every = weight, every
