"""Conversions, luma and crops."""

import numpy as np
import pytest
import torch
from torch import Tensor

from sr_lab.images import crop_border, crop_to_multiple, rgb_to_y, to_array, to_tensor, to_uint8


@pytest.mark.parametrize("bands", [1, 3, 7])
def test_every_8_bit_level_survives_the_round_trip(bands: int) -> None:
    array = np.arange(256, dtype=np.uint8).reshape(16, 16, 1).repeat(bands, axis=2)
    tensor = to_tensor(array)
    assert tensor.shape == (1, bands, 16, 16)
    assert tensor.dtype == torch.float32
    assert tensor.is_contiguous()
    assert (tensor.min().item(), tensor.max().item()) == (0.0, 1.0)
    assert np.array_equal(to_array(tensor), array)
    assert np.array_equal(to_array(tensor[0]), array)


def test_16_bit_levels_are_divided_by_their_own_maximum() -> None:
    array = np.array([[0, 1, 32768, 65535]], dtype=np.uint16)
    np.testing.assert_allclose(to_tensor(array).numpy().ravel(), array.ravel() / 65535, rtol=1e-7)


def test_channels_keep_their_order() -> None:
    array = np.zeros((2, 3, 3), dtype=np.uint8)
    array[0, 2, 1] = 255
    tensor = to_tensor(array)
    assert tensor[0, 1, 0, 2] == 1
    assert tensor.sum() == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_quantising_clamps_and_rounds_halves_up(dtype: torch.dtype) -> None:
    image = torch.tensor([-3.0, -0.001, 0.0, 0.25, 0.5, 1.0, 1.001, 7.0], dtype=dtype)
    assert to_uint8(image).tolist() == [0, 0, 0, 64, 128, 255, 255, 255]  # 0.5 is 127.5, a tie


def test_quantising_leaves_the_input_alone() -> None:
    image = torch.rand(1, 3, 4, 4)
    before = image.clone()
    to_uint8(image)
    assert torch.equal(image, before)


def test_array_of_a_batch_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(2, 3, 4, 4\)"):
        to_array(torch.zeros(2, 3, 4, 4))


def test_array_of_an_image_that_needs_a_gradient() -> None:
    assert to_array(torch.ones(1, 1, 2, 2, requires_grad=True)).max() == 255


@pytest.mark.parametrize(
    "array", [np.zeros((2, 2, 3), np.float32), np.zeros(5, np.uint8), np.zeros((1, 2, 2, 3), np.uint8)]
)
def test_tensor_of_another_array_is_refused(array: np.ndarray) -> None:
    with pytest.raises(ValueError, match="uint8 or uint16"):
        to_tensor(array)


@pytest.mark.parametrize(
    ("colour", "luma"),
    [
        # MATLAB: rgb2ycbcr([...]), first column, times 255
        ((0, 0, 0), 16.0),
        ((1, 1, 1), 235.0),
        ((1, 0, 0), 81.481),
        ((0, 1, 0), 144.553),
        ((0, 0, 1), 40.966),
    ],
)
def test_luma_of_the_primaries(colour: tuple[int, int, int], luma: float) -> None:
    image = torch.tensor(colour, dtype=torch.float64).view(1, 3, 1, 1)
    assert (rgb_to_y(image) * 255).item() == pytest.approx(luma, abs=1e-9)


def test_grey_is_already_a_luma() -> None:
    image = torch.rand(2, 1, 3, 4)
    assert rgb_to_y(image) is image


@pytest.mark.parametrize(
    "image", [torch.zeros(1, 4, 2, 2), torch.zeros(3, 2, 2), torch.zeros(1, 3, 2, 2, dtype=torch.uint8)]
)
def test_luma_of_another_image_is_refused(image: Tensor) -> None:
    with pytest.raises(ValueError, match="rgb_to_y"):
        rgb_to_y(image)


def test_border_is_cut_on_all_four_sides() -> None:
    image = torch.arange(42.0).view(1, 1, 6, 7)
    assert torch.equal(crop_border(image, 2), image[..., 2:4, 2:5])
    assert torch.equal(crop_border(image, 0), image)


@pytest.mark.parametrize("border", [-1, 3, 4, 100])
def test_border_that_leaves_nothing_is_refused(border: int) -> None:
    with pytest.raises(ValueError, match=f"border={border} leaves nothing of an image of 6x7"):
        crop_border(torch.zeros(1, 3, 6, 7), border)


@pytest.mark.parametrize(("scale", "shape"), [(1, (7, 9)), (2, (6, 8)), (3, (6, 9)), (4, (4, 8))])
def test_crop_to_multiple_keeps_the_top_left(scale: int, shape: tuple[int, int]) -> None:
    image = torch.arange(63.0).view(1, 1, 7, 9)
    cropped = crop_to_multiple(image, scale)
    assert cropped.shape[-2:] == shape
    assert torch.equal(cropped, image[..., : shape[0], : shape[1]])


@pytest.mark.parametrize("scale", [0, 8])
def test_scale_larger_than_the_image_is_refused(scale: int) -> None:
    with pytest.raises(ValueError, match=f"scale={scale}"):
        crop_to_multiple(torch.zeros(1, 1, 7, 9), scale)


@pytest.mark.parametrize("shape", [(1, 5, 7), (2, 4, 4), (3, 1, 1), (3, 33, 20), (4, 1, 9), (5, 3, 2)])
def test_an_array_is_upright_and_contiguous_however_its_tensor_lies(shape):
    image = torch.rand(1, *shape) * 1.5 - 0.2
    for lies in (image, image.to(memory_format=torch.channels_last), image.transpose(-1, -2), image[..., :1]):
        array = to_array(lies)
        assert array.shape == (*lies.shape[2:], shape[0])
        assert array.flags.c_contiguous
        assert np.array_equal(array, np.moveaxis(to_uint8(lies)[0].numpy(), 0, -1))
