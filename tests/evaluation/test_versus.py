"""Two restorers on the same images: scores, scenes, slices, crops and costs."""

import hashlib
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sr_lab.degradations.noise import GaussianNoise
from sr_lab.degradations.pipeline import Pipeline
from sr_lab.degradations.resize import Bicubic
from sr_lab.evaluation.benchmark import evaluate
from sr_lab.evaluation.scenes import find_scenes
from sr_lab.evaluation.versus import Contest, Part
from sr_lab.inference.costs import paired_costs, peak_memory
from sr_lab.inference.restorers import BicubicRestorer, NetworkRestorer, Restorer
from sr_lab.metrics.protocol import YCrop
from sr_lab.metrics.psnr import PSNR

METRICS = {"psnr_y": PSNR(protocol=YCrop(), scale=2)}


class Darker:
    """Bicubic, but darker in the right half."""

    def __call__(self, low: Tensor) -> Tensor:
        restored = BicubicRestorer(scale=2)(low).clone()
        restored[..., restored.shape[-1] // 2 :] *= 0.9
        return restored


def contest(folder: Path, **parts: Part) -> Contest:
    parts = parts or {"set": Part(benchmark=folder)}
    restorers = {"ours": Darker(), "theirs": BicubicRestorer(scale=2)}
    return Contest(restorers, parts, scale=2, protocol=YCrop(), metrics=METRICS)


def test_scores_are_those_of_an_evaluation(originals: Path) -> None:
    versus = contest(originals).measure()
    alone = evaluate(Darker(), originals, name="ours", scale=2, protocol=YCrop(), metrics=METRICS)
    assert [row.scores["ours"]["psnr_y"] for row in versus.rows] == [image.scores["psnr_y"] for image in alone.images]
    assert [row.scores["theirs"]["psnr_y"] for row in versus.rows] == [i.bicubic["psnr_y"] for i in alone.images]


def test_rows_name_part_files_and_slices(paired: Path) -> None:
    versus = contest(paired).measure()
    row = versus.rows[0]
    assert (row.name, row.scene, row.size) == ("set/photo0", "set/photo0", (80, 64))
    assert {"benchmark_set", "degradation_given"} <= row.slices
    files = [paired / "HR" / "photo0.png", paired / "LR" / "photo0.png"]
    assert row.files == {hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_an_image_under_two_degradations_is_one_scene_and_both_models_get_the_same_draw(originals: Path) -> None:
    noisy = Pipeline(ops={"resize": Bicubic(scale=2), "noise": GaussianNoise(sigma=[5.0, 20.0])})
    parts = {"clean": Part(benchmark=originals), "noisy": Part(benchmark=originals, degradation=noisy)}
    same = {"a": BicubicRestorer(scale=2), "b": BicubicRestorer(scale=2)}
    versus = Contest(same, parts, scale=2, protocol=YCrop(), metrics=METRICS).measure()
    assert [row.name for row in versus.rows][::3] == ["clean/photo0", "noisy/photo0"]
    assert versus.rows[0].scene == versus.rows[3].scene
    assert {"benchmark_noisy", "degradation_Pipeline"} <= versus.rows[3].slices
    assert all(row.scores["a"] == row.scores["b"] for row in versus.rows)
    assert versus.rows[0].scores["a"] != versus.rows[3].scores["a"]


def test_hash_knows_parts_and_bytes(originals: Path) -> None:
    before = contest(originals).measure().sha256
    assert contest(originals).measure().sha256 == before
    assert contest(originals, other=Part(benchmark=originals)).measure().sha256 != before
    (originals / "photo0.png").write_bytes((originals / "photo1.png").read_bytes())
    assert contest(originals).measure().sha256 != before


def test_a_restorer_that_fails_on_an_image_has_no_score_there(originals: Path) -> None:
    def broken(low: Tensor) -> Tensor:
        return BicubicRestorer(scale=2)(low) * (float("nan") if low.shape[-1] == 40 else 1.0)

    restorers = {"ours": broken, "theirs": BicubicRestorer(scale=2)}
    versus = Contest(
        restorers, {"set": Part(benchmark=originals)}, scale=2, protocol=YCrop(), metrics=METRICS
    ).measure()
    assert versus.rows[0].scores["ours"] == {}
    assert "NaN" in versus.failures["ours"]["set/photo0"]
    assert versus.rows[0].scores["theirs"]["psnr_y"] > 10


def test_an_image_that_no_restorer_can_be_scored_on_is_an_error(originals: Path) -> None:
    (originals / "photo1.png").write_bytes(b"no image")
    with pytest.raises(ValueError, match=r"set/photo1 could not be scored at all: .*photo1\.png"):
        contest(originals).measure()


def test_pictures_show_where_the_first_one_loses(originals: Path) -> None:
    both = contest(originals)
    pictures = both.pictures(["set/photo0"])["set/photo0"]
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
