"""Invented detail: what a restored image shows that leaves no trace in the input and is not in the original."""

import math
from functools import lru_cache
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from sr_lab.images.projection import Shrinking
from sr_lab.metrics.base import Context, ErrorMap, PerImageMetric

_FLOOR = (0.01 / 255) ** 2
"""Variance below which there is no detail: a hundredth of an 8-bit level; keeps the ratio of two zeros at zero."""


def unseen_detail(image: Tensor, *, scale: int) -> Tensor:
    """The part of an image that bicubic shrinking removes without a trace: its null-space component.

    n = x - D^T (D D^T)^-1 D x, with MATLAB's bicubic shrinking D. So D n = 0 exactly, and the projection is
    orthogonal. D^T is MATLAB's enlargement up to a factor, so that a bicubic enlargement has no such part.

    Args:
        image: (B, C, H, W), any range.
        scale: factor of the shrinking.

    Returns:
        (B, C, H, W) float32.

    Raises:
        ValueError: if a side is not a multiple of ``scale``.
    """
    height, width = image.shape[-2:]
    if height % scale or width % scale:
        raise ValueError(f"a {width}x{height} image does not divide by scale={scale}: crop it first")
    image = image.float()
    if scale == 1:
        return torch.zeros_like(image)
    shrinking = Shrinking.bicubic((height, width), (height // scale, width // scale))
    return image - shrinking.part(shrinking.shrink(image))


def invented_detail(restored: Tensor, target: Tensor | None, *, scale: int) -> Tensor:
    """The part of a restored image's unseen detail that the original does not bear out.

    Unseen detail of both images (see ``unseen_detail``) is split into bands of half an octave. In each band, and in
    each neighbourhood (Gaussian window, sigma 2 * scale pixels, the channels together), the restored detail a is
    compared with the true detail b: borne out is c b with c = <a, b> / <b, b>, limited to [0, 1]. Between no detail
    (bicubic) and the whole true detail nothing is invented, so a soft image is not punished for what it lacks.
    Invented is the rest, a - c b: detail at a wrong place, of a wrong form or sign, and true detail made too strong.

    Args:
        restored: (B, C, H, W), values in [0, 1].
        target: the original, same shape; None where there is none: all unseen detail is then returned, an upper bound.
        scale: enlargement factor.

    Returns:
        (B, C, H, W) float32, in units of the value range, of either sign.

    Raises:
        ValueError: if the shapes differ, or a side is not a multiple of ``scale``.
    """
    shown = unseen_detail(restored, scale=scale)
    if target is None or scale == 1:
        return shown
    if restored.shape != target.shape:
        raise ValueError(f"restored {tuple(restored.shape)} and target {tuple(target.shape)} must have one shape")
    size = shown.shape[-2:]
    spectra = [torch.fft.rfft2(detail) for detail in (shown, unseen_detail(target, scale=scale))]
    invented = shown
    for mask in _bands(*size, scale, shown.device):
        a, b = (torch.fft.irfft2(spectrum * mask, s=size) for spectrum in spectra)
        products = torch.cat([(a * b).mean(dim=1, keepdim=True), b.square().mean(dim=1, keepdim=True)])
        along, energy = _window(F.avg_pool2d(products, scale)).chunk(2)
        share = (along / (energy + _FLOOR)).clamp(0, 1)
        invented = invented - F.interpolate(share, size=size, mode="bilinear") * b
    return invented


def hallucination(restored: Tensor, target: Tensor | None, *, scale: int) -> Tensor:
    """Root mean square of the invented detail of each image, in units of the value range; see ``invented_detail``.

    Args:
        restored: (B, C, H, W), values in [0, 1].
        target: the original, same shape, or None: then an upper bound, the RMS of all unseen detail.
        scale: enlargement factor.

    Returns:
        (B,) float32; 0 for a bicubic enlargement and for the original itself.
    """
    return invented_detail(restored, target, scale=scale).square().mean(dim=(1, 2, 3)).sqrt()


class Hallucination(PerImageMetric):
    """Mean per-image RMS of invented detail, in units of the value range: 0.01 is 2.55 of 255 levels.

    The restored image is clamped to [0, 1] and not rounded, whole, all channels alike. What the number is not:

    - It looks at detail above the input's resolution only. Errors that the input would show (colour shifts, ringing of
      coarse structures) are in ``lr_consistency`` and PSNR.
    - What the input supports is what MATLAB's bicubic by ``scale`` keeps. After blur, noise or JPEG the input supports
      less, so the number is a lower bound there.
    - Chance makes a few per cent of unrelated detail look borne out: the windows are small. And a soft version of the
      truth, its finest detail damped most, is blamed with about a tenth of its detail's RMS, 0.22 at worst (tests).
    - Detail that equals the original's is not counted, though the network may have guessed it. Nor is the number a
      statement about meaning: a wrong digit weighs as much as equally strong gravel.

    Args:
        scale: Enlargement factor.
    """

    higher_is_better = False
    whole = True
    definition: ClassVar[str] = (
        "RMS, in units of the value range (0.01 is 2.55 of 255 levels), of detail that leaves no trace in the bicubic "
        "low image and that the original does not bear out: per band of half an octave and neighbourhood, what is left "
        "of the restored detail after its part along the true detail, limited to 0..1, is taken off. Bicubic and the "
        "original itself have 0. After blur, noise or JPEG a lower bound."
    )

    def __init__(self, *, scale: int) -> None:
        super().__init__()
        self.scale = scale

    @property
    def key(self) -> str:
        """``hallucination``."""
        return "hallucination"

    @property
    def label(self) -> str:
        """Invented detail, for people."""
        return "invented detail"

    def per_image(self, restored: Tensor, target: Tensor) -> Tensor:
        """(B,) values, 0 and above."""
        return hallucination(restored.clamp(0, 1), target, scale=self.scale)

    def map_of(self, restored: Tensor, target: Tensor, context: Context) -> ErrorMap:
        """RMS of the invented detail over the channels, at each pixel."""
        invented = invented_detail(restored.clamp(0, 1), target, scale=self.scale)
        return ErrorMap("invented detail", invented.square().mean(dim=1, keepdim=True).sqrt(), top=32 / 255)


@lru_cache(maxsize=4)
def _bands(height: int, width: int, scale: int, device: torch.device) -> list[Tensor]:
    """Masks of half-octave bands over the coefficients of ``rfft2``, which add up to 1.

    From the Nyquist frequency of the low image to the corner of the spectrum; triangles over the logarithm of the
    frequency, the first one holding all that is below.
    """
    down = torch.fft.fftfreq(height, device=device)[:, None]
    across = torch.fft.rfftfreq(width, device=device)
    octaves = ((down.square() + across.square()).sqrt() * 2 * scale).clamp(min=1).log2()
    last = math.ceil(2 * math.log2(scale * math.sqrt(2)) - 1e-9)
    return [(1 - (2 * octaves - k).abs()).clamp(min=0) for k in range(last + 1)]


def _window(plane: Tensor, *, sigma: float = 2.0, radius: int = 6) -> Tensor:
    """Gaussian means over (B, 1, h, w), sigma in its pixels, borders mirrored."""
    offsets = torch.arange(-radius, radius + 1, device=plane.device, dtype=plane.dtype)
    weights = torch.exp(-offsets.square() / (2 * sigma**2))
    weights = (weights / weights.sum()).view(1, 1, -1, 1)
    for _ in range(2):
        length = plane.shape[-2]
        index = torch.arange(-radius, length + radius, device=plane.device).remainder(2 * length)
        mirrored = torch.minimum(index, 2 * length - 1 - index)
        plane = F.conv2d(plane.index_select(-2, mirrored), weights).transpose(-1, -2)
    return plane
