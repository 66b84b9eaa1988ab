"""What every loss has in common."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from sr_lab.backbones import Net
from sr_lab.images.context import Context


class Frozen:
    """A network that a loss looks through: frozen, in evaluation mode, and no part of the state of its owner.

    Args:
        network: The network; it is changed so.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network.eval().requires_grad_(False)

    def on(self, device: torch.device) -> Any:
        """The network, on a device."""
        return self.network.to(device)


class Loss(nn.Module, ABC):
    """A differentiable distance between restored and target images.

    Args:
        weight: Factor of this loss in the sum that is minimised.

    Attributes:
        watched: Dotted names of the network's layers whose outputs ``measure`` finds in its context.
    """

    watched: Sequence[str] = ()

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
        """Called once by the training module with the network that is trained; most losses need nothing of it.

        Raises:
            ValueError: If the loss cannot be used with this network.
        """

    def measure(self, restored: Tensor, target: Tensor, context: Context) -> Tensor:
        """``forward``, for the losses that also look at the input, the averaged weights' image or the features."""
        loss: Tensor = self(restored, target)
        return loss

    @abstractmethod
    def forward(self, restored: Tensor, target: Tensor) -> Tensor:
        """The unweighted loss of two (B, C, H, W) images, a scalar."""
