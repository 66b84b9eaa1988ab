"""ECBSR: the sum of its branches is one plain convolution, and it is small."""

import pytest
import torch
from torch.nn import functional

from sr_lab.networks.ecbsr import ECBSR, LAPLACE, SOBEL, EdgeConv


def test_the_kernel_is_the_sum_of_the_branches_applied_one_by_one() -> None:
    torch.manual_seed(0)
    block = EdgeConv(5, 5)
    torch.nn.init.normal_(block.strength)
    features = torch.rand(2, 5, 9, 11)
    branches = functional.conv2d(features, block.plain.weight, block.plain.bias, padding=1) + features
    branches = branches + functional.conv2d(block.widen(features), block.narrow.weight, padding=1)
    masks = (torch.tensor(SOBEL), torch.tensor(SOBEL).T, torch.tensor(LAPLACE))
    for mask, strength, mixed in zip(masks, block.strength, block.mix(features).split(5, dim=1), strict=True):
        kernel = (strength[:, None, None] * mask)[:, None]
        branches = branches + functional.conv2d(mixed, kernel, padding=1, groups=5)
    assert torch.allclose(block(features), branches, atol=1e-5)


def test_collapsed_it_is_the_same_function_and_plain() -> None:
    torch.manual_seed(0)
    network = ECBSR(scale=3, num_channels=1, num_blocks=2, num_features=8).eval()
    low, plain = torch.rand(1, 1, 7, 10), network.collapse()
    assert not plain.training
    assert not any(isinstance(module, EdgeConv) for module in plain.modules())
    assert torch.allclose(network(low), plain(low), atol=1e-6)
    assert torch.equal(plain.collapse()(low), plain(low))


@pytest.mark.parametrize(
    ("num_blocks", "num_features", "count"), [(4, 8, 3_624), (4, 16, 11_840), (10, 24, 56_056), (10, 32, 97_776)]
)
def test_collapsed_it_has_the_size_of_its_plain_convolutions(num_blocks: int, num_features: int, count: int) -> None:
    network = ECBSR(scale=4, num_channels=1, num_blocks=num_blocks, num_features=num_features, collapsed=True)
    assert network.num_parameters == count


def test_every_branch_learns() -> None:
    network = ECBSR(scale=2, num_channels=1, num_blocks=1, num_features=4)
    network(torch.rand(1, 1, 6, 6)).sum().backward()
    assert all(parameter.grad is not None and parameter.grad.any() for parameter in network.parameters())
