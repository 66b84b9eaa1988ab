"""Restoring clips: frame by frame, or by what carries something from one frame to the next."""

from collections.abc import Iterable, Iterator
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from sr_lab.base.words import counted
from sr_lab.inference.restorers import NetworkRestorer, Restorer, restore_by
from sr_lab.networks.temporal.base import CausalNetwork, CausalState, ClipNetwork


@runtime_checkable
class FramesRestorer(Protocol):
    """A restorer that looks at more than one frame of a clip."""

    def frames(self, lows: Iterable[Tensor]) -> Iterator[Tensor]:
        """One restored frame (1, C, h * scale, w * scale) for each low one (1, C, h, w), in their order."""


def restored_frames(restorer: Restorer, lows: Iterable[Tensor]) -> Iterator[Tensor]:
    """The restored frames of a clip, one after the other.

    Args:
        restorer: If it has ``frames``, that is asked for the whole clip; others see each frame alone.
        lows: Low frames (1, C, h, w), values in [0, 1]; taken as they are needed.

    Example:
        >>> import torch
        >>> from sr_lab.inference.restorers import BicubicRestorer
        >>> [tuple(frame.shape) for frame in restored_frames(BicubicRestorer(scale=2), [torch.zeros(1, 3, 4, 4)])]
        [(1, 3, 8, 8)]
    """
    if isinstance(restorer, FramesRestorer):
        yield from restorer.frames(lows)
        return
    for low in lows:
        yield restorer(low)


class ClipNetworkRestorer(NetworkRestorer):
    """A network for clips, which sees the whole clip at once. An image is a clip of one frame; nothing is tiled.

    Arguments are those of ``NetworkRestorer``.

    Raises:
        ValueError: If the network is none for clips.
    """

    def __init__(self, network: nn.Module, **settings: Any) -> None:
        if not isinstance(network, ClipNetwork):
            raise ValueError(f"{type(network).__name__} is no network for clips")
        super().__init__(network, **settings)

    def frames(self, lows: Iterable[Tensor]) -> Iterator[Tensor]:
        """See ``FramesRestorer``.

        Raises:
            ValueError: If the frames have other channels than the network.
        """
        whole = list(lows)
        for low in whole:
            if low.shape[1] != self.num_channels:
                raise ValueError(
                    f"the network restores {counted(self.num_channels, 'channel')}, the frames have {low.shape[1]}"
                )
        if whole:
            yield from self.network(torch.stack(whole, dim=1)).unbind(dim=1)


class CausalRestorer(ClipNetworkRestorer):
    """A network for clips that goes from frame to frame, with a state. Large frames are cut into tiles without seams.

    Arguments are those of ``NetworkRestorer``.

    Attributes:
        windows: Computes the network's ``enlarger``, window by window; its ``apply`` may be an engine that was made of
            it. None where a step is one piece.
    """

    network: CausalNetwork

    def __init__(self, network: nn.Module, **settings: Any) -> None:
        super().__init__(network, **settings)
        enlarger = self.network.enlarger
        plain = {key: value for key, value in settings.items() if key not in ("metadata", "seen", "num_steps")}
        self.windows = None if enlarger is None else NetworkRestorer(enlarger, **plain)
        self.apply = lambda low: self.network.step(low, enlarge=self.windows and self.windows.apply)[0]

    def frames(self, lows: Iterable[Tensor]) -> Iterator[Tensor]:
        """See ``FramesRestorer``."""
        streamed = StreamedRestorer(self)
        for low in lows:
            yield streamed(low)

    def step(
        self, low: Tensor, state: CausalState | None = None, *, tile: int | None = None
    ) -> tuple[Tensor, CausalState]:
        """One frame; see ``CausalNetwork.step``.

        Args:
            low: (1, C, h, w).
            state: Of the frame before; None at the beginning of a clip.
            tile: Side of a tile; None for the restorer's own.
        """
        windows, after = self.windows, state

        def enlarge(seen: Tensor) -> Tensor:
            assert windows is not None
            height, width = seen.shape[-2:]
            if max(height, width) <= (tile or self.tile):
                return windows.apply(seen)
            return restore_by(windows, seen, windows.plan(height, width, tile=tile))

        def apply(image: Tensor) -> Tensor:
            nonlocal after
            restored, after = self.network.step(image, after, enlarge=None if windows is None else enlarge)
            return restored

        restored = self._by_channels(low, apply)
        assert after is not None
        return restored, after


class StreamedRestorer:
    """A causal restorer as one of images that come in the order of their clip.

    Args:
        restorer: What makes the steps.
        tile: Side of a tile; None for the restorer's own.

    Attributes:
        state: Of the last frame; None before the first one.
    """

    def __init__(self, restorer: CausalRestorer, *, tile: int | None = None) -> None:
        self.restorer, self.tile = restorer, tile
        self.scale, self.num_channels, self.metadata = restorer.scale, restorer.num_channels, restorer.metadata
        self.state: CausalState | None = None

    def __call__(self, low: Tensor) -> Tensor:
        """The next frame, (1, C, h, w) to (1, C, h * scale, w * scale)."""
        restored, self.state = self.restorer.step(low, self.state, tile=self.tile)
        return restored


def network_restorer(network: nn.Module, **settings: Any) -> NetworkRestorer:
    """What restores with a network, of images or of clips; arguments are those of ``NetworkRestorer``."""
    if isinstance(network, CausalNetwork):
        return CausalRestorer(network, **settings)
    return (ClipNetworkRestorer if isinstance(network, ClipNetwork) else NetworkRestorer)(network, **settings)
