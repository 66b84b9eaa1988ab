"""A profile: the features of a set of images as a Parquet file, without a pixel, with what they were measured with."""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sr_lab.base import provenance
from sr_lab.base.files import write_bytes
from sr_lab.degradations.estimate import ImageEstimate
from sr_lab.monitoring.features import feature_columns

if TYPE_CHECKING:
    import pandas as pd

FORMAT = 1
"""Of the features: raised when one of them comes out differently."""

_KEY = b"srlab.profile"


@dataclass(frozen=True)
class Profile:
    """Features of a set of images.

    Attributes:
        table: one row an image: ``name`` and the features in units that people read.
        settings: what decides over the values.
        facts: where it comes from: folder, digest of the files, what was skipped, versions, time.
        estimates: of the images; empty where the profile was read from a file.
    """

    table: "pd.DataFrame"
    settings: Mapping[str, Any]
    facts: Mapping[str, Any]
    estimates: tuple[ImageEstimate, ...] = field(default=(), repr=False)

    def __len__(self) -> int:
        """Number of images."""
        return len(self.table)

    def differences(self, settings: Mapping[str, Any]) -> list[str]:
        """What keeps this profile from being compared with one of ``settings``, as text; empty if nothing does."""
        keys = sorted(self.settings.keys() | settings.keys())
        return [
            f"{key} is {settings.get(key)!r}, in the profile {self.settings.get(key)!r}"
            for key in keys
            if self.settings.get(key) != settings.get(key)
        ]


def write_profile(profile: Profile, path: Path) -> None:
    """Writes a profile, whole or not at all."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table = pa.Table.from_pandas(profile.table, preserve_index=False)
    content = json.dumps({"settings": profile.settings, **profile.facts}, default=str)
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata({**(table.schema.metadata or {}), _KEY: content.encode()}), buffer)
    write_bytes(path, buffer.getvalue())


def read_profile(path: Path, *, allow_none: bool = False) -> Profile:
    """The profile of a file.

    Args:
        path: The Parquet file.
        allow_none: Whether it may hold no image.

    Raises:
        ValueError: if the file is missing, is no profile, or holds no image.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.is_file():
        raise ValueError(f"{path} does not exist: give the profile that srlab profile wrote")
    try:
        table = pq.read_table(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise ValueError(f"{path} is no profile, it cannot be read as Parquet: {error}") from error
    content = (table.schema.metadata or {}).get(_KEY)
    if content is None:
        raise ValueError(f"{path} is a Parquet file, but no profile of srlab profile")
    facts = json.loads(content)
    settings = facts.pop("settings")
    frame = table.to_pandas()
    if not allow_none and (frame.empty or not feature_columns(frame)):
        raise ValueError(f"{path} holds no features of an image: make it again with srlab profile")
    return Profile(frame, settings, facts)


def library_versions() -> dict[str, str]:
    """Versions of what decides over the features."""
    return provenance.library_versions("numpy", "cv2")
