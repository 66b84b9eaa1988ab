import pytest
import torch

from sr_lab.networks.swinir import SwinIR, from_windows, shift_mask, to_windows


def test_windows_are_taken_row_by_row_and_put_back():
    features = torch.arange(2 * 4 * 6).view(2, 4, 6, 1)
    windows = to_windows(features, 2)
    assert windows.shape == (2, 6, 4, 1)
    assert windows[0, 1, :, 0].tolist() == [2, 3, 8, 9]
    assert torch.equal(from_windows(windows, 2, 4, 6), features)


def test_shift_mask_separates_pixels_that_are_no_neighbours():
    mask = shift_mask(8, 8, 4, 2, device=torch.device("cpu"))
    assert mask.shape == (4, 16, 16)
    assert mask[0].all(), "the first window holds neighbours only"
    assert mask[1, 0].view(4, 4).tolist() == [[True, True, False, False]] * 4
    assert mask[3, 0].sum() == 4


def test_what_lies_behind_the_shift_does_not_leak():
    """The right edge of an image must not see its left edge through the rolled window."""
    torch.manual_seed(0)
    network = SwinIR(scale=1, num_features=8, num_groups=1, num_layers=2, num_heads=2, window=4).eval()
    low = torch.rand(1, 3, 32, 32)
    other = low.clone()
    other[..., 0] = 0
    with torch.no_grad():
        difference = (network(low) - network(other)).abs().amax(dim=(0, 1, 2))
    assert difference[0] > 0
    assert difference[-8:].max() == 0


def test_features_must_divide_into_heads():
    with pytest.raises(ValueError, match="num_features=10 is not a multiple of num_heads=4"):
        SwinIR(scale=2, num_features=10, num_heads=4)


def test_equals_the_authors_network():
    """Spandrel carries the authors' implementation: the same weights must give the same image."""
    pytest.importorskip("spandrel")
    from spandrel.architectures.SwinIR import SwinIR as Authors

    from sr_lab.networks.keys import convert_state_dict

    torch.manual_seed(0)
    theirs = Authors(
        upscale=3, in_chans=3, img_size=16, window_size=4, img_range=1.0, depths=[2, 2], embed_dim=12,
        num_heads=[3, 3], mlp_ratio=2, upsampler="pixelshuffledirect", resi_connection="1conv",
    ).eval()  # fmt: skip
    ours = SwinIR(scale=3, num_features=12, num_groups=2, num_layers=2, num_heads=3, window=4).eval()
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    ours.load_state_dict(convert_state_dict({"params": theirs.state_dict()}, ours))
    low = torch.rand(2, 3, 14, 9)
    with torch.no_grad():
        expected, restored = theirs(low), ours(low)
    torch.testing.assert_close(restored, expected[..., : 14 * 3, : 9 * 3], atol=2e-5, rtol=1e-4)
