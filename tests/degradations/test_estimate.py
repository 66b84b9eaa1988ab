import io
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from hydra.utils import instantiate
from numpy.typing import NDArray
from omegaconf import OmegaConf
from PIL import Image

from sr_lab.degradations.estimate import Fit, Jpeg, estimate_file, estimate_image, fit, fit_estimates, preset
from sr_lab.degradations.estimate.calibration import decode, encode
from sr_lab.degradations.estimate.plots import plot_fit
from sr_lab.images import to_array, to_tensor

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def photos(shared: Path) -> list[Pixels]:
    """Photos on which nothing was calibrated, halved, which takes their own compression away."""
    files = sorted((shared / "datasets/benchmark/BSD100/x2/HR").glob("*.png"))[5:100:8]
    return [
        cv2.resize(np.asarray(Image.open(file).convert("RGB")), None, fx=0.5, fy=0.5, interpolation=3) for file in files
    ]


def noisy(image: Pixels, sigma: float, *, grey: bool = False) -> Pixels:
    noise = np.random.default_rng(0).normal(0, sigma, (*image.shape[:2], 1 if grey else 3))
    return np.clip(np.round(image + noise), 0, 255).astype(np.uint8)


def blurred(image: Pixels, sigma: float) -> Pixels:
    return cv2.GaussianBlur(image, (0, 0), sigma)


def compressed(image: Pixels, quality: int) -> Pixels:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))


def test_the_learnt_scale_is_inverted() -> None:
    for sigma in (0.0, 0.1, 2.0, 40.0):
        assert decode(float(encode(np.array(sigma), "noise")), "noise") == pytest.approx(sigma, abs=1e-6)
        assert decode(float(encode(np.array(sigma), "blur")), "blur") == pytest.approx(sigma, abs=1e-6)


@pytest.mark.parametrize("sigma", [3, 8, 25])
def test_noise_of_photos(photos: list[Pixels], sigma: float) -> None:
    found = [estimate_image(noisy(photo, sigma)).noise.value or np.nan for photo in photos]
    assert np.nanmedian(np.abs(np.array(found) / sigma - 1)) < 0.15
    assert np.isfinite(found).mean() > (0.5 if sigma == 3 else 0.9)


@pytest.mark.parametrize("sigma", [0.7, 1.3, 2.5])
def test_blur_of_photos_clean_and_with_noise_and_jpeg(photos: list[Pixels], sigma: float) -> None:
    for spoil in (lambda low: low, lambda low: compressed(noisy(low, 4), 75)):
        found = [estimate_image(spoil(blurred(photo, sigma))).blur.value or np.nan for photo in photos]
        assert np.nanmedian(np.abs(np.array(found) / sigma - 1)) < 0.2
        assert np.isfinite(found).mean() > 0.7


def test_noise_is_that_before_the_compression(photos: list[Pixels]) -> None:
    found = [estimate_image(compressed(noisy(photo, 14), 75)) for photo in photos]
    assert np.median([abs(estimate.noise.guess / 14 - 1) for estimate in found]) < 0.2
    assert np.median([abs((estimate.jpeg.quality or 0) - 75) for estimate in found]) <= 1


def test_clean_photos_have_neither(photos: list[Pixels]) -> None:
    found = [estimate_image(photo) for photo in photos]
    assert np.median([estimate.noise.guess for estimate in found]) < 1
    assert np.median([estimate.blur.guess for estimate in found]) < 0.4
    assert all(estimate.jpeg.quality is None for estimate in found)


def test_noise_that_a_compression_swallowed_is_withheld_with_a_reason(photos: list[Pixels]) -> None:
    found = [estimate_image(compressed(noisy(photo, 3), 25)).noise for photo in photos]
    withheld = [noise for noise in found if noise.value is None]
    assert len(withheld) > 0.6 * len(found)
    assert all("JPEG of quality 25" in (noise.reason or "") and noise.guess >= 0 for noise in withheld)


def test_grey_noise_is_told_from_colour_noise(photos: list[Pixels]) -> None:
    grey = [estimate_image(noisy(photo, 12, grey=True)) for photo in photos]
    colour = [estimate_image(noisy(photo, 12)) for photo in photos]
    assert np.mean([estimate.grey_noise > 0.5 for estimate in grey]) > 0.8
    assert np.mean([estimate.grey_noise < 0.5 for estimate in colour]) > 0.8
    assert np.median([estimate.noise.guess for estimate in grey]) == pytest.approx(12, rel=0.2)


def test_sixteen_bits_and_grey_arrays_give_what_eight_bits_give(photos: list[Pixels]) -> None:
    image = noisy(photos[0], 10)
    plain = estimate_image(image)
    wide = estimate_image(image.astype(np.uint16) * 257)
    assert wide.noise.guess == pytest.approx(plain.noise.guess, rel=1e-3)
    grey = noisy(photos[0], 10, grey=True)[:, :, :1]
    assert estimate_image(grey).noise == estimate_image(grey[:, :, 0]).noise


def test_colour_statistics_of_a_known_image() -> None:
    image = np.zeros((32, 40, 3), np.uint8)
    image[:, :20] = (255, 51, 51)
    image[:, 20:] = (102, 102, 0)
    colour = estimate_image(image).colour
    assert (colour.red, colour.green, colour.blue) == pytest.approx((0.7, 0.3, 0.1), abs=1e-4)
    assert (colour.dark, colour.bright) == (0.5, 0.5)
    assert colour.saturation == pytest.approx((0.8 + 0.4) / 2, abs=1e-4)
    assert (colour.warmth, colour.tint) == pytest.approx((0.6, -0.1), abs=1e-4)
    lumas = (0.299 * 255 + 0.701 * 51) / 255, 0.886 * 102 / 255
    assert colour.contrast == pytest.approx(abs(lumas[0] - lumas[1]), abs=1e-4)


def test_sharpness_and_slope_fall_with_blur(photos: list[Pixels]) -> None:
    found = [estimate_image(blurred(photos[0], sigma)) for sigma in (0.5, 1, 2)]
    assert found[0].sharpness > found[1].sharpness > found[2].sharpness
    assert found[0].spectrum_slope > found[1].spectrum_slope > found[2].spectrum_slope


def test_a_jpeg_file_is_read_from_its_tables_and_on_its_grid_when_turned(photos: list[Pixels], tmp_path: Path) -> None:
    image = Image.fromarray(noisy(photos[1], 9)[:150, :203])
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[274] = orientation
        path = tmp_path / f"{orientation}.jpg"
        image.save(path, quality=62, exif=exif)
        found = estimate_file(path)
        assert (found.jpeg.quality, found.jpeg.source, found.jpeg.exact) == (62, "tables", True)
        assert found.blockiness > 0.1
    upright = estimate_file(tmp_path / "1.jpg")
    assert upright.jpeg.grid == (0, 0)
    turned = estimate_file(tmp_path / "3.jpg")
    assert turned.jpeg.grid == (150 % 8, 203 % 8)
    assert turned.blockiness == pytest.approx(upright.blockiness, rel=0.05)
    assert turned.noise.guess == pytest.approx(upright.noise.guess, rel=0.1)


def test_bad_images_name_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="24 pixels"):
        estimate_image(np.zeros((20, 100, 3), np.uint8))
    with pytest.raises(ValueError, match="float64"):
        estimate_image(np.zeros((64, 64, 3)))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="one value"):
        estimate_image(np.full((64, 64, 3), 7, np.uint8))
    with pytest.raises(ValueError, match=r"nothing.png"):
        estimate_file(tmp_path / "nothing.png")


@pytest.fixture(scope="module")
def folder(photos: list[Pixels], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Photos of known ranges: blur 1 to 2, noise 6 to 14, quality 60 to 90; and two files that cannot be used."""
    made = tmp_path_factory.mktemp("low")
    (made / "deeper").mkdir()
    rng = np.random.default_rng(1)
    for index, photo in enumerate(photos):
        low = compressed(noisy(blurred(photo, rng.uniform(1, 2)), rng.uniform(6, 14)), int(rng.integers(60, 91)))
        Image.fromarray(low).save(made / ("deeper" if index % 2 else ".") / f"{index:02}.png")
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(made / "small.png")
    (made / "broken.png").write_bytes(b"no image")
    return made


@pytest.fixture(scope="module")
def fitted(folder: Path) -> Fit:
    return fit(folder)


def test_a_folder_gives_the_ranges_it_was_made_with(fitted: Fit, photos: list[Pixels]) -> None:
    assert len(fitted.images) == len(photos)
    assert set(fitted.skipped) == {"small.png", "broken.png"}
    assert (fitted.blur.share, fitted.quality.share) == (1, 1)
    assert 0.8 < fitted.blur.low < fitted.blur.median < fitted.blur.high < 2.5
    assert 4 < fitted.noise.low < 9 < fitted.noise.high < 18
    assert 59 <= fitted.quality.low < fitted.quality.high <= 91
    assert "deeper/01.png" in {image.name for image in fitted.images}
    assert json.loads(json.dumps(fitted.to_dict(), allow_nan=False))["quality"]["known"] == len(photos)


def test_a_folder_of_one_setting_has_a_narrower_range_than_its_estimates(photos: list[Pixels]) -> None:
    estimates = [estimate_image(noisy(photo, 8)) for photo in photos]
    span = fit_estimates(estimates).noise
    values = [estimate.noise.guess for estimate in estimates]
    assert span.median == pytest.approx(8, rel=0.15)
    assert span.high - span.low < 0.6 * (np.percentile(values, 95) - np.percentile(values, 5)) + 1e-9


def test_the_preset_builds_a_pipeline_that_gives_the_fit_back(fitted: Fit, shared: Path) -> None:
    import torch

    pipeline = instantiate(OmegaConf.create(preset(fitted, scale=2, source="photos")))
    assert pipeline.scale == 2
    assert list(pipeline.ops) == ["blur", "resize", "noise", "round", "jpeg"]
    lows = []
    for index, file in enumerate(sorted((shared / "datasets/benchmark/BSD100/x2/HR").glob("*.png"))[2:100:14]):
        high = to_tensor(np.asarray(Image.open(file).convert("RGB")))
        low = pipeline.apply(high, pipeline.draw(1, torch.Generator().manual_seed(index)))
        lows.append(estimate_image(to_array(low)))
    again = fit_estimates(lows)
    assert again.blur.median == pytest.approx(fitted.blur.median, rel=0.25)
    assert again.noise.median == pytest.approx(fitted.noise.median, rel=0.25)
    assert fitted.quality.low - 2 <= again.quality.median <= fitted.quality.high + 2


def test_what_is_not_there_is_not_in_the_preset(photos: list[Pixels]) -> None:
    sharp = [estimate_image(photo) for photo in photos[:6] if estimate_image(photo).blur.guess < 0.35]
    clean = preset(fit_estimates(sharp), scale=3)
    assert "resize" in clean
    assert not any(word in clean for word in ("jpeg:", "noise:", "blur:"))
    assert instantiate(OmegaConf.create(clean)).scale == 3
    shot = [photo + np.sqrt(photo) * np.random.default_rng(2).normal(0, 1.5, photo.shape) for photo in photos]
    noise = preset(fit_estimates([estimate_image(np.clip(image, 0, 255).astype(np.uint8)) for image in shot]), scale=1)
    assert "poisson" in noise
    assert instantiate(OmegaConf.create(noise)).scale == 1
    with pytest.raises(ValueError, match="scale=0"):
        preset(fit_estimates(sharp), scale=0)


def test_folders_that_cannot_be_fitted(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ValueError, match="missing"):
        fit(tmp_path / "missing")
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"none of 1 image could be used; bad\.png"):
        fit(tmp_path)
    with pytest.raises(ValueError, match="num_images=0"):
        fit(folder, num_images=0)
    calls: list[tuple[int, int]] = []
    assert len(fit(folder, num_images=3, progress=lambda *call: calls.append(call)).images) <= 3
    assert calls == [(1, 3), (2, 3), (3, 3)]


def test_the_plot_is_a_picture(fitted: Fit, folder: Path, tmp_path: Path) -> None:
    plot_fit(fitted, tmp_path / "new" / "fit.png", folder=folder)
    pixels = np.asarray(Image.open(tmp_path / "new" / "fit.png").convert("RGB"))
    assert pixels.shape[0] > 300
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 500


def test_given_tables_are_believed(photos: list[Pixels]) -> None:
    told = Jpeg(quality=40, source="tables", exact=True)
    assert estimate_image(photos[0], jpeg=told).jpeg is told
