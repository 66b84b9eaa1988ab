"""What every super-resolution network has in common."""

from abc import ABC, abstractmethod

from torch import Tensor, nn


class Network(nn.Module, ABC):
    """A network that enlarges images: (B, C, h, w) -> (B, C, h * scale, w * scale), values in [0, 1].

    The output is neither clamped nor rounded. A subclass takes keyword-only arguments that are plain
    values, so that its configuration can be stored beside its weights.

    Attributes:
        scale: enlargement factor of height and width.
        num_channels: channels C of input and output.
    """

    def __init__(self, *, scale: int, num_channels: int) -> None:
        super().__init__()
        if scale < 1:
            raise ValueError(f"scale={scale}: must be at least 1")
        if num_channels < 1:
            raise ValueError(f"num_channels={num_channels}: must be at least 1")
        self.scale = scale
        self.num_channels = num_channels

    @abstractmethod
    def forward(self, low: Tensor) -> Tensor:
        """Enlarges ``low`` (B, C, h, w) to (B, C, h * scale, w * scale)."""

    @property
    def num_parameters(self) -> int:
        """Number of trainable parameters."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)
