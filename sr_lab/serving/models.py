"""Models that are loaded: what restores, how an image is cut for it, and what the client is told of it."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sr_lab.inference.consistency import ConsistentRestorer
from sr_lab.inference.restorers import BicubicRestorer, NetworkRestorer
from sr_lab.inference.stream import enlarged_alpha
from sr_lab.inference.tiles import TilePlan, plan_tiles

Pixels = npt.NDArray[Any]
WHOLE = 1 << 30
"""Side of the one tile of an image that cannot be cut."""


@dataclass(frozen=True, eq=False)
class Served:
    """A model that is loaded.

    Attributes:
        name: Registered model, or the name that the configuration gives it.
        version: Number of the version in the registry, or the first digits of its weights' hash; ``bicubic``.
        restorer: What restores.
        device: Where it is.
        tile: Side of its tiles, in low-resolution pixels.
        card: Its model card, as Markdown; empty where it has none.
        warning: What every answer should be read with; empty for bicubic.
        alias: What pointed at it when it was loaded.
        source: The restorer's name, as the images' XMP packets tell it; empty: its label.
        engine: What it was asked to be computed by, on a CPU; None: PyTorch.
        seed: Of its noise, where it draws images.
    """

    name: str
    version: str
    restorer: BicubicRestorer | NetworkRestorer | ConsistentRestorer
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    tile: int = 256
    card: str = ""
    warning: str = ""
    alias: str = ""
    source: str = ""
    engine: str | None = None
    seed: int = 0

    @property
    def scale(self) -> int:
        """Enlargement factor."""
        return int(self.restorer.scale)

    @property
    def label(self) -> str:
        """``NAME/VERSION``."""
        return f"{self.name}/{self.version}"

    @property
    def uri(self) -> str:
        """What loads it again, as ``load_restorer`` takes it."""
        return f"models:/{self.source.partition('@')[0]}/{self.version}" if self.alias else self.source

    @property
    def num_channels(self) -> int:
        """Of an image that it restores best: 3 where it takes any."""
        return int(getattr(self._inner, "num_channels", 3))

    @property
    def generative(self) -> bool:
        """Whether it draws its images, so that detail in them is invented."""
        return bool(getattr(self.restorer, "generative", False))

    @cached_property
    def consistent(self) -> "Served":
        """The same model, whose images are projected onto those that are their inputs when they are shrunk again."""
        return replace(self, restorer=ConsistentRestorer(self.restorer))

    @property
    def num_bytes(self) -> int:
        """Memory of its parameters and buffers."""
        network = getattr(self._inner, "network", None)
        if network is None:
            return 0
        return sum(part.numel() * part.element_size() for part in (*network.parameters(), *network.buffers()))

    @property
    def _inner(self) -> Any:
        """The restorer, before it is projected."""
        return getattr(self.restorer, "restorer", self.restorer)

    @property
    def own_threads(self) -> bool:
        """Whether an engine other than PyTorch, with threads of its own, computes the network."""
        engine = getattr(getattr(self._inner, "apply", None), "engine", None)
        return engine is not None and engine.name != "torch"

    @property
    def exact(self) -> bool:
        """Whether its images are projected: their tiles are not computed with those of others."""
        return isinstance(self.restorer, ConsistentRestorer)

    def takes(self, channels: int) -> bool:
        """Whether it restores an image of so many channels."""
        if isinstance(self._inner, BicubicRestorer):
            return True
        return channels == self.num_channels or {channels, self.num_channels} == {1, 3}

    def plan(self, height: int, width: int) -> TilePlan:
        """How an image is cut: a generative network's is not, as its noise is drawn for the whole."""
        if self.generative:
            return plan_tiles(height, width, tile=WHOLE, halo=0)
        try:
            return self.restorer.plan(height, width, tile=self.tile)
        except ValueError:  # the tile is too small for what the network sees
            return self.restorer.plan(height, width)

    @torch.inference_mode()
    def compute(self, windows: Sequence[Pixels], *, alpha: bool = False) -> Tensor:
        """Windows of one shape and type, each (h, w, C), restored: (B, C, h * scale, w * scale) on the CPU.

        With ``alpha`` the last channel is transparency, which is enlarged by bicubic interpolation.
        """
        stack = np.ascontiguousarray(np.stack(windows).transpose(0, 3, 1, 2))
        top = float(np.iinfo(stack.dtype).max)
        colours = stack[:, :-1] if alpha else stack
        low = torch.from_numpy(colours).to(self.device).to(torch.float32).div_(top)
        restored = (self.restorer(low) if self.generative else self.restorer.piece(low)).cpu()
        if not alpha:
            return restored
        parts = np.stack([enlarged_alpha(window[:, :, -1:], self.scale) for window in windows])
        return torch.cat((restored, torch.from_numpy(parts)), dim=1)

    def measure(self, side: int | None = None, *, clock: Callable[[], float] = time.perf_counter) -> float:
        """Seconds of one tile, after one to get warm; a generative network's is measured on a small image."""
        side = side or (64 if self.generative else self.tile)
        window = np.zeros((side, side, self.num_channels), np.uint8)
        self.compute([window])
        begin = clock()
        self.compute([window])
        return clock() - begin

    def told(self) -> Mapping[str, Any]:
        """What ``/v1/models`` says of it."""
        metadata = self.restorer.metadata or {}
        return {
            "name": self.name,
            "version": self.version,
            "alias": self.alias,
            "scale": self.scale,
            "channels": self.num_channels,
            "generative": self.generative,
            "bytes": self.num_bytes,
            "sha256": dict(metadata.get("sha256", {})),
            "warning": self.warning,
        }
