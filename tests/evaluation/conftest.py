"""A small benchmark and its parts."""

from pathlib import Path

import numpy as np
import pytest

from sr_lab.degradations.resize import Bicubic
from sr_lab.images import to_array, to_tensor, write_image


def photo(height: int, width: int, *, seed: int) -> np.ndarray:
    """A picture with edges and noise, (height, width, 3) uint8."""
    generator = np.random.default_rng(seed)
    coarse = generator.random((height // 8 + 1, width // 8 + 1, 3))
    image = np.kron(coarse, np.ones((8, 8, 1)))[:height, :width] + 0.05 * generator.standard_normal((height, width, 3))
    return (255 * image).round().clip(0, 255).astype(np.uint8)


@pytest.fixture
def originals(tmp_path: Path) -> Path:
    """Folder of three originals whose sides are no multiples of the scale."""
    folder = tmp_path / "originals"
    folder.mkdir()
    for index, (height, width) in enumerate([(65, 81), (48, 64), (72, 50)]):
        write_image(folder / f"photo{index}.png", photo(height, width, seed=index))
    return folder


@pytest.fixture
def paired(originals: Path, tmp_path: Path) -> Path:
    """The same with their bicubic x2 low images, in HR/ and LR/."""
    folder = tmp_path / "paired"
    (folder / "LR").mkdir(parents=True)
    originals.rename(folder / "HR")
    for file in (folder / "HR").iterdir():
        image = to_tensor(photo_of(file))
        image = image[..., : image.shape[-2] // 2 * 2, : image.shape[-1] // 2 * 2]
        write_image(folder / "LR" / file.name, to_array(Bicubic(scale=2).apply(image, {})))
    return folder


def photo_of(file: Path) -> np.ndarray:
    """The file's pixels, read without the code under test."""
    from PIL import Image

    return np.asarray(Image.open(file))
