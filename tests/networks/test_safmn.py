"""SAFMN: its published size, and that it moves with its input at multiples of its stride."""

import torch

from sr_lab.networks.safmn import SAFMN, ChannelNorm


def test_it_has_the_published_size() -> None:
    assert SAFMN(scale=4).num_parameters == 239_520
    assert 227_000 < SAFMN(scale=2).num_parameters < 229_000


def test_the_norm_is_torchs_layer_norm_over_channels() -> None:
    norm, features = ChannelNorm(6), torch.rand(2, 6, 3, 4)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    last = torch.nn.functional.layer_norm(features.movedim(1, -1), (6,), norm.weight, norm.bias, 1e-6)
    assert torch.allclose(norm(features), last.movedim(-1, 1), atol=1e-5)


def test_a_gate_of_eight_pixels_is_not_seen_from_outside_its_reach() -> None:
    torch.manual_seed(0)
    network = SAFMN(scale=2, num_channels=1, num_features=4, num_blocks=1).eval()
    low = torch.rand(1, 1, 16, 96)
    moved = torch.cat([torch.rand(1, 1, 16, 8), low[..., :-8]], dim=3)
    with torch.no_grad():
        assert torch.allclose(network(low)[..., 64:112], network(moved)[..., 80:128], atol=1e-6)
