"""Published parameter counts of the large networks, on the meta device."""

import pytest
import torch

from sr_lab.networks.compact import Compact
from sr_lab.networks.discriminators import PatchCritic, UNetCritic, VGGCritic
from sr_lab.networks.rdn import RDN
from sr_lab.networks.rrdb import RRDBNet
from sr_lab.networks.swinir import SwinIR


@pytest.mark.parametrize(
    ("network_class", "arguments", "count"),
    [
        (RDN, {"scale": 2}, 22_123_395),
        (RDN, {"scale": 3}, 22_308_035),
        (RDN, {"scale": 4}, 22_271_107),
        (RDN, {"scale": 4, "num_blocks": 20, "num_layers": 6, "growth": 32}, 5_764_227),
        (RRDBNet, {"scale": 4}, 16_697_987),
        (RRDBNet, {"scale": 2}, 16_703_171),
        (RRDBNet, {"scale": 4, "num_blocks": 6}, 4_467_779),
        (Compact, {"scale": 4, "num_convs": 16}, 621_424),
        (Compact, {"scale": 4, "num_convs": 32}, 1_213_296),
        (UNetCritic, {}, 4_376_897),
        (VGGCritic, {"input_size": 128}, 14_499_401),
        (VGGCritic, {"input_size": 256}, 21_055_049),
        (PatchCritic, {}, 2_764_737),
    ],
)
def test_published_parameter_count(network_class, arguments, count):
    with torch.device("meta"):
        assert network_class(**arguments).num_parameters == count


@pytest.mark.parametrize(
    ("scale", "count", "published"), [(2, 910_152, "878K"), (3, 918_267, "886K"), (4, 929_628, "897K")]
)
def test_swinir_count_is_the_papers_without_the_position_biases(scale, count, published):
    """910.2K at x2 is what the authors' code has (issue 45 of its repository); table 3 of the paper says 878K."""
    with torch.device("meta"):
        network = SwinIR(scale=scale)
    biases = sum(p.numel() for name, p in network.named_parameters() if name.endswith("bias_table"))
    assert network.num_parameters == count
    assert f"{(count - biases) / 1000:.0f}K" == published
