"""SSIM against scikit-image's Gaussian variant, which uses the same window and the valid region."""

import pytest
import torch
from skimage.metrics import structural_similarity
from torch import Tensor

from sr_lab.metrics.protocol import RGBCrop
from sr_lab.metrics.ssim import SSIM, ssim
from sr_lab.training.means import ImageMean


def reference(restored: Tensor, target: Tensor) -> float:
    """Mean over the channels of scikit-image's SSIM of two (C, H, W) images, in float64."""
    values = [
        structural_similarity(
            one.double().numpy(),
            other.double().numpy(),
            data_range=1.0,
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
        for one, other in zip(restored, target, strict=True)
    ]
    return sum(values) / len(values)


def textured(batch: int, channels: int, height: int, width: int, *, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A smooth picture with noise, and another version of it."""
    generator = torch.Generator().manual_seed(seed)
    rows, columns = torch.linspace(0, 9, height)[:, None], torch.linspace(0, 7, width)
    target = (0.5 + 0.4 * torch.sin(rows) * torch.cos(columns)).expand(batch, channels, -1, -1)
    noise = torch.rand(2, batch, channels, height, width, generator=generator) - 0.5
    return (target + 0.2 * noise[0]).clamp(0, 1), (target + 0.05 * noise[1]).clamp(0, 1)


@pytest.mark.parametrize("size", [(11, 11), (12, 40), (97, 61), (700, 130)])
@pytest.mark.parametrize("channels", [1, 3])
def test_equals_scikit_image(size: tuple[int, int], channels: int) -> None:
    restored, target = textured(2, channels, *size)
    values = ssim(restored, target)
    assert values.dtype == torch.float32
    for index in range(2):
        assert values[index].item() == pytest.approx(reference(restored[index], target[index]), abs=1e-6)


def test_border() -> None:
    restored, target = textured(1, 1, 40, 50)
    expected = reference(restored[0, :, 4:-4, 4:-4], target[0, :, 4:-4, 4:-4])
    assert ssim(restored, target, border=4).item() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("offset", "tolerance"), [(1 / 255, 3e-7), (8 / 255, 1e-6), (0.25, 3e-5)])
@pytest.mark.parametrize("level", [0.0, 16 / 255, 0.3, 0.75])
def test_flat_images_keep_their_accuracy_in_float32(level: float, offset: float, tolerance: float) -> None:
    """In flat regions the variance is a difference of equal numbers, where float32 fails without care."""
    target = torch.full((1, 1, 64, 64), level)
    restored = target + offset
    restored[..., ::7] += 1 / 255
    assert ssim(restored, target).item() == pytest.approx(reference(restored[0], target[0]), abs=tolerance)


def test_equal_images() -> None:
    restored, _ = textured(1, 3, 30, 30)
    assert ssim(restored, restored).item() == pytest.approx(1.0, abs=1e-6)


def test_value_range() -> None:
    restored, target = textured(1, 1, 30, 30)
    assert ssim(255 * restored, 255 * target, max_value=255.0).item() == pytest.approx(
        ssim(restored, target).item(), abs=1e-6
    )


def test_autocast_does_not_reach_it() -> None:
    """Validation under bf16 autocast must not change the number."""
    restored, target = textured(1, 3, 40, 40)
    plain = ssim(restored, target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(ssim(restored, target), plain)


def test_float64_and_gradient() -> None:
    restored, target = (image.double() for image in textured(1, 1, 14, 13))
    restored.requires_grad_(True)
    assert ssim(restored, target).dtype == torch.float64
    assert torch.autograd.gradcheck(lambda image: ssim(image, target), (restored,))


def test_value_with_gradients_equals_the_value_without() -> None:
    """The two take different filters."""
    restored, target = textured(2, 3, 60, 70)
    expected = ssim(restored, target)
    value = ssim(restored.requires_grad_(True), target)
    assert value.requires_grad
    assert torch.allclose(value, expected, atol=1e-7, rtol=0)


def test_inputs_are_left_alone() -> None:
    restored, target = textured(1, 1, 30, 30)
    copies = restored.clone(), target.clone()
    ssim(restored, target)
    assert torch.equal(restored, copies[0])
    assert torch.equal(target, copies[1])


def test_refuses_small_images() -> None:
    with pytest.raises(ValueError, match="border=4 leaves 10x32 pixels, SSIM needs 11x11"):
        ssim(torch.zeros(1, 1, 18, 40), torch.zeros(1, 1, 18, 40), border=4)


def test_face_is_the_mean_per_image() -> None:
    restored, target = textured(3, 3, 40, 40)
    metric = SSIM(protocol=RGBCrop(), scale=3)
    mean = ImageMean(metric)
    mean.update(restored[:2], target[:2])
    mean.update(restored[2:], target[2:])
    rounded = [(image * 255).round()[:, :, 3:-3, 3:-3] / 255 for image in (restored, target)]
    expected = sum(reference(one, other) for one, other in zip(*rounded, strict=True)) / 3
    assert mean.compute().item() == pytest.approx(expected, abs=1e-6)
    assert metric.key == "ssim_rgb"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_gpu_equals_cpu_even_with_tf32() -> None:
    restored, target = textured(2, 3, 320, 480)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        values = ssim(restored.cuda(), target.cuda()).cpu()
    finally:
        torch.set_float32_matmul_precision(before)
    assert torch.allclose(values, ssim(restored, target), atol=1e-6, rtol=0)
