"""Tiles without seams: cores cover the image once, windows have one shape, and a halo is what a network sees."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sr_lab.images import to_levels
from sr_lab.inference.halo import Halo, measure_halo
from sr_lab.inference.restorers import BicubicRestorer, NetworkRestorer, restore_by
from sr_lab.inference.tiles import plan_tiles


@pytest.mark.parametrize("stride", [1, 4])
@pytest.mark.parametrize("height", [1, 5, 15, 16, 17, 31, 64, 77])
def test_cores_cover_the_image_once_with_their_halo(height, stride):
    width, halo = 50, 3
    plan = plan_tiles(height, width, tile=16, halo=halo, stride=stride)
    covered = np.zeros((height, width), int)
    for tile in plan.tiles:
        covered[plan.place(tile)] += 1
        assert (tile.top % stride, tile.left % stride) == (0, 0)
        for start, size, (first, last), length in (
            (tile.top, plan.shape[0], tile.rows, height),
            (tile.left, plan.shape[1], tile.columns, width),
        ):
            assert first - start >= halo or start == first == 0
            assert start + size - last >= halo or last == length
            assert start + size <= -(-length // stride) * stride, "inside the image, but for its last stride"
    assert (covered == 1).all()
    assert [tile.rows for row in plan.rows() for tile in row] == [tile.rows for tile in plan.tiles]


def test_every_window_has_one_shape_and_a_small_image_is_mirrored():
    image = np.arange(5 * 40).reshape(5, 40)
    plan = plan_tiles(5, 40, tile=16, halo=2, fixed=True)
    windows = [plan.cut(image, tile) for tile in plan.tiles]
    assert {window.shape for window in windows} == {(16, 16)}
    assert windows[0][:, 0].tolist() == [0, 40, 80, 120, 160, 120, 80, 40, 0, 40, 80, 120, 160, 120, 80, 40]
    same = [plan.cut_tensor(torch.from_numpy(image), tile).numpy() for tile in plan.tiles]
    assert all(np.array_equal(one, other) for one, other in zip(windows, same, strict=True))
    assert plan_tiles(5, 40, tile=16, halo=2).shape == (5, 16)
    assert plan.cut(image, plan.tiles[0]).base is None
    assert plan_tiles(1, 1, tile=4, halo=0, fixed=True).cut(np.ones((1, 1)), plan.tiles[0]).shape == (4, 4)


@pytest.mark.parametrize(("tile", "halo", "stride"), [(16, 8, 1), (8, 0, 16), (20, 5, 12), (0, 0, 1)])
def test_a_tile_without_core_is_refused(tile, halo, stride):
    with pytest.raises(ValueError, match=f"tile={tile}"):
        plan_tiles(100, 100, tile=tile, halo=halo, stride=stride)


class Box(nn.Module):
    """Sees exactly ``radius`` pixels to each side."""

    scale, num_channels = 1, 3

    def __init__(self, radius: int) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, 3, 2 * radius + 1, padding=radius)

    def forward(self, low: Tensor) -> Tensor:
        return self.layer(low)


@pytest.mark.parametrize("radius", [0, 1, 5, 12])
def test_the_halo_of_a_convolution_is_its_radius(radius):
    torch.manual_seed(radius)
    halo = measure_halo(Box(radius), scale=1, num_channels=3, limit=32)
    assert (halo.pixels, halo.exact) == (radius, True)
    assert halo.error < 2e-6


class Everywhere(nn.Module):
    """Adds a part of the mean of the whole image: no halo suffices."""

    scale, num_channels = 2, 3

    def __init__(self, part: float) -> None:
        super().__init__()
        self.part = part

    def forward(self, low: Tensor) -> Tensor:
        high = low.repeat_interleave(2, -1).repeat_interleave(2, -2)
        return high + self.part * low.mean(dim=(-2, -1), keepdim=True)


def test_a_network_that_sees_everything_gets_the_least_halo_of_a_stated_tolerance():
    assert measure_halo(Everywhere(1.0), scale=2, num_channels=3, limit=32).exact is False
    assert measure_halo(Everywhere(1.0), scale=2, num_channels=3, limit=32).pixels == 32
    little = measure_halo(Everywhere(0.004), scale=2, num_channels=3, limit=32)
    assert isinstance(little, Halo)
    assert 0 < little.error <= 0.25 / 255
    assert not little.exact


@pytest.mark.parametrize("channels", [1, 3])
def test_bicubic_by_tiles_is_bicubic(channels):
    low = torch.rand(1, channels, 40, 53, generator=torch.Generator().manual_seed(0))
    restorer = BicubicRestorer(scale=3)
    tiled = restore_by(restorer, low, restorer.plan(40, 53, tile=16))
    assert np.array_equal(to_levels(tiled, np.uint8), to_levels(restorer(low), np.uint8))


def test_a_restorer_measures_its_halo_where_it_needs_one():
    network = Box(5)
    restorer = NetworkRestorer(network, tile=20)
    low = torch.rand(1, 3, 50, 31)
    assert restorer.plan(20, 20).halo == 0
    assert restorer._halo is None
    with torch.no_grad():
        assert torch.allclose(restorer(low), network(low), atol=1e-6)
    assert restorer.plan(50, 31).halo == restorer.halo.pixels == 5
    assert NetworkRestorer(network, tile=20, overlap=8).plan(50, 31).halo == 4
