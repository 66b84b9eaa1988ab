import pytest
import torch
from torch import nn

from sr_lab.networks.edsr import EDSR
from sr_lab.networks.tiling import apply_tiled, restore_tiled, tile_starts


class Nearest(nn.Module):
    scale = 3

    def __init__(self):
        super().__init__()
        self.largest = 0

    def forward(self, low):
        self.largest = max(self.largest, low.shape[-1] * low.shape[-2])
        return low.repeat_interleave(3, -1).repeat_interleave(3, -2)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (17, 40), (33, 16), (50, 51)])
def test_pointwise_network_gives_the_untiled_result(height, width):
    low, network = torch.rand(2, 3, height, width), Nearest()
    torch.testing.assert_close(restore_tiled(network, low, tile=16, overlap=4), network(low))


def test_no_tile_exceeds_the_limit():
    network = Nearest()
    restore_tiled(network, torch.rand(1, 1, 100, 70), tile=16, overlap=4)
    assert network.largest == 16 * 16


def test_seams_do_not_show_with_a_real_network():
    torch.manual_seed(0)
    network = EDSR(scale=2, num_blocks=1, num_features=8).eval()
    low = torch.rand(1, 3, 60, 47)
    with torch.no_grad():
        whole, tiled = network(low), restore_tiled(network, low, tile=24, overlap=10)
    difference = (whole - tiled).abs()
    assert difference.max() < 0.1 * (whole - whole.mean()).abs().max()
    assert difference[..., 4:12, 4:12].max() < 1e-5, "a place that one tile covers alone must be exact"


@pytest.mark.parametrize("length", range(1, 60))
def test_tiles_cover_everything(length):
    starts = tile_starts(length, 16, 4)
    covered = {position for start in starts for position in range(start, min(start + 16, length))}
    assert covered == set(range(length))
    assert len(set(starts)) == len(starts)


@pytest.mark.parametrize("length", range(1, 60))
def test_tiles_of_a_strided_network_start_at_its_grid(length):
    starts = tile_starts(length, 16, 4, 8)
    covered = {position for start in starts for position in range(start, min(start + 16, length))}
    assert covered == set(range(length))
    assert all(start % 8 == 0 for start in starts)


def test_images_beside_the_low_one_are_cut_along():
    low, beside = torch.rand(2, 3, 21, 34), torch.rand(2, 1, 63, 102)
    nearest = Nearest()
    tiled = apply_tiled(lambda piece, part: nearest(piece) * part, low, beside, scale=3, tile=16, overlap=4)
    torch.testing.assert_close(tiled, nearest(low) * beside)


def test_a_tile_must_hold_a_step_of_the_grid():
    with pytest.raises(ValueError, match="stride of 16 pixels"):
        apply_tiled(Nearest(), torch.rand(1, 1, 40, 40), scale=3, tile=16, overlap=4, stride=16)


def test_overlap_must_leave_progress():
    with pytest.raises(ValueError, match=r"overlap=8 .* tile=16"):
        restore_tiled(Nearest(), torch.rand(1, 1, 20, 20), tile=16, overlap=8)
