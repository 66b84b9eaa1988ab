"""Temporal smoothing: flicker halves where the source stands still, and nothing is lost where it moves."""

import cv2
import numpy as np
import pytest

from sr_lab.images.cuts import is_cut
from sr_lab.inference.video.smoothing import DetailSmoother, enlarged

GROUND = cv2.GaussianBlur(np.random.default_rng(3).random((128, 192, 3)).astype(np.float32), (0, 0), 2)
GROUND = (GROUND - GROUND.min()) / (GROUND.max() - GROUND.min())


def model(low: np.ndarray) -> np.ndarray:
    """A restorer that invents: it sharpens, and so makes more of noise."""
    large = enlarged(low, (low.shape[0] * 2, low.shape[1] * 2))
    return np.clip(large + 1.5 * (large - cv2.GaussianBlur(large, (0, 0), 1.5)), 0, 1)


def low_of(high: np.ndarray, noise: float, generator: np.random.Generator) -> np.ndarray:
    low = cv2.resize(high, (high.shape[1] // 2, high.shape[0] // 2), interpolation=cv2.INTER_AREA)
    return np.clip(low + noise * generator.standard_normal(low.shape), 0, 1).astype(np.float32)


def psnr(one: np.ndarray, other: np.ndarray) -> float:
    return float(-10 * np.log10(((one - other) ** 2).mean()))


def test_flicker_halves_where_the_source_stands_still():
    generator = np.random.default_rng(0)
    lows = [low_of(GROUND, 2 / 255, generator) for _ in range(16)]
    smoother = DetailSmoother()
    plain = [model(low) for low in lows]
    smooth = [smoother(each, low) for each, low in zip(plain, lows, strict=True)]

    def flicker(frames: list[np.ndarray]) -> float:
        return float(np.sqrt(np.var(np.stack(frames[6:]), axis=0).mean()))

    assert flicker(smooth) < 0.5 * flicker(plain)
    assert np.mean([psnr(a, GROUND) for a in smooth]) > np.mean([psnr(a, GROUND) for a in plain]) - 0.1


def test_a_pan_loses_nothing():
    generator = np.random.default_rng(0)
    highs = [GROUND[:96, at : at + 128] for at in range(0, 24, 2)]
    lows = [low_of(high, 0, generator) for high in highs]
    smoother = DetailSmoother()
    plain = [model(low) for low in lows]
    smooth = [smoother(each, low) for each, low in zip(plain, lows, strict=True)]
    losses = [psnr(a, high) - psnr(b, high) for a, b, high in zip(plain, smooth, highs, strict=True)]
    assert np.mean(losses) < 0.1


def test_brightness_that_changes_is_followed_at_once():
    generator = np.random.default_rng(0)
    lows = [low_of(0.3 * GROUND, 1 / 255, generator) + np.float32(2 / 255 * at) for at in range(12)]
    smoother = DetailSmoother()
    for low in lows:
        smooth = smoother(enlarged(low, GROUND.shape[:2]), low)
        assert smooth.mean() == pytest.approx(low.mean(), abs=2e-4)


def test_nothing_goes_over_a_cut():
    generator = np.random.default_rng(0)
    before, after = low_of(GROUND, 0, generator), low_of(0.2 * GROUND[::-1].copy(), 0, generator)
    smoother = DetailSmoother()
    smoother(model(before), before)
    restored = model(after)
    assert np.abs(smoother(restored, after) - restored).max() < 1e-6
    assert smoother.cut


def test_the_state_is_all_that_the_next_frame_depends_on():
    generator = np.random.default_rng(0)
    lows = [low_of(GROUND, 0.01, generator) for _ in range(4)]
    whole, first, second = DetailSmoother(), DetailSmoother(), DetailSmoother()
    expected = [whole(model(low), low) for low in lows]
    for low in lows[:2]:
        first(model(low), low)
    second.resume(first.state())
    for low, wanted in zip(lows[2:], expected[2:], strict=True):
        assert np.array_equal(second(model(low), low), wanted)
    with pytest.raises(ValueError, match="shares from 0 to below 1"):
        DetailSmoother(still=1)


@pytest.mark.parametrize(("change", "cut"), [
    (lambda g: np.roll(g, 6, axis=1), False),
    (lambda g: np.clip(g * 1.15, 0, 255).astype(np.uint8), False),  # a flash that is none, and a ramp
    (lambda g: 255 - g, True),
    (lambda g: (g // 4).astype(np.uint8), True),
    (lambda g: g[::-1, ::-1].copy(), True),
])  # fmt: skip
def test_cuts(change, cut):
    ramp = np.add.outer(np.arange(96), np.arange(128)).astype(np.float32)
    grey = (ramp * 0.9 + 30 * GROUND[:96, :128, 0]).astype(np.uint8)
    assert is_cut(grey, change(grey)) is cut
