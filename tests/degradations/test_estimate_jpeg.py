import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from sr_lab.degradations.estimate.arrays import as_levels, blocks, dct, luma
from sr_lab.degradations.estimate.jpeg import blockiness, find_comb, likely_grid, luma_table, quality_of_tables

Pixels = NDArray[np.uint8]


def scene(seed: int = 0, *, height: int = 200, width: int = 264) -> Pixels:
    """Overlapping discs of random colours with soft shading: edges, flat parts and gradients."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    image = np.stack([90 + 60 * np.sin(x / 60 + phase) + 0.2 * y for phase in rng.uniform(0, 6, 3)], 2)
    for _ in range(60):
        inside = np.hypot(y - rng.uniform(0, height), x - rng.uniform(0, width)) < rng.uniform(4, 30)
        image[inside] = 0.4 * image[inside] + 0.6 * rng.uniform(20, 235, 3)
    return np.clip(np.round(image + rng.normal(0, 1.5, image.shape)), 5, 250).astype(np.uint8)


def compressed(image: Pixels, quality: int) -> Pixels:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream))


@pytest.mark.parametrize("quality", range(1, 101))
def test_the_tables_are_those_that_libjpeg_writes(quality: int) -> None:
    stream = io.BytesIO()
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(stream, "JPEG", quality=quality)
    tables = Image.open(stream).quantization
    assert luma_table(quality).ravel().tolist() == tables[0]
    found, exact = quality_of_tables(tables)
    assert exact
    assert luma_table(found).ravel().tolist() == tables[0]


def test_foreign_tables_get_the_nearest_quality_and_are_not_called_exact() -> None:
    steps = luma_table(80).ravel()
    steps[20] += 3
    assert quality_of_tables({0: steps.tolist()}) == (80, False)
    with pytest.raises(ValueError, match="64 steps"):
        quality_of_tables({0: [1, 2, 3]})
    with pytest.raises(ValueError, match="1 to 100"):
        luma_table(0)


def test_dct_is_orthonormal_and_row_frequency_comes_first() -> None:
    y, x = np.mgrid[0:8, 0:8]
    wave = (np.cos((2 * y + 1) * 3 * np.pi / 16) * np.cos((2 * x + 1) * np.pi / 16)).astype(np.float32)
    found = dct(wave[None])[0].reshape(8, 8)
    expected = np.zeros((8, 8))
    expected[3, 1] = 4
    np.testing.assert_allclose(found, expected, atol=1e-5)
    noise = np.random.default_rng(0).normal(0, 7, (500, 8, 8)).astype(np.float32)
    assert dct(noise).std() == pytest.approx(noise.std(), rel=1e-5)


def test_blocks_are_cut_where_asked() -> None:
    plane = np.arange(30 * 21, dtype=np.float32).reshape(30, 21)
    cut = blocks(plane, top=3, left=5)
    assert cut.shape == (3 * 2, 8, 8)
    np.testing.assert_array_equal(cut[3], plane[11:19, 13:21])


@pytest.mark.parametrize("quality", [20, 35, 50, 64, 75, 83, 90, 95])
def test_quality_is_read_from_decoded_pixels(quality: int) -> None:
    found = find_comb(luma(as_levels(compressed(scene(quality), quality))))
    assert found.source == "comb"
    assert found.quality == pytest.approx(quality, abs=1)


def test_an_image_never_compressed_has_no_comb() -> None:
    for seed in range(5):
        assert find_comb(luma(as_levels(scene(seed)))).quality is None


def test_the_last_of_two_compressions_counts() -> None:
    assert find_comb(luma(as_levels(compressed(compressed(scene(), 85), 60)))).quality == pytest.approx(60, abs=1)


def test_a_crop_off_the_grid_is_found_on_its_grid() -> None:
    crop = compressed(scene(3), 50)[3:, 5:]
    found = find_comb(luma(as_levels(crop)))
    assert found.grid == (5, 3)
    assert found.quality == pytest.approx(50, abs=1)
    assert likely_grid(luma(as_levels(crop))) == (5, 3)


def test_blockiness_grows_as_quality_falls() -> None:
    values = [blockiness(luma(as_levels(compressed(scene(), quality)))) for quality in (95, 60, 30, 10)]
    assert values == sorted(values)
    assert abs(blockiness(luma(as_levels(scene())))) < 0.1
    assert values[-1] > 0.5
