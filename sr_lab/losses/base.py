"""What every loss has in common."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar

from torch import Tensor, nn

from sr_lab.backbones import Net


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

    @property
    def backbones(self) -> Sequence[Net]:
        """The ImageNet networks, as LPIPS calls them, that the loss looks through: they are recorded with the weights.

        An LPIPS through the same network is no independent judge of them.
        """
        return ()

    def attach(self, network: nn.Module) -> None:
        """Called once by the training module with the network that is trained; most losses need nothing of it."""

    @abstractmethod
    def forward(self, restored: Tensor, target: Tensor) -> Tensor:
        """The unweighted loss of two (B, C, H, W) images, a scalar."""
