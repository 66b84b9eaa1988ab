"""Variance over samples."""

import pytest
import torch

from sr_lab.metrics.base import Context
from sr_lab.metrics.variance import SampleVariance


def test_mean_and_map_of_a_known_variance() -> None:
    variance = torch.zeros(1, 3, 4, 4)
    variance[0, :, 1, 2] = torch.tensor([0.01, 0.02, 0.03])
    image, context = torch.rand(1, 3, 4, 4), Context(variance=variance)
    metric = SampleVariance()
    assert metric.measure(image, image, context).item() == pytest.approx(0.06 / 48)
    found = metric.map_of(image, image, context)
    assert found is not None
    assert found.values[0, 0, 1, 2].item() == pytest.approx(0.02**0.5)
    assert int((found.values > 0).sum()) == 1


def test_what_draws_nothing_does_not_vary() -> None:
    image = torch.rand(2, 3, 4, 4)
    assert SampleVariance().measure(image, image, Context()).tolist() == [0, 0]
    assert SampleVariance().map_of(image, image, Context()) is None
