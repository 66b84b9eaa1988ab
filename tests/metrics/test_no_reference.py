"""NIQE and BRISQUE against the packages that publish them; their values were computed once, with these packages."""

import pytest
import torch
from skimage import data

from sr_lab.images import resize_bicubic, to_tensor
from sr_lab.metrics.iqa import PyIQA
from sr_lab.metrics.no_reference import BRISQUE, NIQE, brisque, niqe
from sr_lab.metrics.protocol import RGBCrop


def image(name: str) -> torch.Tensor:
    pixels = getattr(data, name)()
    return to_tensor(pixels if pixels.ndim == 3 else pixels[..., None])


@pytest.mark.parametrize(
    ("name", "value"), [("camera", 3.095938085215758), ("chelsea", 2.5720785436149978), ("coffee", 4.0584286305275805)]
)
def test_niqe_is_that_of_pyiqa_with_the_authors_photos(name, value):
    """pyiqa 0.1.16's niqe on rounded grey, with BasicSR 1.4.2's niqe_pris_params.npz."""
    assert float(niqe(image(name))) == pytest.approx(value, abs=5e-4)


@pytest.mark.parametrize(
    ("name", "value"),
    [("chelsea", 2.870766629430335), ("coffee", 3.0479264284917633), ("astronaut", 10.794862939073454)],
)
def test_brisque_is_that_of_the_package(name, value):
    """brisque 0.2.0 with libsvm 3.37; it solves for the shapes, here they are looked up in steps of 0.001."""
    assert float(brisque(image(name))) == pytest.approx(value, abs=0.15)


def test_blur_and_noise_are_less_natural_than_a_photo():
    photo = image("chelsea")[..., :288, :384]
    blurred = resize_bicubic(resize_bicubic(photo, scale=0.25), scale=4.0).clamp(0, 1)
    noise = torch.randn(photo.shape, generator=torch.Generator().manual_seed(0))
    noisy = (photo + 0.1 * noise).clamp(0, 1)
    for measure in (niqe, brisque):
        values = [float(measure(shown)) for shown in (photo, blurred, noisy)]
        assert values[0] < min(values[1:])


def test_each_image_has_its_own_value_and_the_original_is_not_looked_at():
    photo = image("coffee")[..., :96, :192]
    pair = torch.cat([photo, photo.flip(-1) ** 2])
    for metric in (NIQE(), BRISQUE()):
        values = metric.per_image(pair, torch.zeros_like(pair))
        assert values.tolist() == [float(metric.per_image(one[None], one[None])) for one in pair]


def test_what_cannot_be_measured_is_refused():
    with pytest.raises(ValueError, match="a 95x96 image is too small"):
        niqe(torch.zeros(1, 3, 96, 95))
    with pytest.raises(ValueError, match="every patch"):
        niqe(torch.zeros(1, 1, 96, 96))
    assert "5 channels" in NIQE().refuses(5)
    assert BRISQUE().refuses(1) is None
    with pytest.raises(ValueError, match="of one tone"):
        brisque(torch.zeros(1, 1, 64, 64))


def test_pyiqa_that_is_not_there_is_named_with_the_remedy():
    with pytest.raises(ValueError, match="pyiqa_musiq: pyiqa"):
        PyIQA(metric="musiq")
    metric = PyIQA(metric="musiq", missing="skip")
    assert "pyiqa" in metric.unavailable(RGBCrop())
