import math

import pytest
import torch

from sr_lab.losses.frequency import Frequency
from sr_lab.losses.pixel import L1, L2, Charbonnier


def test_known_values():
    restored, target = torch.zeros(1, 1, 2, 2), torch.tensor([[[[0.0, 0.1], [0.2, 0.3]]]])
    assert L1()(restored, target).item() == pytest.approx(0.15)
    assert L2()(restored, target).item() == pytest.approx((0.01 + 0.04 + 0.09) / 4)
    expected = sum(math.sqrt(d * d + 1e-6) for d in (0.0, 0.1, 0.2, 0.3)) / 4
    assert Charbonnier()(restored, target).item() == pytest.approx(expected)


def test_frequency_of_a_constant_difference_sits_in_one_coefficient():
    restored, target = torch.full((1, 1, 4, 4), 0.5), torch.zeros(1, 1, 4, 4)
    # 0.5 * sqrt(16) in the DC coefficient, over 4 x 3 complex coefficients of two parts
    assert Frequency()(restored, target).item() == pytest.approx(0.5 * 4 / (4 * 3 * 2))


@pytest.mark.parametrize("loss", [L1(), L2(), Charbonnier(), Frequency()])
def test_half_precision_input_gives_a_finite_float_loss(loss):
    value = loss(torch.rand(1, 3, 8, 8).bfloat16().float(), torch.rand(1, 3, 8, 8))
    assert value.dtype == torch.float32
    assert torch.isfinite(value)


def test_weight_zero_is_refused():
    with pytest.raises(ValueError, match="weight=0"):
        L1(weight=0)
