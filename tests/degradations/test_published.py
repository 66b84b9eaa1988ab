"""Against numbers and images that others published."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sr_lab.degradations.base import keyed_generator
from sr_lab.degradations.blur import Blur
from sr_lab.degradations.compression import Quantise
from sr_lab.degradations.noise import GaussianNoise
from sr_lab.degradations.pipeline import Pipeline
from sr_lab.degradations.resize import Bicubic, Stride
from sr_lab.images import resize_bicubic


def read(path: Path) -> torch.Tensor:
    return torch.from_numpy(np.asarray(Image.open(path).convert("RGB")).copy()).permute(2, 0, 1)[None].float() / 255


def luma(image: torch.Tensor) -> torch.Tensor:
    weights = torch.tensor([65.481, 128.553, 24.966]).reshape(1, 3, 1, 1)
    return ((image.clamp(0, 1) * 255).round() / 255 * weights).sum(1) + 16


def set5(shared: Path) -> list[Path]:
    return sorted((shared / "datasets/benchmark/Set5/x3/HR").iterdir())


@pytest.mark.parametrize("scale", [2, 3, 4])
def test_bicubic_gives_the_published_low_images_bit_for_bit(shared: Path, scale: int) -> None:
    folder = shared / f"datasets/benchmark/Set5/x{scale}"
    pairs = list(zip(sorted((folder / "HR").iterdir()), sorted((folder / "LR").iterdir()), strict=True))
    assert len(pairs) == 5
    for high, low in pairs:
        assert torch.equal(Bicubic(scale=scale).apply(read(high), {}).mul(255).round(), read(low).mul(255).round())


def restored_psnr(shared: Path, pipeline: Pipeline) -> float:
    """Mean PSNR on Y of bicubic restoration, Set5 x3, border 3."""
    values = []
    for number, path in enumerate(set5(shared)):
        high = read(path)
        low = pipeline.apply(high, pipeline.draw_keyed([(0, 0, number)]))
        error = luma(resize_bicubic(low, scale=3)) - luma(high)
        values.append(20 * np.log10(255) - 10 * error[:, 3:-3, 3:-3].square().mean().log10().item())
    return float(np.mean(values))


def test_bd_restores_as_published(shared: Path) -> None:
    blur = Blur(kinds={"isotropic": 1}, sizes=7, sigma=1.6)
    pipeline = Pipeline(ops={"blur": blur, "stride": Stride(scale=3, offset=None), "quantise": Quantise()})
    assert restored_psnr(shared, pipeline) == pytest.approx(28.78, abs=0.03)


def test_dn_restores_as_published(shared: Path) -> None:
    noise = GaussianNoise(sigma=30)
    pipeline = Pipeline(ops={"resize": Bicubic(scale=3), "noise": noise, "quantise": Quantise()})
    assert restored_psnr(shared, pipeline) == pytest.approx(24.01, abs=0.05)
    assert not pipeline.deterministic
    assert pipeline.draw(1, keyed_generator(0))["noise.sigma"].item() == 30
