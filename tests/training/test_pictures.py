"""Titles above the pictures of a validation."""

import numpy as np

from sr_lab.training.pictures import title_strip


def test_a_title_stands_above_its_column_and_is_cut_where_it_is_too_long():
    strip = title_strip(["low x2  a/very/long/name/of/a/file.png" * 3, "", "restored", ""], 400)
    assert strip.shape == (16, 400, 3)
    assert strip.dtype == np.uint8
    dark = [(strip[:, left : left + 100] < 128).any() for left in range(0, 400, 100)]
    assert dark == [True, False, True, False]
