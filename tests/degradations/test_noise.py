import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from sr_lab.base.randomness import NUM_LEVELS, normal_table, normals, pixel_bits, pixel_bits_tensor
from sr_lab.degradations import poisson
from sr_lab.degradations.base import keyed_generator
from sr_lab.degradations.noise import GaussianNoise, PoissonNoise, Speckle
from sr_lab.degradations.sensor import CameraSensor

GREY_128 = torch.full((1, 3, 256, 256), 128 / 255)


def test_pixel_bits_are_uniform_and_uncorrelated() -> None:
    fields = [pixel_bits(seed, 300_000).astype(np.float64) for seed in (0, 1, 2, 2**52)]
    fields.append(pixel_bits(0, 300_000, plane=1).astype(np.float64))
    for field in fields:
        assert stats.kstest((field + 0.5) / NUM_LEVELS, "uniform").pvalue > 1e-3
        assert stats.chisquare(np.bincount(field.astype(int) % 256, minlength=256)).pvalue > 1e-3
        for lag in (1, 2, 3, 256, 768):
            assert abs(np.corrcoef(field[:-lag], field[lag:])[0, 1]) < 0.01
    assert np.abs(np.corrcoef(np.stack(fields)) - np.eye(5)).max() < 0.01


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64])
def test_pixel_bits_are_the_same_as_tensors(dtype: torch.dtype) -> None:
    seeds = np.array([0, 7, 2**53 - 1])
    made = pixel_bits_tensor(seeds, torch.arange(1001, dtype=dtype).expand(3, -1), plane=2)
    for seed, row in zip(seeds.tolist(), made.numpy(), strict=True):
        np.testing.assert_array_equal(row, pixel_bits(seed, 1001, plane=2))


def test_the_bits_do_not_change() -> None:
    assert pixel_bits(123456789, 4).tolist() == [24559, 57483, 12516, 2420]


def test_normal_deviates_are_normal() -> None:
    table = normal_table().astype(np.float64)
    assert table.mean() == pytest.approx(0, abs=1e-9)
    assert table.std() == pytest.approx(1, abs=1e-6)
    assert stats.kurtosis(table) == pytest.approx(0, abs=1e-3)
    assert stats.kstest(normals(5, (300_000,)), "norm").pvalue > 1e-3


def test_gaussian_noise_has_the_sigma_asked_for() -> None:
    noise = GaussianNoise(sigma=20)
    drawn = noise.apply(GREY_128, noise.draw(1, keyed_generator(0))) - GREY_128
    assert drawn.std().item() == pytest.approx(20 / 255, rel=0.01)
    assert stats.kstest(drawn.numpy().ravel() * 255 / 20, "norm").pvalue > 1e-3
    assert np.abs(np.corrcoef(drawn[0].flatten(1).numpy()) - np.eye(3)).max() < 0.02


def test_grey_noise_is_the_same_in_all_channels() -> None:
    noise = GaussianNoise(sigma=20, colours={"grey": 1})
    drawn = noise.apply(GREY_128, noise.draw(1, keyed_generator(0))) - GREY_128
    assert torch.equal(drawn[:, 0], drawn[:, 1])
    assert torch.equal(drawn[:, 0], drawn[:, 2])
    assert drawn.std().item() == pytest.approx(20 / 255, rel=0.01)


def test_correlated_noise_has_the_covariance_of_its_mixture() -> None:
    noise = GaussianNoise(sigma=10, colours={"correlated": 1})
    for key in range(4):
        params = noise.draw(1, keyed_generator(key))
        drawn = (noise.apply(GREY_128, params) - GREY_128)[0].flatten(1).double() * 255 / 10
        matrix = params["mixture"][0]
        torch.testing.assert_close(torch.cov(drawn), matrix.T @ matrix, atol=0.01, rtol=0)
        assert torch.linalg.eigvalsh(matrix.T @ matrix).max() <= 1
    shares = GaussianNoise(sigma=10, colours={"colour": 0.4, "grey": 0.4, "correlated": 0.2})
    counts = torch.bincount(shares.draw(20_000, keyed_generator(0))["colour"], minlength=3) / 20_000
    np.testing.assert_allclose(counts, [0.4, 0.4, 0.2], atol=0.015)


@pytest.mark.parametrize("photons", [256.0, 128.0, 32.0, 4.0])
def test_poisson_is_unharmed_by_its_approximation(photons: float) -> None:
    """The exact distribution of what is drawn, from all 2**16 random numbers, against the true one."""
    bits = np.arange(NUM_LEVELS, dtype=np.uint16)
    for level in (0, 1, 3, 8, 9, 10, 11, 16, 20, 40, 100, 180, 255):
        rate = level / 255 * photons
        counts = poisson.counts_array(np.full(NUM_LEVELS, level, np.uint8), bits, photons)
        support = np.arange(int(counts.max()) + 2)
        share = np.bincount(counts.astype(int), minlength=len(support)) / NUM_LEVELS
        error = np.abs(np.cumsum(share) - stats.poisson.cdf(support, rate)).max()
        assert error < (1e-5 if rate < poisson.EXACT_BELOW else 3e-4), (level, rate)
        assert counts.mean() == pytest.approx(rate, abs=1e-3)
        assert counts.var() == pytest.approx(rate, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize("photons", [256, 64, 8, 1])
def test_poisson_counts_are_the_same_as_tensors(photons: int) -> None:
    bits = pixel_bits(1, 256 * 64)
    levels = np.repeat(np.arange(256, dtype=np.uint8), 64)
    by_array = poisson.counts_array(levels, bits, float(photons))
    tensors = [torch.from_numpy(part.astype(np.int32))[None] for part in (levels, bits)]
    by_tensor = poisson.counts_tensor(*tensors, torch.tensor([photons]).log2().int())
    np.testing.assert_array_equal(by_tensor[0].numpy(), by_array)


def test_poisson_noise_of_a_sample_has_the_variance_of_photons() -> None:
    ramp = (torch.arange(256).reshape(1, 1, 1, 256) / 255).expand(1, 3, 1024, 256).contiguous()
    noise = PoissonNoise(strength=1.0)
    drawn = (noise.apply(ramp, noise.draw(1, keyed_generator(0))) - ramp)[0, :, :, 40:200].double()
    rate = torch.arange(40, 200) / 255
    np.testing.assert_allclose(drawn.var(dim=(0, 1)) * 256, rate, rtol=0.12)
    assert (drawn.var(dim=(0, 1)) * 256 / rate).mean().item() == pytest.approx(1, abs=0.01)
    grey = PoissonNoise(strength=1.0, grey=1.0)
    same = grey.apply(ramp, grey.draw(1, keyed_generator(0))) - ramp
    torch.testing.assert_close(same[:, 0], same[:, 2])


def test_speckle_multiplies() -> None:
    image = torch.cat([GREY_128 * 0.25, GREY_128])
    noise = Speckle(sigma=0.1)
    drawn = noise.apply(image, noise.draw(2, keyed_generator(0))) / image - 1
    for sample in drawn:
        assert sample.std().item() == pytest.approx(0.1, rel=0.01)


def test_camera_noise_has_the_variance_of_the_sensor() -> None:
    camera = CameraSensor(shot=0.004, spread=0.0, red=2.0, blue=1.6)
    params = camera.draw(1, keyed_generator(0))
    read = params["read"].item()
    assert read == pytest.approx(np.exp(2.18 * np.log(0.004) + 1.2))
    linear = (camera.apply(GREY_128, params)[0, 1].double().clamp(1e-3) ** 2.2).numpy()
    signal = (128 / 255) ** 2.2
    green = np.array([linear[0::2, 1::2].ravel(), linear[1::2, 0::2].ravel()])
    assert green.mean() == pytest.approx(signal, rel=0.01)
    assert green.var() == pytest.approx(0.004 * signal + read, rel=0.05)
    clean = CameraSensor(shot=1e-6, spread=0.0)
    torch.testing.assert_close(clean.apply(GREY_128, clean.draw(1, keyed_generator(0))), GREY_128, atol=0.02, rtol=0)


@pytest.mark.parametrize(
    "op",
    [
        GaussianNoise(sigma=[1, 30], colours={"colour": 1, "grey": 1, "correlated": 1}),
        PoissonNoise(strength=[0.05, 3], grey=0.4),
        Speckle(sigma=[0.01, 0.2]),
        CameraSensor(),
    ],
)
def test_canvas_equals_arrays(photos: Tensor, op) -> None:
    params = op.draw(6, keyed_generator(2))
    by_array = op.apply(photos, params)
    assert (by_array - photos).abs().max() > 0.01
    difference = (op.apply_canvas(photos, op.checked(params, 6)) - by_array).abs()
    assert difference.mean() < 1e-5
    assert (difference > 1e-4).float().mean() < 1e-3


def test_noise_does_not_depend_on_the_batch(photos: Tensor) -> None:
    noise = PoissonNoise(strength=[1, 2], grey=0.5)
    params = noise.draw_keyed([(0, 0, index) for index in range(6)])
    alone = noise.apply(photos[4:5], noise.draw_keyed([(0, 0, 4)]))
    assert torch.equal(noise.apply(photos, params)[4:5], alone)
    seeds = noise.draw(1000, keyed_generator(0))["seed"]
    assert len(set(seeds.tolist())) == 1000


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: GaussianNoise(sigma=-1), "sigma=-1"),
        (lambda: GaussianNoise(sigma=1, colours={"red": 1}), "colours.red is not known"),
        (lambda: PoissonNoise(strength=1, grey=2), "grey=2"),
        (lambda: Speckle(sigma=[1, 0.5]), "must ascend"),
        (lambda: CameraSensor(shot=0), "shot=0"),
    ],
)
def test_bad_arguments_are_refused_when_built(build, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build()


def test_grey_images_get_the_correlated_noise_of_one_channel() -> None:
    noise = GaussianNoise(sigma=10, colours={"correlated": 1})
    params = noise.draw(400, keyed_generator(0))
    image = torch.full((400, 1, 32, 32), 0.5)
    found = (noise.apply(image, params) - image).std(dim=(1, 2, 3)) * 255
    expected = 10 * params["mixture"][:, :, 0].norm(dim=1)
    torch.testing.assert_close(found, expected.float(), rtol=0.1, atol=0.0)
    canvas = noise.apply_canvas(image, noise.checked(params, 400))
    torch.testing.assert_close(canvas, noise.apply(image, params), atol=1e-5, rtol=0)


def test_a_grey_camera_has_the_noise_and_no_mosaic() -> None:
    camera = CameraSensor(shot=0.004, spread=0.0)
    params = camera.draw(1, keyed_generator(0))
    ramp = torch.linspace(0.3, 0.9, 256).expand(1, 1, 512, 256).contiguous()
    taken = camera.apply(ramp, params)
    linear = ramp.pow(2.2)
    variance = (taken.pow(2.2) - linear).var(dim=2)[0, 0]
    expected = (linear * 0.004 + params["read"].item())[0, 0, 0]
    assert (variance / expected).mean().item() == pytest.approx(1, abs=0.03)
    torch.testing.assert_close(camera.apply_canvas(ramp, camera.checked(params, 1)), taken, atol=1e-4, rtol=0)


def test_other_numbers_of_channels_are_refused_with_the_remedy() -> None:
    noise, camera = GaussianNoise(sigma=10, colours={"correlated": 1}), CameraSensor()
    image = torch.full((1, 4, 16, 16), 0.5)
    with pytest.raises(ValueError, match="mixes three channels, the image has 4: set its weight to 0"):
        noise.apply(image, noise.draw(1, keyed_generator(0)))
    with pytest.raises(ValueError, match="takes grey or RGB images, the image has 4 channels: leave it out"):
        camera.apply(image, camera.draw(1, keyed_generator(0)))
