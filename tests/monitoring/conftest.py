"""Folders of small photos under chosen degradations, and their profiles."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data as samples

from sr_lab.monitoring import Extractor, Profile, measure_folder
from sr_lab.monitoring.embedding import ContentEmbedding

SIDE = 64
MakeFolder = Callable[..., Path]


def crops() -> list[np.ndarray]:
    """Crops of packaged photos, half size, without overlap, in a mixed order."""
    result = []
    for photo in (
        samples.chelsea(),
        samples.coffee(),
        samples.astronaut(),
        samples.rocket(),
        samples.retina()[200:-200],
    ):
        small = np.asarray(Image.fromarray(photo[:, :, :3]).reduce(2))
        for top in range(0, small.shape[0] - SIDE + 1, SIDE):
            for left in range(0, small.shape[1] - SIDE + 1, SIDE):
                crop = small[top : top + SIDE, left : left + SIDE]
                if crop.std() > 8:
                    result.append(crop)
    return [result[index] for index in np.random.default_rng(3).permutation(len(result))]


@pytest.fixture(scope="session")
def make_folder(tmp_path_factory: pytest.TempPathFactory) -> MakeFolder:
    """Writes crops ``start`` to ``stop`` with noise and JPEG into a new folder."""
    photos = crops()

    def make(start: int, stop: int, *, quality: int = 90, noise: float = 0.0) -> Path:
        folder = tmp_path_factory.mktemp("images")
        random = np.random.default_rng(start)
        for index, photo in enumerate(photos[start:stop], start):
            noisy = np.clip(np.round(photo + random.normal(0, max(noise, 1e-6), photo.shape)), 0, 255)
            stream = io.BytesIO()
            varied = quality + int(random.integers(-2, 3))
            Image.fromarray(noisy.astype(np.uint8)).save(stream, "JPEG", quality=varied)
            (folder / f"{index:03}.jpg").write_bytes(stream.getvalue())
        return folder

    return make


@pytest.fixture(scope="session")
def extractor() -> Extractor:
    return Extractor(embedding=ContentEmbedding())


@pytest.fixture(scope="session")
def reference_folder(make_folder: MakeFolder) -> Path:
    return make_folder(0, 60)


@pytest.fixture(scope="session")
def reference(reference_folder: Path, extractor: Extractor) -> Profile:
    return measure_folder(reference_folder, extractor)
