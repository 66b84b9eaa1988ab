"""One part of the data (train or val): its files, their facts, what is wrong with them, and its decoded cache."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm import tqdm

from sr_lab.base.files import sha256
from sr_lab.base.words import counted
from sr_lab.data.cache import DecodedCache, check, open_or_build
from sr_lab.data.manifest import Entry, FileIndex, Manifest, combined_digest, scan
from sr_lab.data.sources import Item, Source
from sr_lab.degradations.base import Degradation
from sr_lab.images.forms import has_deep_levels

LOG = logging.getLogger(__name__)
Image = np.ndarray
_MOST_SHOWN = 10


@dataclass
class DataPart:
    """A source as one run uses it.

    Attributes:
        label: ``train`` or ``val``, for messages.
        source: where the images come from.
        scale: high pixels a low pixel.
        degradation: makes the low images of a source that has none.
        store_low: whether the cache holds low images made by ``degradation``.
        seed: of a random degradation's draws, where they are stored.
        items: the images.
        entries: facts of every file of an item (high, then low); None for a file that does not decode.
        unreadable: a message for each file that does not decode.
    """

    label: str
    source: Source
    scale: int
    degradation: Degradation | None
    store_low: bool
    seed: int
    items: list[Item]
    entries: list[list[Entry | None]] = field(default_factory=list)
    unreadable: list[str] = field(default_factory=list)

    def scan(self, index: FileIndex) -> None:
        """Fills ``entries`` and ``unreadable``, with a progress bar where it takes a while."""
        files = [file for item in self.items for file in item.files]
        with tqdm(
            total=len(files), desc=f"reading {self.label}", unit="file", delay=2, leave=False, disable=None
        ) as bar:
            found, self.unreadable = scan(files, index=index, progress=bar.update)
        step = 2 if self.source.paired else 1
        self.entries = [found[start : start + step] for start in range(0, len(found), step)]

    def keep(self, items: set[Item]) -> None:
        """Leaves out every item that is not in ``items``."""
        kept = [pair for pair in zip(self.items, self.entries, strict=True) if pair[0] in items]
        self.items, self.entries = [item for item, _ in kept], [entries for _, entries in kept]

    def leave_out_tiny(self) -> None:
        """Leaves out, with a warning, every image smaller than the scale: no low image can be made of it."""
        tiny = {item: entries[0] for item, entries in self.whole if 0 in self.cropped_size(entries)}
        if tiny:
            named = [f"{item.name} ({entry.width}x{entry.height})" for item, entry in tiny.items()]
            verb = "is" if len(tiny) == 1 else "are"
            LOG.warning(
                "%d %s images smaller than scale=%d %s left out: %s",
                len(tiny),
                self.label,
                self.scale,
                verb,
                _shown(named),
            )
            self.keep({item for item in self.items if item not in tiny})

    @property
    def manifest(self) -> Manifest:
        """Facts of every file that decodes."""
        return Manifest(tuple(entry for entries in self.entries for entry in entries if entry is not None))

    @property
    def whole(self) -> list[tuple[Item, list[Entry]]]:
        """The items whose files all decode."""
        pairs = zip(self.items, self.entries, strict=True)
        return [(item, [entry for entry in entries if entry]) for item, entries in pairs if None not in entries]

    @property
    def stores_low(self) -> bool:
        """Whether the cache will hold low images."""
        return self.source.paired or self.store_low

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of the cache: uint16 as soon as one file has 16 bits, for then 8-bit values v become 257 v."""
        bits = max((entry.bits for entry in self.manifest.entries), default=8)
        return np.dtype(np.uint16 if bits == 16 else np.uint8)

    def cropped_size(self, entries: list[Entry]) -> tuple[int, int]:
        """(height, width) of the high image as cached: the largest multiple of the scale (top left)."""
        return entries[0].height // self.scale * self.scale, entries[0].width // self.scale * self.scale

    def problems(self) -> list[str]:
        """What makes the files unfit, whatever the crop; one message each."""
        found = self.unreadable[:_MOST_SHOWN]
        if (left := len(self.unreadable) - _MOST_SHOWN) > 0:
            found.append(f"and {counted(left, f'more {self.label} file')} that cannot be read (srlab audit lists all)")
        tiny, unfit = [], []
        groups: dict[int, list[str]] = {}
        for item, entries in self.whole:
            for entry in entries:
                groups.setdefault(self.source.num_channels(entry.channels), []).append(item.name)
            height, width = self.cropped_size(entries)
            if not height or not width:
                tiny.append(f"{item.name} ({entries[0].width}x{entries[0].height})")
            elif len(entries) == 2:
                big, small = entries
                if (height, width) != (small.height * self.scale, small.width * self.scale):
                    sizes = f"high {big.width}x{big.height} and low {small.width}x{small.height}"
                    unfit.append(f"{item.name}: {sizes}")
        if tiny:
            found.append(f"{_counted(tiny, self.label)} smaller than scale={self.scale}: {_shown(tiny)}")
        if unfit:
            found.append(f"{_counted(unfit, self.label)} of sizes that do not fit scale={self.scale}: {_shown(unfit)}")
        if len(groups) > 1:
            named = ", ".join(
                f"{channels} ({names[0]}: {counted(len(names), 'file')})" for channels, names in groups.items()
            )
            found.append(
                f"{self.label} images differ in their channels: {named}. Set data.{self.label}.channels=rgb (grey "
                f"repeated) or y, or leave files out by data.{self.label}.exclude"
            )
        return found

    @property
    def channels(self) -> set[int]:
        """Numbers of channels that occur, after conversion."""
        return {self.source.num_channels(entry.channels) for entry in self.manifest.entries}

    @property
    def deep(self) -> bool:
        """Whether one of its first images of 16 bits has more levels than 8 bits hold."""
        items = [item for item, entries in self.whole if max(entry.bits for entry in entries) == 16]
        return any(has_deep_levels(self.source.read(item)[0]) for item in items[:3])

    @property
    def cache_key(self) -> str:
        """Digest of everything that the cache's content depends on."""
        low = "paired" if self.source.paired else "none"
        if self.degradation is not None and not self.source.paired and self.store_low:
            low = self.degradation.fingerprint()
            if not self.degradation.deterministic:
                low += f" seed {self.seed}"
        names = [f"{item.name}\0{''.join(entry.identity for entry in entries)}" for item, entries in self.whole]
        return combined_digest(["1", self.source.channels, str(self.scale), low, self.dtype.name, *names])[:32]

    @property
    def cache_bytes(self) -> int:
        """Size of the cache, about."""
        samples = sum(
            entries[0].width * entries[0].height * self.source.num_channels(entries[0].channels)
            for _, entries in self.whole
        )
        return int(samples * self.dtype.itemsize * (1 + self.stores_low / self.scale**2))

    def cached(self, root: Path) -> bool:
        """Whether the cache is there and whole."""
        return check(root / self.cache_key)

    def open(self, root: Path) -> DecodedCache:
        """The decoded cache, built with a progress bar if it is not there."""
        pairs = self.whole
        items = [item for item, _ in pairs]
        bar = tqdm(total=len(items), desc=f"decoding {self.label}", unit="image", delay=0.5, leave=False, disable=None)
        with bar:
            return open_or_build(
                root,
                self.cache_key,
                names=[item.name for item in items],
                dtype=self.dtype,
                load=self._loader(pairs),
                progress=bar.update,
            )

    def _loader(self, pairs: list[tuple[Item, list[Entry]]]) -> Callable[[int], tuple[Image, Image | None]]:
        def load(index: int) -> tuple[Image, Image | None]:
            item, entries = pairs[index]
            high, low = self.source.read(item)
            for (_, file), entry in zip(item.files, entries, strict=True):
                if sha256(file) != entry.sha256:
                    raise ValueError(f"{file} has changed since it was hashed, while this run began: start it again")
            height, width = (side // self.scale * self.scale for side in high.shape[:2])
            high = self._planes(high[:height, :width])
            if low is not None:
                return high, self._planes(low)
            if self.degradation is None or not self.store_low:
                return high, None
            params = self.degradation.draw_keyed([(self.seed, -1, index)])
            return high, degrade_image(high, self.degradation, params)

        return load

    def _planes(self, image: Image) -> Image:
        """(H, W, C) to (C, H, W) of the cache's type."""
        planes = np.ascontiguousarray(image.transpose(2, 0, 1))
        if planes.dtype == self.dtype:
            return planes
        return planes.astype(np.uint16) * np.uint16(257)


def _counted(names: list[str], label: str) -> str:
    return f"1 {label} image is" if len(names) == 1 else f"{len(names)} {label} images are"


def _shown(names: list[str]) -> str:
    more = f" and {len(names) - _MOST_SHOWN} more" if len(names) > _MOST_SHOWN else ""
    return "; ".join(names[:_MOST_SHOWN]) + more


def degrade_image(high: Image, degradation: Degradation, params: dict[str, torch.Tensor]) -> Image:
    """The low version of one image, rounded to its depth as a low file would be.

    Args:
        high: (C, H, W) uint8 or uint16.
        degradation: what is applied.
        params: its parameters, of one sample.

    Returns:
        (C, H / scale, W / scale), the type of ``high``.
    """
    top = int(np.iinfo(high.dtype).max)
    low = degradation.apply(torch.from_numpy(high.astype(np.float32))[None] / top, params)
    rounded = (low[0] * top).round().clamp(0, top).to(torch.int32).numpy()
    return np.ascontiguousarray(rounded.astype(high.dtype))
