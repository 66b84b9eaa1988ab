"""The named protocols, by what they do to known pixels."""

import pytest
import torch
from torch import Tensor

from sr_lab.images import resize_bicubic, to_uint8
from sr_lab.metrics.protocol import RGBCrop, YClassic, YCrop


def no_degradation(image: Tensor) -> Tensor:
    raise AssertionError("the low image was given")


def luma(red: float, green: float, blue: float) -> float:
    """Luma of 8-bit levels on the 0..255 scale, as the reference states it."""
    return 16 + (65.481 * red + 128.553 * green + 24.966 * blue) / 255


def flat(*levels: float, size: int = 12) -> Tensor:
    return torch.tensor(levels).view(1, -1, 1, 1).expand(-1, -1, size, size) / 255


def test_y_crop_rounds_rgb_and_not_luma() -> None:
    restored, target = YCrop().compare(flat(10.4, 99.6, 200.4), flat(12, 100, 201), scale=3)
    assert restored.shape == target.shape == (1, 1, 6, 6)
    assert torch.allclose(255 * restored, torch.tensor(luma(10, 100, 200)), atol=1e-4)
    assert torch.allclose(255 * target, torch.tensor(luma(12, 100, 201)), atol=1e-4)
    assert abs(luma(10, 100, 200) - round(luma(10, 100, 200))) > 0.05


def test_rounding_is_that_of_the_written_file() -> None:
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0)) * 1.4 - 0.2
    image[..., :8, :8] = torch.arange(64).view(8, 8) / 510  # halves between two levels
    copy = image.clone()
    rounded, _ = RGBCrop().compare(image, image, scale=0)
    assert torch.equal((255 * rounded).round().to(torch.uint8), to_uint8(image))
    assert torch.equal(image, copy), "the restored image itself is left alone"


def test_y_crop_clamps_what_leaves_the_range() -> None:
    restored, target = YCrop().compare(flat(-20, 300, 255), flat(0, 255, 255), scale=2)
    assert torch.equal(restored, target)


@pytest.mark.parametrize("protocol", [YCrop(), YClassic(), RGBCrop()])
def test_grey_is_scored_directly(protocol: YCrop | YClassic | RGBCrop) -> None:
    restored, target = protocol.compare(flat(10.4), flat(250), scale=2)
    assert torch.equal(restored, torch.full((1, 1, 8, 8), 10 / 255))
    assert torch.equal(target, torch.full((1, 1, 8, 8), 250 / 255))


def test_rgb_crop_scores_all_channels() -> None:
    restored, target = RGBCrop().compare(flat(10.4, 99.6, 200.4, 7), flat(1, 2, 3, 4), scale=1)
    assert torch.allclose(255 * restored[0, :, 0, 0], torch.tensor([10.0, 100, 200, 7]))
    assert torch.allclose(255 * target[0, :, 0, 0], torch.tensor([1.0, 2, 3, 4]))
    assert restored.shape[-2:] == (10, 10)


def test_y_classic_makes_float_luma_from_rounded_luma() -> None:
    high = torch.rand(1, 3, 26, 33, generator=torch.Generator().manual_seed(0)).mul(255).round() / 255
    low, target = YClassic().inputs(high, None, scale=4, degrade=no_degradation)
    red, green, blue = (255 * high[:, channel, :24, :32].double() for channel in range(3))
    expected = torch.round(16 + (65.481 * red + 128.553 * green + 24.966 * blue) / 255)
    assert torch.equal((255 * target[:, 0]).double().round(), expected)
    assert low.shape == (1, 1, 6, 8)
    assert torch.equal(low, resize_bicubic(target, scale=1 / 4, border="symmetric"))
    assert float((255 * low - (255 * low).round()).abs().max()) > 0.1, "the low luma is kept in floating point"


def test_y_classic_refuses_colour_restorations() -> None:
    with pytest.raises(ValueError, match="y_classic compares luma"):
        YClassic().compare(flat(1, 2, 3), flat(1, 2, 3), scale=2)


@pytest.mark.parametrize("protocol", [YCrop(), RGBCrop()])
def test_inputs_crop_the_original_to_a_multiple_at_right_and_bottom(protocol: YCrop | RGBCrop) -> None:
    high, low = torch.rand(1, 3, 26, 33), torch.rand(1, 3, 6, 8)
    given, target = protocol.inputs(high, low, scale=4, degrade=no_degradation)
    assert given is low
    assert torch.equal(target, high[..., :24, :32])


def test_inputs_degrade_the_cropped_original_where_no_low_image_is_given() -> None:
    high = torch.rand(1, 3, 26, 33)
    low, target = YCrop().inputs(high, None, scale=4, degrade=lambda image: image[..., ::4, ::4])
    assert torch.equal(low, target[..., ::4, ::4])


def test_inputs_refuse_sizes_that_do_not_belong_together() -> None:
    with pytest.raises(ValueError, match=r"low image is 8x7, expected 8x6.*33x26 divided by scale=4"):
        YCrop().inputs(torch.rand(1, 3, 26, 33), torch.rand(1, 3, 7, 8), scale=4, degrade=no_degradation)
    with pytest.raises(ValueError, match="low image has 1 channel, the original 3"):
        YCrop().inputs(torch.rand(1, 3, 24, 32), torch.rand(1, 1, 6, 8), scale=4, degrade=no_degradation)


def test_compare_refuses() -> None:
    with pytest.raises(ValueError, match="must have one shape"):
        YCrop().compare(flat(1, 2, 3, size=12), flat(1, 2, 3, size=13), scale=2)
    with pytest.raises(ValueError, match="rgb_crop"):
        YCrop().compare(flat(1, 2, 3, 4), flat(1, 2, 3, 4), scale=2)
    with pytest.raises(ValueError, match="border=4 leaves nothing of a 8x8 image"):
        YCrop().compare(flat(1, 2, 3, size=8), flat(1, 2, 3, size=8), scale=4)


def test_names_are_those_of_the_configuration() -> None:
    assert [kind.name for kind in (YCrop, YClassic, RGBCrop)] == ["y_crop", "y_classic", "rgb_crop"]
    assert [kind.suffix for kind in (YCrop, YClassic, RGBCrop)] == ["y", "y", "rgb"]
