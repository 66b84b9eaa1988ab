"""Images that are consistent with their inputs: exactly, by tiles, under noise; and what is refused."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from sr_lab.degradations.base import Degradation, Params
from sr_lab.degradations.blur import Blur
from sr_lab.degradations.compression import Jpeg, Quantise
from sr_lab.degradations.identity import Identity
from sr_lab.degradations.linear import LinearDegradation, NotLinear
from sr_lab.degradations.noise import GaussianNoise
from sr_lab.degradations.pipeline import Pipeline
from sr_lab.degradations.resize import Bicubic, ResizeTo, Stride
from sr_lab.images import resize_bicubic, to_levels
from sr_lab.inference.consistency import ConsistentRestorer
from sr_lab.inference.restorers import BicubicRestorer, NetworkRestorer, restore_by
from sr_lab.metrics.hallucination import unseen_detail
from sr_lab.networks.compact import Compact


def gaussian(sigma: float, size: int = 7) -> Blur:
    return Blur(kinds={"isotropic": 1}, sizes=size, sigma=sigma)


class Mean(Degradation):
    """One's own: the mean of each square, written by nobody of this house."""

    deterministic = True

    def draw(self, batch_size: int, generator: torch.Generator) -> Params:
        return {}

    def apply(self, image: Tensor, params: Mapping[str, Tensor]) -> Tensor:
        return torch.nn.functional.avg_pool2d(image, self.scale)


LINEAR = {
    "bicubic": Bicubic(scale=3),
    "bd": Pipeline(ops={"blur": gaussian(1.6), "stride": Stride(scale=3, offset=None), "round": Quantise()}),
    "blur and bicubic": Pipeline(ops={"blur": gaussian(1.2, 9), "resize": Bicubic(scale=4)}),
    "stride": Stride(scale=2, sigma=1.0),
    **{
        f"resize by {mode}": Pipeline(ops={"resize": ResizeTo(scale=4, modes={mode: 1})})
        for mode in ("area", "bilinear", "cubic", "bicubic", "lanczos", "nearest")
    },
    "one's own": Mean(scale=2),
}


def decibels(one: Tensor, other: Tensor) -> float:
    return float(-10 * (one - other).double().square().mean().clamp(min=1e-30).log10())


def photo(height: int, width: int, channels: int = 3) -> Tensor:
    """Smooth structures, edges and some texture, in [0.2, 0.8]."""
    generator = torch.Generator().manual_seed(height * width)
    coarse = torch.rand(1, channels, height // 4 + 2, width // 4 + 2, generator=generator)
    smooth = resize_bicubic(coarse, size=(height, width))
    edges = (
        (smooth > 0.5).float() * 0.3 + smooth * 0.5 + torch.rand(1, channels, height, width, generator=generator) * 0.1
    )
    return (edges - edges.min()) / (edges.max() - edges.min()) * 0.6 + 0.2


@pytest.mark.parametrize("size", [(11, 14), (5, 33)])
@pytest.mark.parametrize("name", LINEAR)
def test_degraded_again_the_image_is_its_input(name: str, size: tuple[int, int]) -> None:
    degradation = LINEAR[name]
    scale = degradation.scale
    restorer = ConsistentRestorer(BicubicRestorer(scale=scale), degradation=degradation)
    for channels in (1, 5):
        high = photo(size[0] * scale, size[1] * scale, channels)
        shrinking = restorer.linear.shrinking((high.shape[2], high.shape[3]), size)
        low = shrinking.shrink(high)
        restored = restorer(low)
        assert restored.shape == high.shape
        assert restorer.consistency(restored, low) > 100
        torch.testing.assert_close(restorer.project(restored, low), restored, atol=2e-6, rtol=0)
        assert decibels(restored, high) >= decibels(restorer.restorer(low), high), "a projection comes no further"
    if not any(isinstance(op, Quantise) for op in getattr(degradation, "ops", {}).values()):
        assert 0 < float(restored.min()) < float(restored.max()) < 1, "nothing is cut off below"
        again = degradation.apply(restored[:, :3], degradation.draw_keyed([(0, 0, 0)]))
        assert decibels(again, low[:, :3]) > 100, "by the degradation itself, not by its matrices"


@pytest.mark.parametrize(
    ("high", "low"), [((25, 31), (10, 13)), ((11, 8), (5, 5)), ((24, 16), (3, 2)), ((4, 4), (1, 1))]
)
def test_bicubic_at_any_ratio(high: tuple[int, int], low: tuple[int, int]) -> None:
    shrinking = LinearDegradation(Bicubic(scale=1)).shrinking(high, low)
    given = torch.rand(2, 2, *low)
    restored = shrinking.project(torch.rand(2, 2, *high), given)
    assert decibels(resize_bicubic(restored, size=low), given) > 110
    assert decibels(shrinking.project(restored.double(), given.double()), restored.double()) > 110


def test_the_correction_is_the_least_one_and_leaves_what_the_input_does_not_show() -> None:
    high, low = torch.rand(1, 1, 48, 40), torch.rand(1, 1, 12, 10)
    shrinking = LinearDegradation(Bicubic(scale=4)).shrinking((48, 40), (12, 10))
    correction = shrinking.project(high, low) - high
    other = shrinking.part(shrinking.shrink(correction))
    torch.testing.assert_close(correction, other, atol=1e-5, rtol=0)
    inside = (..., slice(8, -8), slice(8, -8))
    torch.testing.assert_close(unseen_detail(correction, scale=4)[inside], torch.zeros(1, 1, 32, 24), atol=0.02, rtol=0)


@pytest.mark.parametrize("degradation", [None, LINEAR["bd"]], ids=["bicubic", "bd"])
def test_tiles_are_the_projection_of_the_whole(degradation: Degradation | None) -> None:
    torch.manual_seed(0)
    scale = 4 if degradation is None else degradation.scale
    network = NetworkRestorer(Compact(scale=scale, num_features=4, num_convs=1), tile=72)
    restorer = ConsistentRestorer(network, degradation=degradation)
    low = torch.rand(1, 3, 150, 70)
    plan = restorer.plan(150, 70)
    assert len(plan.tiles) > 1
    with torch.no_grad():
        torch.testing.assert_close(restore_by(restorer, low, plan), restorer(low), atol=2e-6, rtol=0)


def test_nothing_is_cut_that_could_not_be_put_together() -> None:
    network = NetworkRestorer(Compact(scale=2, num_features=4, num_convs=1), tile=32)
    assert len(ConsistentRestorer(network, input_noise=5).plan(100, 40).tiles) == 1
    assert len(ConsistentRestorer(network).plan(20, 20).tiles) == 1


def test_noise_is_not_put_into_the_image() -> None:
    high = photo(96, 96)
    clean = resize_bicubic(high, scale=1 / 4)
    noisy = clean + torch.randn(clean.shape, generator=torch.Generator().manual_seed(0)) * 30 / 255
    restored = BicubicRestorer(scale=4)(clean)  # what a network for noisy inputs would give
    given = {
        noise: ConsistentRestorer(BicubicRestorer(scale=4), input_noise=noise).project(restored, noisy)
        for noise in (0.0, 30.0)
    }
    assert decibels(given[0.0], high) < decibels(restored, high) - 1
    assert decibels(given[30.0], high) > decibels(restored, high) - 0.05
    far = restored + 0.3
    pulled = ConsistentRestorer(BicubicRestorer(scale=4), input_noise=30).project(far, noisy)
    assert decibels(pulled, high) > decibels(far, high) + 3
    auto = ConsistentRestorer(BicubicRestorer(scale=4), input_noise="auto")
    assert auto(photo(24, 28)).shape == (1, 3, 96, 112)
    assert auto(torch.full((1, 3, 24, 24), 0.5)).shape == (1, 3, 96, 96)
    with pytest.raises(ValueError, match=r"noise of a 8x8 image cannot be estimated .* give input_noise="):
        auto(torch.rand(1, 3, 8, 8))


def test_what_a_file_keeps_is_measured() -> None:
    restorer = ConsistentRestorer(BicubicRestorer(scale=4))
    low = resize_bicubic(photo(64, 64), scale=1 / 4)
    restored = restorer(low)
    assert 55 < restorer.written(restored, low) < 75
    assert restorer.written(restored, low, bits=16) > 100
    assert restorer.written(restored * 2, low * 2) < 40, "what is cut off is counted"
    low = torch.rand(1, 3, 300, 5).mul(255).round() / 255
    restored = restorer(low)
    pixels, given = (to_levels(image, "uint8") for image in (restored, low))
    assert restorer.kept(pixels, given) == pytest.approx(restorer.written(restored, low), abs=0.01), "strip by strip"


def test_no_gradient_and_the_type_are_kept() -> None:
    shrinking = LinearDegradation(Bicubic(scale=2)).shrinking((8, 8), (4, 4))
    image = torch.rand(1, 1, 8, 8, requires_grad=True)
    assert shrinking.project(image.detach(), torch.rand(1, 1, 4, 4)).dtype == torch.float32
    assert shrinking.project(torch.rand(1, 1, 8, 8).half(), torch.rand(1, 1, 4, 4)).dtype == torch.float16


@pytest.mark.parametrize(
    ("degradation", "message"),
    [
        (
            {"shrink": Bicubic(scale=4), "jpeg": Jpeg(quality=50)},
            r"of shrink, jpeg has jpeg, which is not linear.*auto",
        ),
        ({"shrink": Bicubic(scale=4), "jpeg": Jpeg(quality=[30, 90])}, r"has jpeg, which draws at random"),
        ({"blur": Blur(kinds={"isotropic": 1}, sigma=[1, 2]), "shrink": Bicubic(scale=4)}, r"has blur, which draws at"),
        (
            {"shrink": Bicubic(scale=4), "noise": GaussianNoise(sigma=9)},
            r"adds noise, .* give input_noise=auto, or its",
        ),
        ({"blur": gaussian(4.0, 21), "shrink": Bicubic(scale=4)}, r"rounding of an 8-bit input .*input_noise=0.3"),
    ],
)
def test_what_cannot_be_projected_is_refused(degradation: dict[str, Degradation], message: str) -> None:
    with pytest.raises(NotLinear, match=message):
        ConsistentRestorer(BicubicRestorer(scale=4), degradation=Pipeline(ops=degradation))


def test_the_remedies_help() -> None:
    noisy = Pipeline(ops={"shrink": Bicubic(scale=4), "noise": GaussianNoise(sigma=9)})
    assert ConsistentRestorer(BicubicRestorer(scale=4), degradation=noisy, input_noise=9).facts["noise"] == 9
    wide = Pipeline(ops={"blur": gaussian(4.0, 21), "shrink": Bicubic(scale=4)})
    high = photo(48, 64, 1)
    low = wide.apply(high, wide.draw_keyed([(0, 0, 0)])).mul(255).round() / 255
    restorer = ConsistentRestorer(BicubicRestorer(scale=4), degradation=wide, input_noise=0.3)
    assert decibels(restorer(low), high) > decibels(restorer.restorer(low), high)


def test_other_mistakes_are_named() -> None:
    with pytest.raises(NotLinear, match=r"leaves images as they are"):
        LinearDegradation(Identity())
    with pytest.raises(ValueError, match=r"shrinks by 2, and the restorer enlarges by 4"):
        ConsistentRestorer(BicubicRestorer(scale=4), degradation=Stride(scale=2))
    with pytest.raises(ValueError, match=r"input_noise=loud: auto, or a standard deviation"):
        ConsistentRestorer(BicubicRestorer(scale=4), input_noise="loud")
    with pytest.raises(ValueError, match=r"Stride shrinks by 2, and a 4x4 image was made 12x12: only bicubic"):
        LinearDegradation(Stride(scale=2)).shrinking((12, 12), (4, 4))
