"""The files of an evaluation."""

import csv
import json
import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sr_lab.evaluation.report import per_image_csv, report_html, summary, write_report
from sr_lab.evaluation.scores import WHOLE, ImageScores, Scores
from sr_lab.images import resize_bicubic
from sr_lab.inference.restorers import BicubicRestorer
from sr_lab.metrics.consistency import LRConsistency
from sr_lab.metrics.hallucination import Hallucination
from sr_lab.metrics.lpips import LPIPSMetric
from sr_lab.metrics.protocol import RGBCrop, YCrop
from sr_lab.metrics.psnr import PSNR
from sr_lab.metrics.ssim import SSIM
from sr_lab.workflows.evaluate import evaluate

NET = "runs/<b>net</b>"


def failed(name: str, reason: str) -> ImageScores:
    return ImageScores(name=name, reasons={NET: {WHOLE: reason}})


@pytest.fixture
def evaluation(paired: Path, tmp_path: Path) -> Scores:
    """A restorer that is better than bicubic on one image and worse on another; LPIPS without weights."""

    def restore(low: np.ndarray) -> np.ndarray:
        enlarged = resize_bicubic(low, scale=2.0)
        sharper = enlarged + 0.5 * resize_bicubic(low - resize_bicubic(enlarged, scale=0.5), scale=2.0)
        return sharper * (0.8 if low.shape[-1] == 32 else 1.0)

    return evaluate(
        restore,
        paired,
        name=NET,
        scale=2,
        protocol=YCrop(),
        metrics={
            "psnr": PSNR(protocol=YCrop(), scale=2),
            "ssim": SSIM(protocol=YCrop(), scale=2),
            "lpips": LPIPSMetric(weights=tmp_path / "nowhere", missing="skip"),
        },
        progress=False,
    )


def test_summary_holds_the_contract(evaluation: Scores) -> None:
    content = summary(evaluation)
    assert content["restorer"] == "runs/<b>net</b>"
    assert content["benchmark"] == str(evaluation.benchmark.folder)
    assert (content["scale"], content["protocol"]) == (2, "y_crop")
    assert (content["num_images"], content["num_failed"], content["failed"]) == (3, 0, {})
    values = [image.value(NET, "psnr_y") for image in evaluation.images]
    assert content["psnr_y"] == pytest.approx(sum(values) / 3)
    assert content["gain"]["psnr_y"] == pytest.approx(content["psnr_y"] - content["bicubic"]["psnr_y"])
    assert 0 < content["ssim_y"] < 1
    assert content["lpips"] is None
    assert "alexnet" in content["lpips_reason"]
    assert content["seconds"] > 0


def test_lpips_that_nobody_asked_for_is_null_with_a_reason(evaluation: Scores) -> None:
    content = summary(replace(evaluation, not_measured={}))
    assert (content["lpips"], content["lpips_reason"]) == (None, "not asked for")


def test_measured_lpips_names_its_network(shared: Path, paired: Path) -> None:
    measured = evaluate(
        BicubicRestorer(scale=2),
        paired,
        name="bicubic",
        scale=2,
        protocol=RGBCrop(),
        metrics={
            "psnr": PSNR(protocol=RGBCrop(), scale=2),
            "lpips": LPIPSMetric(net="squeeze", weights=shared / "weights"),
        },
        progress=False,
    )
    content = summary(measured)
    assert content["lpips_net"] == "squeeze"
    assert 0 < content["lpips"] < 1
    assert "lpips_reason" not in content
    assert content["psnr_rgb"] > 10
    assert content["gain"] == {"psnr_rgb": 0.0, "lpips": 0.0}


def test_summary_is_json_even_without_images_or_with_infinite_scores(evaluation: Scores) -> None:
    empty = replace(evaluation, images=[failed("a", "broken")])
    assert json.loads(json.dumps(summary(empty), allow_nan=False))["psnr_y"] is None
    exact = replace(
        evaluation.images[0], values={NET: {"psnr_y": math.inf, "ssim_y": 1.0}, "bicubic": {"psnr_y": 20.0}}
    )
    content = summary(replace(evaluation, images=[exact, evaluation.images[1]]))
    assert content["psnr_y"] == pytest.approx((100 + evaluation.images[1].value(NET, "psnr_y")) / 2)
    json.dumps(content, allow_nan=False)


def test_per_image_table(evaluation: Scores) -> None:
    broken = replace(evaluation, images=[*evaluation.images, failed("photo1x", 'a "quoted", reason')])
    rows = list(csv.DictReader(per_image_csv(broken).splitlines()))
    assert [row["name"] for row in rows] == ["photo0", "photo1", "photo1x", "photo2"]
    assert rows[2]["failed"] == 'a "quoted", reason'
    assert rows[2]["psnr_y"] == ""
    for row, image in zip([rows[0], rows[1], rows[3]], evaluation.images, strict=True):
        assert (int(row["width"]), int(row["height"])) == image.size
        assert float(row["psnr_y"]) == pytest.approx(image.value(NET, "psnr_y"), abs=1e-6)
        assert float(row["bicubic_ssim_y"]) == pytest.approx(image.value("bicubic", "ssim_y"), abs=1e-6)
        assert (row["protocol"], row["failed"]) == ("y_crop", "")


def test_page_is_self_contained_escaped_and_worst_first(evaluation: Scores) -> None:
    page = report_html(evaluation, summary(evaluation))
    links = re.findall(r"(?:src|href)\s*=\s*['\"]?([^'\" >]{0,20})", page)
    assert links
    assert {link.split(":")[0].split("i")[0] for link in links} == {"data", "#"}
    assert not re.search(r"url\(|@import|<script|<link", page)
    assert "runs/&lt;b&gt;net&lt;/b&gt;" in page
    assert "<b>net</b>" not in page
    order = re.findall(r'<b class="title">\d+\. (\w+)</b>', page)
    assert order == [image.name for image in evaluation.worst_first()]
    assert order[0] == "photo1"
    for words in ("y_crop", YCrop.definition, "not measured", "invented", "1 image is worse than bicubic"):
        assert words in page.replace("&#39;", "'"), words
    assert page.count("<img") == 3 * 6


def test_page_shows_maps_definitions_and_cautions(paired: Path) -> None:
    measured = evaluate(
        lambda low: resize_bicubic(low, scale=2.0),
        paired,
        name="net",
        scale=2,
        protocol=YCrop(),
        metrics={"psnr": PSNR(protocol=YCrop(), scale=2), "c": LRConsistency(scale=2), "h": Hallucination(scale=2)},
        progress=False,
    )
    content = summary(measured)
    assert content["definitions"] == {
        "lr_consistency": LRConsistency.definition,
        "hallucination": Hallucination.definition,
    }
    assert content["degradation_fit"] == 60
    page = report_html(measured, {**content, "cautions": ["LPIPS (alex) is <no> judge"]})
    for words in (LRConsistency.definition, Hallucination.definition, "LPIPS (alex) is &lt;no&gt; judge"):
        assert words in page.replace("&#39;", "'"), words
    assert page.count("<img") == 3 * 8
    assert page.count(">invented detail, 0 to 32, RMS") == 3
    assert page.count(">LR residual, 0 to 16, RMS") == 3
    rows = list(csv.DictReader(per_image_csv(measured).splitlines()))
    assert [float(row["lr_consistency"]) > 20 for row in rows] == [True] * 3
    assert all(row["hallucination"] for row in rows)


def test_page_shows_failures_and_as_many_pictures_as_asked(evaluation: Scores) -> None:
    broken = replace(evaluation, images=[*evaluation.images, failed("bad", "HR/bad.png is truncated")])
    page = report_html(broken, summary(broken), num_pictures=2)
    assert "1 of 4 images could not be scored" in page
    assert "HR/bad.png is truncated" in page
    assert page.count("<article") == 2
    assert "2 of 3 images are shown" in page
    empty = replace(broken, images=broken.images[-1:])
    assert "could not be scored" in report_html(empty, summary(empty))


def test_pictures_in_the_page_are_the_crops(evaluation: Scores) -> None:
    import base64
    import io

    page = report_html(evaluation, summary(evaluation))
    data = re.findall(r'<img src="data:image/png;base64,([^"]+)"', page)
    low, bicubic, restored, target = (np.asarray(Image.open(io.BytesIO(base64.b64decode(code)))) for code in data[:4])
    worst = evaluation.worst_first()[0]
    pictures = evaluation.pictures([worst])[worst.name]
    for shown, expected in (
        (low, pictures.low),
        (bicubic, pictures.bicubic),
        (restored, pictures.restored),
        (target, pictures.target),
    ):
        assert np.array_equal(shown, expected)


def test_written_files(evaluation: Scores, tmp_path: Path) -> None:
    folder = tmp_path / "deep" / "report"
    content = write_report(replace(evaluation, facts={"commit": "abc"}), folder)
    assert sorted(file.name for file in folder.iterdir()) == [
        "comparison.png",
        "per_image.csv",
        "report.html",
        "summary.json",
    ]
    assert json.loads((folder / "summary.json").read_text()) == content
    assert content["commit"] == "abc"
    picture = Image.open(folder / "comparison.png")
    assert picture.width > 6 * 256
    assert len(np.unique(np.asarray(picture).reshape(-1, 3), axis=0)) > 500


def test_a_failing_write_leaves_the_former_summary_whole(
    evaluation: Scores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_report(evaluation, tmp_path / "report")
    before = (tmp_path / "report" / "summary.json").read_text()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space left"):
        write_report(evaluation, tmp_path / "report")
    monkeypatch.undo()
    assert (tmp_path / "report" / "summary.json").read_text() == before
    assert [file.name for file in (tmp_path / "report").iterdir() if file.name.startswith(".")] == []
