"""The manifest of a folder of degraded images: Parquet, one row an image."""

import io
import platform
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from sr_lab.base import provenance
from sr_lab.base.files import write_bytes

MANIFEST = "manifest.parquet"


@dataclass(frozen=True)
class Row:
    """What is known of one low image.

    Attributes:
        name: of the high image, relative to its folder, with ``/``.
        sha256: of the high image's file.
        low: of the low image, relative to the output folder.
        low_sha256: of its file.
        target: of the changed target, relative to the output folder; empty if the high image itself is the target.
        target_sha256: of its file, or empty.
        width: of the high image after the crop to a multiple of the scale.
        height: likewise.
        scale: high divided by low.
        seed: first part of the draw's key.
        epoch: second.
        index: third: the place of the image or clip in the sorted list; the frames of a clip share it.
        params: every drawn parameter, JSON.
        settings: ``Degradation.settings``, JSON.
        config: the configuration that the degradation is built from, JSON.
        versions: of the libraries that made the pixels, JSON.
    """

    name: str
    sha256: str
    low: str
    low_sha256: str
    target: str
    target_sha256: str
    width: int
    height: int
    scale: int
    seed: int
    epoch: int
    index: int
    params: str
    settings: str
    config: str
    versions: str


def write_rows(rows: Sequence[Row], path: Path) -> None:
    """Writes a manifest, whole or not at all."""
    import pandas as pd

    buffer = io.BytesIO()
    pd.DataFrame([asdict(row) for row in rows]).to_parquet(buffer, index=False)
    write_bytes(path, buffer.getvalue())


def read_rows(path: Path) -> list[Row]:
    """The rows of a manifest.

    Raises:
        ValueError: if the file is missing, no Parquet file, empty, or lacks a column.
    """
    if not path.is_file():
        raise ValueError(f"{path} does not exist: give the {MANIFEST} that srlab degrade wrote")
    return parse_rows(path.read_bytes(), str(path))


def parse_rows(content: bytes, path: str) -> list[Row]:
    """The rows of a manifest's content; see ``read_rows``. ``path`` is for messages."""
    import pandas as pd

    try:
        table = pd.read_parquet(io.BytesIO(content))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as Parquet: {error}") from error
    names = [field.name for field in fields(Row)]
    if missing := [name for name in names if name not in table.columns]:
        raise ValueError(f"{path} has no column {missing[0]!r}: it is not a manifest of srlab degrade")
    if table.empty:
        raise ValueError(f"{path} has no rows")
    records: list[dict[Any, Any]] = table[names].to_dict("records")
    return [Row(**{str(name): value for name, value in row.items()}) for row in records]


def library_versions() -> dict[str, str]:
    """Versions of what decides over pixels."""
    used = (name for name in ("albumentations", "kornia") if name in sys.modules)
    return provenance.library_versions("numpy", "cv2", "torch", *used) | {"python": platform.python_version()}
