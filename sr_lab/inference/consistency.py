"""Restorers whose image, degraded again, is its input."""

import math
from collections.abc import Mapping
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from sr_lab.degradations.base import Degradation
from sr_lab.degradations.linear import LinearDegradation, NotLinear
from sr_lab.degradations.resize import Bicubic
from sr_lab.images import to_levels, to_tensor
from sr_lab.images.projection import Projection
from sr_lab.inference.restorers import BicubicRestorer, NetworkRestorer, Restorer
from sr_lab.inference.tiles import TilePlan, plan_tiles
from sr_lab.networks.moments import sample_moments

ROUNDING = 1 / (255 * math.sqrt(12))
"""Standard deviation of what rounding to 8 bits changes."""
MOST_ROUNDING = 4.0
"""RMS, in 8-bit levels, up to which the rounding of an 8-bit input may come back in an exactly consistent image."""

_COMMON, _LARGE = 64, 192
_STRIP = 256


class ConsistentRestorer:
    """A restorer whose image is projected: degraded again, it is the low image that it was made from.

    x' = x + D^T (D D^T)^-1 (y - D x) is the nearest image to x that shrinks to y; what x shows beyond the resolution
    of y stays as it is. It holds in float: rounding to 8 bits leaves about 65 dB, and what is cut to [0, 1] costs too
    (``written`` measures what is left). With noise of variance s^2 in y the image meets y no better than the noise:
    x' = x + D^T (D D^T + s^2 / t^2)^-1 (y - D x), where t^2 is the variance of the image's own error as the residual
    tells it (mean square less s^2, over what D makes of white noise); at or below s^2 the image stays as it is.

    Args:
        restorer: What is projected.
        degradation: What made the low images; None for MATLAB's bicubic, at any factor.
        input_noise: Standard deviation of the noise in the low images, in 8-bit levels; ``auto`` estimates it from
            each image; 0 for exact.

    Attributes:
        restorer: The same.
        halo: Low pixels that a tile's projection sees beyond those that the restorer sees: the correction of farther
            ones weighs less than 1e-6.

    Raises:
        NotLinear: If the degradation is random or no fixed linear kernel, adds noise that ``input_noise`` does not
            tell, or would bring the rounding of 8-bit inputs back too strongly; the message says what helps.
        ValueError: If the degradation is for another factor, or ``input_noise`` is no level.

    Example:
        >>> import torch
        >>> from sr_lab.inference.restorers import BicubicRestorer
        >>> restorer = ConsistentRestorer(BicubicRestorer(scale=2))
        >>> low = torch.rand(1, 3, 8, 9)
        >>> restorer.consistency(restorer(low), low) > 100
        True
    """

    def __init__(
        self, restorer: Restorer, *, degradation: Degradation | None = None, input_noise: float | str = 0.0
    ) -> None:
        if input_noise != "auto" and not (isinstance(input_noise, int | float) and 0 <= input_noise < 256):
            raise ValueError(f"input_noise={input_noise}: auto, or a standard deviation of 0 to 255 levels")
        self.restorer = restorer
        self.scale: int = getattr(restorer, "scale", None) or (degradation.scale if degradation else 1)
        if degradation is not None and degradation.scale != self.scale:
            raise ValueError(
                f"the degradation shrinks by {degradation.scale}, and the restorer enlarges by {self.scale}"
            )
        self.input_noise = input_noise
        self.linear = LinearDegradation(degradation or _bicubic(self.scale), noisy=input_noise != 0)
        sample = _sample(self.linear, self.scale, _COMMON)
        if input_noise == 0 and 255 * ROUNDING * sample.noise_gain > MOST_ROUNDING:
            raise NotLinear(
                f"exactly consistent images would show the rounding of an 8-bit input as noise of "
                f"{255 * ROUNDING * sample.noise_gain:.3g} levels, for the degradation leaves next to nothing of some "
                "frequencies: give input_noise=0.3, which is that rounding, or auto"
            )
        self.halo, self._far = _halo(self.linear, self.scale) if input_noise == 0 else (_COMMON // 2, True)

    @property
    def facts(self) -> dict[str, Any]:
        """What a record keeps: ``exact`` or ``regularised``, the degradation, and the noise."""
        kind = "exact" if self.input_noise == 0 else "regularised"
        return {"consistency": kind, "degradation": type(self.linear.degradation).__name__, "noise": self.input_noise}

    @property
    def metadata(self) -> Mapping[str, Any] | None:
        """What is known of the restorer's training, and that it is projected."""
        known: Mapping[str, Any] | None = getattr(self.restorer, "metadata", None)
        return None if known is None else {**known, "consistency": self.facts}

    @property
    def network(self) -> Any:
        """The restorer's network, for what counts its work and memory; None where it has none."""
        return getattr(self.restorer, "network", None)

    @property
    def seen(self) -> Any:
        """Images that the restorer was trained and selected on."""
        return getattr(self.restorer, "seen", None)

    @property
    def generative(self) -> bool:
        """Whether there are several images to a low one, one a seed."""
        return bool(getattr(self.restorer, "generative", False))

    def __call__(self, low: Tensor) -> Tensor:
        """(B, C, h, w) to (B, C, H, W): the restorer's image, projected; neither clamped nor rounded."""
        return self.project(self.restorer(low), low)

    def sample(self, low: Tensor, *, seed: int) -> Tensor:
        """The image of a generative restorer's seed, projected."""
        restored: Tensor = self.restorer.sample(low, seed=seed)  # type: ignore[attr-defined]
        return self.project(restored, low)

    def moments(self, low: Tensor, *, num: int) -> tuple[Tensor, Tensor]:
        """Mean and variance over ``num`` projected samples; see ``NetworkRestorer.moments``."""
        seed: int = self.restorer.seed  # type: ignore[attr-defined]
        return sample_moments(lambda seed: self.sample(low, seed=seed), num=num, seed=seed)

    def plan(self, height: int, width: int, *, tile: int | None = None, fixed: bool = False) -> TilePlan:
        """How an image is cut, so that the tiles are the projection of the whole; see ``TileRestorer``.

        Uncut, where the noise or the error is estimated from the whole image, where windows would be continued beyond
        the image, and where corrections decay so slowly that a halo of 96 low pixels would not do.
        """
        inner: TilePlan = self.restorer.plan(height, width, tile=tile, fixed=fixed)  # type: ignore[attr-defined]
        if inner.shape == (height, width):
            return inner
        tall, wide = inner.shape
        beyond = any(part.top + tall > height or part.left + wide > width for part in inner.tiles)
        if beyond or self._far:
            return plan_tiles(height, width, tile=max(height, width), halo=0)
        stride = getattr(self.restorer, "stride", 1)
        halo = inner.halo + self.halo
        side = max(tall, wide, 4 * halo)
        if max(height, width) <= side:
            return plan_tiles(height, width, tile=side, halo=0)
        return plan_tiles(height, width, tile=side, halo=halo, stride=stride)

    def piece(self, low: Tensor) -> Tensor:
        """One window, projected by itself: within the plan's halo it equals the whole up to 1e-6."""
        return self(low)

    def project(self, image: Tensor, low: Tensor) -> Tensor:
        """The nearest image to ``image`` (B, C, H, W) that is consistent with ``low`` (B, C, h, w)."""
        shrinking = self._shrinking(image, low)
        if self.input_noise == 0:
            return shrinking.project(image, low)
        return torch.cat([self._towards(one[None], low[row][None], shrinking) for row, one in enumerate(image)])

    def consistency(self, image: Tensor, low: Tensor) -> float:
        """PSNR in decibels of ``image``, degraded again as it is (not clamped, not rounded), against ``low``."""
        again = self._shrinking(image, low).shrink(image)
        error = float((again - low).double().square().mean())
        return math.inf if error == 0 else -10 * math.log10(error)

    def written(self, image: Tensor, low: Tensor, *, bits: int = 8) -> float:
        """The same of what a file of 8 or 16 bits keeps of ``image``: cut to [0, 1] and rounded."""
        levels = 2**bits - 1
        kept = image.double().mul(levels).clamp(0, levels).add(0.5).floor() / levels
        return self.consistency(kept.float(), low)

    def kept(self, pixels: npt.NDArray[Any], low: npt.NDArray[Any]) -> float:
        """PSNR in decibels of a written image, degraded again, against its input; by strips, so that it needs little.

        Args:
            pixels: (H, W, C), uint8 or uint16, as the file gives it back.
            low: (h, w, C).
        """
        scale, rows = len(pixels) // len(low), len(low)
        total = 0.0
        for start in range(0, rows, _STRIP):
            first, last = max(0, start - self.halo), min(rows, start + _STRIP + self.halo)
            image, given = to_tensor(pixels[first * scale : last * scale]), to_tensor(low[first:last])
            error = (self._shrinking(image, given).shrink(image) - given).double().square()
            total += float(error[:, :, start - first : start - first + _STRIP].sum())
        mean = total / low.size
        return math.inf if mean == 0 else -10 * math.log10(mean)

    def _shrinking(self, image: Tensor, low: Tensor) -> Projection:
        return self.linear.shrinking((image.shape[-2], image.shape[-1]), (low.shape[-2], low.shape[-1]))

    def _towards(self, image: Tensor, low: Tensor, shrinking: Projection) -> Tensor:
        noise = (_estimated(low) if self.input_noise == "auto" else float(self.input_noise)) / 255
        residual = float((low - shrinking.shrink(image)).double().square().mean())
        error = (residual - noise**2) / shrinking.mean_gain
        return image if error <= 0 else shrinking.project(image, low, weight=noise**2 / error)


LoadedRestorer = BicubicRestorer | NetworkRestorer | ConsistentRestorer
"""What a name of a restorer gives."""


def _sample(linear: LinearDegradation, scale: float, side: int) -> Projection:
    """The degradation of an image with a low image of ``side`` pixels a side, for what does not depend on the size."""
    length = round(side * scale)
    return linear.shrinking((length, length), (side, side))


def _halo(linear: LinearDegradation, scale: float) -> tuple[int, bool]:
    """Low pixels after which a correction has decayed, and whether it had not where this stops to look."""
    halo = _COMMON
    for side in (_COMMON, _LARGE):
        halo = _sample(linear, scale, side).halo()
        if halo < side // 2:
            return halo, False
    return halo, True


def _bicubic(scale: float) -> Degradation:
    return Bicubic(scale=scale if isinstance(scale, int) else 1)


def _estimated(low: Tensor) -> float:
    """The noise of one image in 8-bit levels: what is estimated, or guessed where the image does not tell."""
    if min(low.shape[-2:]) < 24:
        raise ValueError(
            f"the noise of a {low.shape[-1]}x{low.shape[-2]} image cannot be estimated (24 pixels a side are needed): "
            "give input_noise= in 8-bit levels"
        )
    if float(low.max() - low.min()) < 1 / 255:
        return 0.0
    from sr_lab.degradations.estimate.single import estimate_image

    return estimate_image(to_levels(low.cpu(), "uint16")).noise.guess
