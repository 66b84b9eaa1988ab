"""Degradations that change the size."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sr_lab.base.randomness import Floats, upload
from sr_lab.degradations.base import check_divisible
from sr_lab.degradations.canvas import Canvas, Sizes
from sr_lab.degradations.operation import Array, Columns, Operation, Sample, Size
from sr_lab.degradations.ranges import Range, between, bounds, pick, weights_of
from sr_lab.degradations.resampling import MODES, resize_array, resize_canvas
from sr_lab.images import resize_bicubic, resize_bicubic_uint8

Direction = Literal["up", "down", "keep"]
DIRECTIONS: tuple[Direction, ...] = ("up", "down", "keep")
_ALL_MODES = (0, len(MODES) - 1)


class Bicubic(Operation):
    """The field's standard degradation: MATLAB ``imresize``, bicubic, antialiased.

    A sample whose values are all k/255 is shrunk by the exact 8-bit recipe (bit for bit the published low images); any
    other one, and a batch that a gradient goes through, in float, clamped to [0, 1],
    which ``data`` rounds to the file's 16 bits.

    Args:
        scale: Factor by which the image shrinks, 1 or more.
    """

    def __init__(self, *, scale: int) -> None:
        super().__init__(scale=scale)

    def apply(self, image: Tensor, params: Mapping[str, Tensor]) -> Tensor:
        """(B, C, H, W) to (B, C, H / scale, W / scale), values in [0, 1].

        Raises:
            ValueError: if a side is not a multiple of ``scale``.
        """
        check_divisible(image, self.scale)
        if self.scale == 1:
            return image
        if image.requires_grad:
            return resize_bicubic(image, scale=1 / self.scale).clamp(0, 1)
        levels = image * 255
        rounded = levels.round()
        is_byte = (levels - rounded).abs().amax(dim=(1, 2, 3), keepdim=True) < 1e-3
        on_host = image.device.type == "cpu"
        if on_host and not is_byte.any():
            return resize_bicubic(image, scale=1 / self.scale).clamp(0, 1)
        exact = resize_bicubic_uint8(rounded.to(torch.uint8), scale=1 / self.scale).to(image.dtype) / 255
        if on_host and is_byte.all():
            return exact
        return torch.where(is_byte, exact, resize_bicubic(image, scale=1 / self.scale).clamp(0, 1))

    def degrade_canvas(self, canvas: Canvas, columns: Columns, *, high: Size) -> Canvas:
        """The batch by ``apply``, or, where its samples differ in size, by the float kernel."""
        height, width = canvas.sizes.max(axis=0)
        if (canvas.sizes == (height, width)).all():
            pixels = self.apply(canvas.pixels[:, :, :height, :width], {})
            return Canvas(pixels, canvas.sizes // self.scale)
        modes = np.full(len(canvas.sizes), MODES.index("bicubic"))
        resized = resize_canvas(canvas, canvas.sizes // self.scale, modes)
        return resized.with_pixels(resized.pixels.clamp(0, 1))

    def degrade(self, image: Array, sample: Sample, *, high: Size) -> Array:
        """``apply`` of one array."""
        low = self.apply(torch.from_numpy(image).permute(2, 0, 1)[None], {})
        return np.ascontiguousarray(low[0].permute(1, 2, 0).numpy())


class RandomResize(Operation):
    """Resizes each sample up, down or not at all, by a kernel drawn for it.

    Args:
        factor: Range of the factor; the part below 1 is for "down", that above for "up".
        directions: Weights of up, down and keep; null draws from the whole of ``factor``.
        modes: Weight of each resampling kernel (:mod:`sr_lab.degradations.resampling`).
        of_scale: What the factor multiplies: null the present size; s the size of the high image divided by s, whatever
            the present one is (Real-ESRGAN's second stage).
        inverse: Whether it is 1 / factor that is uniform (BSRGAN).
        probability: Probability that a sample is resized.

    Raises:
        ValueError: if an argument is out of range, or a direction has no part of ``factor``.
    """

    num_uniforms: ClassVar[int] = 3
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {"factor": (1e-3, 64), "mode": _ALL_MODES}

    def __init__(
        self,
        *,
        factor: Range,
        modes: Mapping[str, float],
        directions: Mapping[str, float] | None = None,
        of_scale: int | None = None,
        inverse: bool = False,
        probability: float = 1.0,
    ) -> None:
        super().__init__(probability=probability)
        self.factor, self.modes, self.inverse = factor, dict(modes), inverse
        self.directions = None if directions is None else dict(directions)
        self.of_scale = of_scale
        if of_scale is not None and of_scale < 1:
            raise ValueError(f"of_scale={of_scale}: must be at least 1, or null for the present size")
        lowest, highest = self._factor = bounds("factor", factor, low=1e-3, high=64)
        names, self._mode_weights = weights_of("modes", modes, MODES)
        self._modes = np.array([MODES.index(name) for name in names], dtype=np.int64)
        self._limits = np.array([self._factor])
        self._weights = np.ones(1)
        if directions is not None:
            chosen, self._weights = weights_of("directions", directions, DIRECTIONS)
            ranges = {"up": (max(lowest, 1.0), highest), "down": (lowest, min(highest, 1.0)), "keep": (1.0, 1.0)}
            for name in chosen:
                if ranges[name][0] > ranges[name][1]:
                    raise ValueError(f"directions.{name} has no part of factor={factor!r}: widen it, or set {name}=0")
            self._limits = np.array([ranges[name] for name in chosen])

    def parameters(self, uniform: Floats) -> dict[str, npt.NDArray[Any]]:
        """Factor, and kernel as an index into ``MODES``."""
        lowest, highest = self._limits[pick(uniform[:, 0], self._weights)].T
        if self.inverse:
            factor = 1 / (1 / highest + uniform[:, 1] * (1 / lowest - 1 / highest))
        else:
            factor = lowest + uniform[:, 1] * (highest - lowest)
        return {"factor": factor, "mode": self._modes[pick(uniform[:, 2], self._mode_weights)]}

    def degrade(self, image: Array, sample: Sample, *, high: Size) -> Array:
        """(H, W, C) to the size that the factor gives, rounded down (as the source does)."""
        sizes = self._sizes(np.array([image.shape[:2]]), np.array([sample["factor"]]), high)
        size = (int(sizes[0, 0]), int(sizes[0, 1]))
        resized = resize_array(image, size, mode=MODES[sample["mode"]])
        return _clipped(resized, sample["mode"])

    def degrade_canvas(self, canvas: Canvas, columns: Columns, *, high: Size) -> Canvas:
        """The batch resized, every sample to its own size."""
        sizes = self._sizes(canvas.sizes, columns["factor"], high)
        resized = resize_canvas(canvas, sizes, columns["mode"])
        return resized.with_pixels(resized.pixels.clamp(0, 1))

    def scale_after(self, before: float | None) -> float | None:
        """None: the size varies."""
        return None

    def smallest_after(self, side: float, *, high: float) -> float:
        """The side by the least factor."""
        lowest = float(self._limits[:, 0].min())
        least = (side if self.of_scale is None else high / self.of_scale) * lowest
        return least if self.probability == 1 else min(side, least)

    def _sizes(self, present: Sizes, factor: Floats, high: Size) -> Sizes:
        base = present if self.of_scale is None else np.array([high]) / self.of_scale
        sizes = np.floor(base * factor[:, None] + 1e-9).astype(np.int64)
        if sizes.min() < 1:
            row = int(sizes.min(axis=1).argmin())
            height, width = present[row]
            raise ValueError(
                f"factor={factor[row]:g} leaves nothing of a {width}x{height} image: raise it, or take larger images"
            )
        return sizes


class ResizeTo(Operation):
    """Brings every sample to the size of the high image divided by ``scale``, whatever it was made into before.

    Args:
        scale: Enlargement factor of the low image: its size is that of the high image divided by it.
        modes: Weight of each resampling kernel.
    """

    num_uniforms: ClassVar[int] = 1
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {"mode": _ALL_MODES}

    def __init__(self, *, scale: int, modes: Mapping[str, float]) -> None:
        super().__init__(scale=scale)
        self.modes = dict(modes)
        names, self._mode_weights = weights_of("modes", modes, MODES)
        self._modes = np.array([MODES.index(name) for name in names], dtype=np.int64)

    def parameters(self, uniform: Floats) -> dict[str, npt.NDArray[Any]]:
        """Kernel as an index into ``MODES``."""
        return {"mode": self._modes[pick(uniform[:, 0], self._mode_weights)]}

    def degrade(self, image: Array, sample: Sample, *, high: Size) -> Array:
        """(H, W, C) to (high / scale, C)."""
        return _clipped(resize_array(image, self._size(high), mode=MODES[sample["mode"]]), sample["mode"])

    def degrade_canvas(self, canvas: Canvas, columns: Columns, *, high: Size) -> Canvas:
        """The batch, of one size."""
        sizes = np.tile(np.array(self._size(high), dtype=np.int64), (len(canvas.sizes), 1))
        resized = resize_canvas(canvas, sizes, columns["mode"])
        return resized.with_pixels(resized.pixels.clamp(0, 1))

    def scale_after(self, before: float | None) -> float | None:
        """``scale``, whatever was before."""
        return self.scale

    def smallest_after(self, side: float, *, high: float) -> float:
        """The high side divided by ``scale``."""
        return high / self.scale

    def _size(self, high: Size) -> Size:
        height, width = high
        if height % self.scale or width % self.scale:
            raise ValueError(
                f"a {width}x{height} image does not divide by scale={self.scale}: crop it first "
                "(images.crop_to_multiple)"
            )
        return height // self.scale, width // self.scale


class Stride(Operation):
    """Keeps every ``scale``-th pixel; optionally after a Gaussian that moves the grid's centre.

    Args:
        scale: Step: every ``scale``-th pixel of a side is kept.
        offset: Row and column of the first pixel kept, below ``scale``; null for the middle, ``scale // 2``, which is
            where MATLAB's nearest resize takes it.
        sigma: Standard deviation, in pixels, of a 25x25 Gaussian applied before, whose centre is shifted by (scale - 1)
            / 2 - offset, so that the pixels kept see what a resize would (BSRGAN); null for none.
        probability: Probability that a sample is shrunk.
    """

    num_uniforms: ClassVar[int] = 1
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {"sigma": (0, 1e3)}

    def __init__(
        self, *, scale: int, offset: int | None = 0, sigma: Range | None = None, probability: float = 1.0
    ) -> None:
        super().__init__(scale=scale, probability=probability)
        self.offset, self.sigma = offset, sigma
        self._first = scale // 2 if offset is None else offset
        if not 0 <= self._first < scale:
            raise ValueError(f"offset={offset}: must lie in 0..{scale - 1}, or be null for the middle")
        self._shift = (scale - 1) / 2 - self._first
        self._sigma = None if sigma is None else bounds("sigma", sigma, low=1e-2, high=1e3)

    @property
    def phase(self) -> int:
        """Row and column of the first pixel that is kept."""
        return self._first

    def parameters(self, uniform: Floats) -> dict[str, npt.NDArray[Any]]:
        """Standard deviation; 0 where there is no blur."""
        return {"sigma": np.zeros(len(uniform)) if self._sigma is None else between(uniform[:, 0], self._sigma)}

    def degrade(self, image: Array, sample: Sample, *, high: Size) -> Array:
        """(H, W, C) to (H / scale, W / scale, C), rounded up for offset 0, else to whole steps."""
        if sample["sigma"] > 0:
            window = shifted_gaussian(np.array([sample["sigma"]]), self._shift)[0]
            image = cv2.sepFilter2D(image, -1, window, window, borderType=cv2.BORDER_REFLECT_101).reshape(image.shape)
        return np.ascontiguousarray(image[self._first :: self.scale, self._first :: self.scale])

    def degrade_canvas(self, canvas: Canvas, columns: Columns, *, high: Size) -> Canvas:
        """The batch, shrunk."""
        sizes = -(-(canvas.sizes - self._first) // self.scale)
        if (columns["sigma"] <= 0).all():
            return Canvas(canvas.pixels[:, :, self._first :: self.scale, self._first :: self.scale], sizes)
        window = shifted_gaussian(np.maximum(columns["sigma"], 1e-2), self._shift)
        if (columns["sigma"] <= 0).any():
            window[columns["sigma"] <= 0] = np.eye(1, 25, 12, dtype=np.float32)
        ext = canvas.extended(12, border="reflect")[:, :, self._first :, self._first :]
        taps = upload(window, canvas.pixels.device).to(ext.dtype)
        patches = ext.unfold(2, 25, self.scale)
        patches = (patches * taps[:, None, None, None]).sum(-1)
        return Canvas((patches.unfold(3, 25, self.scale) * taps[:, None, None, None]).sum(-1), sizes)


def shifted_gaussian(sigma: Floats, shift: float) -> npt.NDArray[np.float32]:
    """(B, 25) Gaussian windows whose centre lies ``shift`` after the middle one."""
    x = np.arange(25) - 12 - shift
    window = np.exp(-0.5 * (x / sigma[:, None]) ** 2)
    result: Array = (window / np.maximum(window.sum(axis=1, keepdims=True), 1e-30)).astype(np.float32)
    return result


def _clipped(image: Array, mode: int) -> Array:
    """Cubic kernels and Lanczos overshoot."""
    return np.clip(image, 0, 1) if MODES[mode] in ("cubic", "bicubic", "lanczos") else image
