"""Networks are exported once for every batch size and image size.

SwinIR and the U-Net need at least two windows (9 pixels): the exporter takes a single one for a constant.
"""

import pytest
import torch
from torch.export import Dim, export

from sr_lab.networks.bicubic import Bicubic
from sr_lab.networks.compact import Compact
from sr_lab.networks.edsr import EDSR
from sr_lab.networks.fsrcnn import FSRCNN
from sr_lab.networks.rdn import RDN
from sr_lab.networks.rrdb import RRDBNet
from sr_lab.networks.srcnn import SRCNN
from sr_lab.networks.swinir import SwinIR
from sr_lab.networks.unet import UNet


@pytest.mark.parametrize(
    "network",
    [
        Bicubic(scale=3),
        SRCNN(scale=2),
        FSRCNN(scale=3),
        EDSR(scale=4, num_blocks=1, num_features=8),
        RDN(scale=3, num_blocks=1, num_layers=2, num_features=8, growth=4),
        RRDBNet(scale=4, num_blocks=1, num_features=8, growth=4),
        RRDBNet(scale=2, num_blocks=1, num_features=8, growth=4),
        Compact(scale=4, num_features=8, num_convs=1),
        SwinIR(scale=2, num_features=12, num_groups=1, num_layers=2, num_heads=2),
        UNet(scale=4, num_features=8, multipliers=(1, 2), num_blocks=1),
    ],
    ids=lambda network: f"{type(network).__name__}-x{network.scale}",
)
def test_one_export_serves_every_batch_and_size(network):
    torch.manual_seed(0)
    network = network.eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    shapes = ({0: Dim.DYNAMIC, 2: Dim.DYNAMIC(min=9), 3: Dim.DYNAMIC(min=9)},)
    program = export(network, (torch.rand(2, network.num_channels, 11, 14),), dynamic_shapes=shapes).module()
    for shape in [(1, 9, 9), (3, 10, 21), (2, 16, 12)]:
        low = torch.rand(shape[0], network.num_channels, *shape[1:])
        with torch.no_grad():
            expected = network(low)
            torch.testing.assert_close(program(low), expected, atol=1e-5 * expected.abs().max().item(), rtol=1e-4)
