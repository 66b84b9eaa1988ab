import math

import numpy as np
import pytest
import torch
from scipy.integrate import dblquad

from sr_lab.degradations import kernels


def column(*values: float) -> list[torch.Tensor]:
    return [torch.tensor([value], dtype=torch.float64) for value in values]


def test_reference_values() -> None:
    isotropic = kernels.gaussian(21, *column(2, 2, 0))[0]
    anisotropic = kernels.gaussian(21, *column(3, 1, math.pi / 6))[0]
    generalised = kernels.generalised(21, *column(2, 2, 0, 0.5))[0]
    plateau = kernels.plateau(21, *column(2, 2, 0, 1.5))[0]
    sinc = kernels.sinc(21, *column(math.pi / 3))[0]
    assert isotropic[10, 10].item() == pytest.approx(0.0397887, abs=1e-6)
    assert anisotropic[10, 10].item() == pytest.approx(0.0530551, abs=1e-6)
    assert anisotropic[10, 13].item() == pytest.approx(0.0118382, abs=1e-6)
    assert generalised[10, 10].item() == pytest.approx(0.0126092, abs=1e-6)
    assert plateau[10, 10].item() == pytest.approx(0.0383329, abs=1e-6)
    assert sinc[10, 10].item() == pytest.approx(0.0877581, abs=1e-6)
    assert sinc[10, 11].item() == pytest.approx(0.0762657, abs=1e-6)


@pytest.mark.parametrize("size", [1, 3, 8 + 1, 33])
def test_every_kind_sums_to_one_and_is_symmetric(size: int) -> None:
    made = [
        kernels.gaussian(size, *column(2, 0.7, 0.4)),
        kernels.generalised(size, *column(2, 0.7, 0.4, 3)),
        kernels.plateau(size, *column(2, 0.7, 0.4, 1.2)),
        kernels.sinc(size, *column(1.5)),
        kernels.motion(size, *column(5, 0.4)),
        kernels.defocus(size, *column(2.3)),
    ]
    for kernel in made:
        assert kernel.shape == (1, size, size)
        assert kernel.sum().item() == pytest.approx(1, abs=1e-12)
        torch.testing.assert_close(kernel, kernel.flip(1, 2))


def test_motion_and_defocus_have_the_moments_of_a_line_and_a_disc() -> None:
    axis = np.arange(33) - 16
    line = kernels.motion(33, *column(16, 0))[0].numpy()
    assert line[16].sum() == pytest.approx(1)
    assert (line[16] * axis**2).sum() == pytest.approx(16**2 / 12, rel=0.02)
    upright = kernels.motion(33, *column(16, math.pi / 2))[0].numpy()
    np.testing.assert_allclose(upright, line.T, atol=1e-12)
    disc = kernels.defocus(33, *column(9.0))[0].numpy()
    moment = dblquad(lambda r, _: r**3 / (math.pi * 81), 0, 2 * math.pi, 0, 9)[0]
    assert (disc * (axis[:, None] ** 2 + axis[None] ** 2)).sum() == pytest.approx(moment, rel=0.02)


def test_sinc_passes_low_frequencies_and_stops_high_ones() -> None:
    response = np.abs(np.fft.rfft(kernels.sinc(101, *column(math.pi / 2))[0].numpy().sum(axis=0), 1024))
    frequency = np.linspace(0, math.pi, len(response))
    assert response[frequency < 0.8 * math.pi / 2].min() > 0.9
    assert response[frequency > 1.2 * math.pi / 2].max() < 0.1


def test_an_even_size_is_refused() -> None:
    with pytest.raises(ValueError, match="size=4: a kernel needs an odd size"):
        kernels.gaussian(4, *column(1, 1, 0))
