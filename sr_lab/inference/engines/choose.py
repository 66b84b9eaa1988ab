"""Choosing an engine: the fastest installed one that computes the same image on this machine, measured once."""

import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn

from sr_lab.base.files import read_json, write_json
from sr_lab.base.places import user_cache
from sr_lab.base.provenance import cpu_name
from sr_lab.base.threads import whole_threads
from sr_lab.inference.engines.base import Array, Engine, UnfitEngine
from sr_lab.inference.engines.ncnn import NcnnEngine
from sr_lab.inference.engines.onnx import OnnxEngine
from sr_lab.inference.engines.openvino import OpenVinoEngine
from sr_lab.inference.engines.torch import TorchEngine
from sr_lab.inference.hashes import network_hash

logger = logging.getLogger(__name__)

EngineName = Literal["auto", "torch", "onnx", "openvino", "ncnn"]
ENGINES: dict[str, type[Engine]] = {
    engine.name: engine for engine in (TorchEngine, OnnxEngine, OpenVinoEngine, NcnnEngine)
}
TOLERANCE = 2e-4
"""Largest difference to PyTorch's float values that counts as the same image: a twentieth of a level of 255."""
SIDES = (24, 72, 160, 256)
"""Sides of the tiles that are timed, up to the usual tile: a larger one where PyTorch takes less than ``QUICK`` seconds
for the smaller."""
QUICK = 0.05
ROUNDS, SECONDS = (3, 12), 2.0
"""Least and most rounds, and what all of them may take beyond the least, so that a busy machine counts less."""
VERSION = 3
"""Of what is kept: another number makes what was measured before count no more."""


@dataclass(frozen=True)
class Choice:
    """What was chosen, and why.

    Attributes:
        name: The engine.
        seconds: Seconds that each fitting engine took for the same tile.
        unfit: Why the others were left out.
        side: Side of that tile in low-resolution pixels.
        measured: Whether it was measured now; else it was known.
    """

    name: str
    seconds: Mapping[str, float]
    unfit: Mapping[str, str]
    side: int
    measured: bool = True

    @property
    def sentence(self) -> str:
        """The choice in a sentence."""
        times = ", ".join(f"{name} {1000 * each:.3g} ms" for name, each in self.seconds.items())
        return f"engine={self.name}: the fastest of those that fit for a tile of {self.side}x{self.side} ({times})"


def make_engine(network: nn.Module, name: str, *, threads: int | None = None) -> Engine:
    """An engine by its name, whose image is compared with PyTorch's.

    Raises:
        UnfitEngine: If it is not installed, cannot hold the network, or computes another image.
    """
    if name not in ENGINES:
        raise ValueError(f"engine={name}: auto, {', '.join(ENGINES)}")
    ENGINES[name].require()
    tile = _tile(network, SIDES[0])
    return _made(network, ENGINES[name], tile, _plain(network, tile), threads or whole_threads())


def choose_engine(
    network: nn.Module, *, threads: int | None = None, folder: Path | None = None
) -> tuple[Engine, Choice]:
    """The fastest installed engine that computes this network's image on this machine.

    What was measured is kept under the hash of the weights, the versions of the engines and the processor.

    Args:
        network: With ``scale`` and ``num_channels``, in evaluation mode on the CPU.
        threads: Cores that it may use; None for as many as PyTorch uses.
        folder: Where choices are kept; None for the user's cache.
    """
    cores = threads or whole_threads()
    installed = {name: engine for name, engine in ENGINES.items() if engine.available()}
    file = (folder or user_cache() / "engines") / f"{_key(network, installed, cores)}.json"
    if file.is_file():
        known = Choice(**{**read_json(file), "measured": False})
        return ENGINES[known.name](network, threads=cores), known
    engines, choice = _measured(network, installed, cores)
    try:
        write_json(file, {key: value for key, value in asdict(choice).items() if key != "measured"})
    except OSError as error:
        logger.info("the choice of an engine is not kept: %s", error)
    logger.info("%s", choice.sentence)
    return engines[choice.name], choice


def _measured(
    network: nn.Module, installed: Mapping[str, type[Engine]], threads: int
) -> tuple[dict[str, Engine], Choice]:
    side = SIDES[0]
    tile = _tile(network, side)
    expected = _plain(network, tile)
    engines: dict[str, Engine] = {}
    unfit = {name: f"not installed: pip install 'sr-lab[{name}]'" for name in ENGINES if name not in installed}
    for name, kind in installed.items():
        try:
            engines[name] = _made(network, kind, tile, expected, threads)
        except (UnfitEngine, ValueError, RuntimeError) as error:
            unfit[name] = str(error)
    if "torch" not in engines:
        raise UnfitEngine(unfit["torch"])
    for larger in SIDES[1:]:
        if _seconds(engines["torch"], tile) >= QUICK:
            break
        side, tile = larger, _tile(network, larger)
    seconds = {name: float("inf") for name in engines}
    for engine in engines.values():
        engine(tile)  # what is compiled or laid out at the first call
    spent, rounds = 0.0, 0
    while rounds < ROUNDS[0] or (spent < SECONDS and rounds < ROUNDS[1]):
        for name, engine in engines.items():
            spent += (taken := _seconds(engine, tile))
            seconds[name] = min(seconds[name], taken)
        rounds += 1
    fastest = min(seconds, key=lambda name: seconds[name])
    return engines, Choice(fastest, seconds, unfit, side)


def _made(network: nn.Module, kind: type[Engine], tile: Array, expected: Array, threads: int) -> Engine:
    """An engine that was seen to compute what PyTorch computes."""
    try:
        engine = kind(network, threads=threads)
    except UnfitEngine:
        raise
    except ValueError as error:
        raise UnfitEngine(f"engine={kind.name} cannot hold this network: {error}") from error
    restored = engine(tile)
    if restored.shape != expected.shape:
        raise UnfitEngine(f"engine={kind.name} gives {restored.shape}, PyTorch {expected.shape}")
    difference = float(np.abs(restored - expected).max())
    if not difference <= TOLERANCE * max(1.0, float(np.abs(expected).max())):
        raise UnfitEngine(
            f"engine={kind.name} computes another image than PyTorch on this machine: up to {difference:.2g} apart "
            f"({TOLERANCE:g} is allowed); give engine=torch"
        )
    return engine


def _tile(network: nn.Module, side: int) -> Array:
    """Smooth ground, noise, black and white: (1, C, side, side + 3), the same each time."""
    generator = np.random.default_rng(0)
    tile = 0.5 + 0.5 * np.sin(np.arange(side)[:, None] / 5) * np.cos(np.arange(side + 3) / 7)
    tile = np.broadcast_to(tile, (1, int(network.num_channels), side, side + 3)).copy()  # type: ignore[arg-type]
    tile[..., : side // 3] = generator.random(tile[..., : side // 3].shape)
    tile[..., : side // 4, side // 2 :] = generator.integers(0, 2, tile[..., : side // 4, side // 2 :].shape)
    return tile.astype(np.float32)


@torch.inference_mode()
def _plain(network: nn.Module, tile: Array) -> Array:
    restored: Array = network(torch.from_numpy(tile)).float().numpy()
    return restored


def _seconds(engine: Engine, tile: Array) -> float:
    start = time.perf_counter()
    engine(tile)
    return time.perf_counter() - start


def _key(network: nn.Module, installed: Mapping[str, type[Engine]], threads: int) -> str:
    """Of everything that decides which engine is fastest."""
    versions = sorted(engine.version() for engine in installed.values())
    return network_hash(network, VERSION, versions, cpu_name(), threads)
