import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sr_lab.base.files import sha256
from sr_lab.data.sources import FolderSource, PairedSource, convert_channels


def test_folders_are_merged_with_unique_names(folder: Callable[..., Path]) -> None:
    one, two, three = folder("x/photos", 2), folder("y/photos", 1), folder("scans", 1)
    assert [item.name for item in FolderSource(roots=one).items] == ["00.png", "01.png"]
    items = FolderSource(roots=[one, two, three]).items
    assert [item.name for item in items] == ["0-photos/00.png", "0-photos/01.png", "1-photos/00.png", "scans/00.png"]
    assert [item.path for item in items] == ["00.png", "01.png", "00.png", "00.png"]


def test_missing_and_empty_folders_are_errors_when_used(tmp_path: Path) -> None:
    source = FolderSource(roots=tmp_path / "nowhere")
    with pytest.raises(ValueError, match="nowhere"):
        _ = source.items
    with pytest.raises(ValueError, match="roots is empty"):
        FolderSource(roots=[])


def test_exclude_by_name(folder: Callable[..., Path]) -> None:
    root = folder("photos", 3)
    assert [item.name for item in FolderSource(roots=root, exclude=["01.png"]).items] == ["00.png", "02.png"]
    with pytest.raises(ValueError, match=r"not there: 1\.png"):
        _ = FolderSource(roots=root, exclude=["1.png"]).items
    with pytest.raises(ValueError, match="leaves none of the 3"):
        _ = FolderSource(roots=root, exclude=["00.png", "01.png", "02.png"]).items


def test_exclusion_file_finds_images_by_content_wherever_they_lie(folder: Callable[..., Path], tmp_path: Path) -> None:
    root = folder("photos", 3)
    file = root / "01.png"
    records = [
        {"file": "/elsewhere/leak.png", "size": file.stat().st_size, "sha256": sha256(file), "reason": "leak"},
        {"file": "gone.png", "size": None, "sha256": None, "reason": "unreadable"},
    ]
    exclude = tmp_path / "exclude.json"
    exclude.write_text(json.dumps(records))
    assert [item.name for item in FolderSource(roots=root, exclude=exclude).items] == ["00.png", "02.png"]


@pytest.mark.parametrize("content", ["[", '{"a": 1}', '["a.png"]', '[{"file": "a"}]'])
def test_other_files_are_no_exclusion_lists(folder: Callable[..., Path], tmp_path: Path, content: str) -> None:
    (tmp_path / "e.json").write_text(content)
    with pytest.raises(ValueError, match=r"e\.json: not an exclusion list"):
        _ = FolderSource(roots=folder("photos", 1), exclude=tmp_path / "e.json").items
    with pytest.raises(ValueError, match="srlab audit exclude="):
        _ = FolderSource(roots=folder("more", 1), exclude=tmp_path / "missing.json").items


def test_pairs_are_matched_by_stem(folder: Callable[..., Path]) -> None:
    high, low = folder("high", 2), folder("low", 2, height=32, width=36)
    (low / "01.png").rename(low / "01.tif.png")
    with pytest.raises(ValueError, match=r"2 images without a partner.*high/01 \(no low image\).*01\.tif \(no high"):
        _ = PairedSource(high=high, low=low).items
    (low / "01.tif.png").rename(low / "01.png")
    source = PairedSource(high=high, low=low)
    assert [item.name for item in source.items] == ["00", "01"]
    assert [name for name, _ in source.items[1].files] == ["high/01.png", "low/01.png"]
    big, small = source.read(source.items[0])
    assert small is not None
    assert (big.shape, small.shape) == ((64, 72, 3), (32, 36, 3))


def test_two_images_of_one_stem_are_refused(folder: Callable[..., Path]) -> None:
    high, low = folder("high", 1), folder("low", 1)
    (high / "00.webp").write_bytes(b"x")
    with pytest.raises(ValueError, match="the same name but for the suffix"):
        _ = PairedSource(high=high, low=low).items


def test_channel_conversion_values() -> None:
    grey = np.array([[[7], [200]]], dtype=np.uint8)
    assert convert_channels(grey, "rgb", name="g").tolist() == [[[7, 7, 7], [200, 200, 200]]]
    assert convert_channels(grey, "y", name="g") is grey
    rgb = np.array([[[255, 255, 255], [0, 0, 0], [255, 0, 0], [12, 99, 200]]], dtype=np.uint8)
    expected = [round(16 + (65.481 * r + 128.553 * g + 24.966 * b) / 255) for r, g, b in rgb[0].tolist()]
    assert convert_channels(rgb, "y", name="c")[0, :, 0].tolist() == expected
    deep = convert_channels(rgb.astype(np.uint16) * 257, "y", name="c")
    assert deep.dtype == np.uint16
    exact = [(16 + (65.481 * r + 128.553 * g + 24.966 * b) / 255) * 257 for r, g, b in rgb[0].tolist()]
    assert np.abs(deep[0, :, 0] - np.array(exact)).max() <= 0.51


def test_bands_convert_to_nothing() -> None:
    bands = np.zeros((2, 2, 5), dtype=np.uint8)
    assert convert_channels(bands, "keep", name="sat.tif") is bands
    with pytest.raises(ValueError, match=r"sat\.tif has 5 channels"):
        convert_channels(bands, "rgb", name="sat.tif")
