"""Readers of text, on a page that we wrote."""

import shutil

import numpy as np
import pytest

from sr_lab.images import to_tensor
from sr_lab.images.found import Found, Truth
from sr_lab.metrics.base import Context
from sr_lab.metrics.protocol import RGBCrop, YClassic
from sr_lab.tasks.documents import pages
from sr_lab.tasks.ocr import Ocr, RapidOCR, Reader, Tesseract, in_lines

pytest.importorskip("rapidfuzz")
tesseract = pytest.mark.skipif(shutil.which("tesseract") is None, reason="tesseract is not installed")


class Written(Reader):
    """Reads what it is told, and counts how often it is asked."""

    def __init__(self, *texts: str, lacking: str | None = None) -> None:
        self.texts, self.lacking, self.asked = list(texts), lacking, 0

    def lacks(self) -> str | None:
        return self.lacking

    def read(self, pixels):
        self.asked += 1
        return tuple(Found(text=text, box=(0.0, 0.0, 9.0, 9.0), confidence=0.9) for text in self.texts)


@tesseract
def test_tesseract_reads_a_page_in_order():
    page = next(pages(kind="text", count=1, sizes=[28], seed=0))
    task = Ocr(reader=Tesseract())
    reading = task.read(to_tensor(page.pixels))
    assert task.score(reading, page.truth.found["ocr"])["cer"] < 0.02
    assert all(line.holds(reading[0]) for line in page.truth.found["ocr"][:1])
    assert all(0 <= word.confidence <= 1 for word in reading)


@tesseract
def test_a_language_without_data_is_named_with_the_remedy():
    with pytest.raises(ValueError, match="no data of xyz: apt-get install tesseract-ocr-xyz; missing=skip"):
        Ocr(reader=Tesseract(language="xyz"))


def test_without_the_program_the_remedy_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="tesseract is not installed: apt-get install tesseract-ocr"):
        Ocr(reader=Tesseract())
    task = Ocr(reader=Tesseract(), missing="skip")
    assert "not installed" in task.metrics()["ocr_cer"].unavailable(RGBCrop())


@pytest.mark.slow
def test_rapidocr_reads_a_page():
    pytest.importorskip("rapidocr")
    page = next(pages(kind="text", count=1, sizes=[20], seed=0))
    task = Ocr(reader=RapidOCR(threads=1), name="rapidocr")
    assert task.score(task.read(to_tensor(page.pixels)), page.truth.found["rapidocr"])["cer"] < 0.05


def test_all_numbers_of_a_task_are_of_one_reading():
    reader = Written("total", "42")
    task = Ocr(reader=reader)
    image = to_tensor(np.zeros((8, 8, 3), np.uint8))
    context = Context(truth=Truth(found={"ocr": (Found(text="total 47", box=(0.0, 0.0, 8.0, 8.0)),)}))
    values = {key: float(metric.measure(image, image, context)) for key, metric in task.metrics().items()}
    assert values == {
        "ocr_cer": 1 / 8, "ocr_wer": 1 / 2, "ocr_invented": 100 / 8, "ocr_invented_digits": 1.0,
    }  # fmt: skip
    assert reader.asked == 1


def test_without_a_known_truth_the_original_is_read():
    task = Ocr(reader=Written("total", "42"))
    image = to_tensor(np.zeros((8, 8, 3), np.uint8))
    assert float(task.metrics()["ocr_cer"].measure(image, image, Context())) == 0


def test_where_nothing_is_written_no_number_applies():
    task = Ocr(reader=Written())
    image = to_tensor(np.zeros((8, 8, 3), np.uint8))
    assert np.isnan(float(task.metrics()["ocr_cer"].measure(image, image, Context())))


def test_luma_alone_and_many_bands_are_not_read():
    metric = Ocr(reader=Written()).metrics()["ocr_cer"]
    assert "luma only" in metric.unavailable(YClassic())
    assert "5 channels" in metric.refuses(5)


def test_parts_of_lines_are_put_in_order_of_reading():
    def part(text, left, top):
        return Found(text=text, box=(left, top, left + 10, top + 10))

    mixed = [part("d", 20, 31), part("b", 20, 2), part("c", 0, 29), part("a", 0, 0)]
    assert [word.text for word in in_lines(mixed)] == ["a", "b", "c", "d"]
