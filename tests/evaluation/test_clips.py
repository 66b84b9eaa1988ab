"""Evaluating clips: which frames, which means, which pictures, and what the gate gets."""

import csv
import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sr_lab.evaluation.clips import ClipBenchmark
from sr_lab.evaluation.scoring import score
from sr_lab.images import ImageError, resize_bicubic, to_array, to_tensor, write_image
from sr_lab.images.clips import find_clips
from sr_lab.inference.restorers import BicubicRestorer
from sr_lab.metrics.clip_protocol import Vid4DUF, Vid4Y
from sr_lab.metrics.flicker import Flicker
from sr_lab.metrics.psnr import PSNR
from sr_lab.metrics.temporal import TOF, WarpingError
from sr_lab.promotion.quality import NonInferior
from sr_lab.workflows.compare import measurements
from sr_lab.workflows.evaluate import evaluate

NAME = "sharper"


def picture(height: int, width: int, *, seed: int = 0) -> np.ndarray:
    """Smooth blobs, (H, W, 3)."""
    low = torch.rand(1, 3, height // 8 + 2, width // 8 + 2, generator=torch.Generator().manual_seed(seed))
    return to_array(resize_bicubic(low, size=(height, width)).clamp(0, 1))


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    """Two clips: a pan of 5 frames, and one of 3 that stands still."""
    wide, still = picture(48, 80), picture(48, 64, seed=1)
    for number in range(5):
        write_image(tmp_path / "clips" / "pan" / f"{number:03d}.png", wide[:, 2 * number : 2 * number + 64])
    for number in range(3):
        write_image(tmp_path / "clips" / "still" / f"{number:03d}.png", still)
    return tmp_path / "clips"


def brighter(low: Tensor) -> Tensor:
    return resize_bicubic(low, scale=2.0) + 0.01


def scored(folder: Path, restorer=brighter, protocol=None, report: Path | None = None, **metrics):
    protocol = protocol or Vid4Y()
    chosen = {"psnr": PSNR(protocol=protocol, scale=2), "tof": TOF(), "warping_error": WarpingError(), **metrics}
    return evaluate(
        restorer, folder, name=NAME, scale=2, protocol=protocol, metrics=chosen, report=report, progress=False
    )


def test_means_of_frames_and_of_clips_are_told_apart(clips):
    scores = scored(clips)
    assert scores.complete
    assert [image.name for image in scores.images] == [
        *(f"pan/{number:05d}" for number in range(5)), *(f"still/{number:05d}" for number in range(3)),
    ]  # fmt: skip
    by_clip = {clip: [image.value(NAME, "psnr_y") for image in rows] for clip, rows in scores.clips.items()}
    assert scores.mean("psnr_y") == pytest.approx(np.mean(by_clip["pan"] + by_clip["still"]))
    assert scores.mean_of_clips("psnr_y") == pytest.approx(np.mean([np.mean(each) for each in by_clip.values()]))
    assert scores.mean("psnr_y") != pytest.approx(scores.mean_of_clips("psnr_y"))
    steps = [image for image in scores.images if "tof" in image.values[NAME]]
    assert len(steps) == 4 + 2  # the first frame of each clip has no step
    assert scores.original_mean("warping_error", "still") == 0


def test_a_protocol_drops_frames_and_borders(clips):
    scores = scored(clips / "pan", protocol=Vid4DUF())
    assert [image.name for image in scores.images] == ["pan/00002"]
    assert "tof" not in scores.images[0].values[NAME]
    with_short = scored(clips, protocol=Vid4DUF())
    assert not with_short.complete
    assert "leaves out 2 frames" in with_short.failed[0].reason


def test_a_report_has_curves_films_and_both_means(clips, tmp_path):
    scored(clips, report=tmp_path / "out")
    content = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert content["mean_of"] == "frames"
    assert content["num_clips"] == 2
    assert content["mean_of_clips"]["psnr_y"] == pytest.approx(
        np.mean([content["clips"][clip]["psnr_y"] for clip in ("pan", "still")])
    )
    assert content["original"]["warping_error"] is not None
    rows = list(csv.DictReader((tmp_path / "out" / "per_clip.csv").open()))
    assert [(row["clip"], row["frames"]) for row in rows] == [("pan", "5"), ("still", "3")]
    assert len(list(csv.DictReader((tmp_path / "out" / "per_image.csv").open()))) == 8
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.count("data:image/webp") == 2
    assert page.count("temporal profile") == 2
    assert "mean of clips" in page
    assert page.count("<polyline") >= 10
    assert (tmp_path / "out" / "comparison.png").stat().st_size > 10_000


def test_a_restorer_of_clips_gets_the_whole_clip(clips):
    class Backwards:
        """Looks at all frames before it gives the first."""

        def __init__(self) -> None:
            self.lengths: list[int] = []

        def __call__(self, low: Tensor) -> Tensor:
            raise AssertionError("is not asked for single frames")

        def frames(self, lows: Iterable[Tensor]) -> Iterator[Tensor]:
            whole = list(lows)
            self.lengths.append(len(whole))
            yield from (brighter(low) for low in whole)

    restorer = Backwards()
    assert scored(clips, restorer).means[NAME] == scored(clips).means[NAME]
    assert restorer.lengths == [5, 3]


def test_given_low_clips_are_paired_by_name(clips, tmp_path):
    root = tmp_path / "paired"
    clips.rename(tmp_path / "HR")
    root.mkdir()
    (tmp_path / "HR").rename(root / "HR")
    for file in sorted((root / "HR").rglob("*.png")):
        from sr_lab.images import read_image

        low = resize_bicubic(to_tensor(read_image(file)), scale=0.5).clamp(0, 1)
        write_image(root / "LR" / file.relative_to(root / "HR"), to_array(low))
    assert scored(root).complete
    (root / "LR" / "pan" / "004.png").unlink()
    scores = scored(root)
    assert "5 frames in HR/ and 4 in LR/" in scores.failed[0].reason
    (root / "LR" / "still").rename(root / "LR" / "other")
    with pytest.raises(ValueError, match="do not pair off by name: other, still"):
        ClipBenchmark(root, scale=2, protocol=Vid4Y())


def test_a_damaged_frame_ends_its_clip_and_no_other(clips):
    (clips / "pan" / "003.png").write_bytes(b"no picture")
    scores = scored(clips)
    assert [image.name for image in scores.failed] == ["pan/00003", "pan/00004"]
    assert "003.png" in scores.failed[0].reason
    assert len(scores.scored) == 3 + 3


def test_frames_of_another_size_and_folders_without_clips_are_refused(clips, tmp_path):
    write_image(clips / "pan" / "004.png", picture(48, 32))
    assert "differ in size" in scored(clips).failed[0].reason
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match="holds no clip"):
        find_clips(tmp_path / "empty")


def test_video_files_are_clips_with_a_rate(clips, tmp_path):
    av = pytest.importorskip("av")
    from sr_lab.images import read_image

    folder = tmp_path / "files"
    folder.mkdir()
    with av.open(str(folder / "still.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "bgr0"
        pixels = read_image(clips / "still" / "000.png")
        for _ in range(24):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    clip = find_clips(folder)["still"]
    assert (clip.timing.count, clip.timing.rate) == (24, 30)
    assert all((frame == pixels).all() for frame in clip.frames())
    scores = scored(folder, flicker=Flicker())
    assert scores.complete
    assert [image.name for image in scores.images if "flicker" in image.values[NAME]] == ["still/00015", "still/00023"]
    assert scores.mean("flicker") < 1e-9


def test_the_gate_gets_a_row_a_clip(clips):
    benchmark = ClipBenchmark(clips, scale=2, protocol=Vid4Y())
    metrics = {"psnr": PSNR(protocol=Vid4Y(), scale=2), "tof": TOF()}
    scores = score({NAME: brighter, "bicubic": BicubicRestorer(scale=2)}, {"held": benchmark}, metrics=metrics,
                   describe=True)  # fmt: skip
    ours, theirs = measurements(scores, scores.names, seen={NAME: {"train": scores.images[0].files}}, costs={})
    assert [(row.name, row.scene) for row in ours.rows] == [("held/pan", "held/pan"), ("held/still", "held/still")]
    assert ours.rows[0].metrics["tof"] == pytest.approx(scores.clip_mean("held/pan", "tof"))
    assert "motion_still" in ours.rows[1].slices
    assert "motion_still" not in ours.rows[0].slices
    assert ours.seen == {"held/pan"}
    check = NonInferior(metric="tof", better="lower", margin=0.05, min_scenes=2)
    from sr_lab.promotion.checks import Evidence

    reason = check.judge("tof", Evidence(candidate=theirs, champion=theirs, alpha=0.05, accept_identical=True))
    assert reason.num_scenes == 2
