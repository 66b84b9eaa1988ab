import math

import numpy as np
import pytest
import torch
from scipy.ndimage import correlate
from torch import Tensor

from sr_lab.degradations.base import keyed_generator
from sr_lab.degradations.blur import KINDS, Blur, filter_array
from sr_lab.degradations.operation import nest


@pytest.mark.parametrize("size", [1, 5, 11, 13, 21, 27])
@pytest.mark.parametrize("smooth", [True, False])
def test_the_filter_is_correlation_with_reflected_borders(photos: Tensor, size: int, smooth: bool) -> None:
    image = photos[0].permute(1, 2, 0).contiguous().numpy()
    y, x = np.mgrid[:size, :size] - size // 2
    kernel = np.exp(-(x**2 + 0.3 * y**2 + 0.2 * x * y) / (size + 1))
    if not smooth:
        kernel = kernel * np.random.default_rng(0).random((size, size))
    kernel = (kernel / kernel.sum()).astype(np.float32)
    expected = np.stack([correlate(image[..., c], kernel, mode="mirror") for c in range(3)], -1)
    np.testing.assert_allclose(filter_array(image, kernel), expected, atol=2.5e-4)


def test_an_isotropic_gaussian_is_exact(photos: Tensor) -> None:
    image = photos[0].permute(1, 2, 0).contiguous().numpy()
    window = np.exp(-(np.arange(-10, 11) ** 2) / 8.0)
    kernel = (np.outer(window, window) / window.sum() ** 2).astype(np.float32)
    expected = np.stack([correlate(image[..., c].astype(float), kernel, mode="mirror") for c in range(3)], -1)
    np.testing.assert_allclose(filter_array(image, kernel), expected, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_canvas_equals_arrays(photos: Tensor, kind: str) -> None:
    op = Blur(kinds={kind: 1.0}, sizes=[7, 21])
    params = op.draw(len(photos), keyed_generator(3))
    by_array = op.apply(photos, params)
    by_canvas = op.apply_canvas(photos, op.checked(params, len(photos)))
    assert (by_array - photos).abs().max() > 0.02
    torch.testing.assert_close(by_canvas, by_array, atol=3e-4, rtol=0)


def test_draws_follow_the_configuration() -> None:
    op = Blur(
        kinds={"isotropic": 1, "anisotropic": 2, "generalised_anisotropic": 1},
        sizes=[7, 21],
        sigma=[0.5, 2],
        eigenvalue=[1, 9],
        beta_generalised=[0.5, 4],
    )
    drawn = {name: values.numpy() for name, values in op.draw(20_000, keyed_generator(1)).items()}
    counts = np.bincount(drawn["kind"], minlength=9) / 20_000
    np.testing.assert_allclose(counts[[0, 1, 3]], [0.25, 0.5, 0.25], atol=0.015)
    sizes, shares = np.unique(drawn["size"], return_counts=True)
    assert sizes.tolist() == [7, 9, 11, 13, 15, 17, 19, 21]
    np.testing.assert_allclose(shares / 20_000, 1 / 8, atol=0.01)
    isotropic = drawn["kind"] == 0
    assert (drawn["sigma_x"][isotropic] == drawn["sigma_y"][isotropic]).all()
    assert drawn["sigma_x"][isotropic].min() >= 0.5
    assert drawn["sigma_x"][isotropic].max() <= 2
    assert (drawn["sigma_y"][~isotropic] ** 2).mean() == pytest.approx(5, abs=0.1)
    assert (drawn["beta"] < 1).mean() == pytest.approx(0.5, abs=0.015)
    assert abs(drawn["theta"]).max() <= math.pi


def test_unit_scales_lengths() -> None:
    one, four = (Blur(kinds={"defocus": 1}, radius=2.0, sigma=1.0, unit=unit) for unit in (1, 4))
    assert four.draw(1, keyed_generator(0))["radius"].item() == 8
    assert four.draw(1, keyed_generator(0))["sigma_x"].item() == 4 * one.draw(1, keyed_generator(0))["sigma_x"].item()


def test_zero_sigma_leaves_the_image(photos: Tensor) -> None:
    op = Blur(kinds={"isotropic": 1}, sigma=0.0, sizes=7)
    torch.testing.assert_close(op.apply(photos, op.draw(6, keyed_generator(0))), photos)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kinds": {"gauss": 1}}, "kinds.gauss is not known"),
        ({"kinds": {"sinc": -1}}, "kinds.sinc=-1"),
        ({"kinds": {"sinc": 0}}, "kinds is empty"),
        ({"kinds": {"sinc": 1}, "sizes": [6, 21]}, "odd size"),
        ({"kinds": {"sinc": 1}, "sigma": [3, 1]}, "must ascend"),
        ({"kinds": {"sinc": 1}, "cutoff": 4}, "cutoff=4"),
        ({"kinds": {"sinc": 1}, "probability": 1.2}, "probability=1.2"),
        ({"kinds": {"sinc": 1}, "sigma": "2"}, "give a number"),
    ],
)
def test_bad_arguments_are_refused_when_built(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Blur(**arguments)  # type: ignore[arg-type]


def test_bad_parameters_are_refused_when_applied(photos: Tensor) -> None:
    op = Blur(kinds={"isotropic": 1})
    params = op.draw(6, keyed_generator(0))
    with pytest.raises(ValueError, match="parameter size=8: a kernel needs an odd size"):
        op.apply(photos, params | {"size": torch.full((6,), 8)})
    with pytest.raises(ValueError, match="parameter sigma_x=-1"):
        op.apply(photos, params | {"sigma_x": torch.full((6,), -1.0, dtype=torch.float64)})
    with pytest.raises(ValueError, match="parameter sigma_x=nan"):
        op.apply(photos, params | {"sigma_x": torch.full((6,), math.nan, dtype=torch.float64)})
    with pytest.raises(ValueError, match="parameter theta is missing"):
        op.apply(photos, {name: values for name, values in params.items() if name != "theta"})
    with pytest.raises(ValueError, match="of 6 samples, the batch has 5"):
        op.apply(photos[:5], params)
    assert nest(params).keys() == params.keys()
