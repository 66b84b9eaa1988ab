"""What every loss has in common."""

from abc import ABC, abstractmethod
from typing import ClassVar

from torch import Tensor, nn


class Loss(nn.Module, ABC):
    """A differentiable distance between restored and target images.

    Args:
        weight: factor of this loss in the sum that is minimised.

    Attributes:
        uses_average: whether ``forward`` takes a third image, the one that the averaged (EMA) weights make.
    """

    uses_average: ClassVar[bool] = False

    def __init__(self, *, weight: float = 1.0) -> None:
        super().__init__()
        if weight <= 0:
            raise ValueError(f"weight={weight}: must be positive; leave the loss out instead of weighting it away")
        self.weight = weight

    def attach(self, network: nn.Module) -> None:
        """Called once by the training module with the network that is trained; most losses need nothing of it."""

    @abstractmethod
    def forward(self, restored: Tensor, target: Tensor) -> Tensor:
        """The unweighted loss of two (B, C, H, W) images, a scalar."""
