"""Bicubic restoration of the public benchmarks gives the published table: every cell of it is a test."""

from functools import cache
from pathlib import Path

import pytest

from sr_lab.evaluation.scores import Scores
from sr_lab.inference.restorers import BicubicRestorer
from sr_lab.metrics.lpips import LPIPSMetric
from sr_lab.metrics.protocol import Protocol, YClassic, YCrop
from sr_lab.metrics.psnr import PSNR
from sr_lab.metrics.ssim import SSIM
from sr_lab.workflows.evaluate import evaluate

TABLE = {
    ("Set5", 2, "y_classic"): (33.6614, 0.9299),
    ("Set5", 3, "y_classic"): (30.3922, 0.8682),
    ("Set5", 4, "y_classic"): (28.4207, 0.8104),
    ("Set14", 2, "y_classic"): (30.2318, 0.8687),
    ("Set14", 3, "y_classic"): (27.5405, 0.7736),
    ("Set14", 4, "y_classic"): (26.0001, 0.7019),
    ("BSD100", 2, "y_classic"): (29.5579, 0.8431),
    ("BSD100", 4, "y_classic"): (25.9606, 0.6674),
    ("Set5", 2, "y_crop"): (33.6786, 0.9304),
    ("Set5", 3, "y_crop"): (30.4058, 0.8690),
    ("Set5", 4, "y_crop"): (28.4318, 0.8113),
    ("Set14", 2, "y_crop"): (30.2348, 0.8692),
    ("Set14", 3, "y_crop"): (27.5405, 0.7745),
    ("Set14", 4, "y_crop"): (25.9983, 0.7030),
    ("BSD100", 2, "y_crop"): (29.5629, 0.8435),
    ("BSD100", 4, "y_crop"): (25.9630, 0.6682),
}
PROTOCOLS: dict[str, Protocol] = {"y_classic": YClassic(), "y_crop": YCrop()}


@cache
def measured(folder: Path, scale: int, protocol: str) -> Scores:
    rules = PROTOCOLS[protocol]
    return evaluate(
        BicubicRestorer(scale=scale),
        folder,
        name="bicubic",
        scale=scale,
        protocol=rules,
        metrics={"psnr": PSNR(protocol=rules, scale=scale), "ssim": SSIM(protocol=rules, scale=scale)},
        progress=False,
    )


@pytest.mark.parametrize("metric", ["psnr", "ssim"])
@pytest.mark.parametrize(("name", "scale", "protocol"), TABLE)
def test_cell(shared: Path, name: str, scale: int, protocol: str, metric: str) -> None:
    evaluation = measured(shared / "datasets" / "benchmark" / name / f"x{scale}", scale, protocol)
    assert evaluation.failed == []
    assert len(evaluation.images) == {"Set5": 5, "Set14": 14, "BSD100": 100}[name]
    expected = dict(zip(("psnr", "ssim"), TABLE[name, scale, protocol], strict=True))[metric]
    tolerance = {"psnr": 0.005, "ssim": 0.0003}[metric]
    assert evaluation.mean(f"{metric}_y") == pytest.approx(expected, abs=tolerance)


@pytest.mark.parametrize(("net", "expected"), [("alex", 0.3407), ("squeeze", 0.2875)])
def test_lpips_of_set5_x4(shared: Path, net: str, expected: float) -> None:
    evaluation = evaluate(
        BicubicRestorer(scale=4),
        shared / "datasets" / "benchmark" / "Set5" / "x4",
        name="bicubic",
        scale=4,
        protocol=YCrop(),
        metrics={"lpips": LPIPSMetric(net=net, weights=shared / "weights")},  # type: ignore[arg-type]
        progress=False,
    )
    assert evaluation.complete
    assert evaluation.mean("lpips") == pytest.approx(expected, abs=0.001)
