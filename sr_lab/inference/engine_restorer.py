"""A network that an engine computes from files: windows of arrays in and out, and no PyTorch."""

import math
from collections.abc import Callable, Mapping
from typing import Any

from sr_lab.images.plain import by_channels
from sr_lab.inference.runtimes import Array
from sr_lab.inference.tiles import Halo, TilePlan, plan_network


class EngineRestorer:
    """What ``NetworkRestorer`` does to one window after the other, with numpy and an engine.

    Args:
        run: the engine: (1, num_channels, h, w) float32 to (1, num_channels, h * scale, w * scale).
        scale: enlargement factor.
        num_channels: channels of the network.
        halo: what the network was measured to see.
        stride: see ``plan_tiles``.
        tile: side of a tile in low-resolution pixels.
        overlap: low-resolution pixels that neighbouring tiles share; None for what ``halo`` says.
        pixel_bytes: memory that a low-resolution pixel of a tile takes.
        metadata: what is known of the network's training, for records.
        told: what computes, in a sentence; empty where it was told before.

    Example:
        >>> import numpy as np
        >>> doubled = EngineRestorer(
        ...     lambda low: low.repeat(2, -1).repeat(2, -2), scale=2, num_channels=3, halo=Halo(4, 0.0, True), tile=64
        ... )
        >>> doubled.window(np.zeros((1, 1, 5, 6), np.float32)).shape
        (1, 1, 10, 12)
    """

    generative = False

    def __init__(
        self,
        run: Callable[[Array], Array],
        *,
        scale: int,
        num_channels: int,
        halo: Halo,
        tile: int,
        stride: int = 1,
        overlap: int | None = None,
        pixel_bytes: float = 4096.0,
        metadata: Mapping[str, Any] | None = None,
        told: str = "",
    ) -> None:
        if tile < 1 or (overlap is not None and not 0 <= 2 * overlap < tile):
            raise ValueError(f"overlap={overlap} must be at least 0 and below half of tile={tile}")
        self.run, self.scale, self.num_channels, self.halo, self.stride = run, scale, num_channels, halo, stride
        self.tile, self.overlap, self.pixel_bytes, self.metadata, self.told = tile, overlap, pixel_bytes, metadata, told

    def plan(self, height: int, width: int, *, tile: int | None = None, fixed: bool = False) -> TilePlan:
        """How an image is cut; see ``inference.restorers.TileRestorer``."""
        return plan_network(
            height,
            width,
            tile=tile or self.tile,
            halo=lambda: self.halo,
            overlap=self.overlap,
            stride=self.stride,
            fixed=fixed,
        )

    def window(self, low: Array) -> Array:
        """One window (1, C, h, w), values in [0, 1], to (1, C, h * scale, w * scale), not rounded.

        Raises:
            ValueError: if the network cannot take this number of channels.
        """
        restored: Array = by_channels(low, self.num_channels, self.scale, self.run)
        return restored

    def side(self, free: int, least: int) -> int:
        """The side of a tile that takes at most half of ``free`` bytes, and at least ``least`` pixels."""
        return max(least, min(self.tile, int(math.sqrt(free / 2 / self.pixel_bytes)) // 16 * 16))
