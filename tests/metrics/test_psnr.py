"""PSNR against hand-computed values and scikit-image; the mean is of images, never of the pooled error."""

import math

import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio

from sr_lab.metrics.protocol import RGBCrop, YCrop
from sr_lab.metrics.psnr import PSNR, psnr
from sr_lab.training.means import ImageMean


def pair_with_psnr(decibels: float, *, size: int = 40) -> tuple[torch.Tensor, torch.Tensor]:
    """Two flat float64 images whose PSNR is ``decibels``."""
    target = torch.full((1, 3, size, size), 0.4, dtype=torch.float64)
    return target + 10 ** (-decibels / 20), target


def test_known_value() -> None:
    target = torch.zeros(1, 1, 8, 8)
    assert psnr(target + 0.1, target).item() == pytest.approx(20.0, abs=1e-5)
    assert psnr(255 * (target + 0.1), target, max_value=255.0).item() == pytest.approx(20.0, abs=1e-5)


@pytest.mark.parametrize("border", [0, 3])
def test_equals_scikit_image(border: int) -> None:
    generator = torch.Generator().manual_seed(0)
    restored, target = (torch.rand(2, 3, 33, 47, generator=generator) for _ in range(2))
    values = psnr(restored, target, border=border)
    assert values.shape == (2,)
    for index in range(2):
        inner = (index, slice(None), slice(border, 33 - border), slice(border, 47 - border))
        expected = peak_signal_noise_ratio(
            target[inner].double().numpy(), restored[inner].double().numpy(), data_range=1
        )
        assert values[index].item() == pytest.approx(expected, abs=1e-4)


def test_border_is_ignored() -> None:
    target = torch.zeros(1, 1, 12, 12)
    restored = target + 1
    restored[..., 4:8, 4:8] = 0.1
    assert psnr(restored, target, border=4).item() == pytest.approx(20.0, abs=1e-5)


def test_equal_images_are_infinite() -> None:
    image = torch.rand(1, 3, 9, 9)
    assert psnr(image, image).item() == math.inf


def test_half_precision_is_computed_in_float32() -> None:
    target = torch.zeros(1, 1, 64, 64)
    restored = target + 2**-7
    expected = psnr(restored, target).item()
    value = psnr(restored.bfloat16(), target.bfloat16())
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("restored", "target", "border", "message"),
    [
        (torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 9), 0, "of one size"),
        (torch.zeros(3, 8, 8), torch.zeros(3, 8, 8), 0, r"\(B, C, H, W\)"),
        (torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8), 4, "border=4 leaves nothing of a 8x8 image"),
        (torch.zeros(1, 3, 8, 8, dtype=torch.uint8), torch.zeros(1, 3, 8, 8), 0, "uint8"),
    ],
)
def test_refuses(restored: torch.Tensor, target: torch.Tensor, border: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        psnr(restored, target, border=border)


def test_four_images_of_30_db_have_a_mean_of_30_db() -> None:
    metric = PSNR(protocol=RGBCrop(), scale=2)
    mean = ImageMean(metric)
    target = torch.full((1, 3, 40, 40), 100 / 255)
    restored = target.clone()
    # 64 of the 1296 inner pixels off by 36/255: MSE = 64 / 1296 * (36 / 255)^2, near 30 dB.
    restored[..., 10:18, 10:18] += 36 / 255
    expected = -10 * math.log10(64 / 1296 * (36 / 255) ** 2)
    for _ in range(4):
        mean.update(restored, target)
    assert mean.compute().item() == pytest.approx(expected, abs=1e-4)
    thirty, flat = pair_with_psnr(30.0)
    assert PSNR.mean([psnr(thirty, flat).item()] * 4) == pytest.approx(30.0, abs=1e-9)


def test_mean_is_of_images_and_not_of_the_pooled_error() -> None:
    target = torch.full((1, 3, 40, 40), 0.4)
    good, bad = target + 1 / 255, target + 51 / 255
    metric = PSNR(protocol=RGBCrop(), scale=2)
    mean = ImageMean(metric)
    mean.update(torch.cat([good, bad]), torch.cat([target, target]))
    per_image = (20 * math.log10(255) + 20 * math.log10(5)) / 2
    pooled = -10 * math.log10(((1 / 255) ** 2 + (51 / 255) ** 2) / 2)
    assert mean.compute().item() == pytest.approx(per_image, abs=1e-3)
    assert abs(per_image - pooled) > 10


def test_batches_do_not_change_the_mean() -> None:
    generator = torch.Generator().manual_seed(1)
    restored, target = (torch.rand(5, 3, 24, 24, generator=generator) for _ in range(2))
    whole, split = (ImageMean(PSNR(protocol=YCrop(), scale=2)) for _ in range(2))
    whole.update(restored, target)
    split.update(restored[:1], target[:1])
    split.update(restored[1:], target[1:])
    assert split.compute().item() == pytest.approx(whole.compute().item(), abs=1e-9)


def test_an_exact_image_raises_the_mean_by_a_finite_amount() -> None:
    target = torch.full((1, 3, 40, 40), 100 / 255)
    metric = PSNR(protocol=RGBCrop(), scale=2)
    mean = ImageMean(metric)
    mean.update(target, target)
    mean.update(target + 51 / 255, target)
    assert mean.compute().item() == pytest.approx((100 + 20 * math.log10(5)) / 2, abs=1e-3)
    assert PSNR.mean([math.inf, 20.0]) == 60.0
    assert metric.per_image(target, target).item() == math.inf


def test_reduction_over_processes_counts_images() -> None:
    """Two processes with unequal numbers of images: the mean is over images, not over processes."""
    target = torch.full((1, 3, 40, 40), 100 / 255)
    here, there = (ImageMean(PSNR(protocol=RGBCrop(), scale=2)) for _ in range(2))
    here.update((target + 51 / 255).expand(3, -1, -1, -1), target.expand(3, -1, -1, -1))
    there.update(target + 1 / 255, target)
    states = {id(here.total): there.total, id(here.num_images): there.num_images}
    here.dist_sync_fn = lambda state, group=None: [state, states[id(state)]]
    here.distributed_available_fn = lambda: True
    expected = (3 * 20 * math.log10(5) + 20 * math.log10(255)) / 4
    assert here.compute().item() == pytest.approx(expected, abs=1e-3)


def test_nothing_measured_is_not_a_number() -> None:
    assert math.isnan(PSNR.mean([]))


def test_key_carries_the_protocol() -> None:
    assert PSNR(protocol=YCrop(), scale=2).key == "psnr_y"
    assert PSNR(protocol=RGBCrop(), scale=2).key == "psnr_rgb"
