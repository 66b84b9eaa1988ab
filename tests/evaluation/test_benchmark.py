"""Scoring a benchmark: what is measured, what fails, what is left out."""

import math
from collections.abc import Mapping
from pathlib import Path

import pytest
import torch
from PIL import Image
from torch import Tensor

from sr_lab.degradations.base import Degradation, Params
from sr_lab.degradations.resize import Bicubic
from sr_lab.evaluation.scores import Scores
from sr_lab.images import read_image, resize_bicubic, rgb_to_y, to_tensor
from sr_lab.inference.restorers import BicubicRestorer, NetworkRestorer, Restorer
from sr_lab.metrics.base import PerImageMetric
from sr_lab.metrics.consistency import LRConsistency
from sr_lab.metrics.hallucination import Hallucination
from sr_lab.metrics.lpips import LPIPSMetric
from sr_lab.metrics.protocol import Protocol, RGBCrop, YClassic, YCrop
from sr_lab.metrics.psnr import PSNR
from sr_lab.metrics.ssim import SSIM
from sr_lab.metrics.variance import SampleVariance
from sr_lab.networks.base import GenerativeNetwork
from sr_lab.workflows.evaluate import evaluate


class NoisyBicubic(Degradation):
    """Bicubic shrinking with drawn noise."""

    def __init__(self, *, scale: int, sigma: float) -> None:
        super().__init__(scale=scale)
        self.sigma = sigma

    def draw(self, batch_size: int, generator: torch.Generator) -> Params:
        return {"level": self.sigma * torch.rand(batch_size, 1, 1, 1, generator=generator)}

    def apply(self, image: Tensor, params: Mapping[str, Tensor]) -> Tensor:
        return resize_bicubic(image, scale=1 / self.scale) + params["level"]


class Grain(GenerativeNetwork):
    """Bicubic with one value of noise a seed added to every pixel."""

    def sample(self, low: Tensor, *, seeds, num_steps=None, tile=None, overlap=32) -> Tensor:
        return resize_bicubic(low, scale=float(self.scale)) + 0.1 * seeds[0]


def metrics(protocol: Protocol, scale: int = 2) -> dict[str, PerImageMetric]:
    return {"psnr": PSNR(protocol=protocol, scale=scale), "ssim": SSIM(protocol=protocol, scale=scale)}


def score(folder: Path, restorer: Restorer | None = None, **changes: object) -> Scores:
    settings = {"name": "test", "scale": 2, "protocol": YCrop(), "metrics": metrics(YCrop()), "progress": False}
    return evaluate(restorer or BicubicRestorer(scale=2), folder, **{**settings, **changes})  # type: ignore[arg-type]


def test_paired_benchmark_equals_scores_by_hand(paired: Path) -> None:
    evaluation = score(paired, lambda low: resize_bicubic(low, scale=2.0).clamp(0.31, 0.69))
    assert evaluation.complete
    assert [image.name for image in evaluation.images] == ["photo0", "photo1", "photo2"]
    assert [image.size for image in evaluation.images] == [(80, 64), (64, 48), (50, 72)]
    assert evaluation.benchmark.low_images == "given"
    expected, of_bicubic = [], []
    for name in ("photo0", "photo1", "photo2"):
        low, high = (to_tensor(read_image(paired / part / f"{name}.png")) for part in ("LR", "HR"))
        enlarged = resize_bicubic(low, scale=2.0)
        target = high[..., : enlarged.shape[-2], : enlarged.shape[-1]]
        for restored, values in ((enlarged.clamp(0.31, 0.69), expected), (enlarged, of_bicubic)):
            eight_bit = (255 * restored.clamp(0, 1)).round() / 255
            error = (rgb_to_y(eight_bit) - rgb_to_y(target))[..., 2:-2, 2:-2].double()
            values.append(-10 * math.log10(float(error.square().mean())))
    assert evaluation.mean("psnr_y") == pytest.approx(sum(expected) / 3, abs=1e-4)
    assert evaluation.mean("psnr_y", evaluation.names[1]) == pytest.approx(sum(of_bicubic) / 3, abs=1e-4)
    assert evaluation.mean_gain("psnr_y") == pytest.approx((sum(expected) - sum(of_bicubic)) / 3, abs=1e-4)


def test_originals_alone_equal_the_paired_benchmark(paired: Path) -> None:
    given, made = score(paired), score(paired / "HR")
    assert made.benchmark.low_images == "Bicubic"
    assert made.mean("psnr_y") == pytest.approx(given.mean("psnr_y"), abs=1e-9)


def test_worst_images_come_first(paired: Path) -> None:
    evaluation = score(paired)
    values = [image.value("test", "psnr_y") for image in evaluation.worst_first()]
    assert values == sorted(values)
    worse = score(paired, lambda low: resize_bicubic(low, scale=2.0) * (0.9 if low.shape[-1] == 32 else 1.0))
    assert worse.worst_first()[0].name == "photo1"
    assert worse.gain(worse.worst_first()[0], "psnr_y") < -1


def test_unreadable_images_are_recorded_and_the_others_scored(paired: Path) -> None:
    (paired / "LR" / "photo1.png").write_bytes(b"not an image")
    Image.new("RGB", (7, 9)).save(paired / "LR" / "photo2.png")
    evaluation = score(paired)
    assert not evaluation.complete
    assert [image.name for image in evaluation.scored] == ["photo0"]
    assert [image.name for image in evaluation.failed] == ["photo1", "photo2"]
    assert "photo1.png" in evaluation.failed[0].reason
    assert "photo2.png: low image is 7x9, expected 25x36" in evaluation.failed[1].reason


def test_a_restoration_with_nan_is_a_failure_and_not_a_number(paired: Path) -> None:
    evaluation = score(paired, lambda low: resize_bicubic(low, scale=2.0) * math.nan)
    assert evaluation.scored == []
    assert {"NaN" in image.reason for image in evaluation.failed} == {True}
    assert not evaluation.complete
    assert math.isnan(evaluation.mean("psnr_y"))


def test_numbers_are_made_in_full_precision(paired: Path) -> None:
    class Asking(BicubicRestorer):
        def __call__(self, low: Tensor) -> Tensor:
            seen.append((torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32))
            return super().__call__(low)

    seen: list[tuple[str, bool]] = []
    score(paired, Asking(scale=2))
    assert set(seen) == {("highest", False)}


def test_a_restorer_of_another_scale_is_a_failure(paired: Path) -> None:
    evaluation = score(paired, BicubicRestorer(scale=3))
    assert len(evaluation.failed) == 3
    assert "the restorer returned (1, 3, 96, 120), the target is (1, 3, 64, 80)" in evaluation.failed[0].reason


def test_random_degradations_give_every_image_its_own_repeatable_draw(originals: Path) -> None:
    noisy = NoisyBicubic(scale=2, sigma=0.2)
    one, two, other = (score(originals, degradation=noisy, seed=seed) for seed in (1, 1, 2))
    values = [[image.value("test", "psnr_y") for image in evaluation.images] for evaluation in (one, two, other)]
    assert values[0] == values[1] != values[2]
    (originals / "photo2.png").unlink()
    assert [image.value("test", "psnr_y") for image in score(originals, degradation=noisy, seed=1).images] == values[0][
        :2
    ]


def test_settings_that_contradict_each_other_are_refused(paired: Path) -> None:
    with pytest.raises(ValueError, match="brings its own low images"):
        score(paired, degradation=Bicubic(scale=2))
    with pytest.raises(ValueError, match="y_classic makes its own"):
        score(paired / "HR", degradation=Bicubic(scale=2), protocol=YClassic(), metrics=metrics(YClassic()))
    with pytest.raises(ValueError, match="shrinks by 4, the evaluation is at scale=2"):
        score(paired / "HR", degradation=Bicubic(scale=4))
    with pytest.raises(ValueError, match="no metric"):
        score(paired, metrics={})
    with pytest.raises(ValueError, match="two metrics record 'psnr_y'"):
        score(paired, metrics={name: PSNR(protocol=YCrop(), scale=2) for name in "ab"})


def test_lpips_is_not_measured_where_it_cannot_be(paired: Path, tmp_path: Path) -> None:
    missing = LPIPSMetric(weights=tmp_path / "nowhere", missing="skip")
    evaluation = score(paired, metrics={**metrics(YCrop()), "lpips": missing})
    assert evaluation.complete
    assert list(evaluation.metrics) == ["psnr_y", "ssim_y"]
    assert "alexnet" in evaluation.not_measured["lpips"]


@pytest.mark.parametrize("protocol", [YCrop(), YClassic(), RGBCrop()])
def test_grey_images_under_every_protocol(tmp_path: Path, protocol: Protocol) -> None:
    pixels = torch.rand(40, 44, generator=torch.Generator().manual_seed(0)).mul(255).byte().numpy()
    Image.fromarray(pixels, "L").save(tmp_path / "grey.png")
    evaluation = score(tmp_path, protocol=protocol, metrics=metrics(protocol))
    assert evaluation.complete
    assert evaluation.pictures(evaluation.images)[evaluation.images[0].name].restored.shape == (40, 44, 3)


def test_bands_are_scored_by_rgb_crop_and_refused_by_luma_protocols(tmp_path: Path) -> None:
    import tifffile

    pixels = torch.rand(40, 44, 5, generator=torch.Generator().manual_seed(0)).mul(255).numpy().astype("uint8")
    tifffile.imwrite(tmp_path / "bands.tif", pixels, photometric="minisblack", planarconfig="contig")
    assert score(tmp_path, protocol=RGBCrop(), metrics=metrics(RGBCrop())).complete
    with pytest.raises(ValueError, match=r"bands\.tif: 5 channels have no luma: give protocol=rgb_crop"):
        score(tmp_path)


def test_lr_consistency_uses_the_draw_that_made_the_input(originals: Path) -> None:
    """Under random noise the original itself is consistent only with its own draw."""
    noisy = NoisyBicubic(scale=2, sigma=0.2)
    wanted = {"lr_consistency": LRConsistency(scale=2)}
    truth = {tuple(to_tensor(read_image(file)).shape[-2:]): file for file in originals.iterdir()}

    def cheat(low: Tensor) -> Tensor:
        height, width = 2 * low.shape[-2], 2 * low.shape[-1]
        file = next(file for size, file in truth.items() if (size[0] // 2 * 2, size[1] // 2 * 2) == (height, width))
        return to_tensor(read_image(file))[..., :height, :width]

    assert score(originals, cheat, degradation=noisy, metrics=wanted).mean("lr_consistency") == 60


@pytest.mark.parametrize("protocol", [YCrop(), YClassic(), RGBCrop()])
def test_consistency_and_invented_detail_under_every_protocol(paired: Path, protocol: Protocol) -> None:
    wanted = {"lr_consistency": LRConsistency(scale=2), "hallucination": Hallucination(scale=2)}
    evaluation = score(paired, protocol=protocol, metrics=wanted)
    assert evaluation.complete
    assert 20 < evaluation.mean("lr_consistency") < 60
    assert evaluation.mean("hallucination") < 0.004, "clamping alone"
    assert evaluation.degradation_fit == (60 if protocol.colour else None)
    names = [item.name for item in evaluation.pictures(evaluation.images)[evaluation.images[0].name].maps]
    assert names == ["LR residual", "invented detail"]
    residual, invented = evaluation.pictures(evaluation.images)[evaluation.images[0].name].maps
    assert residual.levels.shape == evaluation.pictures(evaluation.images)[evaluation.images[0].name].low.shape[:2]
    assert invented.levels.shape == evaluation.pictures(evaluation.images)[evaluation.images[0].name].target.shape[:2]


def test_given_low_images_that_bicubic_did_not_make_are_noticed(paired: Path) -> None:
    for file in (paired / "LR").iterdir():
        Image.open(file).point(lambda level: level // 2).save(file)
    assert score(paired, metrics={"lr_consistency": LRConsistency(scale=2)}).degradation_fit < 20


def test_sample_variance_of_a_generative_network(paired: Path) -> None:
    network = Grain(scale=2, num_channels=3)
    wanted = {**metrics(YCrop()), "sample_variance": SampleVariance()}
    evaluation = score(paired, NetworkRestorer(network), metrics=wanted, samples=3)
    assert evaluation.mean("sample_variance") == pytest.approx(0.01, rel=1e-4)  # of 0, 0.1, 0.2
    assert evaluation.mean("sample_variance", evaluation.names[1]) == 0
    assert evaluation.mean("psnr_y") == pytest.approx(evaluation.mean("psnr_y", evaluation.names[1])), (
        "the first sample is scored"
    )
    (spread,) = evaluation.pictures(evaluation.images)[evaluation.images[0].name].maps
    assert (spread.name, spread.rms) == ("sample spread", pytest.approx(25.5, rel=1e-3))


def test_samples_of_what_draws_nothing_are_refused(paired: Path) -> None:
    with pytest.raises(ValueError, match="samples=8: at least 1, and more only of a generative network"):
        score(paired, samples=8)
