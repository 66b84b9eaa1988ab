"""Bursts: the sensor's model, registration, and what the solution gains."""

import cv2
import numpy as np
import pytest

from sr_lab.images.burst import Sampling, register, solve, within, without_masked

SCALE = 4


def scene(height: int = 96, width: int = 128) -> np.ndarray:
    """Edges and smooth ground, in [0, 1]."""
    y, x = np.mgrid[:height, :width]
    stripes = 0.25 * (np.sin(x / 2.2 + y / 9) > 0) + 0.25 * (np.hypot(x - 70, y - 40) < 22)
    return np.asarray(0.25 + stripes + 0.1 * np.sin(y / 15), np.float32)


def burst(noise: float, *, count: int = 5) -> tuple[np.ndarray, list[np.ndarray], list[tuple[float, float]]]:
    high, generator = scene(), np.random.default_rng(0)
    shifts = [(0.0, 0.0), *(tuple(each) for each in generator.uniform(-1, 1, (count - 1, 2)).tolist())]
    frames = [Sampling.of(shift, high.shape, SCALE).see(high) for shift in shifts]
    return high, [np.asarray(f + noise * generator.standard_normal(f.shape), np.float32) for f in frames], shifts


def decibels(image: np.ndarray, high: np.ndarray) -> float:
    return float(-10 * np.log10(np.mean((image - high)[8:-8, 8:-8] ** 2)))


def test_the_adjoint_is_one():
    generator = np.random.default_rng(1)
    view = Sampling.of((0.37, -0.61), (32, 48), SCALE)
    x, y = generator.random((32, 48), np.float32), generator.random((8, 12), np.float32)
    assert np.vdot(view.see(x), y) == pytest.approx(np.vdot(x, view.back(y)), rel=1e-5)


def test_without_a_shift_a_low_pixel_is_the_mean_of_its_square():
    high = scene()
    low = Sampling.of((0.0, 0.0), high.shape, SCALE).see(high)
    assert np.allclose(low, high.reshape(24, 4, 32, 4).mean(axis=(1, 3)), atol=1e-5)
    moved = Sampling.of((1.0, 0.0), high.shape, SCALE).see(high)
    assert np.allclose(moved[:, 4:-4], low[:, 5:-3], atol=0.02)


@pytest.mark.parametrize(("noise", "most"), [(0.0, 0.02), (0.01, 0.03)])
def test_shifts_are_found_to_a_few_hundredths_of_a_low_pixel(noise, most):
    generator = np.random.default_rng(2)
    high = cv2.resize(generator.random((24, 32), np.float32), (256, 192), interpolation=cv2.INTER_CUBIC)
    shifts = [(0.0, 0.0), *(tuple(each) for each in generator.uniform(-1, 1, (4, 2)).tolist())]
    frames = [Sampling.of(shift, (192, 256), SCALE).see(high) for shift in shifts]
    found, residuals = register(
        [np.asarray(f + noise * generator.standard_normal(f.shape), np.float32) for f in frames]
    )
    assert found[0] == (0.0, 0.0)
    assert np.abs(np.array(found) - np.array(shifts)).max() < most
    assert max(residuals) < 0.1


def test_shifts_of_many_pixels_are_found_too():
    wide = cv2.resize(np.random.default_rng(4).random((30, 40), np.float32), (320, 240), interpolation=cv2.INTER_CUBIC)
    for x, y in ((7.25, -3.5), (-5.75, 4.25)):
        left, top = round(32 + 4 * x), round(24 + 4 * y)
        high = [wide[24:216, 32:288], wide[top : top + 192, left : left + 256]]
        frames = [Sampling.of((0.0, 0.0), (192, 256), SCALE).see(each) for each in high]
        found, residuals = register(frames)
        assert np.abs(np.array(found[1]) - (x, y)).max() < 0.05
        assert residuals[1] < 0.1
        inside = within((48, 64), found[1])
        assert inside.sum() == (48 - np.ceil(abs(y))) * (64 - np.ceil(abs(x)))
        assert inside[0 if y > 0 else -1, 0 if x > 0 else -1]


def test_what_is_no_mere_shift_is_refused():
    _, frames, _ = burst(0.0, count=2)
    torn = frames[1].copy()
    torn[:, 16:] = np.roll(torn[:, 16:], 1, axis=0)
    with pytest.raises(ValueError, match="frame 1"):
        register([frames[0], torn])


def test_five_frames_tell_more_than_one():
    high, frames, shifts = burst(0.01)
    one = solve(frames[:1], shifts[:1], scale=SCALE, noise=0.01)
    five = solve(frames, shifts, scale=SCALE, noise=0.01)
    assert five.shape == high.shape
    assert decibels(five, high) > decibels(one, high) + 1.5


def test_what_is_masked_has_no_say():
    high, frames, shifts = burst(0.01)
    masks = [np.ones_like(frame, bool) for frame in frames]
    clouded = [frame.copy() for frame in frames]
    clouded[2][4:16, 4:20], masks[2][4:16, 4:20] = 1.0, False
    masked = solve(clouded, shifts, scale=SCALE, noise=0.01, masks=masks)
    assert decibels(masked, high) > decibels(solve(clouded, shifts, scale=SCALE, noise=0.01), high) + 3


def test_what_lies_under_a_mask_changes_no_bit():
    generator = np.random.default_rng(2)
    high = cv2.resize(generator.random((24, 32), np.float32), (256, 192), interpolation=cv2.INTER_CUBIC)
    frames = [Sampling.of(shift, (192, 256), SCALE).see(high) for shift in ((0.0, 0.0), (0.4, -0.3), (-0.2, 0.7))]
    masks = [np.ones_like(frame, bool) for frame in frames]
    for number, at in ((0, 2), (1, 12), (2, 20)):
        masks[number][at : at + 16, at : at + 24] = False
    results = []
    for value in (0.0, 1.0, np.nan):
        clouded = [np.where(mask, frame, np.float32(value)) for mask, frame in zip(masks, frames, strict=True)]
        shifts, residuals = register(clouded, masks=masks)
        results.append((shifts, residuals, solve(clouded, shifts, scale=SCALE, noise=0.01, masks=masks)))
    for shifts, residuals, image in results[1:]:
        assert (shifts, residuals) == (results[0][0], results[0][1])
        assert np.array_equal(image, results[0][2])


def test_masked_pixels_become_the_mean_of_those_who_see_the_place():
    frames = [np.full((2, 2), value, np.float32) for value in (0.2, 0.4, 0.9)]
    masks = [np.array([[True, False], [True, False]]), np.array([[True, True], [True, False]]), np.zeros((2, 2), bool)]
    first, second, third = without_masked(frames, masks)
    seen_by_none = (2 * 0.2 + 3 * 0.4) / 5
    np.testing.assert_allclose(first, [[0.2, 0.4], [0.2, seen_by_none]], rtol=1e-6)
    np.testing.assert_allclose(second, [[0.4, 0.4], [0.4, seen_by_none]], rtol=1e-6)
    np.testing.assert_allclose(third, [[0.3, 0.4], [0.3, seen_by_none]], rtol=1e-6)
