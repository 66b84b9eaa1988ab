"""From features to noise and blur: five small networks fitted on photos degraded by known pipelines.

The weights are in ``calibration.safetensors`` beside this file, which
experiments/degradation_estimation/calibrate.py makes. Each network gives centre and width of a Laplace density of the
logarithm of each quantity; the mean of the five counts.
"""

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load

Quantity = Literal["noise", "blur"]
Floats = NDArray[np.float64]

_OFFSET: dict[Quantity, float] = {"noise": 0.5, "blur": 0.25}
_FOLDS = 5


@dataclass(frozen=True)
class Reading:
    """What the networks say.

    Attributes:
        value: sigma; 8-bit levels for noise, pixels for blur.
        spread: standard deviation of its logarithm, about the relative error to expect.
        most: one such deviation above ``value``.
    """

    value: float
    spread: float
    most: float


def encode(sigma: Floats, quantity: Quantity) -> Floats:
    """The scale on which a quantity is learnt: its logarithm, flattened towards 0."""
    return 0.5 * np.log(np.square(sigma) + _OFFSET[quantity] ** 2)


def decode(code: float, quantity: Quantity) -> float:
    """Inverse of ``encode``, 0 below its range."""
    return float(np.sqrt(max(np.exp(2 * code) - _OFFSET[quantity] ** 2, 0)))


def read(vector: Floats) -> tuple[Reading, Reading, float, float]:
    """Noise, blur, probability of grey noise and of shot noise from a vector of features."""
    weights = _weights()
    x = np.clip((vector - weights["centre"]) / weights["width"], -5, 5)
    outs = np.stack([_network(x, weights, fold) for fold in range(_FOLDS)])
    code, spread = outs[:, :2].mean(0), np.exp(np.clip(outs[:, 2:4], -4, 2)).mean(0) * weights["spread"]
    spread = np.hypot(spread, outs[:, :2].std(0))
    grey, shot = 1 / (1 + np.exp(-outs[:, 4:].mean(0)))
    return _reading(code[0], spread[0], "noise"), _reading(code[1], spread[1], "blur"), float(grey), float(shot)


def _reading(code: float, spread: float, quantity: Quantity) -> Reading:
    return Reading(decode(code, quantity), float(spread), decode(code + spread, quantity))


def _network(x: Floats, weights: dict[str, Floats], fold: int) -> Floats:
    for layer in ("body.0", "body.2"):
        x = weights[f"{fold}.{layer}.weight"] @ x + weights[f"{fold}.{layer}.bias"]
        x = 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))
    out: Floats = weights[f"{fold}.last.weight"] @ x + weights[f"{fold}.last.bias"]
    return out


@cache
def _weights() -> dict[str, Floats]:
    stored = load(files(__package__).joinpath("calibration.safetensors").read_bytes())
    return {name: value.astype(np.float64) for name, value in stored.items()}
