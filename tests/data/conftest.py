"""Small image folders for the tests of the data."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from sr_lab.data.datamodule import SRDataModule
from sr_lab.data.sources import FolderSource
from sr_lab.degradations.resize import Bicubic


def save(path: Path, image: np.ndarray) -> Path:
    """Writes an image (H, W, C) RGB without the project's own code."""
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), image[..., ::-1] if image.shape[-1] == 3 else image)
    return path


def texture(seed: int, height: int = 64, width: int = 72, channels: int = 3, dtype: type = np.uint8) -> np.ndarray:
    """A smooth random picture; two seeds give pictures that nobody would take for the same."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((9, 11, channels)).astype(np.float32)
    fine = cv2.resize(rng.random((height // 3, width // 3, channels)).astype(np.float32), (width, height))
    mixed = 0.7 * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).reshape(height, width, channels)
    mixed = np.clip(mixed + 0.3 * fine.reshape(height, width, channels), 0, 1)
    return np.round(mixed * np.iinfo(dtype).max).astype(dtype)


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Makes a folder of textures: ``folder("train", 5, height=64)``; seeds differ from folder to folder."""
    made = 0

    def make(name: str, count: int, **kwargs: Any) -> Path:
        nonlocal made
        for number in range(count):
            save(tmp_path / name / f"{number:02}.png", texture(made + number, **kwargs))
        made += 100
        return tmp_path / name

    return make


@pytest.fixture
def module(folder: Callable[..., Path], tmp_path: Path) -> Callable[..., SRDataModule]:
    """Makes a data module over five training and two validation textures."""
    train, val = folder("train", 5), folder("val", 2)

    def make(**kwargs: Any) -> SRDataModule:
        defaults: dict[str, Any] = {
            "name": "test",
            "train": FolderSource(roots=train),
            "val": FolderSource(roots=val),
            "degradation": Bicubic(scale=2),
            "scale": 2,
            "crop": 32,
            "batch_size": 4,
            "seed": 7,
            "cache": tmp_path / "cache",
        }
        return SRDataModule(**{**defaults, **kwargs})

    return make
