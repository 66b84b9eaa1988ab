"""Mean and variance of samples, one at a time."""

import pytest
import torch

from sr_lab.networks.moments import sample_moments


def draw(seed: int) -> torch.Tensor:
    return 0.5 + 0.01 * torch.randn(1, 3, 8, 9, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("num", [2, 3, 9])
def test_moments_are_those_of_all_samples_together(num):
    mean, variance = sample_moments(draw, num=num, seed=5)
    together = torch.stack([draw(5 + index) for index in range(num)]).double()
    torch.testing.assert_close(mean.double(), together.mean(0), atol=3e-7, rtol=0)
    torch.testing.assert_close(variance.double(), together.var(0), atol=1e-8, rtol=1e-3)


def test_one_sample_has_no_variance():
    with pytest.raises(ValueError, match="num=1: a variance needs at least 2 samples"):
        sample_moments(draw, num=1)
