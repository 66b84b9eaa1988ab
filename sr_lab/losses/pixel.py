"""Losses that compare pixel by pixel."""

import torch
import torch.nn.functional as F
from torch import Tensor

from sr_lab.losses.base import Loss


def charbonnier(restored: Tensor, target: Tensor, *, epsilon: float = 1e-3) -> Tensor:
    """Mean of sqrt(d^2 + epsilon^2), a smooth L1 (Lai et al. 2017, arXiv:1704.03915), a scalar."""
    return torch.sqrt((restored - target).square() + epsilon**2).mean()


class L1(Loss):
    """Mean absolute difference."""

    def forward(self, restored: Tensor, target: Tensor) -> Tensor:
        """Scalar, in units of the value range."""
        return F.l1_loss(restored, target)


class L2(Loss):
    """Mean squared difference."""

    def forward(self, restored: Tensor, target: Tensor) -> Tensor:
        """Scalar, in units of the value range squared."""
        return F.mse_loss(restored, target)


class Charbonnier(Loss):
    """Smooth L1: quadratic below ``epsilon``, linear above."""

    def __init__(self, *, weight: float = 1.0, epsilon: float = 1e-3) -> None:
        super().__init__(weight=weight)
        self.epsilon = epsilon

    def forward(self, restored: Tensor, target: Tensor) -> Tensor:
        """Scalar, in units of the value range; ``epsilon`` where the images are equal."""
        return charbonnier(restored, target, epsilon=self.epsilon)
