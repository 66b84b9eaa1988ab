"""Published parameter counts, and each network's arithmetic on one hand-checked case."""

import pytest
import torch

from sr_lab.networks.bicubic import Bicubic
from sr_lab.networks.edsr import EDSR
from sr_lab.networks.fsrcnn import FSRCNN
from sr_lab.networks.srcnn import SRCNN


@pytest.mark.parametrize(
    ("network", "count"),
    [
        (SRCNN(scale=2, num_channels=1, kernels=(9, 1, 5)), 8_129),
        (SRCNN(scale=2, num_channels=1, kernels=(9, 3, 5)), 24_513),
        (SRCNN(scale=2, num_channels=1, kernels=(9, 5, 5)), 57_281),
        (SRCNN(scale=3, num_channels=3), 20_099),
        (FSRCNN(scale=3, num_channels=1), 12_809),
        (EDSR(scale=2), 1_369_859),
        (EDSR(scale=3), 1_554_499),
        (EDSR(scale=4), 1_517_571),
    ],
)
def test_published_parameter_count(network, count):
    assert network.num_parameters == count


@pytest.mark.parametrize(("scale", "count"), [(2, 40_729_603), (3, 43_680_003), (4, 43_089_923)])
def test_published_parameter_count_of_full_edsr(scale, count):
    with torch.device("meta"):
        network = EDSR(scale=scale, num_blocks=32, num_features=256, res_scale=0.1)
    assert network.num_parameters == count


def test_edsr_subtracts_the_mean_and_adds_it_back():
    network = EDSR(scale=2, num_blocks=1, num_features=4)
    for parameter in network.parameters():
        torch.nn.init.zeros_(parameter)
    expected = torch.tensor([0.4488, 0.4371, 0.4040]).view(1, 3, 1, 1).expand(1, 3, 6, 10)
    torch.testing.assert_close(network(torch.rand(1, 3, 3, 5)), expected)


def test_edsr_residuals_are_scaled():
    block = EDSR(scale=2, num_blocks=1, num_features=4, res_scale=0.1).body[0]
    features = torch.rand(1, 4, 5, 5)
    torch.testing.assert_close(block(features), features + 0.1 * block.body(features))


def test_fsrcnn_without_output_padding_would_be_one_pixel_short():
    assert FSRCNN(scale=3, num_channels=1)(torch.rand(1, 1, 7, 5)).shape == (1, 1, 21, 15)


def test_bicubic_keeps_a_ramp():
    ramp = torch.linspace(0, 1, 16).view(1, 1, 1, 16).expand(1, 3, 16, 16)
    enlarged = Bicubic(scale=2)(ramp)
    steps = enlarged[..., 8:24].diff(dim=-1)
    torch.testing.assert_close(steps, torch.full_like(steps, 1 / 30), atol=1e-5, rtol=0)


@pytest.mark.parametrize("arguments", [{"scale": 5}, {"scale": 0}, {"scale": 2, "num_channels": 0}])
def test_bad_arguments_are_named(arguments):
    name = "num_channels" if "num_channels" in arguments else "scale"
    with pytest.raises(ValueError, match=f"{name}={arguments[name]}"):
        EDSR(**arguments)


def test_mean_of_wrong_length():
    with pytest.raises(ValueError, match="mean has 2 values for num_channels=3"):
        EDSR(scale=2, mean=(0.1, 0.2))
