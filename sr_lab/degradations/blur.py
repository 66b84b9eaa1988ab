"""Blur: convolution with a kernel of the sample's own kind, size and shape."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sr_lab.base.randomness import Floats, upload
from sr_lab.degradations import kernels
from sr_lab.degradations.canvas import Canvas
from sr_lab.degradations.operation import Array, Columns, Operation, Sample, Size
from sr_lab.degradations.ranges import Range, between, bounds, integer_bounds, integers, pick, weights_of

Kind = Literal[
    "isotropic",
    "anisotropic",
    "generalised_isotropic",
    "generalised_anisotropic",
    "plateau_isotropic",
    "plateau_anisotropic",
    "sinc",
    "motion",
    "defocus",
]
KINDS: tuple[Kind, ...] = (
    "isotropic",
    "anisotropic",
    "generalised_isotropic",
    "generalised_anisotropic",
    "plateau_isotropic",
    "plateau_anisotropic",
    "sinc",
    "motion",
    "defocus",
)
_LEAST = {
    **dict.fromkeys(("size", "theta", "beta", "cutoff", "length", "radius"), -math.inf),
    **dict.fromkeys(("sigma_x", "sigma_y"), 1e-3),
}
"""What shapes a kernel, and the least value that a device gets of it."""
_DIRECT_AREA = 121
_MOST_RANK = 8
_RANK_ERROR = 2e-4
_SEPARABLE_ERROR = 2e-5


def filter_array(image: Array, kernel: npt.NDArray[np.float32]) -> Array:
    """Correlates every channel with ``kernel``; the image is reflected at its border (edge not repeated).

    A kernel of 11x11 or less goes to OpenCV's direct filter. A larger one is split into separable kernels by its
    singular values, where up to 8 suffice (one does for an isotropic Gaussian), else it is filtered as it is. What the
    split leaves out changes no value by more than 0.0002 (a twentieth of an 8-bit level).

    Args:
        image: (H, W, C).
        kernel: (K, K), K odd.

    Returns:
        (H, W, C).
    """
    if kernel.size > _DIRECT_AREA:
        middle = len(kernel) // 2
        across, down = kernel[middle], kernel[:, middle] / kernel[middle, middle]
        if np.abs(kernel - down[:, None] * across).sum() < _SEPARABLE_ERROR:
            blurred = cv2.sepFilter2D(image, -1, across, down, borderType=cv2.BORDER_REFLECT_101)
            return np.asarray(blurred).reshape(image.shape)
        u, s, v = np.linalg.svd(kernel)
        u = u * s
        for rank in range(2, _MOST_RANK + 1):
            if np.abs(kernel - u[:, :rank] @ v[:rank]).sum() < _RANK_ERROR:
                total = cv2.sepFilter2D(image, -1, v[0], u[:, 0], borderType=cv2.BORDER_REFLECT_101)
                for k in range(1, rank):
                    part = cv2.sepFilter2D(image, -1, v[k], u[:, k], borderType=cv2.BORDER_REFLECT_101)
                    cv2.add(total, part, dst=total)
                return np.asarray(total).reshape(image.shape)
    return np.asarray(cv2.filter2D(image, -1, kernel, borderType=cv2.BORDER_REFLECT_101)).reshape(image.shape)


def filter_canvas(canvas: Canvas, kernel: Tensor) -> Canvas:
    """Correlates sample k with ``kernel[k]``, by FFT; border as in ``filter_array``.

    Args:
        canvas: the samples.
        kernel: (B, K, K), K odd, on the same device.
    """
    margin = kernel.shape[-1] // 2
    ext = canvas.extended(margin, border="reflect", multiple=16)
    size = (ext.shape[2], ext.shape[3])
    spectrum = torch.fft.rfft2(ext) * torch.fft.rfft2(kernel[:, None].to(ext.dtype), s=size).conj()
    height, width = canvas.pixels.shape[2:]
    return canvas.with_pixels(torch.fft.irfft2(spectrum, s=size)[:, :, :height, :width])


class Blur(Operation):
    """Blurs each sample by a kernel drawn for it.

    Args:
        kinds: Weight of each kind of kernel (:mod:`sr_lab.degradations.kernels`) in the draw.
        sizes: Range of the kernel's odd size in pixels, drawn uniformly.
        sigma: Range of the standard deviation, in pixels, of the Gaussian kinds (the half-width of the plateau ones);
            an anisotropic kernel draws two, and an angle in -pi..pi.
        eigenvalue: Range of the covariance's eigenvalues (squared pixels) for anisotropic kernels, instead of
            ``sigma``; null for none.
        beta_generalised: Range of the exponent of the generalised kinds; half of the draws are below 1 and half above.
        beta_plateau: Range of the exponent of the plateau kinds.
        cutoff: Range of the cutoff frequency of the sinc kind, in radians a pixel; null draws from pi/3..pi for sizes
            below 13, else pi/5..pi (Real-ESRGAN).
        length: Range of the path of the motion kind, in pixels.
        radius: Range of the radius of the defocus kind, in pixels.
        unit: Size, in pixels, of the unit that sigma, length, radius and the root of eigenvalue are counted in:
            ``${scale}`` where ranges are in pixels of the low image.
        probability: Probability that a sample is blurred.

    Raises:
        ValueError: if an argument is out of range.
    """

    num_uniforms: ClassVar[int] = 9
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        "kind": (0, len(KINDS) - 1),
        "size": (1, 255),
        "sigma_x": (0, 1e3),
        "sigma_y": (0, 1e3),
        "theta": (-2 * math.pi, 2 * math.pi),
        "beta": (0.01, 100),
        "cutoff": (1e-3, math.pi),
        "length": (0, 1e3),
        "radius": (0, 1e3),
    }

    def __init__(
        self,
        *,
        kinds: Mapping[str, float],
        sizes: Range = (7, 21),
        sigma: Range = (0.2, 3.0),
        eigenvalue: Range | None = None,
        beta_generalised: Range = (0.5, 4.0),
        beta_plateau: Range = (1.0, 2.0),
        cutoff: Range | None = None,
        length: Range = (3.0, 15.0),
        radius: Range = (1.0, 5.0),
        unit: float = 1.0,
        probability: float = 1.0,
    ) -> None:
        super().__init__(probability=probability)
        self.kinds, self.sizes, self.sigma, self.eigenvalue = dict(kinds), sizes, sigma, eigenvalue
        self.beta_generalised, self.beta_plateau, self.cutoff = beta_generalised, beta_plateau, cutoff
        self.length, self.radius = length, radius
        names, self._cumulative = weights_of("kinds", kinds, KINDS)
        self._codes = np.array([KINDS.index(name) for name in names], dtype=np.int64)
        first, last = integer_bounds("sizes", sizes, low=1, high=255)
        if first % 2 != 1 or last % 2 != 1:
            raise ValueError(f"sizes={sizes!r}: a kernel needs an odd size, so that it has a centre")
        self._halves = (first // 2, last // 2)
        bounds("unit", unit, low=1e-3, high=1e3)
        self.unit = unit
        self._sigma = bounds("sigma", sigma, low=0, high=1e3)
        self._eigenvalue = None if eigenvalue is None else bounds("eigenvalue", eigenvalue, low=0, high=1e6)
        self._generalised = bounds("beta_generalised", beta_generalised, low=0.01, high=100)
        self._plateau = bounds("beta_plateau", beta_plateau, low=0.01, high=100)
        self._cutoff = None if cutoff is None else bounds("cutoff", cutoff, low=1e-3, high=math.pi)
        self._length = bounds("length", length, low=0, high=1e3)
        self._radius = bounds("radius", radius, low=0, high=1e3)

    def parameters(self, uniform: Floats) -> dict[str, npt.NDArray[Any]]:
        """Kind (index into ``KINDS``), size and shape; those that the kind does not use are drawn as well."""
        kind = self._codes[pick(uniform[:, 0], self._cumulative)]
        size = integers(uniform[:, 1], self._halves) * 2 + 1
        isotropic = np.isin(kind, [0, 2, 4])
        sigma_x, sigma_y = between(uniform[:, 2], self._sigma), between(uniform[:, 3], self._sigma)
        if self._eigenvalue is not None:
            sigma_x = np.where(isotropic, sigma_x, np.sqrt(between(uniform[:, 2], self._eigenvalue)))
            sigma_y = np.sqrt(between(uniform[:, 3], self._eigenvalue))
        sigma_x, sigma_y = sigma_x * self.unit, sigma_y * self.unit
        lowest = np.where(size < 13, math.pi / 3, math.pi / 5)
        cutoff = (
            lowest + uniform[:, 6] * (math.pi - lowest)
            if self._cutoff is None
            else between(uniform[:, 6], self._cutoff)
        )
        plateau = (kind == 4) | (kind == 5)
        return {
            "kind": kind,
            "size": size,
            "sigma_x": sigma_x,
            "sigma_y": np.where(isotropic, sigma_x, sigma_y),
            "theta": between(uniform[:, 4], (-math.pi, math.pi)),
            "beta": np.where(
                plateau, _about_one(uniform[:, 5], self._plateau), _about_one(uniform[:, 5], self._generalised)
            ),
            "cutoff": cutoff,
            "length": between(uniform[:, 7], self._length) * self.unit,
            "radius": between(uniform[:, 8], self._radius) * self.unit,
        }

    def degrade(self, image: Array, sample: Sample, *, high: Size) -> Array:
        """(H, W, C) blurred; overshoot (sinc) is cut to [0, 1]."""
        kernel = _kernels({name: np.array([sample[name]]) for name in self.limits}, torch.device("cpu"))[0]
        blurred = filter_array(image, kernel.numpy())
        return np.clip(blurred, 0, 1, out=blurred)

    def degrade_canvas(self, canvas: Canvas, columns: Columns, *, high: Size) -> Canvas:
        """The batch blurred; equals ``degrade`` up to 0.0003."""
        blurred = filter_canvas(canvas, _kernels(columns, canvas.pixels.device))
        return blurred.with_pixels(blurred.pixels.clamp(0, 1))


def _about_one(uniform: Floats, limits: tuple[float, float]) -> Floats:
    """Half of the draws below 1 and half above, uniform in each, where the range holds both (as the source does)."""
    low, high = limits
    if not low < 1 < high:
        return between(uniform, limits)
    return np.where(uniform < 0.5, low + 2 * uniform * (1 - low), 1 + (2 * uniform - 1) * (high - 1))


def _kernels(columns: Columns, device: torch.device) -> Tensor:
    """(B, K, K) float32, K the largest size; smaller kernels are padded with zeros.

    The samples are sorted by kind, each kind is made in one go at size K and cut to the samples' own sizes: the work on
    a device is that of a few kernels, however many samples and sizes there are.
    """
    kind, size = columns["kind"], columns["size"]
    if (size % 2 == 0).any():
        raise ValueError(f"parameter size={size[size % 2 == 0][0]}: a kernel needs an odd size")
    largest = int(size.max())
    codes = sorted(set(kind.tolist()))
    table = np.stack([np.maximum(columns[name], least) for name, least in _LEAST.items()])
    if len(codes) == 1:
        shape = dict(zip(_LEAST, upload(table, device), strict=True))
        made = _one_kind(KINDS[codes[0]], largest, shape)
    else:
        order = np.argsort(kind, kind="stable")
        shape = dict(zip(_LEAST, upload(table[:, order], device), strict=True))
        ends = np.searchsorted(kind[order], codes, side="right").tolist()
        parts = zip(codes, [0, *ends], ends, strict=False)
        made = torch.cat(
            [_one_kind(KINDS[k], largest, {name: v[start:end] for name, v in shape.items()}) for k, start, end in parts]
        )
        back = upload(np.argsort(order), device)
        shape["size"], made = shape["size"][back], made[back]
    if (size != largest).any():
        distance = (torch.arange(largest, device=device) - largest // 2).abs()
        inside = distance <= shape["size"][:, None] / 2
        made = made * (inside[:, None, :] & inside[:, :, None])
        made = made / made.sum(dim=(1, 2), keepdim=True)
    return made.float()


def _one_kind(kind: Kind, size: int, shape: Mapping[str, Tensor]) -> Tensor:
    """(B, size, size) float64."""
    if kind == "sinc":
        return kernels.sinc(size, shape["cutoff"])
    if kind == "motion":
        return kernels.motion(size, shape["length"], shape["theta"])
    if kind == "defocus":
        return kernels.defocus(size, shape["radius"])
    axes = (shape["sigma_x"], shape["sigma_y"], shape["theta"])
    if kind.startswith("generalised"):
        return kernels.generalised(size, *axes, shape["beta"])
    if kind.startswith("plateau"):
        return kernels.plateau(size, *axes, shape["beta"])
    return kernels.gaussian(size, *axes)
