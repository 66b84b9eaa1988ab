"""What is no image is told with what it is, and how it becomes one; the remedy is then done."""

from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from sr_lab.images.forms import as_tensor

LEVELS = np.arange(60, dtype=np.uint8).reshape(4, 5, 3)


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (LEVELS / 255, "an array (4, 5, 3) of float64: give (255 * image).round().astype(np.uint8)"),
        (Image.fromarray(LEVELS), "of type Image: give np.asarray(image)"),
        (LEVELS.astype(int), "an array (4, 5, 3) of int64"),
        (LEVELS[None], "an array (1, 4, 5, 3) of uint8"),
        (torch.from_numpy(LEVELS), "a tensor (4, 5, 3) of torch.uint8"),
        (torch.zeros(5), "a tensor (5,) of torch.float32"),
        ([LEVELS], "of type list"),
    ],
)
def test_what_is_no_image(given: Any, found: str) -> None:
    with pytest.raises(ValueError, match="an image is a path, an array") as refused:
        as_tensor(given)
    said, _, remedy = str(refused.value).partition(": give ")
    assert f"{said}{f': give {remedy}' * bool(remedy)}".endswith(f"this is {found}")
    if remedy:
        image = eval(remedy, {"np": np, "image": given})
        assert torch.equal(as_tensor(image), as_tensor(LEVELS))


def test_the_forms_of_an_image() -> None:
    whole = as_tensor(LEVELS)
    assert torch.equal(as_tensor(LEVELS.astype(np.uint16) * 257), whole)
    assert torch.equal(as_tensor(LEVELS[..., 0]), whole[:, :1])
    assert torch.equal(as_tensor(whole), whole)
    assert torch.equal(as_tensor(whole[0]), whole)
