"""What a network costs: parameters, operations, reach, and time, memory and money by size of the window."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from sr_lab.base.words import counted
from sr_lab.inference.costs import OPERATIONS, PARAMETERS, counted_work
from sr_lab.inference.engines import ENGINES, EngineNetwork, make_engine
from sr_lab.inference.latency import Latency, measure_latency
from sr_lab.inference.restorers import NetworkRestorer
from sr_lab.networks.base import GenerativeNetwork
from sr_lab.networks.graph import NotPlain, plain_layers
from sr_lab.networks.temporal.base import CausalNetwork
from sr_lab.workflows.load import fetch_artefact

__all__ = ["ModelProfile", "profile_model"]


@dataclass(frozen=True, kw_only=True)
class ModelProfile:
    """What was measured of a network.

    Attributes:
        network: Its class.
        scale: Enlargement factor.
        channels: Of its images.
        parameters: Of the network.
        flops_per_pixel: Operations for a low pixel, a multiplication and an addition being two.
        radius: Low pixels that it can see to each side by its kernels; None where it is no chain of plain layers.
        halo: Low pixels that tiles need to each side, as measured.
        threads: Cores that were used.
        latency: Engine to side of the window to what a call cost.
        unfit: Engine to the reason why it was left out.
        prices: Name to price of an hour of one core.
    """

    network: str
    scale: int
    channels: int
    parameters: int
    flops_per_pixel: float
    radius: float | None
    halo: int
    threads: int
    latency: Mapping[str, Mapping[int, Latency]]
    unfit: Mapping[str, str]
    prices: Mapping[str, float]

    def per_megapixel(self, engine: str, side: int) -> float:
        """Seconds of CPU for an output megapixel, halos of tiles included."""
        core = max(1, side - 2 * self.halo)
        return self.latency[engine][side].cpu / (core * self.scale) ** 2 * 1e6

    @property
    def text(self) -> str:
        """What the network is and what it costs, a table last."""
        radius = "not told by its layers" if self.radius is None else f"{self.radius:g} pixels"
        widths = [max(map(len, column)) for column in zip(*self.table, strict=True)]
        return "\n".join(
            [
                f"{self.network} x{self.scale}, {counted(self.channels, 'channel')}: "
                f"{counted(self.parameters, 'parameter')}, {self.flops_per_pixel:,.0f} operations a low pixel",
                f"it can see {radius} to each side; tiles need {self.halo} (measured); "
                f"{counted(self.threads, 'thread')}",
                *("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in self.table),
            ]
        )

    @property
    def table(self) -> list[list[str]]:
        """Rows of text, the first one with the titles."""
        rows = [
            ["engine", "window", "p50 ms", "p95 ms", "CPU ms", "MiB", "CPU s/MP", *(f"{key}/MP" for key in self.prices)]
        ]
        for engine, sides in self.latency.items():
            for side, cost in sides.items():
                seconds = self.per_megapixel(engine, side)
                rows.append(
                    [
                        engine,
                        f"{side}x{side}",
                        *(f"{1000 * value:.1f}" for value in (cost.p50, cost.p95, cost.cpu)),
                        "-" if cost.memory is None else f"{cost.memory / 2**20:.0f}",
                        f"{seconds:.3f}",
                        *(f"{price / 3600 * seconds:.2g}" for price in self.prices.values()),
                    ]
                )
        return rows


def profile_model(
    name: str,
    *,
    sizes: Sequence[int] = (64, 128, 256),
    engines: Sequence[str] | None = None,
    prices: Mapping[str, float] | None = None,
    scale: int | None = None,
    num_runs: int = 5,
    tracking_uri: str | None = None,
) -> ModelProfile:
    """Measures a network on this machine, by every engine that fits it.

    Args:
        name: The artefact, as ``workflows.load.fetch_artefact`` takes it.
        sizes: Sides of the windows.
        engines: Names of engines; None for all that are installed.
        prices: Name to price of an hour of one core.
        scale: Enlargement factor of public weights, which some architectures do not tell.
        num_runs: Calls that are timed for each.
        tracking_uri: The store that knows ``runs:/`` and ``models:/``.

    Raises:
        ValueError: If a size or an engine is none, or the network draws its images.
    """
    if not sizes or min(sizes) < 8:
        raise ValueError(f"sizes={list(sizes)}: sides of windows of at least 8 pixels")
    if dear := [key for key, price in (prices or {}).items() if not 0 <= price < math.inf]:
        raise ValueError(f"prices.{dear[0]}={(prices or {})[dear[0]]}: the price of an hour, 0 or more")
    if num_runs < 1:
        raise ValueError(f"num_runs={num_runs}: at least one call is timed")
    if unknown := [engine for engine in engines or () if engine not in ENGINES]:
        raise ValueError(f"engines={unknown[0]}: {', '.join(ENGINES)}")
    network = fetch_artefact(name, tracking_uri=tracking_uri, scale=scale).network
    if isinstance(network, GenerativeNetwork):
        raise ValueError(f"restorer={name} draws its images step by step: srlab evaluate times whole images")
    restorer = NetworkRestorer(network)
    windows = (network.enlarger if isinstance(network, CausalNetwork) else None) or network
    latency: dict[str, dict[int, Latency]] = {}
    unfit: dict[str, str] = {}
    for engine in engines or [key for key, kind in ENGINES.items() if kind.available()]:
        try:
            computed = EngineNetwork(windows, make_engine(windows, engine))
        except ValueError as error:
            if engines is not None:
                raise
            unfit[engine] = str(error)
            continue
        latency[engine] = {side: measure_latency(_call(computed, side), num_runs=num_runs) for side in sizes}
    try:
        radius = plain_layers(windows).radius
    except NotPlain:
        radius = None
    with torch.inference_mode():
        work = counted_work(restorer, torch.zeros(1, network.num_channels, 16, 16))
    return ModelProfile(
        network=type(network).__name__,
        scale=network.scale,
        channels=network.num_channels,
        parameters=int(work[PARAMETERS][0]),
        flops_per_pixel=work[OPERATIONS][0] / 256,
        radius=radius,
        halo=restorer.halo.pixels,
        threads=torch.get_num_threads(),
        latency=latency,
        unfit=unfit,
        prices=dict(prices or {}),
    )


def _call(network: EngineNetwork, side: int) -> Callable[[], Any]:
    tile = np.random.default_rng(0).random((1, network.num_channels, side, side), dtype=np.float32)
    return lambda: network.engine(tile)
