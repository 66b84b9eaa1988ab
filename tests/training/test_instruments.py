"""Instruments on images of known faults, and the watch over them."""

import pytest
import torch

from sr_lab.networks.bicubic import Bicubic
from sr_lab.networks.compact import Compact
from sr_lab.networks.edsr import EDSR
from sr_lab.training.collapse import REMEDIES, Collapsed, CollapseWatch, Limit
from sr_lab.training.instruments import (
    checkerboard,
    colour_bias,
    last_convolution,
    lattice_amplitude,
    top_octave_ratio,
)


@pytest.fixture
def high() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(2, 3, 64, 48, generator=generator)


def board(height: int, width: int) -> torch.Tensor:
    return 1.0 - 2 * ((torch.arange(height)[:, None] + torch.arange(width)) % 2)


def test_a_shift_of_colour_is_the_bias_and_texture_is_not(high):
    assert colour_bias(high + 0.07, high).item() == pytest.approx(0.07, abs=1e-6)
    one_channel = high.clone()
    one_channel[:, 0] -= 0.3
    assert colour_bias(one_channel, high).item() == pytest.approx(0.1, abs=1e-6)
    noise = 0.1 * torch.randn(high.shape, generator=torch.Generator().manual_seed(1))
    assert colour_bias(high + noise, high).item() < 0.01


@pytest.mark.parametrize(("cycles", "counts"), [(20, True), (28, True), (10, False)])
def test_only_frequencies_of_the_top_octave_count(cycles, counts):
    """``cycles`` of 64 pixels: the top octave begins at 16."""
    wave = torch.cos(2 * torch.pi * cycles * torch.arange(64) / 64).expand(1, 1, 64, 64)
    flat = torch.randn(1, 1, 64, 64, generator=torch.Generator().manual_seed(0)) * 0.01
    ratio = top_octave_ratio(flat + wave, flat).item()
    assert (ratio > 100) == counts
    assert top_octave_ratio(3 * flat, flat).item() == pytest.approx(9, rel=1e-4)
    assert top_octave_ratio(flat, flat).item() == 1


@pytest.mark.parametrize("side", [64, 41, 4])
def test_amplitude_of_a_checkerboard(side):
    pattern = 0.5 + 0.05 * board(side, side).expand(2, 3, side, side)
    assert lattice_amplitude(pattern, period=2).item() == pytest.approx(0.05, abs=1e-6)
    assert checkerboard(pattern, torch.full_like(pattern, 0.5), scale=1).item() == pytest.approx(0.05, abs=1e-6)
    stripes = 0.05 * board(side, 2)[:, :1].expand(1, 1, side, side)
    assert lattice_amplitude(stripes, period=2).item() == pytest.approx(0.05, abs=1e-6)


@pytest.mark.parametrize("period", [2, 3, 4, 8])
def test_an_upsamplers_grid_counts_at_its_own_period(period):
    """A grid of x4 is no checkerboard of single pixels: an instrument for these did not see it."""
    cell = torch.randn(period, period, generator=torch.Generator().manual_seed(0))
    cell -= cell.mean()
    grid = 0.02 * cell.repeat(12, 15).expand(2, 3, -1, -1)
    scene = torch.linspace(0, 1, 15 * period).expand_as(grid)
    found = checkerboard(scene + grid, scene, scale=period).item()
    assert found == pytest.approx(0.02 * cell.square().mean().sqrt().item(), rel=1e-4)
    assert lattice_amplitude(grid, period=period + 1).item() < found / 4


def test_noise_ramps_and_texture_are_no_checkerboard():
    noise = 0.05 * torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    ramp = torch.linspace(0, 1, 64).expand(1, 1, 64, 64)
    waves = torch.sin(torch.arange(256) * 1.3).expand(1, 1, 64, 256)
    for period in (2, 3, 4):
        assert lattice_amplitude(noise, period=period).item() < 0.005
        assert lattice_amplitude(ramp, period=period).item() < 1e-6
        assert lattice_amplitude(waves, period=period).item() < 0.05
    with pytest.raises(ValueError, match="image of 64x7: a period of 4 asks for 8 pixels"):
        lattice_amplitude(torch.zeros(1, 3, 64, 7), period=4)


def test_last_convolution():
    network = EDSR(scale=2, num_blocks=1, num_features=8)
    assert last_convolution(network) is network.tail.weight
    compact = Compact(scale=2, num_features=8, num_convs=1)
    assert last_convolution(compact) is compact.upsampler[0].weight
    with pytest.raises(ValueError, match="Bicubic has no convolution that is trained"):
        last_convolution(Bicubic(scale=2))


def test_watch_counts_looks_in_a_row_and_knows_nan():
    watch = CollapseWatch(limits={"top_octave": Limit(least=0.5, most=2.0)}, patience=2)
    for step, value in enumerate([3.0, 1.0, 0.1, 2.0, float("nan")]):
        watch.look(step, {"top_octave": value})
    kept = CollapseWatch(limits={"top_octave": Limit(most=2.0)}, patience=2)
    kept.load_state_dict(watch.state_dict())
    with pytest.raises(Collapsed, match=r"step 9: .*top_octave=5 .*start from better weights"):
        kept.look(9, {"top_octave": 5.0})
    assert str(Limit(least=0.5, most=2.0)) == "least 0.5, most 2"
    for name in REMEDIES:
        with pytest.raises(Collapsed, match=name):
            CollapseWatch(limits={name: Limit(most=1.0)}, patience=1).look(0, {name: 2.0})
