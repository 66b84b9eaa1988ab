"""Crops show the place where the restoration errs most."""

import numpy as np
import pytest
import torch

from sr_lab.evaluation.pictures import ERROR_RANGE, error_colours, take_pictures


def test_crop_is_where_the_error_is_and_all_parts_show_the_same_place() -> None:
    target = torch.rand(1, 3, 120, 180, generator=torch.Generator().manual_seed(0)) * 0.5
    restored = target.clone()
    restored[..., 70:90, 130:150] += 20 / 255
    low = target[..., ::3, ::3]
    pictures = take_pictures(low=low, bicubic=target, restored=restored, target=target, scale=3, side=48)
    left, top, right, bottom = (round(part * side) for part, side in zip(pictures.box, (180, 120) * 2, strict=True))
    assert left <= 130
    assert right >= 150
    assert top <= 70
    assert bottom >= 90
    assert (right - left, bottom - top) == (48, 48)
    expected = (255 * target[0, :, top:bottom, left:right]).round().byte().permute(1, 2, 0).numpy()
    assert np.array_equal(pictures.target, expected)
    assert np.array_equal(pictures.low, expected[::3, ::3])
    assert pictures.low.shape == (16, 16, 3)
    assert int(pictures.error.max()) == 20
    assert int((pictures.error > 0).sum()) == 400


@pytest.mark.parametrize("size", [(8, 8), (130, 24), (500, 900)])
def test_any_size(size: tuple[int, int]) -> None:
    target = torch.rand(1, 1, *size)
    pictures = take_pictures(low=target[..., ::2, ::2], bicubic=target, restored=target, target=target, scale=2)
    height, width = pictures.target.shape[:2]
    assert (height, width) == (min(size[0], 128), min(size[1], 128))
    assert max(pictures.thumbnail.shape) <= 320
    assert all(0 <= part <= 1 for part in pictures.box)


def test_error_colours_grow_brighter_up_to_the_range() -> None:
    colours = error_colours(np.array([[0, 16, 32, ERROR_RANGE, 255]], dtype=np.uint8))[0].astype(int).sum(axis=1)
    assert list(colours) == sorted(colours)
    assert colours[0] < 10
    assert colours[-1] == colours[-2]
