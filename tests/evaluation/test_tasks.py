"""Tasks in the one table of scores: input, bicubic, restorer and original, paired; groups, thresholds, crops."""

import json
from pathlib import Path

import numpy as np
import pytest

from sr_lab.evaluation.digests import scenes_of
from sr_lab.evaluation.scores import Scores
from sr_lab.evaluation.task_pictures import places
from sr_lab.evaluation.tasks import failing, groups_of, task_lines, thresholds
from sr_lab.images import resize_bicubic, write_image
from sr_lab.images.found import Found, Reading
from sr_lab.metrics.protocol import RGBCrop
from sr_lab.metrics.psnr import PSNR
from sr_lab.tasks.base import Pixels
from sr_lab.tasks.detectors import Detector
from sr_lab.tasks.objects import Objects
from sr_lab.workflows.evaluate import evaluate

SPOT = 8


class Spots(Detector):
    """Finds bright spots of 8 x 8 pixels; how sure it is is how bright they are."""

    threshold = 0.8

    def lacks(self) -> str | None:
        return None

    def detect(self, pixels: Pixels) -> Reading:
        if pixels.shape[0] % SPOT or pixels.shape[0] < 32:  # the input is too small for it
            return ()
        blocks = pixels.mean(axis=2).reshape(pixels.shape[0] // SPOT, SPOT, -1, SPOT).mean(axis=(1, 3)) / 255
        return tuple(
            Found(
                text="spot", box=(SPOT * x, SPOT * y, SPOT * x + SPOT, SPOT * y + SPOT), confidence=float(blocks[y, x])
            )
            for y, x in np.argwhere(blocks > 0.3)
        )  # fmt: skip


@pytest.fixture
def spotted(tmp_path: Path) -> Path:
    """Images of 32 x 32 with white spots; one without any; two documents in two sizes each, and what is there."""
    folder, truth, scenes = tmp_path / "spotted", {}, ["name,scene"]
    for document in range(4):
        for size in (9, 10):
            image, found = np.zeros((32, 32, 3), np.uint8), []
            for y, x in [(0, 0), (2, 2)][: min(document, 2)]:
                image[SPOT * y : SPOT * y + SPOT, SPOT * x : SPOT * x + SPOT] = 255
                found.append({"text": "spot", "box": [SPOT * x, SPOT * y, SPOT * x + SPOT, SPOT * y + SPOT]})
            name = f"size_{size}/{document}"
            (folder / "HR" / f"size_{size}").mkdir(parents=True, exist_ok=True)
            write_image(folder / "HR" / f"{name}.png", image)
            truth[name] = {"group": f"{size} px", "found": {"object": found}}
            scenes.append(f"{name},document_{document}")
    (folder / "truth.json").write_text(json.dumps({"images": truth}))
    (folder / "scenes.csv").write_text("\n".join(scenes))
    return folder


@pytest.fixture
def scores(spotted: Path) -> Scores:
    return scored(spotted, lambda low: resize_bicubic(low, scale=2.0) * 0.7)


def scored(folder: Path, restorer, **settings) -> Scores:
    return evaluate(
        restorer, folder, name="dim", scale=2, protocol=RGBCrop(),
        metrics={"psnr": PSNR(protocol=RGBCrop(), scale=2)},
        tasks={"object": Objects(detector=Spots(), small=9)}, progress=False, **settings,
    )  # fmt: skip


def line(lines, metric, source, group=""):
    (found,) = [one for one in lines if (one.metric, one.source, one.group) == (metric, source, group)]
    return found


def test_task_numbers_are_metrics_like_others(scores: Scores):
    assert list(scores.metrics) == ["psnr_rgb", "object_recall", "object_small_recall", "object_false"]
    assert scores.complete, "an image without spots has no recall, and nothing is wrong with that"
    assert scores.mean("object_recall", "bicubic") == 1.0
    assert scores.mean("object_recall") == 0.0
    empty = next(image for image in scores.images if image.name == "size_9/0")
    assert "object_recall" not in empty.values["dim"]
    assert "with_object_recall" not in empty.slices
    assert "with_object_recall" in scores.images[1].slices


def test_input_bicubic_restorer_and_original_are_paired_over_documents(scores: Scores):
    lines = task_lines(scores)
    assert [one.source for one in lines if one.metric == "object_recall" and not one.group] == [
        "low", "bicubic", "dim", "original",
    ]  # fmt: skip
    dim, low, original = (line(lines, "object_recall", source) for source in ("dim", "low", "original"))
    assert (dim.mean, dim.gain, dim.verdict) == (0.0, -1.0, "worse")
    assert (dim.num_images, dim.num_scenes) == (6, 3)
    assert (low.mean, original.mean, original.gain, original.verdict) == (0.0, 1.0, 0.0, "like")
    assert line(lines, "object_recall", "bicubic").gain is None


def test_groups_are_those_of_the_truth_in_order_of_size(scores: Scores):
    assert groups_of(scores) == ["9 px", "10 px"]
    lines = task_lines(scores)
    assert line(lines, "object_recall", "dim", "9 px").num_images == 3
    assert failing(lines, "object_recall") is None


def test_a_threshold_chosen_anew_brings_back_what_restoration_dimmed(scores: Scores):
    found = {one.source: one for one in thresholds(scores)}
    assert (found["dim"].recall, found["dim"].f1) == (0.0, 0.0)
    assert found["dim"].chosen < 0.7
    assert found["dim"].chosen_f1 == 1.0
    assert found["bicubic"].f1 == 1.0


def test_the_worst_places_show_what_was_found(scores: Scores):
    (place, *_) = places(scores, most=2)
    assert place.truth == "spot"
    assert place.values == {"low": 0.0, "bicubic": 1.0, "dim": 0.0, "original": 1.0}
    assert place.found["low"] == "nothing"
    assert place.found["original"].startswith("spot")
    assert place.crops["low"].shape[0] * 2 == place.crops["original"].shape[0]


def test_the_report_holds_the_tasks(scores: Scores, tmp_path: Path):
    content = scores.report(tmp_path / "report", num_pictures=2)
    summary = json.loads((tmp_path / "report" / "summary.json").read_text())
    assert summary["object_recall"] == 0.0
    assert {(one["metric"], one["source"]) for one in summary["tasks"]} >= {("object_false", "low")}
    assert summary["thresholds"][0]["task"] == "object"
    assert content["gain"]["object_recall"] == -1.0
    html = (tmp_path / "report" / "report.html").read_text()
    assert "Is it worth it downstream?" in html
    assert "chosen anew" in html
    assert "What was read, where it errs most" in html


def test_further_restorers_stand_beside(spotted: Path):
    def nearest(low):
        return low.repeat_interleave(2, 2).repeat_interleave(2, 3)

    scores = scored(spotted, lambda low: resize_bicubic(low, scale=2.0) * 0.7, beside={"same": nearest})
    assert line(task_lines(scores), "object_recall", "same").mean == 1.0
    with pytest.raises(ValueError, match="beside=original is in the table already"):
        scored(spotted, resize_bicubic, beside={"original": resize_bicubic})


def test_what_is_known_belongs_to_the_benchmark(scores: Scores, spotted: Path):
    text = (spotted / "truth.json").read_text()
    (spotted / "truth.json").write_text(text.replace("9 px", "8 px"))
    assert scored(spotted, lambda low: resize_bicubic(low, scale=2.0)).sha256 != scores.sha256
    (spotted / "truth.json").write_text('{"images": {}}')
    with pytest.raises(ValueError, match="says nothing of 8 of 8 images"):
        scored(spotted, resize_bicubic)
    (spotted / "truth.json").write_text('{"images": {"size_9/0": 3}}')
    with pytest.raises(ValueError, match=r"truth\.json is not"):
        scored(spotted, resize_bicubic)


def test_pages_that_look_alike_are_no_near_copies_where_the_truth_is_known(scores: Scores):
    scenes, said = scenes_of(scores.benchmarks)
    assert len(set(scenes.values())) == 4
    assert said == []


def test_a_task_that_fails_on_an_image_leaves_the_other_numbers(spotted: Path):
    class Breaking(Spots):
        def detect(self, pixels):
            raise RuntimeError("no more paper")

    scores = evaluate(
        lambda low: resize_bicubic(low, scale=2.0), spotted, name="dim", scale=2, protocol=RGBCrop(),
        metrics={"psnr": PSNR(protocol=RGBCrop(), scale=2)}, tasks={"object": Objects(detector=Breaking())},
        progress=False,
    )  # fmt: skip
    assert not scores.complete
    assert "psnr_rgb" in scores.images[0].values["dim"]
    assert "no more paper" in scores.images[0].reasons["dim"]["object_recall"]
