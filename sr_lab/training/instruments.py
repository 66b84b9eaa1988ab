"""Instruments of adversarial training: what goes wrong with a GAN's images before a metric says so."""

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sr_lab.networks.base import Network


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


def lattice_amplitude(image: Tensor, *, period: int) -> Tensor:
    """Amplitude of what repeats every ``period`` pixels all over a batch: checkerboards, stripes, an upsampler's grid.

    The moving mean over a period is taken off and the pixels of each of the period x period positions are averaged over
    all images: a pattern that is tied to the lattice is left, while content, noise and what changes its sign from place
    to place fall with the root of the number of periods.

    Args:
        image: (B, C, H, W), sides of at least two periods.
        period: in pixels, at least 2; one of 4 sees patterns of 2, too.

    Returns:
        Scalar in units of the value range, the root of the mean square over positions and channels: ``a`` for a
        checkerboard of plus and minus ``a``.

    Raises:
        ValueError: if the image is too small.
    """
    if min(image.shape[-2:]) < 2 * period:
        raise ValueError(
            f"image of {image.shape[-2]}x{image.shape[-1]}: a period of {period} asks for {2 * period} pixels"
        )
    image = image.float()
    mean = F.avg_pool2d(image, period, stride=1)
    height, width = (side // period * period for side in mean.shape[-2:])
    start = (period - 1) // 2
    detail = image[..., start : start + height, start : start + width] - mean[..., :height, :width]
    positions = detail.unfold(-2, period, period).unfold(-2, period, period).mean((0, 2, 3))
    return (positions - positions.mean((-2, -1), keepdim=True)).square().mean().sqrt()


def checkerboard(restored: Tensor, high: Tensor, *, scale: int) -> Tensor:
    """How much more ``lattice_amplitude`` restored images have than ``high``, at the upsampler's period: a scalar."""
    period = max(scale, 2)
    return lattice_amplitude(restored, period=period) - lattice_amplitude(high, period=period)


def last_convolution(network: nn.Module) -> Tensor:
    """The weight of the last convolution that is trained, where the gradients of all losses can be compared.

    Raises:
        ValueError: if there is none.
    """
    part = network.last_part if isinstance(network, Network) else network
    convolutions: Iterable[nn.Module] = reversed(list(part.modules()))
    for module in convolutions:
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and module.weight.requires_grad:
            return module.weight
    raise ValueError(
        f"{type(network).__name__} has no convolution that is trained: there is nothing to play a GAN with"
    )
