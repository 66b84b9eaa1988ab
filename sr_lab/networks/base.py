"""What every super-resolution network has in common, and what those that draw their images add."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor, nn


class Network(nn.Module, ABC):
    """A network that enlarges images: (B, C, h, w) -> (B, C, h * scale, w * scale), values in [0, 1].

    The output is neither clamped nor rounded. A subclass takes keyword-only arguments that are plain
    values or networks, so that its configuration can be stored beside its weights.

    Attributes:
        scale: enlargement factor of height and width.
        num_channels: channels C of input and output.
        stride: low-resolution pixels by which the input can be moved so that the output moves along with it: tiles
            start at multiples of it.
        config: the configuration node that builds the network again, where it was loaded from a file; None where
            it was built from a node.
        origin: the metadata of the artefact that it was loaded from, where it is a part of another one; else None.
    """

    stride: int = 1
    config: Mapping[str, Any] | None = None
    origin: Mapping[str, Any] | None = None

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

    def for_graph(self) -> nn.Module:
        """What an exported graph holds: a module from ``low`` to the restored image; by default the network itself."""
        return self

    @property
    def last_part(self) -> nn.Module:
        """What makes the pixels: the last convolution of its ``modules()`` is the last one. By default all of it."""
        return self

    @property
    def num_parameters(self) -> int:
        """Number of trainable parameters."""
        return sum(p.numel() for p in self.parameters() if p.requires_grad)


class GenerativeNetwork(Network):
    """A network that draws one of the high images that a low image may come from.

    Its image is a function of the low image and a seed: the same on every device (but for rounding), whatever its batch
    and, as far as overlapping tiles allow, its tiles. As a plain ``Network`` it draws the image of seed 0, so that it
    is evaluated, exported and served like any other.
    """

    @abstractmethod
    def sample(
        self,
        low: Tensor,
        *,
        seeds: Sequence[int],
        num_steps: int | None = None,
        tile: int | None = None,
        overlap: int = 32,
    ) -> Tensor:
        """One image for each low image.

        Args:
            low: (B, C, h, w), values in [0, 1].
            seeds: one for each image, at least 0; or a single one for all of them.
            num_steps: evaluations of the network; None for as many as it was trained for.
            tile: side in low-resolution pixels above which the network sees tiles, at every step; None for never.
                The noise is drawn for the whole image.
            overlap: low-resolution pixels that neighbouring tiles share.

        Returns:
            (B, C, h * scale, w * scale), values about [0, 1].

        Raises:
            ValueError: if there are not as many seeds as images, or the network cannot take ``num_steps``.
        """

    def forward(self, low: Tensor) -> Tensor:
        """The image of seed 0 of each: (B, C, h, w) -> (B, C, h * scale, w * scale)."""
        return self.sample(low, seeds=[0])
