"""The images of a benchmark folder."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sr_lab.base.files import sha256
from sr_lab.images.folders import by_stem, partners


@dataclass(frozen=True)
class Pair:
    """One original and, where the benchmark brings it, its low-resolution image.

    Attributes:
        name: path of the original below its folder, without the suffix.
        high: file of the original.
        low: file of its low-resolution image; None where that is to be made.
    """

    name: str
    high: Path
    low: Path | None = None

    def hashes(self) -> tuple[str, ...]:
        """SHA-256 of the original and, where it is given, of the low image."""
        return tuple(sha256(file) for file in (self.high, self.low) if file is not None)


def find_pairs(folder: Path, *, scale: int) -> list[Pair]:
    """The images of a benchmark, sorted by name.

    A folder with ``HR/`` and ``LR/`` holds pairs: the low image of ``HR/a/b.png`` is ``LR/a/b.*`` or, as in
    DIV2K, ``LR/a/bx2.*``. Any other folder holds originals, at any depth.

    Raises:
        ValueError: if the folder holds ``LR/`` alone, or the images of the two folders do not pair off.
        OSError: if there is no such folder.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"benchmark {folder} is not a folder: give one with HR/ and LR/, or with originals")
    high_folder, low_folder = folder / "HR", folder / "LR"
    if not low_folder.is_dir():
        root = high_folder if high_folder.is_dir() else folder
        return [Pair(name, file) for name, file in by_stem(root).items()]
    if not high_folder.is_dir():
        raise ValueError(f"{folder} has LR/ but no HR/: without originals nothing can be scored")
    high, low = by_stem(high_folder), by_stem(low_folder)
    named = partners(list(high), list(low), scale=scale)
    partner = {name: None if found is None else low[found] for name, found in named.items()}
    without = [name for name, file in partner.items() if file is None]
    used = set(partner.values())
    left = [name for name, file in low.items() if file not in used]
    if without or left:
        problems = []
        if without:
            problems.append(f"{len(without)} in HR/ without a low image ({_some(without)})")
        if left:
            problems.append(f"{len(left)} in LR/ without an original ({_some(left)})")
        raise ValueError(f"the images of {folder} do not pair off by name: {'; '.join(problems)}")
    return [Pair(name, high[name], partner[name]) for name in high]


def fingerprint(pairs: Sequence[Pair], hashes: Sequence[tuple[str, ...]] | None = None) -> str:
    """SHA-256 over the names and bytes of every file of a benchmark, in hexadecimal.

    Args:
        pairs: The files.
        hashes: SHA-256 of each pair's original and, where it is given, of its low image; read where it is None.
    """
    digest = hashlib.sha256()
    for pair, known in zip(pairs, [pair.hashes() for pair in pairs] if hashes is None else hashes, strict=True):
        high, low, *_ = *known, "", ""
        for value in (high, low):
            digest.update(f"{pair.name}\0{value}\0".encode())
    return digest.hexdigest()


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")
