"""Restoring clips: frame by frame, or by what carries something from one frame to the next."""

import functools
import itertools
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn

from sr_lab.inference.restorers import NetworkRestorer, Restorer
from sr_lab.networks.temporal.base import CausalNetwork, CausalState, ClipNetwork
from sr_lab.networks.temporal.flow import same_scene


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
            ValueError: If the network cannot take the frames' channels.
        """
        whole = list(lows)
        if whole:
            yield from self._by_channels(torch.cat(whole), lambda clip: self.network(clip[None])[0])[:, None].unbind()


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
        enlarge = None if self.windows is None else functools.partial(self.windows.tiled, tile=tile)
        after = state

        def apply(image: Tensor) -> Tensor:
            nonlocal after
            restored, after = self.network.step(image, after, enlarge=enlarge)
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


class WindowedRestorer:
    """A network that looks at later frames, too, on a clip of any length: window after window, each with a margin.

    The network sees a window and ``margin`` frames on both sides of it, as far as the scene goes: parts between cuts
    are clips of their own. A frame that equals the one before is not given to it, and gets that one's image.

    Args:
        restorer: Of the network.
        window: Frames that are restored at once.
        margin: Frames before and after that are seen, too.

    Attributes:
        number: Of the next frame.
        past: The low frames before it that the network still sees, (1, C, h, w) each.
    """

    def __init__(self, restorer: ClipNetworkRestorer, *, window: int = 24, margin: int = 8) -> None:
        self.restorer, self.scale, self.metadata = restorer, restorer.scale, restorer.metadata
        self.window, self.margin = window, margin
        self.number, self.past = 0, list[Tensor]()

    def frames(self, lows: Iterable[Tensor]) -> Iterator[Tensor]:
        """See ``FramesRestorer``; the clip goes on behind ``past``, and windows begin where they did."""
        coming, ahead = iter(lows), list[Tensor]()
        while True:
            left = self.window - self.number % self.window
            ahead += itertools.islice(coming, left + self.margin - len(ahead))
            if not ahead:
                return
            wanted = range(len(self.past), len(self.past) + min(left, len(ahead)))
            for restored in self._restored([*self.past, *ahead], wanted):
                self.past.append(ahead.pop(0))
                self.number += 1
                if self.number % self.window == 0:
                    self.past = self.past[-self.margin :]
                yield restored

    def _restored(self, lows: Sequence[Tensor], wanted: range) -> list[Tensor]:
        """Those that are ``wanted`` of the frames, scene by scene."""
        found: list[Tensor] = []
        begin = 0
        for end in range(1, len(lows) + 1):
            if end < len(lows) and bool(same_scene(lows[end], lows[end - 1]).all()):
                continue
            if end > wanted.start and begin < wanted.stop:
                found += self._of_scene(lows[begin:end])[max(0, wanted.start - begin) : wanted.stop - begin]
            begin = end
        return found

    def _of_scene(self, lows: Sequence[Tensor]) -> list[Tensor]:
        is_new = [not number or not torch.equal(low, lows[number - 1]) for number, low in enumerate(lows)]
        images = list(self.restorer.frames(low for low, new in zip(lows, is_new, strict=True) if new))
        return [images[number - 1] for number in itertools.accumulate(map(int, is_new))]


def network_restorer(network: nn.Module, **settings: Any) -> NetworkRestorer:
    """What restores with a network, of images or of clips; arguments are those of ``NetworkRestorer``."""
    if isinstance(network, CausalNetwork):
        return CausalRestorer(network, **settings)
    return (ClipNetworkRestorer if isinstance(network, ClipNetwork) else NetworkRestorer)(network, **settings)
