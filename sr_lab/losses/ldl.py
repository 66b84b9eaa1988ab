"""LDL: artefacts are weighted by what they look like (Liang et al. 2022, arXiv:2203.09195)."""

import torch
import torch.nn.functional as F
from torch import Tensor

from sr_lab.images.context import Context
from sr_lab.losses.base import Loss


def artefact_weight(restored: Tensor, target: Tensor, averaged: Tensor, *, window: int = 7) -> Tensor:
    """How much each pixel looks like an artefact of an adversarial loss: the paper's refined map.

    With R the absolute residual summed over the channels: var(R)^(1/5) of the image, times var(R) of the pixel's
    window, and zero where the restored image is nearer to the target than the averaged weights' image.

    Args:
        restored: (B, C, H, W).
        target: same shape.
        averaged: the image of the averaged weights, same shape.
        window: odd side of the window in pixels; mirrored at the borders.

    Returns:
        (B, 1, H, W), without gradient.
    """
    with torch.no_grad():
        residual = (target - restored).abs().sum(1, keepdim=True)
        settled = (target - averaged).abs().sum(1, keepdim=True)
        pad = window // 2
        padded = F.pad(residual, (pad, pad, pad, pad), mode="reflect")
        windows = padded.unfold(2, window, 1).unfold(3, window, 1)
        local = windows.var(dim=(-1, -2), unbiased=True)
        whole = residual.var(dim=(1, 2, 3), unbiased=True, keepdim=True) ** 0.2
        return torch.where(residual < settled, torch.zeros_like(local), whole * local)


class LDL(Loss):
    """L1 weighted by ``artefact_weight``; it needs the image of the averaged (EMA) weights.

    Args:
        weight: See ``Loss``.
        window: Odd side, in pixels, of the window of the local variance.
    """

    def __init__(self, *, weight: float = 1.0, window: int = 7) -> None:
        super().__init__(weight=weight)
        if window < 3 or window % 2 == 0:
            raise ValueError(f"window={window}: must be odd and at least 3")
        self.window = window

    def forward(self, restored: Tensor, target: Tensor, averaged: Tensor | None = None) -> Tensor:
        """Scalar.

        Raises:
            ValueError: without the averaged weights' image.
        """
        if averaged is None:
            raise ValueError("ldl compares with the image of the averaged weights: give model.ema_decay, as 0.999")
        weight = artefact_weight(restored, target, averaged, window=self.window)
        return (weight * (restored - target).abs()).mean()

    def measure(self, restored: Tensor, target: Tensor, context: Context) -> Tensor:
        """``forward`` with the averaged image of the context."""
        loss: Tensor = self(restored, target, None if context.averaged is None else context.averaged())
        return loss
