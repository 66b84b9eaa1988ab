"""Losses that compare spectra."""

import torch
from torch import Tensor

from sr_lab.losses.base import Loss


def spectrum_l1(restored: Tensor, target: Tensor) -> Tensor:
    """Mean absolute difference of the orthonormal 2-D Fourier coefficients, a scalar.

    Real and imaginary parts are compared one by one, as in Cho et al. 2021 (arXiv:2108.05054, equation 7).
    The spectrum is computed in float32 whatever the precision of the run.
    """
    difference = torch.fft.rfft2(restored.float() - target.float(), norm="ortho")
    return torch.view_as_real(difference).abs().mean()


class Frequency(Loss):
    """L1 between the Fourier coefficients of restored and target."""

    def forward(self, restored: Tensor, target: Tensor) -> Tensor:
        """Scalar, in units of the value range."""
        return spectrum_l1(restored, target)
