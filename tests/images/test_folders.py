"""What a folder holds: links, loops, other files, pairs."""

import logging
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from sr_lab.data.sources import PairedSource
from sr_lab.data.stores import Store, distinct_stems
from sr_lab.evaluation.pairs import find_pairs
from sr_lab.images import ImageError, list_images, write_image


def image(path: Path, side: int = 8) -> Path:
    write_image(path, np.zeros((side, side, 3), np.uint8))
    return path


def test_links_are_followed_without_loops_and_what_is_not_read_is_named_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    image(tmp_path / "elsewhere" / "far.png")
    image(tmp_path / "in" / "near.png")
    (tmp_path / "in" / "linked").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "in" / "loop").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "gone.png").symlink_to(tmp_path / "nothing.png")
    (tmp_path / "in" / "phone.RAW").write_bytes(b"x")
    (tmp_path / "in" / ".hidden.gif").write_bytes(b"x")
    expected = ["linked/far.png", "near.png"]
    with caplog.at_level(logging.WARNING):
        assert [path.relative_to(tmp_path / "in").as_posix() for path in list_images(tmp_path / "in")] == expected
        assert Store(tmp_path / "in").images() == expected
    (said,) = [record.getMessage() for record in caplog.records]
    assert "2 files" in said
    assert "gone.png (a link to nothing)" in said
    assert "phone.RAW" in said
    assert "hidden" not in said


def test_pairs_are_found_by_name_with_the_factor_behind_it_and_accents_in_any_form(tmp_path: Path) -> None:
    name = "é"
    for high, low in (("0001", "0001x4"), ("same", "same"), (unicodedata.normalize("NFC", name), None)):
        image(tmp_path / "HR" / f"{high}.png", 16)
        image(tmp_path / "LR" / f"{low or unicodedata.normalize('NFD', name)}.png", 4)
    items = PairedSource(high=tmp_path / "HR", low=tmp_path / "LR").items
    expected = [pair.low for pair in find_pairs(tmp_path, scale=4)]
    assert [item.low for item in items] == expected
    assert expected[0] == tmp_path / "LR" / "0001x4.png"
    image(tmp_path / "LR" / "0001x2.png", 8)
    with pytest.raises(ImageError, match="0001 has several low images"):
        _ = PairedSource(high=tmp_path / "HR", low=tmp_path / "LR").items


def test_all_clashing_names_are_told(tmp_path: Path) -> None:
    for name in ("a.png", "a.bmp", "b.png", "b.bmp"):
        image(tmp_path / "HR" / name)
    image(tmp_path / "LR" / "a.png")
    with pytest.raises(ImageError, match=r"(?s)a\.bmp and .*a\.png; .*b\.bmp and .*b\.png have the same name"):
        _ = PairedSource(high=tmp_path / "HR", low=tmp_path / "LR").items
    with pytest.raises(ValueError, match=r"a\.png and a\.bmp; b\.png and b\.bmp would be written"):
        distinct_stems(["a.png", "a.bmp", "b.png", "b.bmp"])
