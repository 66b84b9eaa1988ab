"""A folder of images as a profile."""

import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
from numpy.typing import NDArray

from sr_lab.base.files import sha256
from sr_lab.base.words import counted
from sr_lab.data.manifest import combined_digest
from sr_lab.degradations.estimate import ImageEstimate, estimate_image
from sr_lab.degradations.estimate.arrays import MIN_SIDE, as_levels
from sr_lab.degradations.estimate.single import jpeg_of_file
from sr_lab.images import ImageError, list_images, read_image
from sr_lab.monitoring.embedding import Embedding, embedding_features
from sr_lab.monitoring.features import input_features
from sr_lab.monitoring.profile import FORMAT, Profile, library_versions
from sr_lab.monitoring.usability import Unusable, is_blank

Pixels = NDArray[Any]


class Outputs(Protocol):
    """Features of what a restorer makes of an image."""

    def settings(self) -> dict[str, Any]:
        """What decides over the values, as JSON can hold it."""
        ...

    def __call__(self, pixels: Pixels) -> dict[str, float]:
        """(H, W, C) uint8 or uint16 to named features."""
        ...


class Extractor:
    """Measures one image.

    Args:
        embedding: of the content.
        crop: side in pixels of the square from the middle of a larger image that is looked at: the time an image
            takes does not grow with it.
        outputs: features of the restored image; ``None`` for those of the input alone.

    Raises:
        ValueError: if ``crop`` is below 64.
    """

    def __init__(self, *, embedding: Embedding, crop: int = 512, outputs: Outputs | None = None) -> None:
        if crop < 64:
            raise ValueError(f"crop={crop}: must be at least 64")
        self.embedding, self.crop, self.outputs = embedding, crop, outputs

    def settings(self) -> dict[str, Any]:
        """What decides over the features; profiles are comparable where it is equal."""
        outputs = None if self.outputs is None else self.outputs.settings()
        return {"format": FORMAT, "crop": self.crop, **self.embedding.settings(), "outputs": outputs}

    def __call__(self, path: Path, *, name: str) -> tuple[ImageEstimate, dict[str, float]]:
        """The estimate and the features of an image file.

        Raises:
            Unusable: If it cannot be read, is too small, or shows nothing.
            ValueError: If it cannot be measured for another reason.
        """
        try:
            image = read_image(path)
        except (ImageError, OSError) as error:
            raise Unusable("unreadable", str(error)) from error
        return self.measure(image, name=name, file=path)

    def measure(self, image: Pixels, *, name: str, file: Path | BinaryIO) -> tuple[ImageEstimate, dict[str, float]]:
        """The same of an image that is decoded already.

        Args:
            image: (H, W, C) uint8 or uint16.
            name: Kept in the estimate.
            file: Its file, or the bytes of it, whose tables tell a JPEG's quality.

        Raises:
            Unusable: If it is too small, or shows nothing.
            ValueError: If it cannot be measured for another reason.
        """
        height, width = image.shape[:2]
        if min(height, width) < MIN_SIDE:
            raise Unusable("too small", f"{name} is {width}x{height}, less than {MIN_SIDE} pixels at a side")
        levels = as_levels(image)
        if is_blank(levels):
            raise Unusable("of one value", f"{name} is of one value throughout, but for noise: it shows nothing")
        top, left = (max(length - self.crop, 0) // 16 * 8 for length in (height, width))  # whole JPEG blocks
        middle = np.ascontiguousarray(image[top : top + self.crop, left : left + self.crop])
        estimate = estimate_image(middle, name=name, jpeg=jpeg_of_file(file))
        features = input_features(estimate, width=width, height=height)
        features.update(embedding_features(self.embedding, levels))
        if self.outputs is not None:
            features.update(self.outputs(middle))
        return estimate, features


def measure_folder(
    folder: Path,
    extractor: Extractor,
    *,
    num_images: int | None = None,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
    allow_none: bool = False,
) -> Profile:
    """Measures every image of a folder.

    Files that are too small, damaged or of one value are skipped and named in the profile.

    Args:
        folder: Folder, searched with its folders below.
        extractor: What measures an image.
        num_images: Largest number of images, evenly spaced in the sorted list; ``None`` for all.
        workers: Number of processes.
        progress: Is called with the number of files done and of all, after each.
        allow_none: Whether a folder of which no file can be used gives an empty profile.

    Raises:
        ValueError: If the folder is missing or empty, ``num_images`` or ``workers`` is below 1, or no file could be
            used.
    """
    files = list_images(folder)
    if num_images is not None:
        if num_images < 1:
            raise ValueError(f"num_images={num_images}: must be at least 1")
        picked = np.linspace(0, len(files) - 1, min(num_images, len(files))).round().astype(int)
        files = [files[index] for index in picked]
    profile = measure_files(files, folder, extractor, workers=workers, progress=progress)
    if not len(profile) and not allow_none:
        name, reason = next(iter(profile.facts["skipped"].items()))
        raise ValueError(f"{folder}: none of {counted(len(files), 'image')} could be used; {name}: {reason}")
    return profile


def measure_files(
    files: Sequence[Path],
    folder: Path,
    extractor: Extractor,
    *,
    workers: int = 1,
    progress: Callable[[int, int], None] | None = None,
) -> Profile:
    """Measures these files; see ``measure_folder``. Where none can be used the table is empty."""
    if workers < 1:
        raise ValueError(f"workers={workers}: must be at least 1")
    one = partial(_measure, folder=folder, extractor=extractor)
    rows: list[dict[str, Any]] = []
    estimates, digests, skipped, kinds = [], [], {}, {}
    pool = ProcessPoolExecutor(workers, get_context("spawn"), _leave_signals) if workers > 1 else None
    try:
        results = map(one, files) if pool is None else pool.map(one, files, chunksize=4)
        for done, (name, digest, result) in enumerate(results, start=1):
            if digest:
                digests.append(digest)
            if isinstance(result, Unusable):
                skipped[name], kinds[name] = str(result), result.kind
            else:
                estimates.append(result[0])
                rows.append({"name": name, **result[1]})
            if progress:
                progress(done, len(files))
    finally:
        if pool is not None:
            pool.shutdown(cancel_futures=True)
    facts = {
        "source": folder.name,
        "images_sha256": combined_digest(digests),
        "skipped": skipped,
        "kinds": kinds,
        "versions": library_versions(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    import pandas as pd

    return Profile(pd.DataFrame(rows), extractor.settings(), facts, tuple(estimates))


def _measure(
    file: Path, *, folder: Path, extractor: Extractor
) -> tuple[str, str, tuple[ImageEstimate, dict[str, float]] | Unusable]:
    name, digest = file.relative_to(folder).as_posix(), ""
    try:
        digest = sha256(file)
        return name, digest, extractor(file, name=name)
    except Unusable as reason:
        return name, digest, reason
    except OSError as error:
        return name, digest, Unusable("unreadable", str(error))
    except ValueError as error:
        return name, digest, Unusable("not measured", str(error))


def _leave_signals() -> None:
    """In a worker: Ctrl-C is for the parent, which ends its workers."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
