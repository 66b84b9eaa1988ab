"""Pages of a seed, and what is written on them."""

import numpy as np
import pytest

from sr_lab.images.found import Truth
from sr_lab.tasks.documents import pages


def test_the_same_seed_makes_the_same_pages_and_another_one_others():
    one, again, other = (next(pages(kind="text", count=1, sizes=[16], seed=seed)) for seed in (3, 3, 4))
    assert np.array_equal(one.pixels, again.pixels)
    assert one.truth == again.truth
    assert one.truth != other.truth


def test_a_page_does_not_depend_on_how_many_there_are():
    few = {page.name: page for page in pages(kind="text", count=2, sizes=[12], seed=0)}
    many = {page.name: page for page in pages(kind="text", count=3, sizes=[20, 12], seed=0)}
    assert all(np.array_equal(page.pixels, many[name].pixels) for name, page in few.items())


def test_every_size_has_the_same_content_and_one_scene():
    made = list(pages(kind="text", count=1, sizes=[12, 24], seed=0))
    texts = [[found.text for found in page.truth.found["ocr"]] for page in made]
    assert texts[0] == texts[1]
    assert {page.scene for page in made} == {"text_000"}
    assert [page.truth.group for page in made] == ["12 px", "24 px"]


def test_the_ink_lies_in_the_boxes_and_sides_divide_by_every_scale():
    page = next(pages(kind="text", count=1, sizes=[24], seed=1))
    height, width = page.pixels.shape[:2]
    assert height % 24 == width % 24 == 0
    outside = np.ones((height, width), bool)
    for found in page.truth.found["ocr"]:
        left, top, right, bottom = (round(end) for end in found.box)
        assert 0 <= left < right <= width
        assert 0 <= top < bottom <= height
        outside[top:bottom, left:right] = False
        assert page.pixels[top:bottom, left:right].min() < 100
    assert page.pixels[outside].min() > 200


def test_truth_is_read_as_it_was_written():
    truth = next(pages(kind="text", count=1, sizes=[12], seed=0)).truth
    assert Truth.parse(truth.as_dict()) == truth


def test_what_cannot_be_made_is_refused():
    with pytest.raises(ValueError, match="fonts of 6 pixels"):
        next(pages(kind="text", count=1, sizes=[4], seed=0))
    with pytest.raises(ValueError, match="text or codes"):
        next(pages(kind="music", count=1, sizes=[12], seed=0))
    with pytest.raises(ValueError, match="twice"):
        next(pages(kind="text", count=1, sizes=[12, 12], seed=0))
