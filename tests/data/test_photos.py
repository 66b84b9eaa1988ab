from pathlib import Path

import cv2
import pytest

from sr_lab.base.files import sha256
from sr_lab.data import photos
from sr_lab.data.photos import PhotoSource, extract_photos, photo_records


def test_every_photo_of_the_manifest_ships_in_the_installed_wheels(tmp_path: Path) -> None:
    assert extract_photos(tmp_path) == len(photo_records()) == len(list(tmp_path.rglob("*.*g")))
    for record in photo_records():
        file = tmp_path / record["path"]
        image = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
        assert image.shape == (record["height"], record["width"], record["channels"])
        assert (file.stat().st_size, sha256(file)) == (record["size"], record["sha256"])
        assert record["channels"] == 3


def test_the_splits_do_not_overlap_and_the_test_photos_are_three() -> None:
    paths = [Path(record["path"]) for record in photo_records()]
    assert len({record["sha256"] for record in photo_records()}) == len(paths)
    splits = {
        split: sorted(path.name for path in paths if path.parts[0] == split) for split in ("train", "val", "test")
    }
    assert splits["test"] == ["chelsea.png", "china.jpg", "coffee.png"]
    assert sum(map(len, splits.values())) == len(paths)
    assert splits["val"]


def test_extraction_again_writes_nothing_and_mends_what_is_missing(tmp_path: Path) -> None:
    extract_photos(tmp_path)
    (tmp_path / "test/china.jpg").unlink()
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*.*g")}
    assert extract_photos(tmp_path) == 1
    assert all(file.stat().st_mtime_ns == time for file, time in before.items())
    assert extract_photos(tmp_path) == 0


def test_a_changed_photo_is_named(tmp_path: Path) -> None:
    extract_photos(tmp_path)
    with (tmp_path / "val/rocket.jpg").open("ab") as stream:
        stream.write(b"x")
    with pytest.raises(ValueError, match=r"val/rocket\.jpg is not the photo of the fixed manifest"):
        extract_photos(tmp_path)


def test_another_version_in_the_wheel_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = tmp_path / "other.png"
    other.write_bytes(b"other")
    monkeypatch.setattr(photos, "_packaged", lambda source: other)
    with pytest.raises(ValueError, match=r"other\.png has another content .* this scikit-image ships another version"):
        extract_photos(tmp_path / "photos")
    assert not list((tmp_path / "photos").rglob("*.*g"))


def test_unprepared_photos_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"not prepared .*srlab prepare data=photos"):
        _ = PhotoSource(root=tmp_path, split="val").items
    source = PhotoSource(root=tmp_path, split="train")
    source.fetch()
    assert "astronaut.png" in [item.name for item in source.items]
