from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from skimage import data as samples

from sr_lab.data.audit import AuditReport, audit
from sr_lab.images import list_images

PHOTOS = {"astronaut": samples.astronaut, "coffee": samples.coffee, "cat": samples.chelsea, "rocket": samples.rocket}


def cut(image: np.ndarray, left: float, top: float, right: float, bottom: float) -> np.ndarray:
    height, width = image.shape[:2]
    return image[int(height * top) : height - int(height * bottom), int(width * left) : width - int(width * right)]


def noisy(image: np.ndarray) -> np.ndarray:
    return np.clip(image + np.random.default_rng(0).normal(0, 12, image.shape), 0, 255).astype(np.uint8)


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "resized": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "small": lambda image: cv2.resize(image, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA),
    "squashed": lambda image: cv2.resize(image, (256, 256), interpolation=cv2.INTER_AREA),
    "cropped on all sides": lambda image: cut(image, 0.1, 0.1, 0.1, 0.1),
    "cropped in a corner": lambda image: cut(image, 0.1, 0.1, 0, 0),
    "darker": lambda image: (image * 0.6 + 20).astype(np.uint8),
    "noisy": noisy,
    "grey": lambda image: image.mean(axis=2, keepdims=True).astype(np.uint8).repeat(3, axis=2),
    "mirrored": lambda image: image[:, ::-1],
    "mirrored and cropped": lambda image: cut(image[:, ::-1], 0.05, 0.05, 0.05, 0.05),
    "turned": lambda image: np.rot90(image),
}


def photos(root: Path) -> Path:
    root.mkdir()
    for name, load in PHOTOS.items():
        assert cv2.imwrite(str(root / f"{name}.png"), load()[..., ::-1])
    return root


def names(report: AuditReport) -> list[tuple[str, str]]:
    return [(Path(match.file).stem, Path(match.other).stem) for match in report.leaks]


def test_one_and_the_same_file_on_both_sides_is_a_leak(tmp_path: Path) -> None:
    files = list_images(photos(tmp_path / "photos"))
    report = audit(files, files[:1])
    assert [(match.file, match.other, match.kind) for match in report.leaks] == [
        (str(files[0]), str(files[0]), "same file")
    ]
    assert report.duplicates == []


@pytest.mark.parametrize("change", CHANGES)
def test_finds_changed_copies_and_nothing_else(tmp_path: Path, change: str) -> None:
    train, test = photos(tmp_path / "train"), tmp_path / "test"
    test.mkdir()
    for name in ("astronaut", "cat", "rocket"):
        image = CHANGES[change](PHOTOS[name]())
        assert cv2.imwrite(str(test / f"{name}.jpg"), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 50])
    cv2.imwrite(str(test / "moon.png"), samples.moon())
    report = audit(list_images(train), list_images(test))
    assert names(report) == [(name, name) for name in ("astronaut", "cat", "rocket")]
    assert all(match.kind == "near" and match.correlation > 0.9 for match in report.leaks)
    turned = {"mirrored", "mirrored and cropped", "turned"}
    assert all((match.operation != "none") == (change in turned) for match in report.leaks)
    assert [Path(str(entry["file"])).stem for entry in report.exclusions] == ["astronaut", "cat", "rocket"]
    assert not report.duplicates


def test_smooth_pictures_with_equal_hashes_are_no_copies(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    sky = np.linspace(40, 220, 200)[:, None, None] * np.ones((1, 300, 3))
    for number in range(6):
        for side in ("train", "test"):
            (tmp_path / side).mkdir(exist_ok=True)
            blobs = cv2.GaussianBlur(rng.normal(0, 60, sky.shape), (0, 0), 4)
            cv2.imwrite(str(tmp_path / side / f"{number}.png"), np.clip(sky + blobs, 0, 255).astype(np.uint8))
        flat = np.full((64, 64, 3), 40 * number + 10, np.uint8)
        cv2.imwrite(str(tmp_path / "train" / f"flat{number}.png"), flat)
        cv2.imwrite(str(tmp_path / "test" / f"flat{number}.png"), flat + 9)
    assert audit(list_images(tmp_path / "train"), list_images(tmp_path / "test")).clean


def test_two_views_of_one_scene_are_told_apart(tmp_path: Path) -> None:
    left, right, _ = samples.stereo_motorcycle()
    assert not np.array_equal(left, right)
    for name, image in (("train", left), ("test", samples.coffee())):
        (tmp_path / name).mkdir()
        cv2.imwrite(str(tmp_path / name / "image.png"), image[..., ::-1])
    assert audit(list_images(tmp_path / "train"), list_images(tmp_path / "test")).clean


def test_exact_copies_by_bytes_and_by_pixels(tmp_path: Path) -> None:
    train = photos(tmp_path / "train")
    (train / "zz_bytes.png").write_bytes((train / "cat.png").read_bytes())
    cv2.imwrite(str(train / "zz_pixels.png"), samples.coffee()[..., ::-1], [cv2.IMWRITE_PNG_COMPRESSION, 0])
    report = audit(list_images(train), [])
    found = [(Path(match.file).stem, Path(match.other).stem, match.kind) for match in report.duplicates]
    assert sorted(found) == [("zz_bytes", "cat", "same file"), ("zz_pixels", "coffee", "same pixels")]
    assert [Path(str(entry["file"])).stem for entry in report.exclusions] == ["zz_bytes", "zz_pixels"]


def test_unreadable_files_of_both_sides_are_listed(tmp_path: Path) -> None:
    train, test = photos(tmp_path / "train"), photos(tmp_path / "test")
    for file in test.iterdir():
        file.unlink()
    cv2.imwrite(str(train / "torn.jpg"), samples.coffee())
    (train / "torn.jpg").write_bytes((train / "torn.jpg").read_bytes()[:20000])
    (test / "empty.png").write_bytes(b"")
    report = audit(list_images(train), list_images(test))
    assert len(report.unreadable) == 2
    assert "torn.jpg" in report.unreadable[0]
    assert "empty.png" in report.unreadable[1]
    (entry,) = report.exclusions
    assert (Path(str(entry["file"])).name, entry["reason"]) == ("torn.jpg", "unreadable")


def test_the_benchmark_image_in_the_training_folder(shared: Path) -> None:
    """BSDS400 holds the last picture of Set5; T91 holds one file twice. There is nothing else."""
    train = list_images(shared / "datasets/train")
    sets = [shared / f"datasets/benchmark/{name}/x2/HR" for name in ("Set5", "Set14", "BSD100")]
    report = audit(train, [file for folder in sets for file in list_images(folder)])
    (leak,) = report.leaks
    assert Path(leak.file) == shared / "datasets/train/BSDS400/302003.jpg"
    assert Path(leak.other) == sets[0] / "img_005.png"
    (copy,) = report.duplicates
    assert {Path(copy.file).name, Path(copy.other).name} == {"t36.png", "t65.png"}
    assert copy.kind == "same file"
    assert not report.unreadable
    assert len(report.exclusions) == 2


def test_low_images_of_a_benchmark_are_recognised_too(shared: Path) -> None:
    train = [shared / "datasets/train/BSDS400/302003.jpg"]
    for scale in (2, 3, 4):
        report = audit(train, list_images(shared / f"datasets/benchmark/Set5/x{scale}/LR"))
        assert [Path(match.other).name for match in report.leaks] == ["img_005.png"]
