"""Audit of image folders: unreadable files, duplicates, and test images that sit in the training data.

Candidates come from a perceptual hash: 64 signs of the low DCT frequencies of the grey image (pHash), of the whole
image and of its crops, in all 8 flips and rotations. A candidate counts only if the two pictures, aligned by
template matching and then by ECC (Evangelidis and Psarakis 2008), agree in their fine structure; hashes alone call
any two skies equal.
"""

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from filelock import FileLock
from tqdm import tqdm

from sr_lab.base.files import sha256, write_json
from sr_lab.base.words import counted
from sr_lab.data.manifest import combined_digest, num_threads
from sr_lab.images import ImageError, read_image

VERSION = 3
SIDE = 160  # longer side of the pictures that candidates are compared at
CROPS = (  # parts of the picture that are hashed: (part of each side, place from left, place from top)
    (1.0, 0.0, 0.0),
    (0.9, 0.5, 0.5),
    (0.8, 0.5, 0.5),
    (0.7, 0.5, 0.5),
    (0.9, 0.0, 0.0),
    (0.9, 1.0, 0.0),
    (0.9, 0.0, 1.0),
    (0.9, 1.0, 1.0),
)
MAX_DISTANCE = 12  # differing bits, of 64, up to which a pair is a candidate
LOCATE_SIDE = 64  # longer side of the pictures that template matching works on
MIN_LOCATED = 0.75  # correlation that template matching must reach; zooms between its steps cost some
MIN_CORRELATION = 0.9  # of the aligned pictures
MIN_DETAIL = 0.7  # of their fine structure
ECC_BLURS = (17, 5, 1)  # Gaussian kernel sizes, coarse to fine
ZOOMS = tuple(1.06**power for power in range(-5, 6))
FREQUENCIES = np.arange(64).reshape(8, 8)
ODD = np.where(np.arange(8) % 2, -1.0, 1.0)
ORDERS = np.stack([(FREQUENCIES.T if turn & 4 else FREQUENCIES).ravel() for turn in range(8)])
SIGNS = np.stack(
    [
        (signs.T if turn & 4 else signs).ravel()
        for turn in range(8)
        for signs in [np.outer(ODD if turn & 2 else ODD**2, ODD if turn & 1 else ODD**2)]
    ]
)
Kind = Literal["same file", "same pixels", "near"]


@dataclass(frozen=True)
class Match:
    """Two files that show the same picture.

    Attributes:
        file: the training file.
        other: the test file, or the training file of which ``file`` is a copy.
        kind: ``same file`` (bytes), ``same pixels`` (decoded), or ``near`` (recompressed, resized, cropped, turned).
        correlation: of the aligned pictures, 1 for equal ones.
        operation: what turns ``other`` into ``file``: ``none``, or flips and a transposition.
    """

    file: str
    other: str
    kind: Kind
    correlation: float
    operation: str


@dataclass(frozen=True)
class AuditReport:
    """What an audit found.

    Attributes:
        num_train: training files looked at.
        num_test: test files looked at.
        unreadable: message for each file that does not decode, of both sides.
        leaks: training files that show a test image.
        duplicates: training files that show the same picture as an earlier training file.
        exclusions: training files to leave out: leaks, second copies, unreadable ones; with size, sha256, reason.
    """

    num_train: int
    num_test: int
    unreadable: list[str]
    leaks: list[Match]
    duplicates: list[Match]
    exclusions: list[dict[str, Any]]

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        return not (self.unreadable or self.leaks or self.duplicates)

    @property
    def counts(self) -> str:
        """How much of what was found, in words."""
        found = f"{counted(len(self.leaks), 'leak')}, {counted(len(self.duplicates), 'duplicate')}"
        return f"{found}, {len(self.unreadable)} unreadable"

    def lines(self) -> list[str]:
        """One line a finding."""
        leaks = [f"leak: {match.file} shows the test image {match.other} ({_how(match)})" for match in self.leaks]
        copies = [f"duplicate: {match.file} and {match.other} ({_how(match)})" for match in self.duplicates]
        return [f"unreadable: {message}" for message in self.unreadable] + leaks + copies

    def to_dict(self) -> dict[str, Any]:
        """As JSON holds it."""
        return {"version": VERSION, "clean": self.clean, **asdict(self)}


@dataclass(frozen=True)
class _Look:
    """What the audit remembers of a file: digests, grey picture (h, w) uint8, hashes (crops, 8) uint64."""

    file: Path
    bytes_digest: str
    pixels_digest: str
    grey: np.ndarray
    hashes: np.ndarray


def audit(train: Sequence[Path], test: Sequence[Path], *, progress: Callable[[], object] | None = None) -> AuditReport:
    """Looks for unreadable files, duplicates within ``train``, and pictures that ``train`` shares with ``test``.

    Args:
        train: training files.
        test: test or validation files.
        progress: called once a file.

    Returns:
        The findings; a pair that several hashes hit is reported once. Files of ``test`` are not compared with one
        another (a benchmark folder holds each picture at several sizes).
    """

    def look(file: Path) -> _Look | str:
        try:
            return _look(file)
        except (ImageError, OSError) as error:
            return str(error) if file.name in str(error) else f"{file}: {error}"
        finally:
            if progress is not None:
                progress()

    with ThreadPoolExecutor(max_workers=num_threads()) as pool:
        looks = list(pool.map(look, [*train, *test]))
        train_looks = [item for item in looks[: len(train)] if isinstance(item, _Look)]
        test_looks = [item for item in looks[len(train) :] if isinstance(item, _Look)]
        pairs = list(_candidates(train_looks, test_looks))
        leaks = [match for match in pool.map(lambda pair: _compare(*pair), pairs) if match]
        pairs = [(a, b) for a, b in _candidates(train_looks, train_looks) if b.file < a.file]
        duplicates = [match for match in pool.map(lambda pair: _compare(*pair), pairs) if match]
    broken = {str(file) for file, item in zip(train, looks[: len(train)], strict=True) if isinstance(item, str)}
    reasons = dict.fromkeys(sorted(broken), "unreadable")
    reasons |= {match.file: f"same picture as {match.other}" for match in duplicates}
    reasons |= {match.file: f"shows the test image {match.other}" for match in leaks}
    return AuditReport(
        num_train=len(train),
        num_test=len(test),
        unreadable=[item for item in looks if isinstance(item, str)],
        leaks=leaks,
        duplicates=duplicates,
        exclusions=[_exclusion(Path(file), reason) for file, reason in sorted(reasons.items())],
    )


def same_pictures(files: Sequence[Path]) -> list[list[Path]]:
    """Groups of files that show one picture: copies, recompressed, resized, shifted, cropped or turned.

    Args:
        files: Image files; what cannot be read is in no group.

    Returns:
        Groups of two files or more, each in the order of ``files``; near copies of a near copy belong together.
    """
    leader: dict[str, str] = {str(file): str(file) for file in files}

    def first(name: str) -> str:
        while leader[name] != name:
            name = leader[name]
        return name

    for match in audit(files, []).duplicates:
        one, other = first(match.file), first(match.other)
        leader[max(one, other)] = min(one, other)
    groups: dict[str, list[Path]] = {}
    for file in files:
        groups.setdefault(first(str(file)), []).append(file)
    return [group for group in groups.values() if len(group) > 1]


def kept_exclusions(
    train: Sequence[Path], test: Sequence[Path], digests: Sequence[str], *, folder: Path
) -> dict[str, str]:
    """Why which training images are left out, by their names; ``audit`` looks once, under a progress bar.

    Args:
        train: image files that a model may learn from.
        test: files of validation and test images.
        digests: of all these files, in an order of their own.
        folder: where the reasons are kept.
    """
    key = combined_digest([str(VERSION), str(len(train)), *digests])[:32]
    report = folder / f"{key}.json"
    report.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{report}.lock"):
        if report.is_file():
            reasons: dict[str, str] = json.loads(report.read_text(encoding="utf-8"))
            return reasons
        with tqdm(total=len(train) + len(test), desc="audit", unit="file", delay=2, leave=False, disable=None) as bar:
            found = audit(train, test, progress=bar.update)
        reasons = {entry["file"]: entry["reason"] for entry in found.exclusions}
        write_json(report, reasons)
    return reasons


def _exclusion(file: Path, reason: str) -> dict[str, Any]:
    readable = file.is_file()
    size, digest = (file.stat().st_size, sha256(file)) if readable else (None, None)
    return {"file": str(file), "size": size, "sha256": digest, "reason": reason}


def _how(match: Match) -> str:
    turned = "" if match.operation == "none" else f", {match.operation}"
    return match.kind if match.kind != "near" else f"near copy, correlation {match.correlation:.3f}{turned}"


def _look(file: Path) -> _Look:
    """Reads the whole file: a reduced decoding would let a truncated JPEG pass for readable."""
    image = read_image(file)
    pixels = hashlib.sha256(f"{image.dtype.name} {image.shape}".encode() + np.ascontiguousarray(image).data)
    small = _fit(image[..., 0] if image.shape[2] == 1 else np.ascontiguousarray(image[..., :3]), SIDE)
    grey = small if small.ndim == 2 else cv2.transform(small, np.full((1, small.shape[2]), 1 / small.shape[2]))
    if grey.dtype != np.uint8:
        grey = (grey >> 8).astype(np.uint8)
    return _Look(file, sha256(file), pixels.hexdigest(), grey, _hashes(grey))


def _fit(grey: np.ndarray, side: int) -> np.ndarray:
    longer = max(grey.shape[:2])
    if longer <= side:
        return grey
    height, width = (max(round(length * side / longer), 1) for length in grey.shape[:2])
    small: np.ndarray = cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA)
    return small


def _turn(grey: np.ndarray, operation: int) -> np.ndarray:
    """Flips left-right (1), up-down (2), then transposes (4)."""
    grey = grey[:, ::-1] if operation & 1 else grey
    grey = grey[::-1] if operation & 2 else grey
    return np.ascontiguousarray(grey.T if operation & 4 else grey)


def _operation_name(operation: int) -> str:
    names = ("flipped left-right", "flipped up-down", "transposed")
    return " and ".join(name for bit, name in enumerate(names) if operation >> bit & 1) or "none"


def _hashes(grey: np.ndarray) -> np.ndarray:
    """Perceptual hash of each of CROPS in each of the 8 orientations, (len(CROPS), 8) uint64.

    A flip of the picture changes the sign of every odd frequency and a transposition transposes the frequencies, so
    one DCT a crop serves all orientations.
    """
    result = np.empty((len(CROPS), 8), dtype=np.uint64)
    for row, (part, x, y) in enumerate(CROPS):
        height, width = (max(round(length * part), 1) for length in grey.shape)
        top, left = round((grey.shape[0] - height) * y), round((grey.shape[1] - width) * x)
        small = cv2.resize(grey[top : top + height, left : left + width], (32, 32), interpolation=cv2.INTER_AREA)
        low = cv2.dct(small.astype(np.float32))[:8, :8].ravel()
        low[0] = 0
        signs = np.packbits((low[ORDERS] * SIGNS) > 0, axis=1, bitorder="little")
        result[row] = np.ascontiguousarray(signs).view(np.uint64)[:, 0]
    return result


def _candidates(first: Sequence[_Look], second: Sequence[_Look]) -> Iterator[tuple[_Look, _Look]]:
    """Pairs whose hashes are close."""
    if not first or not second:
        return
    other = np.stack([look.hashes for look in second])
    for look in first:
        best = _distances(look.hashes, other).min(axis=1)
        for hit in np.flatnonzero(best <= MAX_DISTANCE).tolist():
            yield look, second[hit]


def _distances(mine: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Differing bits of the closest hashes: the whole of one picture against the whole and the crops of the other.

    Args:
        mine: hashes of one file, (crops, 8).
        others: hashes of N files, (N, crops, 8).

    Returns:
        (N, 8), for each orientation of the others.
    """
    whole = np.bitwise_count(mine[0, 0] ^ others).min(axis=1)
    cropped = np.bitwise_count(mine[None, :, :1] ^ others[:, :1]).min(axis=1)
    return np.asarray(np.minimum(whole, cropped))


def _compare(first: _Look, second: _Look) -> Match | None:
    """The verdict on a candidate."""
    names = {"file": str(first.file), "other": str(second.file)}
    if first.bytes_digest == second.bytes_digest:
        return Match(**names, kind="same file", correlation=1.0, operation="none")
    if first.pixels_digest == second.pixels_digest:
        return Match(**names, kind="same pixels", correlation=1.0, operation="none")
    distances = _distances(first.hashes, second.hashes[None])[0]
    best: tuple[float, int] | None = None
    for operation in np.argsort(distances, kind="stable"):
        if distances[operation] > MAX_DISTANCE:
            break
        correlation = _aligned_correlation(first.grey, _turn(second.grey, int(operation)))
        if correlation is not None and (best is None or correlation > best[0] + 1e-3):
            best = correlation, int(operation)
    if best is None:
        return None
    return Match(**names, kind="near", correlation=round(best[0], 4), operation=_operation_name(best[1]))


def _aligned_correlation(first: np.ndarray, second: np.ndarray) -> float | None:
    """Correlation of two pictures after alignment; None if they do not show the same."""
    score, warp = _locate(first, second)
    if score < MIN_LOCATED:
        return None
    smooth = [cv2.GaussianBlur(grey.astype(np.float32), (0, 0), 1.0) for grey in (first, second)]
    criteria = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 40, 1e-4)
    try:
        for blur in ECC_BLURS:
            _, warp = cv2.findTransformECC(smooth[0], smooth[1], warp, cv2.MOTION_AFFINE, criteria, None, blur)
    except cv2.error:
        return None
    if not 0.4 < abs(float(np.linalg.det(warp[:, :2]))) * first.size / second.size < 2.5:
        return None
    height, width = first.shape
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    moved = cv2.warpAffine(smooth[1], warp, (width, height), flags=flags)
    inside = cv2.warpAffine(np.ones_like(smooth[1]), warp, (width, height), flags=flags) > 0.99
    if inside.mean() < 0.4:
        return None
    correlation = _correlation(smooth[0][inside], moved[inside])
    detail = _correlation(_detail(smooth[0], inside), _detail(moved, inside))
    return correlation if correlation >= MIN_CORRELATION and detail >= MIN_DETAIL else None


def _locate(first: np.ndarray, second: np.ndarray) -> tuple[float, np.ndarray]:
    """Roughly where ``second`` lies in ``first``.

    Returns:
        The correlation of the centre of ``first`` where it fits best, and the affine map (2, 3) from pixels of
        ``first`` to those of ``second``.
    """
    small, other = _fit(first, LOCATE_SIDE), _fit(second, LOCATE_SIDE)
    height, width = small.shape
    top, left = round(height * 0.2), round(width * 0.2)
    template = small[top : height - top, left : width - left]
    best: tuple[float, float, float, tuple[int, int]] = (-2.0, 0, 0, (1, 1))
    for zoom in ZOOMS:
        # At zoom 1 the whole of second covers the whole of first; above, first shows a part of second.
        size = max(round(width * zoom), template.shape[1]), max(round(height * zoom), template.shape[0])
        resized = cv2.resize(other, size, interpolation=cv2.INTER_AREA)
        _, value, _, (x, y) = cv2.minMaxLoc(cv2.matchTemplate(resized, template, cv2.TM_CCOEFF_NORMED))
        if value > best[0]:
            best = value, x - left, y - top, size
    value, x, y, size = best
    # Pixel i of an image of n pixels covers (i, i + 1) / n of its side.
    rows = []
    for axis, (offset, covered) in enumerate(zip((x, y), size, strict=True)):
        length, small_length, other_length = first.shape[1 - axis], small.shape[1 - axis], second.shape[1 - axis]
        slope = small_length / length * other_length / covered
        row = [0.0, 0.0, slope * 0.5 + offset * other_length / covered - 0.5]
        row[axis] = slope
        rows.append(row)
    return value, np.array(rows, dtype=np.float32)


def _detail(grey: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """What is left of the pixels ``inside`` when the mean of those near them is taken away, (N,)."""
    weight = inside.astype(np.float32)
    mean = cv2.GaussianBlur(grey * weight, (0, 0), 4.0) / np.maximum(cv2.GaussianBlur(weight, (0, 0), 4.0), 1e-6)
    detail: np.ndarray = (grey - mean)[inside]
    return detail


def _correlation(first: np.ndarray, second: np.ndarray) -> float:
    first, second = first - first.mean(), second - second.mean()
    norm = float(np.linalg.norm(first) * np.linalg.norm(second))
    return float((first * second).sum() / norm) if norm > 1e-6 else float("nan")
