"""Consistency where rows and columns do not part: against dense algebra, by tiles, under noise; what is refused."""

from collections.abc import Mapping

import numpy as np
import pytest
import scipy.sparse
import torch
from torch import Tensor

from sr_lab.degradations.base import Degradation, Params
from sr_lab.degradations.blur import Blur
from sr_lab.degradations.compression import Quantise
from sr_lab.degradations.known_blur import KernelBlur, TurnedGaussian
from sr_lab.degradations.linear import LinearDegradation, NotLinear
from sr_lab.degradations.noise import GaussianNoise
from sr_lab.degradations.pipeline import Pipeline
from sr_lab.degradations.resize import Bicubic, Stride
from sr_lab.images import resize_bicubic
from sr_lab.images.projection import Axis
from sr_lab.images.summed import RESIDUAL, SummedShrinking
from sr_lab.inference.consistency import ConsistentRestorer
from sr_lab.inference.restorers import BicubicRestorer, NetworkRestorer, restore_by
from sr_lab.networks.compact import Compact

TURNED = TurnedGaussian(sigma_x=1.6, sigma_y=0.8, theta=0.6, size=11)
KERNELS: dict[str, Degradation] = {
    "turned and bicubic": Pipeline(ops={"blur": TURNED, "resize": Bicubic(scale=4), "round": Quantise()}),
    "turned and stride": Pipeline(ops={"blur": TURNED, "stride": Stride(scale=2)}),
    "disc": Pipeline(ops={"blur": Blur(kinds={"defocus": 1}, sizes=9, radius=2.5), "resize": Bicubic(scale=4)}),
    "an odd one": Pipeline(
        ops={"blur": KernelBlur(kernel=[[0, 1, 2], [0, 9, 1], [3, 0, 0]]), "resize": Bicubic(scale=3)}
    ),
}


@pytest.fixture(scope="module")
def linear() -> dict[str, LinearDegradation]:
    return {name: LinearDegradation(degradation) for name, degradation in KERNELS.items()}


def decibels(one: Tensor, other: Tensor) -> float:
    return float(-10 * (one - other).double().square().mean().clamp(min=1e-30).log10())


def field(*shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(sum(shape))) * 0.5 + 0.25


def degraded(degradation: Degradation, image: Tensor) -> Tensor:
    ops = {name: op for name, op in degradation.ops.items() if not isinstance(op, Quantise)}  # type: ignore[attr-defined]
    pipeline = Pipeline(ops=ops)
    return pipeline.apply(image, pipeline.draw_keyed([(0, 0, 0)]))


def summed() -> tuple[SummedShrinking, np.ndarray]:
    """A sum of three pairs of random banded matrices, and the whole matrix of it."""
    generator = np.random.default_rng(0)
    pairs = []
    for _ in range(3):
        rows, columns = (
            np.kron(np.eye(length), generator.random((1, 2))) + 0.1 * np.eye(length, 2 * length) for length in (4, 5)
        )
        pairs.append((rows, columns))
    whole = sum(np.kron(rows, columns) for rows, columns in pairs)
    axes = [tuple(Axis(scipy.sparse.csr_array(matrix)) for matrix in pair) for pair in pairs]
    return SummedShrinking(axes), whole  # type: ignore[arg-type]


@pytest.mark.parametrize("weight", [0.0, 0.3])
def test_a_sum_of_pairs_is_projected_as_dense_algebra_does(weight: float) -> None:
    shrinking, whole = summed()
    image, low = field(2, 3, 8, 10).double(), field(2, 3, 4, 5).double()
    x, y = image.reshape(6, -1).numpy().T, low.reshape(6, -1).numpy().T
    solved = np.linalg.solve(whole @ whole.T + weight * np.eye(20), y - whole @ x)
    torch.testing.assert_close(shrinking.shrink(image).reshape(6, -1).numpy().T, whole @ x, atol=1e-12, rtol=0)
    projected = shrinking.project(image, low, weight=weight).reshape(6, -1).numpy().T
    np.testing.assert_allclose(projected, x + whole.T @ solved, atol=1e-6, rtol=0)
    left = (
        y
        - whole @ x
        - (whole @ whole.T + weight * np.eye(20))
        @ np.asarray(shrinking.solve(low - shrinking.shrink(image), weight=weight).reshape(6, -1).numpy().T)
    )
    assert np.abs(left).max() < 2 * RESIDUAL
    assert shrinking.mean_gain == pytest.approx((whole**2).sum() / 20)
    assert shrinking.noise_gain**2 == pytest.approx(np.trace(np.linalg.inv(whole @ whole.T)) / 80, rel=1e-6)


def test_the_transpose_is_the_adjoint(linear: dict[str, LinearDegradation]) -> None:
    shrinking = linear["turned and bicubic"].shrinking((80, 48), (20, 12))
    image, low = field(1, 1, 80, 48).double(), field(1, 1, 20, 12).double()
    assert float((shrinking.shrink(image) * low).sum()) == pytest.approx(float((image * shrinking.lift(low)).sum()))


@pytest.mark.parametrize("low", [(40, 35), (4, 37)], ids=str)
@pytest.mark.parametrize("name", KERNELS)
def test_degraded_again_the_image_is_its_input(
    name: str, low: tuple[int, int], linear: dict[str, LinearDegradation]
) -> None:
    scale = KERNELS[name].scale
    shrinking = linear[name].shrinking((low[0] * scale, low[1] * scale), low)
    assert isinstance(shrinking, SummedShrinking)
    high = field(1, 2, low[0] * scale, low[1] * scale)
    given = degraded(KERNELS[name], high)
    torch.testing.assert_close(shrinking.shrink(high), given, atol=2e-5, rtol=0)
    start = resize_bicubic(given, scale=scale)
    restored = shrinking.project(start, given)
    assert decibels(shrinking.shrink(restored), given) > 110
    assert decibels(restored, high) > decibels(start, high), "a projection comes nearer"
    if 0 < float(restored.min()) < float(restored.max()) < 1:
        assert decibels(degraded(KERNELS[name], restored), given) > 95, "by the degradation itself"


def test_tiles_are_the_projection_of_the_whole() -> None:
    torch.manual_seed(0)
    degradation = Pipeline(ops={"blur": KernelBlur(kernel=[[0, 0, 1], [0, 5, 0], [2, 0, 0]]), "down": Stride(scale=2)})
    network = NetworkRestorer(Compact(scale=2, num_features=4, num_convs=1), tile=64)
    restorer = ConsistentRestorer(network, degradation=degradation)
    assert isinstance(restorer.linear.shrinking((8, 8), (4, 4)), SummedShrinking)
    low = field(1, 3, 170, 70)
    plan = restorer.plan(170, 70)
    assert len(plan.tiles) > 1
    with torch.no_grad():
        torch.testing.assert_close(restore_by(restorer, low, plan), restorer(low), atol=3e-6, rtol=0)


def test_noise_is_not_put_into_the_image() -> None:
    shrink = Pipeline(ops={"blur": TURNED, "resize": Bicubic(scale=4)})
    noisy = Pipeline(ops={"blur": TURNED, "resize": Bicubic(scale=4), "noise": GaussianNoise(sigma=20)})
    high = resize_bicubic(field(1, 1, 12, 14), size=(96, 112))
    low = shrink.apply(high, {}) + torch.randn(1, 1, 24, 28, generator=torch.Generator().manual_seed(0)) * 20 / 255
    regular = ConsistentRestorer(BicubicRestorer(scale=4), degradation=noisy, input_noise=20)
    exact = ConsistentRestorer(BicubicRestorer(scale=4), degradation=shrink)
    far = high + 0.2
    assert decibels(regular.project(far, low), high) > decibels(far, high) + 3, "pulled towards the input"
    assert decibels(regular.project(high, low), high) > decibels(exact.project(high, low), high) + 3
    with pytest.raises(NotLinear, match=r"adds noise, .* give input_noise=auto"):
        ConsistentRestorer(BicubicRestorer(scale=4), degradation=noisy)


class Vignette(Degradation):
    """Linear, and another at every place."""

    deterministic = True

    def draw(self, batch_size: int, generator: torch.Generator) -> Params:
        return {}

    def apply(self, image: Tensor, params: Mapping[str, Tensor]) -> Tensor:
        height, width = image.shape[-2:]
        y, x = torch.linspace(-1, 1, height)[:, None], torch.linspace(-1, 1, width)
        return torch.nn.functional.avg_pool2d(image * (1 - 0.3 * (x * x + y * y - x * y)), self.scale)


@pytest.mark.parametrize(
    ("degradation", "message"),
    [
        (Vignette(scale=2), r"Vignette is no kernel of at most 64 low pixels, the same at every place"),
        (
            Pipeline(
                ops={"blur": TurnedGaussian(sigma_x=3, sigma_y=2, theta=0.6, size=15), "resize": Bicubic(scale=2)}
            ),
            r"rounding of an 8-bit input .*input_noise=0.3",
        ),
    ],
)
def test_what_cannot_be_projected_is_refused(degradation: Degradation, message: str) -> None:
    with pytest.raises(NotLinear, match=message):
        ConsistentRestorer(BicubicRestorer(scale=2), degradation=degradation)
