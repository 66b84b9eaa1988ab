"""Golden sets: pairs of images whose restoration a service measures again and again, each file known by its hash."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sr_lab.base.files import read_json, replacing_folder, sha256, write_json
from sr_lab.images import crop_to_multiple, resize_bicubic, to_levels, to_tensor
from sr_lab.images.files import read_image, write_image
from sr_lab.images.folders import list_images

PLAN = "golden.json"


@dataclass(frozen=True, kw_only=True)
class GoldenPair:
    """A pair.

    Attributes:
        name: Of the image.
        clip: Of the clip that it is a frame of; empty for a still image.
        low: File of the low image.
        high: File of what it should become.
        hashes: SHA-256 of both.
    """

    name: str
    clip: str
    low: Path
    high: Path
    hashes: tuple[str, str]

    @property
    def intact(self) -> bool:
        """Whether both files are what they were."""
        try:
            return (sha256(self.low), sha256(self.high)) == self.hashes
        except OSError:
            return False


@dataclass(frozen=True, kw_only=True)
class GoldenSet:
    """A golden set.

    Attributes:
        folder: Where it is.
        scale: Enlargement factor.
        pairs: Its pairs; frames of a clip one after the other.
    """

    folder: Path
    scale: int
    pairs: Sequence[GoldenPair]


def make_golden(photos: Path, folder: Path, *, scale: int = 2, num: int = 8, side: int = 256) -> GoldenSet:
    """Makes a golden set of photos: the middle of each, made small by MATLAB's bicubic.

    Args:
        photos: Folder of photos; those of one folder below it are the frames of a clip.
        folder: Written; ``HR/``, ``LR/`` and ``golden.json``.
        scale: Enlargement factor.
        num: Most photos and clips; the first by name.
        side: Most rows and columns of an original.

    Raises:
        ValueError: If there is no photo of at least 16 pixels a side.
    """
    if side < 16 * scale:
        raise ValueError(f"side={side}: give at least {16 * scale}, so that a low image has 16 pixels")
    groups: dict[str, list[Path]] = {}
    for file in list_images(photos):
        below = file.relative_to(photos).parent.as_posix()
        groups.setdefault(file.relative_to(photos).as_posix() if below == "." else below, []).append(file)
    rows: list[dict[str, Any]] = []
    with replacing_folder(folder) as place:
        for group, files in list(groups.items())[:num]:
            for file in files:
                row = _write(file, place, len(rows), scale=scale, side=side)
                if row is not None:
                    clip = group if len(files) > 1 else ""
                    rows.append({"name": file.relative_to(photos).as_posix(), "clip": clip, **row})
        if not rows:
            raise ValueError(f"photos={photos}: there is no photo of at least {16 * scale} pixels a side")
        write_json(place / PLAN, {"scale": scale, "degradation": "bicubic (MATLAB)", "pairs": rows})
    return read_golden(folder)


def read_golden(folder: Path) -> GoldenSet:
    """A golden set as ``srlab golden`` wrote it; its files are not looked at.

    Raises:
        ValueError: If it is none.
        OSError: If it is not there.
    """
    plan = folder / PLAN
    if not plan.is_file():
        raise FileNotFoundError(f"{plan}: there is no golden set: srlab golden makes one")
    try:
        content = read_json(plan)
        pairs = [
            GoldenPair(
                name=str(row["name"]), clip=str(row["clip"]), low=folder / row["low"], high=folder / row["high"],
                hashes=(str(row["sha256"][0]), str(row["sha256"][1])),
            )
            for row in content["pairs"]
        ]  # fmt: skip
        return GoldenSet(folder=folder, scale=int(content["scale"]), pairs=pairs)
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{plan} is not what srlab golden writes: {error}") from error


def _write(file: Path, place: Path, number: int, *, scale: int, side: int) -> dict[str, Any] | None:
    pixels = read_image(file)
    if min(pixels.shape[:2]) < 16 * scale or pixels.shape[2] not in (1, 3):
        return None
    top, left = (max(0, (length - side) // 2) for length in pixels.shape[:2])
    middle = np.ascontiguousarray(pixels[top : top + side, left : left + side])
    high = crop_to_multiple(to_tensor(middle), scale)
    low = resize_bicubic(high, scale=1 / scale).clamp(0, 1)
    names = {kind: f"{kind}/{number:03d}.png" for kind in ("LR", "HR")}
    write_image(place / names["LR"], to_levels(low, pixels.dtype))
    write_image(place / names["HR"], to_levels(high, pixels.dtype))
    hashes = [sha256(place / names[kind]) for kind in ("LR", "HR")]
    return {"low": names["LR"], "high": names["HR"], "sha256": hashes}
