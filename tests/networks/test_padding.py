import pytest
import torch
from torch.nn import functional

from sr_lab.networks.padding import pad_to_multiple


@pytest.mark.parametrize(("height", "width", "multiple"), [(7, 9, 4), (5, 5, 8), (16, 3, 2), (8, 16, 8)])
def test_equals_reflect_padding_where_that_is_defined(height, width, multiple):
    image = torch.rand(2, 3, height, width)
    right, bottom = -width % multiple, -height % multiple
    assert torch.equal(pad_to_multiple(image, multiple), functional.pad(image, (0, right, 0, bottom), mode="reflect"))


def test_small_images_are_reflected_again_and_again():
    row = torch.tensor([1.0, 2.0, 3.0]).view(1, 1, 1, 3)
    padded = pad_to_multiple(row, 8)
    assert padded.shape == (1, 1, 8, 8)
    assert torch.equal(padded[0, 0, 5], torch.tensor([1.0, 2.0, 3.0, 2.0, 1.0, 2.0, 3.0, 2.0]))


@pytest.mark.parametrize(("size", "expected"), [(1, 16), (16, 16), (17, 20)])
def test_minimum(size, expected):
    assert pad_to_multiple(torch.rand(1, 1, size, size), 4, minimum=15).shape[-2:] == (expected, expected)
