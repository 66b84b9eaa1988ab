"""Restoring clips: frame by frame, or by what carries something from one frame to the next."""

from collections.abc import Iterable, Iterator
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from sr_lab.base.words import counted
from sr_lab.inference.restorers import NetworkRestorer, Restorer
from sr_lab.networks.temporal.base import ClipNetwork
from sr_lab.networks.temporal.recurrent import RecurrentEDSR, State


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
    """A network for clips: a causal one frame by frame with its state, others the whole clip at once.

    Arguments are those of ``NetworkRestorer``. Frames are not cut into tiles; an image is a clip of one frame.

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
        network = self.network
        if isinstance(network, RecurrentEDSR):
            state: State | None = None
            for low in lows:
                restored, state = network.step(self._fitting(low), state)
                yield restored
            return
        whole = [self._fitting(low) for low in lows]
        if whole:
            yield from network(torch.stack(whole, dim=1)).unbind(dim=1)

    def _fitting(self, low: Tensor) -> Tensor:
        if low.shape[1] != self.num_channels:
            raise ValueError(
                f"the network restores {counted(self.num_channels, 'channel')}, the frames have {low.shape[1]}"
            )
        return low


def network_restorer(network: nn.Module, **settings: Any) -> NetworkRestorer:
    """What restores with a network, of images or of clips; arguments are those of ``NetworkRestorer``."""
    return (ClipNetworkRestorer if isinstance(network, ClipNetwork) else NetworkRestorer)(network, **settings)
