"""The one table of scores: the evidence that it gives, the work that it does, and what leaves a cell empty."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import torch
from torch import Tensor

from sr_lab.degradations.noise import GaussianNoise
from sr_lab.degradations.pipeline import Pipeline
from sr_lab.degradations.resize import Bicubic
from sr_lab.evaluation import benchmark
from sr_lab.evaluation.benchmark import Benchmark
from sr_lab.evaluation.measuring import OutOfMemory
from sr_lab.evaluation.scoring import score
from sr_lab.images import resize_bicubic, write_image
from sr_lab.inference.restorers import BicubicRestorer
from sr_lab.metrics.base import PerImageMetric
from sr_lab.metrics.consistency import LRConsistency
from sr_lab.metrics.hallucination import Hallucination
from sr_lab.metrics.protocol import Deep, Protocol, ProtocolMismatch, RGBCrop, YCrop
from sr_lab.metrics.psnr import PSNR
from sr_lab.metrics.ssim import SSIM
from sr_lab.workflows.compare import measurements
from sr_lab.workflows.evaluate import evaluate

EVIDENCE = {  # of release 0.1, which scored bicubic beside each of the two
    ("darker", "psnr_y"): [25.261, 25.32745, 24.7534, 23.81574, 25.08545, 23.90444],
    ("darker", "ssim_y"): [0.79845, 0.80004, 0.81114, 0.69843, 0.78476, 0.7545],
    ("darker", "lr_consistency"): [25.36087, 26.18955, 25.47994, 22.64538, 25.52818, 23.6183],
    ("darker", "hallucination"): [0.00192, 0.00193, 0.00432, 0.00273, 0.00208, 0.00475],
    ("sharper", "psnr_y"): [27.64696, 27.25145, 27.18909, 25.07182, 26.72281, 25.66813],
    ("sharper", "ssim_y"): [0.82119, 0.82429, 0.83471, 0.70079, 0.80261, 0.76903],
    ("sharper", "lr_consistency"): [31.39371, 32.31238, 31.35524, 24.54967, 29.63715, 26.06396],
    ("sharper", "hallucination"): [0.00045, 0.00044, 0.00059, 0.00333, 0.00138, 0.0032],
}


def darker(low: Tensor) -> Tensor:
    restored = resize_bicubic(low, scale=2.0).clone()
    restored[..., restored.shape[-1] // 2 :] *= 0.9
    return restored


def sharper(low: Tensor) -> Tensor:
    enlarged = resize_bicubic(low, scale=2.0)
    return enlarged + 0.2 * resize_bicubic(low - resize_bicubic(enlarged, scale=0.5), scale=2.0)


def of(protocol: Protocol) -> dict[str, PerImageMetric]:
    return {"psnr": PSNR(protocol=protocol, scale=2), "ssim": SSIM(protocol=protocol, scale=2)}


def evaluated(folder: Path, protocol: Protocol, restorer: Any = darker, **changes: Any) -> Any:
    settings = {"name": "net", "scale": 2, "protocol": protocol, "metrics": of(protocol), "progress": False}
    return evaluate(restorer, folder, **{**settings, **changes})


def test_evidence_is_that_of_the_former_code_for_half_of_the_work(
    originals: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Formerly 96 measurements of metrics, 48 maps and 18 decoded originals."""
    count = dict.fromkeys(("measured", "maps", "decoded"), 0)

    def counted(owner: Any, name: str, what: str) -> None:
        former = getattr(owner, name)

        def call(*arguments: Any) -> Any:
            count[what] += 1
            return former(*arguments)

        monkeypatch.setattr(owner, name, call)

    for metric in (PSNR, SSIM, LRConsistency, Hallucination):
        counted(metric, "measure", "measured")
        counted(metric, "map_of", "maps")
    counted(benchmark, "read_image", "decoded")
    noisy = Pipeline(ops={"resize": Bicubic(scale=2), "noise": GaussianNoise(sigma=[5.0, 20.0])})
    parts = {"clean": None, "noisy": noisy}
    scores = score(
        {"darker": darker, "sharper": sharper},
        {key: Benchmark(originals, scale=2, protocol=YCrop(), degradation=made) for key, made in parts.items()},
        metrics={**of(YCrop()), "lr": LRConsistency(scale=2), "h": Hallucination(scale=2)},
        describe=True,
    )
    assert count == {"measured": 48, "maps": 0, "decoded": 3}
    assert count["measured"] <= 0.55 * 96
    models = measurements(scores, scores.names, seen={"darker": {}, "sharper": None}, costs={})
    for model in models:
        for key in scores.metrics:
            found = [row.metrics[key] for row in model.rows]
            assert found == pytest.approx(
                EVIDENCE[model.model, key], abs=2e-3 if "psnr" in key or "lr" in key else 1e-4
            )
    names = ["clean/photo0", "clean/photo1", "clean/photo2", "noisy/photo0", "noisy/photo1", "noisy/photo2"]
    assert [row.name for row in models[0].rows] == names
    assert [row.scene for row in models[0].rows] == names[:3] * 2
    assert models[0].rows[0].slices == {"benchmark_clean", "content_texture", "degradation_Bicubic"}
    assert models[0].holdout == "2db5cc92b76a2c9802bfde23816c4aa7e5597578538064e8a54cd4a1c261c3da"
    assert (models[0].seen, models[1].seen) == (frozenset(), None)


def test_the_table_and_the_means_of_several_restorers(originals: Path) -> None:
    source = Benchmark(originals, scale=2, protocol=YCrop())
    scores = score({"a": darker, "b": sharper, "bicubic": BicubicRestorer(scale=2)}, {"": source}, metrics=of(YCrop()))
    table = scores.table
    assert list(table["restorer"]) == ["a", "b", "bicubic"] * 3
    for name, means in scores.means.items():
        assert table[table.restorer == name].psnr_y.mean() == pytest.approx(means["psnr_y"])


def test_one_metric_that_a_tiny_image_is_too_small_for_takes_no_other_away(originals: Path) -> None:
    write_image(originals / "tiny.png", np.arange(10 * 10 * 3, dtype=np.uint8).reshape(10, 10, 3))
    scores = evaluated(originals, YCrop())
    tiny = scores.images[-1]
    assert (len(scores.scored), scores.failed, scores.complete) == (4, [], False)
    assert set(tiny.values["net"]) == {"psnr_y"}
    assert "SSIM needs 11x11" in tiny.reason
    assert scores.mean("ssim_y") == pytest.approx(np.mean([i.value("net", "ssim_y") for i in scores.images[:3]]))
    assert any("ssim_y could not be measured on 1 of 4 images (tiny)" in text for text in scores.facts["cautions"])


def test_the_ceiling_of_a_mean_is_stated_beside_it(tmp_path: Path) -> None:
    write_image(tmp_path / "grey.png", np.full((32, 32, 3), 128, dtype=np.uint8))
    scores = evaluated(tmp_path, YCrop(), BicubicRestorer(scale=2), name="bicubic")
    assert (scores.images[0].value("bicubic", "psnr_y"), scores.mean("psnr_y")) == (float("inf"), 100)
    assert "1 of 1 image has a psnr_y above 100" in scores.facts["cautions"][0]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 8 GiB"),
        MemoryError(),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 12000000000 bytes."),
    ],
)
def test_memory_that_does_not_suffice_is_an_error_with_its_remedy_and_no_image_that_fails(
    originals: Path, error: Exception
) -> None:
    def full(low: Tensor) -> Tensor:
        raise error

    with pytest.raises(OutOfMemory, match=r"photo0\.png: the memory does not suffice .* tile="):
        evaluated(originals, YCrop(), full)


@pytest.fixture
def deep(tmp_path: Path) -> Path:
    """An image of a 12-bit camera in a 16-bit file: levels 100 to 2810."""
    folder = tmp_path / "deep"
    folder.mkdir()
    levels = np.linspace(100, 2810, 64 * 64).reshape(64, 64, 1).repeat(3, 2).round().astype(np.uint16)
    tifffile.imwrite(folder / "camera.tif", levels, photometric="rgb")
    return folder


def noisy(low: Tensor) -> Tensor:
    enlarged = resize_bicubic(low, scale=2.0)
    noise = torch.randn(enlarged.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    return enlarged + (noise * 20 / 65535).float()


def test_deep_images_are_refused_by_8_bit_protocols_and_scored_without_rounding_by_deep(deep: Path) -> None:
    for protocol in (YCrop(), RGBCrop()):
        with pytest.raises(ProtocolMismatch, match=r"camera\.tif: .*16 bits.*protocol=deep"):
            evaluated(deep, protocol)
    true = 20 * np.log10(65535 / 20)
    scores = evaluated(deep, Deep(), noisy, metrics={**of(Deep()), "lr": LRConsistency(scale=2)})
    assert scores.mean("psnr_deep") == pytest.approx(true, abs=0.1)
    assert scores.mean("lr_consistency") > 60, "the limit of 8 bits does not hold"
    own = evaluated(deep, Deep(high=4095), noisy)
    assert own.mean("psnr_deep") == pytest.approx(true - 20 * np.log10(65535 / 4095), abs=0.1)
    assert own.protocol.name == "deep_0_4095"
    shares = evaluated(deep, Deep(percentiles=[1, 99]), noisy)
    assert shares.mean("psnr_deep") == pytest.approx(20 * np.log10(0.98 * 2710 / 20), abs=0.1)
    assert shares.protocol.name == "deep_p1_p99"


def test_deep_images_are_shown_by_a_stated_stretch(deep: Path, tmp_path: Path) -> None:
    scores = evaluated(deep, Deep(), noisy, report=tmp_path / "out")
    pictures = scores.pictures(scores.images)["camera"]
    assert (pictures.thumbnail.min(), pictures.thumbnail.max()) == (0, 255)
    assert pictures.shown == "levels 113 to 2797 of 65535 are shown as black to white"
    assert pictures.shown in (tmp_path / "out" / "report.html").read_text()


def test_8_bits_in_a_16_bit_file_are_no_deep_image(tmp_path: Path) -> None:
    levels = np.random.default_rng(0).integers(0, 256, (32, 32, 3)).astype(np.uint16) * 257
    tifffile.imwrite(tmp_path / "a.tif", levels, photometric="rgb")
    assert evaluated(tmp_path, YCrop()).complete


def test_a_metric_for_colour_is_not_measured_on_four_bands_and_the_rest_is(tmp_path: Path) -> None:
    class OfColour(Hallucination):
        key = "colourful"  # type: ignore[assignment]

        def refuses(self, num_channels: int) -> str | None:
            return None if num_channels == 3 else f"these have {num_channels} channels"

    bands = np.random.default_rng(0).integers(0, 256, (32, 32, 4), dtype=np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", bands, photometric="minisblack", planarconfig="contig")
    scores = evaluated(tmp_path, RGBCrop(), metrics={**of(RGBCrop()), "c": OfColour(scale=2)})
    assert scores.complete
    assert scores.not_measured == {"colourful": "these have 4 channels"}
    with pytest.raises(ProtocolMismatch, match="4 channels have no luma: give protocol=rgb_crop"):
        evaluated(tmp_path, YCrop())
