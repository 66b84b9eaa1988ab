"""Faults of line sensors and of printing."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
import numpy.typing as npt
import torch

from sr_lab.base.randomness import (
    NUM_LEVELS,
    Floats,
    normals,
    normals_tensor,
    pixel_bits,
    pixel_bits_tensor,
    seeds,
    upload,
)
from sr_lab.degradations.canvas import Canvas
from sr_lab.degradations.operation import Array, Columns, Operation, Sample, Size
from sr_lab.degradations.ranges import Range, between, bounds

Axis = Literal["rows", "columns"]
_SEED = (0, 2.0**53)


class DeadRows(Operation):
    """Detector lines that say nothing: some rows have one fixed value.

    Args:
        fraction: Range of the share of rows that are dead.
        value: Range of the value that dead rows read, within 0..1.
        probability: Probability that a sample is changed.
    """

    num_uniforms: ClassVar[int] = 3
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {"fraction": (0, 1), "value": (0, 1), "seed": _SEED}

    def __init__(self, *, fraction: Range, value: Range = 0.0, probability: float = 1.0) -> None:
        super().__init__(probability=probability)
        self.fraction, self.value = fraction, value
        self._fraction = bounds("fraction", fraction, low=0, high=1)
        self._value = bounds("value", value, low=0, high=1)

    def parameters(self, uniform: Floats) -> dict[str, npt.NDArray[Any]]:
        """Share, value and seed."""
        return {
            "fraction": between(uniform[:, 0], self._fraction),
            "value": between(uniform[:, 1], self._value),
            "seed": seeds(uniform[:, 2]),
        }

    def degrade(self, image: Array, sample: Sample, *, high: Size) -> Array:
        """(H, W, C) with dead rows."""
        dead = pixel_bits(sample["seed"], image.shape[0]) < sample["fraction"] * NUM_LEVELS
        out = image.copy()
        out[dead] = sample["value"]
        return out

    def degrade_canvas(self, canvas: Canvas, columns: Columns, *, high: Size) -> Canvas:
        """The batch with the same rows."""
        pixels = canvas.pixels
        rows = torch.arange(pixels.shape[2], device=pixels.device).expand(len(pixels), -1)
        share = upload(columns["fraction"] * NUM_LEVELS, pixels.device)[:, None]
        dead = pixel_bits_tensor(columns["seed"], rows) < share
        value = upload(columns["value"].astype(np.float32), pixels.device)[:, None, None, None]
        return canvas.with_pixels(torch.where(dead[:, None, :, None], value, pixels))


class Stripes(Operation):
    """Unequal detectors of a line sensor: each row or column has a gain of its own.

    Args:
        sigma: Range of the standard deviation of the detectors' gain.
        axis: Whether rows or columns are the detectors' tracks.
        probability: Probability that a sample is changed.
    """

    num_uniforms: ClassVar[int] = 2
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {"sigma": (0, 10), "seed": _SEED}

    def __init__(self, *, sigma: Range, axis: Axis = "columns", probability: float = 1.0) -> None:
        super().__init__(probability=probability)
        if axis not in ("rows", "columns"):
            raise ValueError(f"axis={axis!r}: must be rows or columns")
        self.sigma, self.axis = sigma, axis
        self._sigma = bounds("sigma", sigma, low=0, high=10)

    def parameters(self, uniform: Floats) -> dict[str, npt.NDArray[Any]]:
        """Sigma and seed."""
        return {"sigma": between(uniform[:, 0], self._sigma), "seed": seeds(uniform[:, 1])}

    def degrade(self, image: Array, sample: Sample, *, high: Size) -> Array:
        """(H, W, C) with stripes, cut to [0, 1]."""
        along = 0 if self.axis == "rows" else 1
        gain = normals(sample["seed"], (image.shape[along],)) * np.float32(sample["sigma"]) + np.float32(1)
        lines = image.reshape(image.shape[0], -1)
        striped = lines * (gain[:, None] if along == 0 else np.repeat(gain, image.shape[2])[None])
        return np.clip(striped, 0, 1, out=striped).reshape(image.shape)

    def degrade_canvas(self, canvas: Canvas, columns: Columns, *, high: Size) -> Canvas:
        """The batch with the same stripes."""
        pixels = canvas.pixels
        along = 2 if self.axis == "rows" else 3
        numbers = torch.arange(pixels.shape[along], device=pixels.device).expand(len(pixels), -1)
        sigma = upload(columns["sigma"].astype(np.float32), pixels.device)[:, None]
        gain = normals_tensor(columns["seed"], numbers) * sigma + 1
        gain = gain[:, None, :, None] if along == 2 else gain[:, None, None, :]
        return canvas.with_pixels((pixels * gain).clamp(0, 1))


class Halftone(Operation):
    """Printing: tone becomes dots of ink in a screen turned by 45 degrees, with soft edges.

    Args:
        period: Range of the distance between two dots, in pixels.
        strength: Range of the strength: 0 leaves the image, 1 gives the dots alone.
        softness: Range of the width of a dot's edge, as a share of the tone scale.
        probability: Probability that a sample is printed.
    """

    num_uniforms: ClassVar[int] = 3
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        "period": (1, 1e3),
        "strength": (0, 1),
        "softness": (0.01, 10),
    }

    def __init__(
        self, *, period: Range, strength: Range = 1.0, softness: Range = 0.3, probability: float = 1.0
    ) -> None:
        super().__init__(probability=probability)
        self.period, self.strength, self.softness = period, strength, softness
        self._period = bounds("period", period, low=1, high=1e3)
        self._strength = bounds("strength", strength, low=0, high=1)
        self._softness = bounds("softness", softness, low=0.01, high=10)

    def parameters(self, uniform: Floats) -> dict[str, npt.NDArray[Any]]:
        """Period, strength and softness."""
        return {
            "period": between(uniform[:, 0], self._period),
            "strength": between(uniform[:, 1], self._strength),
            "softness": between(uniform[:, 2], self._softness),
        }

    def degrade(self, image: Array, sample: Sample, *, high: Size) -> Array:
        """(H, W, C) printed."""
        step = math.sqrt(2) * math.pi / sample["period"]
        y, x = np.arange(image.shape[0])[:, None] * step, np.arange(image.shape[1])[None] * step
        screen = (0.5 + 0.25 * (np.cos(x + y) + np.cos(x - y))).astype(np.float32)[:, :, None]
        dots = np.clip((image - screen) / np.float32(sample["softness"]) + np.float32(0.5), 0, 1)
        result: Array = image + np.float32(sample["strength"]) * (dots - image)
        return result

    def degrade_canvas(self, canvas: Canvas, columns: Columns, *, high: Size) -> Canvas:
        """The batch; equals ``degrade`` up to 1e-4."""
        pixels = canvas.pixels
        step = upload(math.sqrt(2) * math.pi / columns["period"], pixels.device)[:, None, None, None]
        y = torch.arange(pixels.shape[2], device=pixels.device)[:, None] * step
        x = torch.arange(pixels.shape[3], device=pixels.device)[None] * step
        screen = (0.5 + 0.25 * ((x + y).cos() + (x - y).cos())).float()
        softness, strength = (
            upload(columns[name].astype(np.float32), pixels.device)[:, None, None, None]
            for name in ("softness", "strength")
        )
        dots = ((pixels - screen) / softness + 0.5).clamp(0, 1)
        return canvas.with_pixels(pixels + strength * (dots - pixels))
