"""What every engine is: a function of tiles, with a name, a version, and the packages that it needs."""

import importlib.metadata
import importlib.util
from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import nn

from sr_lab.inference.runtimes import Array, UnfitEngine

__all__ = ["Array", "Engine", "UnfitEngine"]


class Engine(ABC):
    """Runs one network on the CPU: (B, C, h, w) float32 to (B, C, h * scale, w * scale) float32.

    Args:
        network: with ``scale`` and ``num_channels``, in evaluation mode.
        threads: cores that it may use.

    Raises:
        UnfitEngine: if its packages are missing, or it cannot hold the network.
    """

    name: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]
    """Distributions that it needs; the first one's version is the engine's."""
    modules: ClassVar[tuple[str, ...]]

    def __init__(self, network: nn.Module, *, threads: int = 1) -> None:
        self.require()
        self.threads = threads
        self.build(network)

    @classmethod
    def available(cls) -> bool:
        """Whether its packages are installed; nothing is imported."""
        return all(importlib.util.find_spec(module) is not None for module in cls.modules)

    @classmethod
    def require(cls) -> None:
        """Refuses where a package is missing, with the extra that brings it."""
        for module in cls.modules:
            if importlib.util.find_spec(module) is None:
                raise UnfitEngine(f"engine={cls.name}: {module} is not installed: pip install 'sr-lab[{cls.name}]'")

    @classmethod
    def version(cls) -> str:
        """Name and version of its package."""
        return f"{cls.packages[0]} {importlib.metadata.version(cls.packages[0])}"

    @abstractmethod
    def build(self, network: nn.Module) -> None:
        """Takes the network over; raises ``ValueError`` if it cannot."""

    @abstractmethod
    def __call__(self, tile: Array) -> Array:
        """The restored tile."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.version()}, threads={self.threads})"

    def __deepcopy__(self, memo: Any) -> "Engine":
        return self
