"""What turns a low image into a restored one: a network with its tiles and channels, or bicubic interpolation."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from sr_lab.base.words import counted
from sr_lab.images import resize_bicubic, rgb_to_y
from sr_lab.inference.halo import known_halo
from sr_lab.inference.tiles import BICUBIC_HALO, Halo, TilePlan, plan_network, plan_tiles
from sr_lab.networks.base import GenerativeNetwork
from sr_lab.networks.moments import sample_moments

Restorer = Callable[[Tensor], Tensor]
"""Maps a low image (1, C, h, w), values in [0, 1], to (1, C, h * scale, w * scale), not rounded."""

_OVERLAP = 32


class TileRestorer(Protocol):
    """A restorer that can be asked for one window after the other, so that memory does not grow with the image.

    Attributes:
        scale: Enlargement factor.
    """

    @property
    def scale(self) -> int:
        """Enlargement factor."""

    def plan(self, height: int, width: int, *, tile: int | None = None, fixed: bool = False) -> TilePlan:
        """How an image of this size is cut; ``tile`` instead of the restorer's own."""

    def piece(self, low: Tensor) -> Tensor:
        """One window, (B, C, h, w) to (B, C, h * scale, w * scale), not cut any further."""


class BicubicRestorer:
    """MATLAB's bicubic enlargement: the baseline. Not clamped, not rounded.

    Args:
        scale: enlargement factor.

    Attributes:
        anywhere: it reaches any size by itself.

    Raises:
        ValueError: if it is not a positive number.
    """

    anywhere = True

    def __init__(self, *, scale: int) -> None:
        if not isinstance(scale, int | float) or scale <= 0:
            raise ValueError(f"scale={scale} must be a positive number")
        self.scale = scale
        self.metadata: Mapping[str, Any] | None = None
        self.seen: Mapping[str, Sequence[str]] | None = {}

    def __call__(self, low: Tensor) -> Tensor:
        """(B, C, h, w) to (B, C, h * scale, w * scale)."""
        return resize_bicubic(low, scale=float(self.scale))

    def plan(self, height: int, width: int, *, tile: int | None = None, fixed: bool = False) -> TilePlan:
        """See ``TileRestorer``; only a whole factor can be cut."""
        return plan_tiles(height, width, tile=tile or 256, halo=BICUBIC_HALO, fixed=fixed)

    piece = __call__


class NetworkRestorer:
    """A network applied whole or, to a large image, in tiles without seams, whatever the image's channels.

    - A grey image and a network for RGB: the network gets the image in all three channels; the mean of the
      output channels is the restored image.
    - An RGB image and a network for one channel: the network restores the luma, the colour differences are
      enlarged by bicubic interpolation, as such networks are used in the literature (SRCNN, FSRCNN).

    A generative network tiles by itself, each of its steps, and blends; see ``GenerativeNetwork.sample``.

    Args:
        network: with attributes ``scale`` and ``num_channels``; it is put into evaluation mode, on ``device``.
        tile: side of a tile in low-resolution pixels; a smaller image is restored in one piece.
        overlap: low-resolution pixels that neighbouring tiles share; None for twice what the network is measured to
            see to each side.
        device: where to compute.
        seed: of the samples of a generative network: the same for every image.
        num_steps: evaluations of a generative network for a sample; None for as many as it was trained for.
        metadata: what is known of the network's training, for records.
        seen: hashes of the images that it was trained and selected on, by use; None where they are not known.

    Attributes:
        apply: what computes one window, (B, num_channels, h, w) to (B, num_channels, h * scale, w * scale): the
            network, or another engine that was made of it.

    Raises:
        ValueError: if the tiles cannot overlap so, or ``num_steps`` is given to a network that draws no samples.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        tile: int = 512,
        overlap: int | None = None,
        device: torch.device | str = "cpu",
        seed: int = 0,
        num_steps: int | None = None,
        metadata: Mapping[str, Any] | None = None,
        seen: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        if num_steps is not None and not isinstance(network, GenerativeNetwork):
            raise ValueError(f"num_steps={num_steps}: {type(network).__name__} draws no samples, leave it out")
        if tile < 1 or (overlap is not None and not 0 <= 2 * overlap < tile):
            raise ValueError(f"overlap={overlap} must be at least 0 and below half of tile={tile}")
        self.network = network.eval().to(device)
        self.apply: Callable[[Tensor], Tensor] = self.network
        self.device = torch.device(device)
        self.scale = _count(network, "scale")
        self.num_channels = _count(network, "num_channels")
        self.stride: int = getattr(network, "stride", 1)
        self.tile = tile
        self.overlap = overlap
        self.seed = seed
        self.num_steps = num_steps
        self.metadata = metadata
        self.seen = seen
        self._halo: Halo | None = None

    @property
    def generative(self) -> bool:
        """Whether there are several images to a low one, one a seed."""
        return isinstance(self.network, GenerativeNetwork)

    @property
    def halo(self) -> Halo:
        """What the tiles see beyond their cores: half of ``overlap``, or what is measured, once for each network."""
        if self._halo is None:
            if self.overlap is not None:
                self._halo = Halo(self.overlap // 2, error=float("nan"), exact=False)
            else:
                self._halo = known_halo(self.network, device=self.device)
        return self._halo

    def __call__(self, low: Tensor) -> Tensor:
        """(B, C, h, w) to (B, C, h * scale, w * scale): ``sample`` with the restorer's own seed."""
        return self.sample(low, seed=self.seed)

    def plan(self, height: int, width: int, *, tile: int | None = None, fixed: bool = False) -> TilePlan:
        """How an image is cut; see ``TileRestorer``.

        Raises:
            ValueError: if the tile is too small for what the network sees.
        """
        return plan_network(
            height,
            width,
            tile=tile or self.tile,
            halo=lambda: self.halo,
            overlap=self.overlap,
            stride=self.stride,
            fixed=fixed,
        )

    def piece(self, low: Tensor) -> Tensor:
        """One window, (B, C, h, w) to (B, C, h * scale, w * scale), by the network whatever its channels.

        Raises:
            ValueError: if the network cannot take this number of channels.
        """
        return self._by_channels(low, self.apply)

    def sample(self, low: Tensor, *, seed: int) -> Tensor:
        """(B, C, h, w) to (B, C, h * scale, w * scale); ``seed`` counts where the network is generative.

        Raises:
            ValueError: if the network cannot take this number of channels.
        """
        if isinstance(network := self.network, GenerativeNetwork):
            overlap = _OVERLAP if self.overlap is None else self.overlap
            settings: dict[str, Any] = {
                "num_steps": self.num_steps,
                "tile": self.tile,
                "overlap": min(overlap, (self.tile - 1) // 2),
            }
            return self._by_channels(low, lambda image: network.sample(image, seeds=[seed], **settings))
        return self.tiled(low)

    def tiled(self, low: Tensor, *, tile: int | None = None) -> Tensor:
        """(B, C, h, w) to (B, C, h * scale, w * scale), by pieces where it is larger than a tile.

        Args:
            low: The image.
            tile: Side of a tile; None for the restorer's own.
        """
        height, width = low.shape[-2:]
        if max(height, width) <= (tile or self.tile):
            return self.piece(low)
        return restore_by(self, low, self.plan(height, width, tile=tile))

    def moments(self, low: Tensor, *, num: int) -> tuple[Tensor, Tensor]:
        """Mean and variance of each value over ``num`` samples, of the restorer's own seed and the next ones.

        Both (B, C, h * scale, w * scale), float32; see ``sample_moments``.
        """
        return sample_moments(lambda seed: self.sample(low, seed=seed), num=num, seed=self.seed)

    def _by_channels(self, low: Tensor, apply: Callable[[Tensor], Tensor]) -> Tensor:
        channels = low.shape[1]
        if channels == self.num_channels:
            return apply(low)
        if channels == 1 and self.num_channels == 3:
            return apply(low.expand(-1, 3, -1, -1)).mean(dim=1, keepdim=True)
        if channels == 3 and self.num_channels == 1:
            enlarged = resize_bicubic(low, scale=float(self.scale))
            gain = apply(rgb_to_y(low)) - rgb_to_y(enlarged)
            # The same amount added to R, G and B leaves both colour differences and adds 219/255 of it to the luma.
            return enlarged + gain * (255 / 219)
        raise ValueError(f"the network restores {counted(self.num_channels, 'channel')}, the image has {channels}")


class MeanRestorer:
    """The mean of several restorers' images, not rounded in between.

    Args:
        restorers: at least one, of one scale.
    """

    def __init__(self, restorers: Sequence[Restorer]) -> None:
        self.restorers = list(restorers)

    @property
    def metadata(self) -> dict[str, Any]:
        """What is known of the restorers whose images are averaged."""
        parents = [dict(getattr(restorer, "metadata", None) or {}) for restorer in self.restorers]
        backbones = sorted({net for parent in parents for net in parent.get("perceptual_backbones", [])})
        return {"parents": parents, "perceptual_backbones": backbones}

    def __call__(self, low: Tensor) -> Tensor:
        """(B, C, h, w) to (B, C, h * scale, w * scale)."""
        return torch.stack([restorer(low) for restorer in self.restorers]).mean(dim=0)


def restore_by(restorer: TileRestorer, low: Tensor, plan: TilePlan) -> Tensor:
    """The image that a plan's tiles make: (B, C, h, w) to (B, C, h * scale, w * scale), on the device of ``low``."""
    scale, restored = restorer.scale, None
    for tile in plan.tiles:
        piece = restorer.piece(plan.cut_tensor(low, tile))
        if restored is None:
            restored = piece.new_empty(*piece.shape[:2], plan.height * scale, plan.width * scale)
        restored[(..., *plan.place(tile, scale))] = piece[(..., *plan.core(tile, scale))]
    assert restored is not None
    return restored


def _count(network: nn.Module, name: str) -> int:
    value = getattr(network, name, None)
    if not isinstance(value, int):
        raise ValueError(f"{type(network).__name__} does not say its {name}: give it the attribute {name!r}")
    return value
