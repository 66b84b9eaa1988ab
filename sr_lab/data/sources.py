"""Sources: where images come from. A source lists files and reads them; it draws and degrades nothing."""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from sr_lab.base.files import sha256
from sr_lab.base.words import counted, line, setting
from sr_lab.images import list_images, read_image, rgb_to_y, to_tensor
from sr_lab.images.folders import by_stem, partners

Channels = Literal["keep", "rgb", "y"]
Paths = str | Path | Sequence[str | Path]


@dataclass(frozen=True, slots=True)
class Item:
    """One image of a source.

    Attributes:
        name: unique in the source; the path below the root, led by the root's name where there are several.
        path: below the root, with forward slashes.
        high: file of the high image.
        low: file of the given low image; None where a degradation makes it.
    """

    name: str
    path: str
    high: Path
    low: Path | None = None

    @property
    def files(self) -> list[tuple[str, Path]]:
        """Manifest name and path of each file."""
        if self.low is None:
            return [(self.path, self.high)]
        return [
            (f"high/{self.path}{self.high.suffix}", self.high),
            (f"low/{self.path}{self.low.suffix}", self.low),
        ]


class Source(ABC):
    """Images with 1, 3 or more channels, 8 or 16 bit.

    Args:
        channels: ``keep`` leaves the channels as they are in the file; ``rgb`` repeats grey three times; ``y`` makes
            the luma of RGB (BT.601 as MATLAB, rounded to the file's bit depth) and leaves grey as it is.
    """

    paired: bool = False

    def __init__(self, *, channels: Channels = "keep") -> None:
        if channels not in ("keep", "rgb", "y"):
            raise ValueError(f"channels={channels!r}: must be 'keep', 'rgb' or 'y'")
        self.channels = channels

    @property
    @abstractmethod
    def roots(self) -> list[Path]:
        """The folders."""

    @cached_property
    def items(self) -> list[Item]:
        """Every image, sorted by name; nothing is decoded.

        Raises:
            ValueError: if a folder is missing or holds no image.
        """
        return self.list_items()

    @abstractmethod
    def list_items(self) -> list[Item]:
        """Looks the images up on disk."""

    def fetch(self) -> None:  # noqa: B027 - nothing to do for most sources
        """Brings the files where they are expected; most sources find them there."""

    def read(self, item: Item) -> tuple[np.ndarray, np.ndarray | None]:
        """The high and, where it is given, the low image, (H, W, C) uint8 or uint16, channels converted."""
        high = convert_channels(read_image(item.high), self.channels, name=item.name)
        low = None if item.low is None else convert_channels(read_image(item.low), self.channels, name=item.name)
        return high, low

    def num_channels(self, in_file: int) -> int:
        """Channels after conversion of an image that has ``in_file``."""
        wanted = {"rgb": 3, "y": 1}.get(self.channels, in_file)
        return wanted if in_file in (1, 3) else in_file


class FolderSource(Source):
    """High images in one or several folders (searched recursively); a degradation makes the low ones.

    Args:
        roots: Folder of images, or several folders.
        exclude: Images to leave out: the JSON file that ``srlab audit exclude=FILE`` wrote (found by content, wherever
            they lie), or a list of names (``T91/t1.png``, or ``t1.png`` where there is one root).
        channels: See ``Source``.
    """

    def __init__(
        self, *, roots: Paths, exclude: str | Path | Sequence[str] | None = None, channels: Channels = "keep"
    ) -> None:
        super().__init__(channels=channels)
        self._roots = [Path(root) for root in ([roots] if isinstance(roots, str | Path) else roots)]
        if not self._roots:
            raise ValueError("roots is empty: give the folder, or folders, that hold the images")
        self.exclude = exclude

    @property
    def roots(self) -> list[Path]:
        """The folders."""
        return self._roots

    def list_items(self) -> list[Item]:
        """The images of every folder, without the excluded ones."""
        labels = _labels(self._roots)
        items = []
        for root, label in zip(self._roots, labels, strict=True):
            for file in list_images(root):
                path = file.relative_to(root).as_posix()
                items.append(Item(name=f"{label}/{path}" if label else path, path=path, high=file))
        kept = _without(items, self.exclude)
        if not kept:
            raise ValueError(f"exclude leaves none of the {counted(len(items), 'image')} in {_listed(self._roots)}")
        return sorted(kept, key=lambda item: item.name)


class PairedSource(Source):
    """High and low images in two folders, matched by their path without suffix.

    As in DIV2K, ``0001x4.png`` is a low image of ``0001.png`` too.

    Args:
        high: Folder of high images.
        low: Folder of low images.
        channels: See ``Source``.
    """

    paired = True

    def __init__(self, *, high: str | Path, low: str | Path, channels: Channels = "keep") -> None:
        super().__init__(channels=channels)
        self.high, self.low = Path(high), Path(low)

    @property
    def roots(self) -> list[Path]:
        """Folder of the high images, folder of the low ones."""
        return [self.high, self.low]

    def list_items(self) -> list[Item]:
        """The pairs.

        Raises:
            ValueError: if an image has no partner, or two have the same stem; all of them are named.
        """
        high, low = by_stem(self.high), by_stem(self.low)
        partner = partners(list(high), list(low))
        used = set(partner.values())
        lonely = [f"{self.high / stem} (no low image)" for stem, name in partner.items() if name is None]
        lonely += [f"{self.low / stem} (no high image)" for stem in low if stem not in used]
        if lonely:
            raise ValueError(
                f"{counted(len(lonely), 'image')} without a partner of the same name in {_listed(self.roots)}: "
                f"{_some(lonely)}"
            )
        pairs = {stem: low[name] for stem, name in partner.items() if name is not None}
        return [Item(name=stem, path=stem, high=high[stem], low=pairs[stem]) for stem in sorted(high)]


def convert_channels(image: np.ndarray, channels: Channels, *, name: str) -> np.ndarray:
    """``image`` (H, W, C) with its channels converted; see ``Source``.

    Raises:
        ValueError: if it has neither 1 nor 3 channels and a conversion is asked for.
    """
    num_channels = image.shape[2]
    if channels == "keep" or (channels == "rgb" and num_channels == 3) or (channels == "y" and num_channels == 1):
        return image
    if num_channels not in (1, 3):
        raise ValueError(
            f"{name} has {counted(num_channels, 'channel')}: only grey and RGB convert to {channels!r}; use 'keep'"
        )
    if channels == "rgb":
        return np.repeat(image, 3, axis=2)
    top = np.iinfo(image.dtype).max
    luma = rgb_to_y(to_tensor(image).double()).mul_(top).round_()[0, 0, :, :, None]
    return luma.to(torch.int32).numpy().astype(image.dtype)


def read_exclusions(file: Path) -> list[dict[str, object]]:
    """The records (file, size, sha256, reason) of an exclusion file.

    Raises:
        ValueError: if it is missing or is no such file.
    """
    again = line("audit", setting("exclude", file))
    try:
        records = json.loads(file.read_text(encoding="utf-8"))
        if all({"file", "size", "sha256"} <= record.keys() for record in records):
            return list(records)
    except OSError as error:
        raise ValueError(f"exclude={file}: {error.strerror}; {again} writes it") from error
    except (ValueError, AttributeError, TypeError):
        pass
    raise ValueError(f"exclude={file}: not an exclusion list; {again} writes one")


def _without(items: list[Item], exclude: str | Path | Sequence[str] | None) -> list[Item]:
    if exclude is None:
        return items
    if isinstance(exclude, str | Path):
        records = read_exclusions(Path(exclude))
        sizes = {record["size"] for record in records}
        digests = {record["sha256"] for record in records}
        return [item for item in items if item.high.stat().st_size not in sizes or sha256(item.high) not in digests]
    names = {item.name for item in items}
    if unknown := [name for name in exclude if name not in names]:
        raise ValueError(f"exclude names images that are not there: {_some(unknown)}")
    return [item for item in items if item.name not in set(exclude)]


def _labels(roots: list[Path]) -> list[str]:
    """A short unique name for each root; empty where there is only one."""
    if len(roots) == 1:
        return [""]
    names = [root.resolve().name for root in roots]
    return [name if names.count(name) == 1 else f"{number}-{name}" for number, name in enumerate(names)]


def _listed(paths: Sequence[Path]) -> str:
    return ", ".join(str(path) for path in paths)


def _some(names: Sequence[str], limit: int = 5) -> str:
    rest = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + rest
