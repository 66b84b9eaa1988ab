"""Which files of a benchmark folder belong together."""

from pathlib import Path

import pytest

from sr_lab.evaluation.pairs import find_pairs, fingerprint


def touch(folder: Path, *names: str) -> None:
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(name.encode())


def test_pairs_by_stem_in_sub_folders_and_with_the_scale_in_the_name(tmp_path: Path) -> None:
    touch(tmp_path / "HR", "a.png", "b.png", "deep/c.png")
    touch(tmp_path / "LR", "a.jpg", "bx4.png", "deep/c.png")
    pairs = find_pairs(tmp_path, scale=4)
    assert [pair.name for pair in pairs] == ["a", "b", "deep/c"]
    assert [pair.low for pair in pairs] == [tmp_path / "LR" / name for name in ("a.jpg", "bx4.png", "deep/c.png")]
    assert [pair.high for pair in pairs] == [tmp_path / "HR" / name for name in ("a.png", "b.png", "deep/c.png")]


def test_originals_alone(tmp_path: Path) -> None:
    touch(tmp_path, "b.png", "deep/a.jpg", "notes.txt")
    assert [(pair.name, pair.low) for pair in find_pairs(tmp_path, scale=2)] == [("b", None), ("deep/a", None)]


def test_hr_folder_without_lr_is_a_folder_of_originals(tmp_path: Path) -> None:
    touch(tmp_path / "HR", "a.png")
    assert [(pair.name, pair.low) for pair in find_pairs(tmp_path, scale=2)] == [("a", None)]


def test_missing_partners_are_named(tmp_path: Path) -> None:
    touch(tmp_path / "HR", "a.png", "b.png")
    touch(tmp_path / "LR", "b.png", "c.png")
    with pytest.raises(ValueError, match=r"1 in HR/ without a low image \(a\); 1 in LR/ without an original \(c\)"):
        find_pairs(tmp_path, scale=2)


def test_names_that_differ_in_the_suffix_only_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "a.jpg")
    with pytest.raises(ValueError, match="have the same name but for the suffix"):
        find_pairs(tmp_path, scale=2)


def test_lr_alone_and_nothing_are_refused(tmp_path: Path) -> None:
    touch(tmp_path / "LR", "a.png")
    with pytest.raises(ValueError, match="has LR/ but no HR/"):
        find_pairs(tmp_path, scale=2)
    with pytest.raises(FileNotFoundError, match="nowhere is not a folder"):
        find_pairs(tmp_path / "nowhere", scale=2)
    (tmp_path / "empty").mkdir()
    with pytest.raises((ValueError, OSError), match="empty"):
        find_pairs(tmp_path / "empty", scale=2)


def test_fingerprint_knows_bytes_and_names_but_not_the_place(tmp_path: Path) -> None:
    for place in ("one", "two", "renamed", "changed"):
        touch(tmp_path / place, "a.png", "b.png")
    (tmp_path / "renamed" / "b.png").rename(tmp_path / "renamed" / "c.png")
    (tmp_path / "changed" / "b.png").write_bytes(b"other")
    one, two, renamed, changed = (
        fingerprint(find_pairs(tmp_path / place, scale=2)) for place in ("one", "two", "renamed", "changed")
    )
    assert one == two
    assert len({one, renamed, changed}) == 3


def test_accents_composed_or_not_are_one_name(tmp_path: Path) -> None:
    for part, name in (("HR", "caf\u00e9"), ("LR", "cafe\u0301")):
        (tmp_path / part).mkdir()
        (tmp_path / part / f"{name}.png").write_bytes(b"x")
    (pair,) = find_pairs(tmp_path, scale=2)
    assert (pair.name, pair.low is not None) == ("caf\u00e9", True)
