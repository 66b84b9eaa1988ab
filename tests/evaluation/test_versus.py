"""Two restorers on the same images: scores, scenes, slices, crops and costs."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sr_lab.degradations.base import Degradation
from sr_lab.degradations.noise import GaussianNoise
from sr_lab.degradations.pipeline import Pipeline
from sr_lab.degradations.resize import Bicubic
from sr_lab.evaluation import benchmark
from sr_lab.evaluation.benchmark import Benchmark
from sr_lab.evaluation.scenes import find_scenes
from sr_lab.evaluation.scores import Scores
from sr_lab.evaluation.scoring import score
from sr_lab.inference import costs
from sr_lab.inference.costs import paired_costs, peak_memory
from sr_lab.inference.restorers import BicubicRestorer, NetworkRestorer, Restorer
from sr_lab.metrics.protocol import YCrop
from sr_lab.metrics.psnr import PSNR
from sr_lab.networks.graph.network import GraphNetwork
from sr_lab.workflows.compare import compare, measurements
from sr_lab.workflows.evaluate import evaluate

METRICS = {"psnr_y": PSNR(protocol=YCrop(), scale=2)}


class Darker:
    """Bicubic, but darker in the right half."""

    def __call__(self, low: Tensor) -> Tensor:
        restored = BicubicRestorer(scale=2)(low).clone()
        restored[..., restored.shape[-1] // 2 :] *= 0.9
        return restored


def part(folder: Path, degradation: Degradation | None = None) -> Benchmark:
    return Benchmark(folder, scale=2, protocol=YCrop(), degradation=degradation)


def measure(restorers: dict[str, Restorer] | None = None, **parts: Benchmark) -> Scores:
    return score(
        restorers or {"ours": Darker(), "theirs": BicubicRestorer(scale=2)}, parts, metrics=METRICS, describe=True
    )


def test_scores_are_those_of_an_evaluation(originals: Path) -> None:
    scores = measure(set=part(originals))
    alone = evaluate(Darker(), originals, name="ours", scale=2, protocol=YCrop(), metrics=METRICS)
    for name, own in (("ours", "ours"), ("theirs", "bicubic")):
        assert [image.value(name, "psnr_y") for image in scores.images] == [
            image.value(own, "psnr_y") for image in alone.images
        ]


def test_images_name_part_files_and_slices(paired: Path) -> None:
    image = measure(set=part(paired)).images[0]
    assert (image.name, image.scene, image.size) == ("set/photo0", "set/photo0", (80, 64))
    assert {"benchmark_set", "degradation_given"} <= image.slices
    files = [paired / "HR" / "photo0.png", paired / "LR" / "photo0.png"]
    assert image.files == tuple(hashlib.sha256(file.read_bytes()).hexdigest() for file in files)


def test_an_image_under_two_degradations_is_one_scene_and_both_models_get_the_same_draw(
    originals: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    noisy = Pipeline(ops={"resize": Bicubic(scale=2), "noise": GaussianNoise(sigma=[5.0, 20.0])})
    same: dict[str, Restorer] = {"a": BicubicRestorer(scale=2), "b": BicubicRestorer(scale=2)}
    decoded: list[Path] = []
    read = benchmark.read_image

    def counted(path: Path) -> np.ndarray:
        decoded.append(path)
        return read(path)

    monkeypatch.setattr(benchmark, "read_image", counted)
    scores = measure(same, clean=part(originals), noisy=part(originals, noisy))
    assert len(decoded) == len(set(decoded)) == 3, "an original is decoded once, whatever it is shown under"
    assert [image.name for image in scores.images][::3] == ["clean/photo0", "noisy/photo0"]
    clean, dirty = scores.images[0], scores.images[3]
    assert clean.scene == dirty.scene
    assert {"benchmark_noisy", "degradation_Pipeline"} <= dirty.slices
    assert all(image.values["a"] == image.values["b"] for image in scores.images)
    assert clean.values["a"] != dirty.values["a"]


def test_hash_knows_parts_and_bytes(originals: Path) -> None:
    before = measure(set=part(originals)).sha256
    assert measure(set=part(originals)).sha256 == before
    assert measure(set=part(originals), other=part(originals)).sha256 != before
    (originals / "photo0.png").write_bytes((originals / "photo1.png").read_bytes())
    assert measure(set=part(originals)).sha256 != before


def test_a_restorer_that_fails_on_an_image_has_no_score_there(originals: Path) -> None:
    def broken(low: Tensor) -> Tensor:
        return BicubicRestorer(scale=2)(low) * (float("nan") if low.shape[-1] == 40 else 1.0)

    scores = measure({"ours": broken, "theirs": BicubicRestorer(scale=2)}, set=part(originals))
    image = scores.images[0]
    assert "ours" not in image.values
    assert "NaN" in image.reason
    assert image.value("theirs", "psnr_y") > 10
    assert scores.mean("psnr_y", "theirs") == pytest.approx(
        np.mean([other.value("theirs", "psnr_y") for other in scores.images[1:]])
    ), "means are of the same images"
    ours, theirs = measurements(scores, scores.names, seen={}, costs={})
    assert (dict(ours.rows[0].metrics), len(theirs.rows[0].metrics)) == ({}, 1)


def test_an_image_that_no_restorer_can_be_scored_on_is_an_error(originals: Path) -> None:
    (originals / "photo1.png").write_bytes(b"no image")
    both = {"ours": Darker(), "theirs": BicubicRestorer(scale=2)}
    with pytest.raises(ValueError, match=r"originals/photo1 could not be scored at all: .*photo1\.png"):
        compare(both, originals, scale=2, protocol=YCrop(), metrics=METRICS)


def test_pictures_show_where_the_first_one_loses(originals: Path) -> None:
    scores = measure(set=part(originals))
    pictures = scores.pictures(scores.images[:1], difference=True)["set/photo0"]
    assert pictures.target.shape == (64, 80, 3)
    right = slice(40, None)
    assert pictures.error[:, right].mean() > pictures.error[:, :40].mean()
    assert (pictures.restored[:, :40] == pictures.bicubic[:, :40]).all()


@pytest.mark.parametrize(
    ("text", "scenes"),
    [
        (None, {"a": "a", "clip/1": "clip", "clip/2": "clip"}),
        ("name,scene\na,x\nclip/1.png,x\nclip/2,y\n", {"a": "x", "clip/1": "x", "clip/2": "y"}),
    ],
)
def test_scenes(tmp_path: Path, text: str | None, scenes: dict[str, str]) -> None:
    if text is not None:
        (tmp_path / "scenes.csv").write_text(text)
    assert find_scenes(tmp_path, ["a", "clip/1", "clip/2"]) == scenes


@pytest.mark.parametrize(("text", "message"), [("name\na\n", "columns"), ("name,scene\na,x\n", "1 of 2 images, b")])
def test_scenes_that_are_not_told_are_an_error(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "scenes.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        find_scenes(tmp_path, ["a", "b"])


class Network(nn.Module):
    """Enlarges by repetition, after ``width`` maps that exist at the same time."""

    scale, num_channels = 2, 3

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("weights", torch.zeros(1000))
        self.width = width

    def forward(self, low: Tensor) -> Tensor:
        maps = [low + 1 for _ in range(self.width)]
        return nn.functional.interpolate(sum(maps) / self.width - 1, scale_factor=2)


def test_memory_counts_weights_and_the_tensors_alive_at_once() -> None:
    low = torch.rand(1, 3, 32, 32)
    small, large = (peak_memory(NetworkRestorer(Network(width)), low) for width in (1, 9))
    assert large - small == pytest.approx(8 * low.nbytes, abs=low.nbytes)
    assert small > 4000 + 4 * low.nbytes
    assert peak_memory(NetworkRestorer(Network(9)), low) == large, "no chance in it"


@pytest.mark.parametrize(("resident", "shown"), [(0, False), (1_700_000, False), (64 * 2**20, True)])
def test_what_else_the_process_takes_meanwhile_is_no_memory_of_an_export(
    monkeypatch: pytest.MonkeyPatch, resident: int, shown: bool
) -> None:
    def measured(call: Callable[[], object]) -> int:
        call()
        return resident

    monkeypatch.setattr(costs, "peak_resident", measured)
    network = GraphNetwork.of(bytes(5000), scale=2, num_channels=3)
    network.compute = lambda low: low.repeat(2, axis=2).repeat(2, axis=3)
    low = torch.rand(1, 3, 32, 32)
    images = peak_memory(NetworkRestorer(network), low) - 5000
    if shown:
        assert images == resident
    else:
        assert 4 * low.nbytes <= images <= 10 * low.nbytes


def test_costs_are_paired_in_changing_order() -> None:
    turns: list[str] = []

    def restorer(name: str) -> Restorer:
        def restore(low: Tensor) -> Tensor:
            turns.append(name)
            return low

        return restore

    restorers = {name: restorer(name) for name in ("ours", "theirs")}
    costs = paired_costs(restorers, torch.rand(1, 3, 8, 8), num_runs=3, least_seconds=0.0)
    assert turns[-6:] == ["ours", "theirs", "theirs", "ours", "ours", "theirs"]
    assert all(len(costs[name]["latency_s"]) == 3 and min(costs[name]["latency_s"]) > 0 for name in restorers)
    assert all(len(costs[name]["memory_bytes"]) == 1 for name in restorers)
