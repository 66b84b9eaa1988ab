"""Instruments of adversarial training: what goes wrong with a GAN's images before a metric says so."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def colour_bias(restored: Tensor, high: Tensor, *, block: int = 16) -> Tensor:
    """How far colours have drifted: mean absolute difference of the means of ``block`` x ``block`` pixels.

    Texture, true or invented, averages out of it; a shift of brightness or hue does not.

    Args:
        restored: (B, C, H, W).
        high: same shape.
        block: side of a block in pixels; smaller where the image is.

    Returns:
        Scalar in units of the value range.
    """
    return F.avg_pool2d(restored - high, min(block, *high.shape[-2:])).abs().mean()


def top_octave_ratio(restored: Tensor, high: Tensor) -> Tensor:
    """Energy of the restored images in the top octave, from a quarter to half a cycle a pixel, over that of ``high``.

    1 is right, below it is smooth, far above it is noise. The mean of the channels is compared, under a Hann window.

    Args:
        restored: (B, C, H, W).
        high: same shape.

    Returns:
        Scalar.
    """
    energies = [_top_octave(image) for image in (restored, high)]
    return energies[0] / energies[1].clamp_min(torch.finfo(torch.float32).tiny)


def _top_octave(image: Tensor) -> Tensor:
    height, width = image.shape[-2:]
    rows, columns = (torch.hann_window(side, periodic=True, device=image.device) for side in (height, width))
    spectrum = torch.fft.rfft2(image.float().mean(1) * rows[:, None] * columns).abs().square()
    vertical = torch.fft.fftfreq(height, device=image.device).abs()[:, None]
    horizontal = torch.fft.rfftfreq(width, device=image.device)
    energy: Tensor = (spectrum * ((vertical > 0.25) | (horizontal > 0.25))).sum()
    return energy


def nyquist_amplitude(image: Tensor, *, block: int = 8) -> Tensor:
    """Amplitude of what alternates from pixel to pixel: rows, columns and checkerboards.

    Pixels are multiplied by the alternating signs of each pattern and averaged over blocks, so that a pattern of one
    phase counts and noise does not; the root of the mean square over blocks and channels, summed over the patterns.

    Args:
        image: (B, C, H, W).
        block: side of a block in pixels, even; smaller where the image is.

    Returns:
        Scalar in units of the value range: ``a`` for a checkerboard of plus and minus ``a``.
    """
    height, width = image.shape[-2:]
    rows, columns = (1 - 2 * (torch.arange(side, device=image.device) % 2) for side in (height, width))
    patterns = torch.stack(
        [rows[:, None].expand(height, width), columns.expand(height, width), rows[:, None] * columns]
    )
    products = (image.float().unsqueeze(1) * patterns[:, None]).flatten(0, 1)
    means = F.avg_pool2d(products, min(block, height // 2 * 2, width // 2 * 2))
    return (means.square().mean() * len(patterns)).sqrt()


def checkerboard(restored: Tensor, high: Tensor) -> Tensor:
    """How much more ``nyquist_amplitude`` the restored images have than ``high``: a scalar."""
    return nyquist_amplitude(restored) - nyquist_amplitude(high)


def last_convolution(network: nn.Module) -> Tensor:
    """The weight of the last convolution that is trained, where the gradients of all losses can be compared.

    Raises:
        ValueError: if there is none.
    """
    convolutions: Iterable[nn.Module] = reversed(list(network.modules()))
    for module in convolutions:
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and module.weight.requires_grad:
            return module.weight
    raise ValueError(
        f"{type(network).__name__} has no convolution that is trained: there is nothing to play a GAN with"
    )
