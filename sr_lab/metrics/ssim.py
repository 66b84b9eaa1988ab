"""Structural similarity."""

import cv2
import numpy as np
import torch
from torch import Tensor

from sr_lab.metrics.base import ProtocolMetric
from sr_lab.metrics.pairs import checked_pair

WINDOW = 11
SIGMA = 1.5
K1, K2 = 0.01, 0.03
_CENTRE = 0.5
_STRIP_PIXELS = 3 * 2**14


def _gaussian() -> list[float]:
    """The window's weights, from centre - 5 to centre + 5; they add up to 1."""
    offsets = torch.arange(WINDOW, dtype=torch.float64) - WINDOW // 2
    weights = torch.exp(-offsets.square() / (2 * SIGMA**2))
    return [float(weight) for weight in weights / weights.sum()]


_WEIGHTS = _gaussian()


def _filter(*planes: Tensor) -> list[Tensor]:
    """Separable Gaussian over the valid region of each: (B, C, H, W) -> (B, C, H - 10, W - 10).

    OpenCV's filter where it can be (on CPU, without gradients): it is bound by arithmetic. Elsewhere shifted
    multiply-adds: unlike a convolution call, neither autocast nor TF32 reaches them.
    """
    if planes[0].device.type == "cpu" and not any(plane.requires_grad for plane in planes):
        return [_filter_opencv(plane) for plane in planes]
    stacked = torch.stack(planes)
    rows, columns = stacked.shape[-2] - WINDOW + 1, stacked.shape[-1] - WINDOW + 1
    down = stacked[..., :rows, :] * _WEIGHTS[0]
    for k in range(1, WINDOW):
        down.add_(stacked[..., k : k + rows, :], alpha=_WEIGHTS[k])
    across = down[..., :columns] * _WEIGHTS[0]
    for k in range(1, WINDOW):
        across.add_(down[..., k : k + columns], alpha=_WEIGHTS[k])
    return list(across.unbind())


def _filter_opencv(plane: Tensor) -> Tensor:
    margin = WINDOW // 2
    weights = np.array(_WEIGHTS)
    images = plane.flatten(0, 1).numpy()
    filtered = [cv2.sepFilter2D(image, -1, weights, weights)[margin:-margin, margin:-margin] for image in images]
    joined = filtered[0][None] if len(filtered) == 1 else np.stack(filtered)
    return torch.from_numpy(joined).view(*plane.shape[:2], *joined.shape[1:])


def _ssim_sum(x: Tensor, y: Tensor) -> Tensor:
    """(B,) sums over channels and valid pixels of the SSIM map of images with values in [0, 1].

    The two factors of the map are written with the difference d = x - y,

        1 - E[d]^2 / (E[x]^2 + E[y]^2 + C1)   and   1 - var(d) / (var(x) + var(y) + C2),

    which is the same as 2 E[x] E[y] + C1 and 2 cov(x, y) + C2 over these denominators. It takes four filterings
    instead of five, and the variance that matters is that of a small number: float32 does, also in flat regions.
    """
    difference = x - y
    x, y = x - _CENTRE, y - _CENTRE
    mean_x, mean_d, squares, squares_d = _filter(x, difference, torch.addcmul(x * x, y, y), difference * difference)
    mean_y = mean_x - mean_d
    square_d = mean_d * mean_d
    variances = torch.addcmul(squares, mean_x, mean_x, value=-1).addcmul_(mean_y, mean_y, value=-1)
    loss_of_structure = (squares_d - square_d).div_(variances.add_(K2**2))
    mean_x, mean_y = mean_x + _CENTRE, mean_y + _CENTRE
    loss_of_luminance = square_d / torch.addcmul(mean_x * mean_x, mean_y, mean_y).add_(K1**2)
    # (1 - a)(1 - b) = 1 - (a + b - ab): only the small part is added up, so that nothing is lost near 1.
    loss = torch.addcmul(loss_of_structure + loss_of_luminance, loss_of_structure, loss_of_luminance, value=-1)
    return loss[0].numel() - loss.sum(dim=(1, 2, 3), dtype=torch.float64)


def ssim(restored: Tensor, target: Tensor, *, border: int = 0, max_value: float = 1.0) -> Tensor:
    """Structural similarity of each image (Wang et al. 2004), as the authors' MATLAB code computes it.

    Gaussian window 11x11 with sigma 1.5, only where it lies wholly inside the image (no padding),
    population variances, K1 = 0.01, K2 = 0.03. Of several channels the mean is taken.

    Args:
        restored: network output, (B, C, H, W), values in [0, max_value].
        target: ground truth, same shape and range.
        border: pixels ignored at each edge; by custom the scale factor.
        max_value: top of the value range.

    Returns:
        (B,) float tensor, at most 1.

    Raises:
        ValueError: if the shapes differ, or less than 11x11 pixels remain inside the border.
    """
    restored, target = checked_pair(restored, target, border=border)
    height, width = restored.shape[-2:]
    if min(height, width) < WINDOW:
        raise ValueError(f"border={border} leaves {height}x{width} pixels, SSIM needs {WINDOW}x{WINDOW}")
    if max_value != 1.0:
        restored, target = restored / max_value, target / max_value
    batch, channels = restored.shape[:2]
    rows = height - WINDOW + 1
    # On CPU a strip of rows at a time stays in the cache; on GPU one pass has the fewest launches.
    strip = rows if restored.is_cuda else max(WINDOW, _STRIP_PIXELS // (batch * channels * width))
    total = torch.zeros(batch, dtype=torch.float64, device=restored.device)
    for top in range(0, rows, strip):
        bottom = min(top + strip, rows) + WINDOW - 1
        total = total + _ssim_sum(restored[..., top:bottom, :], target[..., top:bottom, :])
    return (total / (channels * rows * (width - WINDOW + 1))).to(restored.dtype)


class SSIM(ProtocolMetric):
    """Mean per-image SSIM under a protocol.

    Args:
        protocol: Protocol: rounding, colour conversion and border.
        scale: Enlargement factor, which sets the border.
    """

    quantity = "ssim"
    higher_is_better = True

    def per_image(self, restored: Tensor, target: Tensor) -> Tensor:
        """(B,) values, at most 1."""
        return ssim(*self.protocol.compare(restored, target, scale=self.scale))
