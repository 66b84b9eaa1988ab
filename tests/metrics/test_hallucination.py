"""Invented detail, on images whose invented part is known."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from sr_lab.images import resize_bicubic
from sr_lab.metrics.base import Context
from sr_lab.metrics.hallucination import Hallucination, hallucination, invented_detail, unseen_detail

SCALES = [2, 3, 4]


def textured(scale: int, seed: int = 0) -> Tensor:
    """An image with structures of every size, (1, 3, 30 * scale, 24 * scale), values within [0.2, 0.8]."""
    generator = torch.Generator().manual_seed(seed)
    size = (30 * scale, 24 * scale)
    image = sum(
        resize_bicubic(torch.rand(1, 3, size[0] // k, size[1] // k, generator=generator), size=size) * math.sqrt(k) / 8
        for k in (1, 2, 4, 8)
    )
    return 0.2 + 0.6 * (image - image.min()) / (image.max() - image.min())


def rms(image: Tensor) -> float:
    return float(image.square().mean().sqrt())


def noise_like(image: Tensor, scale: int, sigma: float, seed: int = 1) -> Tensor:
    """Independent noise without any trace in the low image."""
    return unseen_detail(sigma * torch.randn(image.shape, generator=torch.Generator().manual_seed(seed)), scale=scale)


@pytest.mark.parametrize("scale", SCALES)
def test_unseen_detail_is_what_a_projection_by_matrices_leaves(scale: int) -> None:
    """Against the projection in NumPy's linear algebra, with D and U read off from single pixels."""
    rows, columns = 6 * scale, 5 * scale

    def matrix(length: int, to: int) -> np.ndarray:
        eye = torch.eye(length, dtype=torch.float64)[None, None]
        return resize_bicubic(eye, size=(to, length))[0, 0].numpy()

    def projection(length: int) -> np.ndarray:
        down, up = matrix(length, length // scale), matrix(length // scale, length)
        return up @ np.linalg.inv(down @ up) @ down

    image = torch.rand(1, 1, rows, columns, generator=torch.Generator().manual_seed(0))
    expected = image[0, 0].numpy() - projection(rows) @ image[0, 0].numpy().astype(np.float64) @ projection(columns).T
    detail = unseen_detail(image, scale=scale)
    np.testing.assert_allclose(detail[0, 0].numpy(), expected, atol=1e-5)
    assert rms(resize_bicubic(detail, scale=1 / scale)) < 1e-6, "it leaves no trace in the low image"
    assert torch.allclose(unseen_detail(detail, scale=scale), detail, atol=1e-5), "a projection"


@pytest.mark.parametrize("scale", SCALES)
def test_the_original_has_no_invented_detail(scale: int) -> None:
    target = textured(scale)
    assert rms(unseen_detail(target, scale=scale)) > 0.02
    assert hallucination(target, target, scale=scale).item() < 1e-4


@pytest.mark.parametrize("scale", SCALES)
def test_bicubic_has_none_with_and_without_the_original(scale: int) -> None:
    target = textured(scale)
    enlarged = resize_bicubic(resize_bicubic(target, scale=1 / scale), scale=float(scale))
    assert hallucination(enlarged, target, scale=scale).item() < 1e-5
    assert hallucination(enlarged, None, scale=scale).item() < 1e-5


@pytest.mark.parametrize("scale", SCALES)
def test_independent_noise_counts_with_its_energy(scale: int) -> None:
    target = textured(scale)
    enlarged = resize_bicubic(resize_bicubic(target, scale=1 / scale), scale=float(scale))
    for sigma in (0.01, 0.04):
        noise = noise_like(target, scale, sigma)
        for clean in (enlarged, target):
            assert hallucination(clean + noise, target, scale=scale).item() == pytest.approx(rms(noise), rel=0.05)


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_true_detail_in_any_share_is_not_invented(share: float) -> None:
    target = textured(4)
    detail = unseen_detail(target, scale=4)
    restored = target - detail + share * detail
    assert hallucination(restored, target, scale=4).item() < 2e-4
    assert hallucination(restored, None, scale=4).item() == pytest.approx(share * rms(detail), rel=1e-3)


def test_a_soft_image_is_little_blamed_for_losing_the_finest_detail_first() -> None:
    target = textured(4)
    down = torch.fft.fftfreq(target.shape[-2])[:, None]
    across = torch.fft.rfftfreq(target.shape[-1])
    softening = torch.exp(-8 * (down.square() + across.square()))
    soft = torch.fft.irfft2(torch.fft.rfft2(target) * softening, s=target.shape[-2:])
    assert hallucination(soft, target, scale=4).item() < 0.25 * rms(unseen_detail(soft, scale=4))


@pytest.mark.parametrize(("factor", "excess"), [(1.5, 0.5), (-1.0, 1.0)])
def test_exaggerated_and_inverted_detail_counts_with_what_is_too_much(factor: float, excess: float) -> None:
    target = textured(4)
    detail = unseen_detail(target, scale=4)
    restored = target - detail + factor * detail
    assert hallucination(restored, target, scale=4).item() == pytest.approx(excess * rms(detail), rel=0.01)


def test_texture_at_a_wrong_place_counts() -> None:
    target = textured(4)
    detail = unseen_detail(target, scale=4)
    moved = unseen_detail(torch.roll(detail, (2, 3), (-2, -1)), scale=4)
    score = hallucination(target - detail + moved, target, scale=4).item()
    assert 0.85 * rms(moved) < score <= rms(moved)


def test_errors_that_the_input_shows_are_left_to_other_metrics() -> None:
    target = textured(2)
    restored = resize_bicubic(resize_bicubic(target, scale=0.5) * 0.8 + 0.1, scale=2.0)
    assert hallucination(restored, target, scale=2).item() < 1e-5


def test_map_shows_where() -> None:
    target = textured(4)
    noise = noise_like(target, 4, 0.05)
    noise[..., :, :48] = 0
    found = Hallucination(scale=4).map_of(target + noise, target, Context())
    assert found.values.shape == (1, 1, *target.shape[-2:])
    assert rms(found.values[..., 56:]) > 20 * rms(found.values[..., :40])
    whole = Hallucination(scale=4).per_image(target + noise, target).item()
    assert rms(found.values) == pytest.approx(whole, rel=1e-4)


def test_images_of_a_batch_do_not_mix() -> None:
    target = torch.cat([textured(2, seed) for seed in (0, 1)])
    restored = target.flip(0)
    together = hallucination(restored, target, scale=2)
    alone = [hallucination(restored[k : k + 1], target[k : k + 1], scale=2).item() for k in (0, 1)]
    assert together.tolist() == pytest.approx(alone, rel=1e-4)


def test_flat_images_and_scale_1_have_none() -> None:
    flat = torch.full((1, 3, 16, 16), 0.5)
    assert hallucination(flat, flat, scale=2).item() < 1e-6
    assert hallucination(torch.rand(1, 3, 16, 16), flat, scale=1).item() == 0


def test_refuses() -> None:
    with pytest.raises(ValueError, match="a 9x8 image does not divide by scale=2"):
        unseen_detail(torch.rand(1, 3, 8, 9), scale=2)
    with pytest.raises(ValueError, match="must have one shape"):
        invented_detail(torch.rand(1, 3, 8, 8), torch.rand(1, 1, 8, 8), scale=2)
