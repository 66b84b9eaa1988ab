"""Blur by one known kernel: its values, its files, and what is no kernel."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from sr_lab.degradations.known_blur import KernelBlur, TurnedGaussian

CORNER = [[0, 0, 3], [0, 1, 0], [0, 0, 0]]


def test_a_kernel_is_correlated_and_sums_to_one() -> None:
    image = torch.arange(20.0).reshape(1, 1, 4, 5) / 20
    blurred = KernelBlur(kernel=CORNER).apply(image, {})
    up_right = torch.nn.functional.pad(image, (1, 1, 1, 1), mode="reflect")[..., :4, 2:]
    torch.testing.assert_close(blurred, (3 * up_right + image) / 4)


def test_the_canvas_of_a_device_makes_the_same_image() -> None:
    image = torch.rand(2, 3, 20, 17, generator=torch.Generator().manual_seed(0))
    for blur in (KernelBlur(kernel=CORNER), TurnedGaussian(sigma_x=2.0, sigma_y=0.7, theta=0.5, size=13)):
        torch.testing.assert_close(blur.apply_canvas(image, {}), blur.apply(image, {}), atol=3e-4, rtol=0)


def test_the_gaussian_lies_along_its_angle() -> None:
    image = torch.zeros(1, 1, 31, 31)
    image[..., 15, 15] = 1
    spot = TurnedGaussian(sigma_x=3.0, sigma_y=1.0, theta=math.pi / 6, size=25).apply(image, {})[0, 0].double()
    offset = torch.arange(31).double() - 15
    y, x = torch.meshgrid(offset, offset, indexing="ij")
    covariance = torch.stack([(spot * x * x).sum(), (spot * y * y).sum(), (spot * x * y).sum()])
    cos, sin = math.cos(math.pi / 6), math.sin(math.pi / 6)
    expected = [9 * cos**2 + sin**2, 9 * sin**2 + cos**2, 8 * cos * sin]
    torch.testing.assert_close(covariance, torch.tensor(expected, dtype=torch.float64), rtol=0.01, atol=0)


def test_a_kernel_may_lie_in_a_file_and_is_part_of_the_settings(tmp_path: Path) -> None:
    np.save(tmp_path / "kernel.npy", np.array(CORNER))
    (tmp_path / "kernel.txt").write_text("0 0 3\n0, 1, 0\n\n0 0 0\n")
    kinds = [KernelBlur(kernel=given) for given in (CORNER, f"{tmp_path}/kernel.npy", f"{tmp_path}/kernel.txt")]
    assert len({kind.fingerprint() for kind in kinds}) == 1
    assert KernelBlur(kernel=[[1.0]]).fingerprint() != kinds[0].fingerprint()


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        ([[1, 2], [3, 4]], r"kernel is 2 x 2: a square of an odd size up to 255"),
        ([[1, 2, 3]], r"kernel is 1 x 3"),
        ([[1, 2, 3], [1]], r"rows of numbers are needed, each as long as the others"),
        ([["a"]], r"rows of numbers are needed"),
        ([[float("nan")]], r"finite numbers that sum to more than 0"),
        ([[1, 0, 0], [0, -1, 0], [0, 0, 0]], r"sum to more than 0"),
    ],
)
def test_what_is_no_kernel_is_named(kernel: list[list[float]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        KernelBlur(kernel=kernel)


def test_other_mistakes_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"kernel=.*none.npy: no such file"):
        KernelBlur(kernel=str(tmp_path / "none.npy"))
    (tmp_path / "kernel.txt").write_text("1 two\n")
    with pytest.raises(ValueError, match=r"kernel=.*kernel.txt: rows of numbers"):
        KernelBlur(kernel=str(tmp_path / "kernel.txt"))
    with pytest.raises(ValueError, match=r"size=4: an odd size"):
        TurnedGaussian(sigma_x=1, sigma_y=1, size=4)
    with pytest.raises(ValueError, match=r"sigma_y=0: must lie"):
        TurnedGaussian(sigma_x=1, sigma_y=0)
