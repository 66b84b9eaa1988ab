"""Noise, made from a seed of each sample: equal on CPU and GPU, and for every replay."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sr_lab.base.randomness import (
    Floats,
    normals,
    normals_tensor,
    pixel_bits,
    pixel_bits_tensor,
    seeds,
    upload,
)
from sr_lab.degradations import poisson
from sr_lab.degradations.canvas import Canvas
from sr_lab.degradations.operation import Array, Columns, Operation, Sample, Size
from sr_lab.degradations.ranges import Range, between, bounds, pick, weights_of

Colour = Literal["colour", "grey", "correlated"]
COLOURS: tuple[Colour, ...] = ("colour", "grey", "correlated")
GREY = (0.299, 0.587, 0.114)
_SEED = (0, 2.0**53)


class GaussianNoise(Operation):
    """Additive Gaussian noise.

    Args:
        sigma: Range of the standard deviation, in levels of 0..255.
        colours: Weights of ``colour`` (independent channels), ``grey`` (the same in all channels) and ``correlated`` (a
            random covariance of the channels, of largest eigenvalue sigma**2 at most; BSRGAN).
        probability: Probability that a sample gets noise.
    """

    num_uniforms: ClassVar[int] = 15
    new_each_frame: ClassVar[bool] = True
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        "sigma": (0, 255),
        "colour": (0, len(COLOURS) - 1),
        "seed": _SEED,
        "mixture": (-1, 1),
    }

    def __init__(self, *, sigma: Range, colours: Mapping[str, float] | None = None, probability: float = 1.0) -> None:
        super().__init__(probability=probability)
        self.sigma, self.colours = sigma, None if colours is None else dict(colours)
        self._sigma = bounds("sigma", sigma, low=0, high=255)
        names, self._cumulative = weights_of("colours", colours or {"colour": 1.0}, COLOURS)
        self._codes = np.array([COLOURS.index(name) for name in names], dtype=np.int64)

    def parameters(self, uniform: Floats) -> dict[str, npt.NDArray[Any]]:
        """Sigma, kind (index into ``COLOURS``), seed and, if it can be asked for, the 3x3 mixture of the channels."""
        drawn = {
            "sigma": between(uniform[:, 0], self._sigma),
            "colour": self._codes[pick(uniform[:, 1], self._cumulative)],
            "seed": seeds(uniform[:, 2]),
        }
        basis, _ = np.linalg.qr(uniform[:, 3:12].reshape(-1, 3, 3) - 0.5)
        return drawn | {"mixture": np.sqrt(uniform[:, 12:15])[:, :, None] * basis.transpose(0, 2, 1)}

    def degrade(self, image: Array, sample: Sample, *, high: Size) -> Array:
        """(H, W, C) with noise, cut to [0, 1]."""
        colour, sigma = COLOURS[sample["colour"]], sample["sigma"] / 255
        if colour == "correlated":
            matrix = _mixture(np.asarray(sample["mixture"]), image.shape[2]).T * sigma
            noise = cv2.transform(normals(sample["seed"], image.shape), matrix).reshape(image.shape)
            noise += image
        elif colour == "grey" and image.shape[2] > 1:
            noise = normals(sample["seed"], (*image.shape[:2], 1))
            noise *= np.float32(sigma)
            noise = noise + image
        else:
            noise = normals(sample["seed"], image.shape)
            noise *= np.float32(sigma)
            noise += image
        result: Array = np.clip(noise, 0, 1, out=noise)
        return result

    def degrade_canvas(self, canvas: Canvas, columns: Columns, *, high: Size) -> Canvas:
        """The batch with the same noise, up to rounding (1e-6)."""
        pixels = canvas.pixels
        channels = pixels.shape[1]
        colour = columns["colour"]
        noise = normals_tensor(columns["seed"], canvas.positions(channels))
        sigma = _spread(columns["sigma"] / 255, pixels)
        if (colour == 1).any():
            grey = normals_tensor(columns["seed"], canvas.positions(1))
            noise = torch.where(_spread(colour == 1, pixels), grey, noise)
        if (colour == 2).any():
            matrix = upload(_mixture(columns["mixture"], channels).astype(np.float32), pixels.device)
            mixed = torch.einsum("bihw,bij->bjhw", noise, matrix)
            noise = torch.where(_spread(colour == 2, pixels), mixed, noise)
        return canvas.with_pixels((noise * sigma + pixels).clamp(0, 1))


class PoissonNoise(Operation):
    """Photon noise: the image, at 8 bits, is the rate of a Poisson variable (Real-ESRGAN).

    The rate of white is the number of different 8-bit values in the image, rounded up to a power of two (256 for most
    photos); the deviation from the mean is multiplied by ``strength``. See :mod:`sr_lab.degradations.poisson`.

    Args:
        strength: Range of the factor of the noise's standard deviation.
        grey: Probability that the noise is that of the luma, the same in all channels.
        probability: Probability that a sample gets noise.
    """

    num_uniforms: ClassVar[int] = 3
    new_each_frame: ClassVar[bool] = True
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {"strength": (0, 100), "grey": (0, 1), "seed": _SEED}

    def __init__(self, *, strength: Range, grey: float = 0.0, probability: float = 1.0) -> None:
        super().__init__(probability=probability)
        self.strength, self.grey = strength, grey
        self._strength = bounds("strength", strength, low=0, high=100)
        bounds("grey", grey, low=0, high=1)

    def parameters(self, uniform: Floats) -> dict[str, npt.NDArray[Any]]:
        """Strength, whether the noise is grey, seed."""
        return {
            "strength": between(uniform[:, 0], self._strength),
            "grey": uniform[:, 1] < self.grey,
            "seed": seeds(uniform[:, 2]),
        }

    def degrade(self, image: Array, sample: Sample, *, high: Size) -> Array:
        """(H, W, C) with noise, cut to [0, 1]."""
        grey = sample["grey"] and image.shape[2] == 3
        levels = cv2.convertScaleAbs(image, alpha=255).reshape(image.shape)
        if grey:
            levels = cv2.convertScaleAbs(cv2.transform(levels.astype(np.float32), np.array([GREY])))
        histogram = cv2.calcHist([levels.reshape(1, -1)], [0], None, [256], [0, 256])
        photons = 2.0 ** np.ceil(np.log2(np.count_nonzero(histogram)))
        noise = poisson.counts_array(levels, pixel_bits(sample["seed"], levels.size), photons)
        strength = sample["strength"]
        noise *= np.float32(strength / photons)
        noise -= levels * np.float32(strength / 255)
        noise = noise[:, :, None] + image if grey else noise + image
        return np.clip(noise, 0, 1, out=noise)

    def degrade_canvas(self, canvas: Canvas, columns: Columns, *, high: Size) -> Canvas:
        """The batch with the same counts; where CPU and GPU round a pixel or the luma apart, one level differs."""
        pixels = canvas.pixels
        channels = pixels.shape[1]
        levels = (pixels.clamp(0, 1) * 255).round().to(torch.int32)
        groups = [(np.flatnonzero(~columns["grey"]), levels, channels)]
        if channels == 3 and columns["grey"].any():
            luma = sum((levels[:, k : k + 1] * GREY[k] for k in range(3)), start=torch.zeros_like(pixels[:, :1]))
            groups.append((np.flatnonzero(columns["grey"]), luma.round().to(torch.int32), 1))
        elif channels != 3:
            groups = [(np.arange(len(pixels)), levels, channels)]
        out = pixels
        for rows, source, planes in groups:
            if not len(rows):
                continue
            index = upload(rows, pixels.device)
            part = Canvas(source.index_select(0, index), canvas.sizes[rows])
            exponents = _photon_exponents(part)
            bits = pixel_bits_tensor(columns["seed"][rows], part.positions(planes))
            counts = poisson.counts_tensor(part.pixels, bits, exponents)
            strength = _spread(columns["strength"][rows], pixels)
            noise = counts * (strength / torch.exp2(exponents.float())[:, None, None, None])
            noise = noise - part.pixels * (strength / 255)
            out = out.index_copy(0, index, pixels.index_select(0, index) + noise)
        return canvas.with_pixels(out.clamp(0, 1))


class Speckle(Operation):
    """Multiplicative Gaussian noise, ``x (1 + sigma n)``: coherent imaging (radar, ultrasound).

    Args:
        sigma: standard deviation of the factor.
        probability: that a sample gets noise.
    """

    num_uniforms: ClassVar[int] = 2
    new_each_frame: ClassVar[bool] = True
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {"sigma": (0, 10), "seed": _SEED}

    def __init__(self, *, sigma: Range, probability: float = 1.0) -> None:
        super().__init__(probability=probability)
        self.sigma = sigma
        self._sigma = bounds("sigma", sigma, low=0, high=10)

    def parameters(self, uniform: Floats) -> dict[str, npt.NDArray[Any]]:
        """Sigma and seed."""
        return {"sigma": between(uniform[:, 0], self._sigma), "seed": seeds(uniform[:, 1])}

    def degrade(self, image: Array, sample: Sample, *, high: Size) -> Array:
        """(H, W, C) with noise, cut to [0, 1]."""
        noise = normals(sample["seed"], image.shape)
        noise *= np.float32(sample["sigma"])
        noise += 1
        noise *= image
        return np.clip(noise, 0, 1, out=noise)

    def degrade_canvas(self, canvas: Canvas, columns: Columns, *, high: Size) -> Canvas:
        """The batch with the same noise, up to rounding."""
        noise = normals_tensor(columns["seed"], canvas.positions(canvas.pixels.shape[1]))
        factor = noise * _spread(columns["sigma"], canvas.pixels) + 1
        return canvas.with_pixels((canvas.pixels * factor).clamp(0, 1))


def _photon_exponents(canvas: Canvas) -> Tensor:
    """(B,) int32: log2 of the number of different levels in each sample, rounded up."""
    levels = torch.where(canvas.inside(), canvas.pixels, canvas.pixels.new_full((), 256))
    seen = torch.zeros(len(levels), 257, device=levels.device)
    seen.scatter_(1, levels.flatten(1).long(), 1.0)
    return torch.log2(seen[:, :256].sum(dim=1)).ceil().to(torch.int32)


def _spread(values: npt.NDArray[Any], like: Tensor) -> Tensor:
    """Host values (B,) as (B, 1, 1, 1) on the device; numbers as float32."""
    values = values if values.dtype == np.bool_ else values.astype(np.float32)
    return upload(values, like.device)[:, None, None, None]


def _mixture(drawn: npt.NDArray[Any], channels: int) -> npt.NDArray[Any]:
    """(..., C, C) of (..., 3, 3): a grey image gets the noise that the first of three channels would have."""
    if channels == 1:
        return np.asarray(np.linalg.norm(drawn[..., 0], axis=-1))[..., None, None]
    if channels != 3:
        raise ValueError(f"colours.correlated mixes three channels, the image has {channels}: set its weight to 0")
    return drawn
