"""Codes with a known truth: written by another program, read, and counted."""

import io

import numpy as np
import pytest

from sr_lab.images import to_tensor
from sr_lab.images.found import Found
from sr_lab.tasks.barcode import Barcode
from sr_lab.tasks.documents import pages

pytest.importorskip("zxingcpp")


def found(text: str) -> Found:
    return Found(text=text, box=(0.0, 0.0, 1.0, 1.0))


def test_a_code_that_another_program_wrote_is_read():
    segno = pytest.importorskip("segno")
    from PIL import Image

    stream = io.BytesIO()
    segno.make("sr_lab 2026", error="m", micro=False).save(stream, kind="png", scale=4, border=4)
    pixels = np.asarray(Image.open(stream).convert("RGB"))
    (read,) = Barcode().read(to_tensor(pixels))
    assert read.text == "sr_lab 2026"
    assert 10 <= read.box[0] < read.box[2] <= pixels.shape[1]


def test_pages_of_codes_are_read_whole_and_a_blurred_one_is_not():
    page = next(pages(kind="codes", count=1, sizes=[4], seed=0))
    truth, task = page.truth.found["barcode"], Barcode()
    assert len(truth) == 2
    assert task.score(task.read(to_tensor(page.pixels)), truth) == {"decoded": 1.0, "wrong": 0.0}
    grey = np.full_like(page.pixels, 128)
    assert task.score(task.read(to_tensor(grey)), truth) == {"decoded": 0.0, "wrong": 0.0}


def test_a_content_that_is_not_there_is_wrong_and_one_read_twice_counts_once():
    task = Barcode()
    scored = task.score((found("a"), found("a"), found("c")), (found("a"), found("b")))
    assert scored == {"decoded": 0.5, "wrong": 2.0}


def test_where_there_is_no_code_the_share_does_not_apply():
    assert np.isnan(Barcode().score((), ())["decoded"])
