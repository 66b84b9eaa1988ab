"""Averages over symmetries and over weights."""

import pytest
import torch
from torch import Tensor

from sr_lab.networks.base import GenerativeNetwork, Network
from sr_lab.networks.bicubic import Bicubic
from sr_lab.networks.edsr import EDSR
from sr_lab.networks.ensemble import SelfEnsemble, interpolate
from sr_lab.networks.tiling import restore_tiled


class Corner(Network):
    """Nearest enlargement plus the pixel's own row and column number: cares how an image is turned."""

    def forward(self, low: Tensor) -> Tensor:
        high = low.repeat_interleave(self.scale, -2).repeat_interleave(self.scale, -1)
        return high + torch.arange(high.shape[-2]).view(-1, 1) + 100 * torch.arange(high.shape[-1])


def test_a_network_that_does_not_care_gives_the_same_image():
    low = torch.rand(2, 3, 9, 14, generator=torch.Generator().manual_seed(0))
    network = Bicubic(scale=3)
    torch.testing.assert_close(SelfEnsemble(network)(low), network(low), atol=1e-6, rtol=0)


def test_it_is_the_mean_over_all_eight_and_what_cares_is_averaged_out():
    low = torch.rand(1, 1, 5, 5, generator=torch.Generator().manual_seed(0))
    restored = SelfEnsemble(Corner(scale=2, num_channels=1))(low)
    plain = low.repeat_interleave(2, -2).repeat_interleave(2, -1)
    # Of row + 100 column over a 10 x 10 image every symmetry averages to (4.5 + 450).
    torch.testing.assert_close(restored, plain + 4.5 + 450)


def test_mean_of_a_real_network_by_hand():
    torch.manual_seed(0)
    network, low = EDSR(scale=2, num_blocks=1, num_features=4).eval(), torch.rand(1, 3, 6, 8)
    images = []
    for transposed in (False, True):
        for dims in ([], [-1], [-2], [-2, -1]):
            turned = (low.transpose(-1, -2) if transposed else low).flip(dims)
            restored = network(turned).flip(dims)
            images.append(restored.transpose(-1, -2) if transposed else restored)
    expected = torch.stack(images).mean(0)
    with torch.no_grad():
        torch.testing.assert_close(SelfEnsemble(network)(low), expected, atol=1e-6, rtol=1e-5)
        assert not torch.allclose(network(low), expected, atol=1e-4)


def test_tiles_of_an_ensemble():
    low = torch.rand(1, 3, 40, 30)
    restored = restore_tiled(SelfEnsemble(Bicubic(scale=2)), low, tile=24, overlap=8)
    torch.testing.assert_close(restored, Bicubic(scale=2)(low), atol=0.02, rtol=0)


def test_samples_are_not_averaged():
    class Draws(GenerativeNetwork):
        def sample(self, low, *, seeds, num_steps=None, tile=None, overlap=32):
            return low

    with pytest.raises(ValueError, match="a mean of samples is no sample"):
        SelfEnsemble(Draws(scale=1, num_channels=3))


def test_interpolated_weights():
    a, b = {"w": torch.tensor([1.0, 3.0]), "n": torch.tensor(7)}, {"w": torch.tensor([2.0, 5.0]), "n": torch.tensor(7)}
    mixed = interpolate([a, b], [0.25, 0.75])
    torch.testing.assert_close(mixed["w"], torch.tensor([1.75, 4.5]))
    assert mixed["n"].item() == 7
    assert torch.equal(interpolate([a, b], [1.0, 0.0])["w"], a["w"])
    with pytest.raises(ValueError, match=r"add up to 0.9, not to 1"):
        interpolate([a, b], [0.5, 0.4])
    with pytest.raises(ValueError, match="1 network and 1 weight"):
        interpolate([a], [1.0])
    with pytest.raises(ValueError, match="different architectures: w differs"):
        interpolate([a, {**b, "w": torch.zeros(3)}], [0.5, 0.5])
    with pytest.raises(ValueError, match="different architectures: v differs"):
        interpolate([a, {**b, "v": torch.zeros(3)}], [0.5, 0.5])
