"""Consistency with the input, on degradations that are known."""

import math

import pytest
import torch
from torch import Tensor

from sr_lab.degradations.resize import Bicubic
from sr_lab.images import resize_bicubic, to_uint8
from sr_lab.metrics.base import Context
from sr_lab.metrics.consistency import LIMIT, LRConsistency
from sr_lab.training.means import ImageMean


def photo(seed: int = 0, size: int = 48) -> Tensor:
    """Smooth 8-bit colours with some noise, away from 0 and 1."""
    generator = torch.Generator().manual_seed(seed)
    image = resize_bicubic(torch.rand(1, 3, 6, 6, generator=generator), size=(size, size))
    image = 0.2 + 0.6 * image.clamp(0, 1) + 0.02 * torch.randn(1, 3, size, size, generator=generator)
    return to_uint8(image).float() / 255


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_the_original_of_a_given_low_image_reaches_the_limit(scale: int) -> None:
    target = photo()
    low = Bicubic(scale=scale).apply(target, {})
    metric = LRConsistency(scale=scale)
    mean = ImageMean(metric)
    assert metric.measure(target, target, Context(low=low)).item() == LIMIT
    mean.update(target, target, low=low)
    assert mean.compute().item() == LIMIT


def test_a_shift_of_all_values_is_its_size_in_decibels() -> None:
    target = photo()
    low = resize_bicubic(target, scale=0.5)
    value = LRConsistency(scale=2).measure(
        target + 5 / 255, target, Context(low=low, degrade=lambda x: x[..., :24, :24] * 0 + low + 5 / 255)
    )
    assert value.item() == pytest.approx(20 * math.log10(255 / 5), abs=1e-3)
    ours = LRConsistency(scale=2).measure(target + 5 / 255, target, Context(low=Bicubic(scale=2).apply(target, {})))
    assert ours.item() == pytest.approx(20 * math.log10(255 / 5), abs=0.1)


def test_detail_without_a_trace_in_the_input_costs_nothing_and_a_trace_does() -> None:
    target, scale = photo(), 2
    rows = torch.arange(48).view(-1, 1) + torch.arange(48)
    checkerboard = 0.1 * (1 - 2 * (rows % 2)).float()  # at the corner of the spectrum, which shrinking removes
    low = Bicubic(scale=scale).apply(target, {})
    metric = LRConsistency(scale=scale)
    hidden = metric.measure(target + checkerboard, target, Context(low=low)).item()
    seen = metric.measure(target + 0.1 * (1 - 2 * (rows // 8 % 2)).float(), target, Context(low=low)).item()
    assert hidden > 50
    assert seen < 25


def test_the_degradation_of_the_benchmark_is_used() -> None:
    """A darkening degradation: under bicubic the original would look inconsistent."""
    target = photo()

    def darker(image: Tensor) -> Tensor:
        return resize_bicubic(image, scale=0.5) * 0.7

    context = Context(low=darker(target), degrade=darker)
    assert LRConsistency(scale=2).measure(target, target, context).item() == LIMIT
    assert LRConsistency(scale=2).measure(target, target, Context(low=darker(target))).item() < 25


def test_without_input_it_is_made_of_the_target() -> None:
    target = photo()
    metric = LRConsistency(scale=2)
    low = Bicubic(scale=2).apply(target, {})
    restored = resize_bicubic(low, scale=2.0)
    assert torch.equal(metric.per_image(restored, target), metric.measure(restored, target, Context(low=low)))


def test_map_is_the_difference_at_the_input_size() -> None:
    target = photo()
    low = Bicubic(scale=2).apply(target, {})
    wrong = low.clone()
    wrong[..., 3, 5] += 0.3
    found = LRConsistency(scale=2).map_of(target, target, Context(low=wrong))
    assert found.values.shape == (1, 1, 24, 24)
    assert found.values[0, 0, 3, 5].item() == pytest.approx(0.3, abs=1e-5)
    found.values[0, 0, 3, 5] = 0
    assert float(found.values.max()) == 0
