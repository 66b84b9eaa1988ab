"""Networks on images of any channels and size."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from sr_lab.images import resize_bicubic, rgb_to_y
from sr_lab.inference.restorers import BicubicRestorer, MeanRestorer, NetworkRestorer
from sr_lab.networks.base import GenerativeNetwork
from sr_lab.networks.tiling import restore_tiled


class Scaled(nn.Module):
    """Bicubic enlargement, each output channel multiplied by its own factor; records what it was given."""

    def __init__(self, *factors: float, scale: int = 2) -> None:
        super().__init__()
        self.scale = scale
        self.num_channels = len(factors)
        self.factors = torch.tensor(factors).view(1, -1, 1, 1)
        self.seen: list[Tensor] = []

    def forward(self, low: Tensor) -> Tensor:
        assert not self.training
        self.seen.append(low)
        return resize_bicubic(low, scale=float(self.scale)) * self.factors


def picture(channels: int, size: int = 12) -> Tensor:
    return torch.rand(1, channels, size, size, generator=torch.Generator().manual_seed(channels))


def test_bicubic_is_neither_rounded_nor_clamped() -> None:
    low = picture(3)
    assert torch.equal(BicubicRestorer(scale=3)(low), resize_bicubic(low, scale=3.0))


def test_matching_channels_go_straight_through() -> None:
    low, network = picture(3), Scaled(1.0, 0.5, 0.25)
    assert torch.equal(NetworkRestorer(network)(low), network(low))


def test_grey_through_an_rgb_network_is_the_mean_of_its_outputs() -> None:
    low, network = picture(1), Scaled(1.0, 0.5, 0.25)
    restored = NetworkRestorer(network)(low)
    assert torch.equal(network.seen[0], low.expand(-1, 3, -1, -1))
    assert restored.shape == (1, 1, 24, 24)
    assert torch.allclose(restored, resize_bicubic(low, scale=2.0) * 1.75 / 3, atol=1e-6)


def test_colour_through_a_luma_network_keeps_bicubic_colour_differences() -> None:
    low, network = picture(3), Scaled(1.1)
    restored = NetworkRestorer(network)(low)
    enlarged = resize_bicubic(low, scale=2.0)
    assert torch.allclose(network.seen[0], rgb_to_y(low))
    assert torch.allclose(rgb_to_y(restored), 1.1 * resize_bicubic(rgb_to_y(low), scale=2.0), atol=1e-6)
    blue, red = torch.tensor([-37.797, -74.203, 112.0]), torch.tensor([112.0, -93.786, -18.214])
    for weights in (blue, red):  # Cb and Cr of BT.601 as MATLAB's rgb2ycbcr weighs them
        difference = (weights.view(1, 3, 1, 1) / 255 * (restored - enlarged)).sum(dim=1)
        assert float(difference.abs().max()) < 1e-6


def test_other_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="restores 3 channels, the image has 4"):
        NetworkRestorer(Scaled(1.0, 1.0, 1.0))(picture(4))


def test_large_images_are_restored_in_tiles() -> None:
    low, network = picture(3, size=40), Scaled(1.0, 1.0, 1.0)
    restored = NetworkRestorer(network, tile=24, overlap=8)(low)
    assert len(network.seen) == 4
    assert all(max(piece.shape[-2:]) <= 24 for piece in network.seen)
    assert torch.allclose(restored, resize_bicubic(low, scale=2.0), atol=0.02)


def test_a_network_must_state_its_scale() -> None:
    with pytest.raises(ValueError, match="Identity does not say its scale"):
        NetworkRestorer(nn.Identity())


class Drawn(GenerativeNetwork):
    """The nearest pixel plus a number that is the seed's."""

    def __init__(self) -> None:
        super().__init__(scale=2, num_channels=3)
        self.asked: list[tuple[int | None, int | None, int]] = []

    def sample(
        self,
        low: Tensor,
        *,
        seeds: Sequence[int],
        num_steps: int | None = None,
        tile: int | None = None,
        overlap: int = 32,
    ) -> Tensor:
        self.asked.append((num_steps, tile, overlap))
        offsets = torch.tensor([float(seed) for seed in seeds]).view(-1, 1, 1, 1)
        return low.repeat_interleave(2, -1).repeat_interleave(2, -2) + offsets


def test_a_generative_network_draws_by_seed_and_tiles_by_itself() -> None:
    network, low = Drawn(), picture(3)
    restorer = NetworkRestorer(network, tile=7, overlap=3, seed=4, num_steps=5)
    assert restorer.generative
    assert torch.equal(restorer(low), network(low) + 4)
    assert torch.equal(restorer.sample(low, seed=9), network(low) + 9)
    assert network.asked[0] == (5, 7, 3)
    mean, variance = restorer.moments(low, num=3)
    assert torch.allclose(mean, network(low) + 5)
    assert torch.allclose(variance, torch.ones(()), atol=1e-5)
    assert torch.equal(restore_tiled(network, low, tile=6, overlap=2), network(low)), "the plain network is seed 0"


def test_grey_samples_are_grey() -> None:
    mean, variance = NetworkRestorer(Drawn(), seed=1).moments(picture(1), num=2)
    assert mean.shape == variance.shape == (1, 1, 24, 24)
    assert torch.allclose(variance, torch.full((), 0.5), atol=1e-6)


def test_only_a_generative_network_takes_a_number_of_steps() -> None:
    assert not NetworkRestorer(Scaled(1.0, 1.0, 1.0)).generative
    with pytest.raises(ValueError, match="num_steps=5: Scaled draws no samples"):
        NetworkRestorer(Scaled(1.0, 1.0, 1.0), num_steps=5)


def test_mean_of_several_restorers() -> None:
    low = picture(3)
    parts = [NetworkRestorer(Scaled(*[factor] * 3)) for factor in (1.0, 0.5, 0.0)]
    restored = MeanRestorer([BicubicRestorer(scale=2), *parts[1:]])(low)
    assert torch.allclose(restored, resize_bicubic(low, scale=2.0) / 2, atol=1e-6)
