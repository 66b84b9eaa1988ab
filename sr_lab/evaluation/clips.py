"""The clips of a benchmark: folders of frames or video files, and what makes their low frames."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from sr_lab.base.files import sha256
from sr_lab.degradations.base import Degradation
from sr_lab.degradations.resize import Stride
from sr_lab.evaluation.benchmark import Benchmark
from sr_lab.evaluation.pairs import Pair
from sr_lab.images import crop_to_multiple, to_tensor
from sr_lab.images.clips import Clip, find_clips
from sr_lab.images.forms import has_deep_levels
from sr_lab.images.found import Truth
from sr_lab.metrics.clip_protocol import ClipProtocol
from sr_lab.metrics.protocol import Protocol, ProtocolMismatch


class Inputs(NamedTuple):
    """A frame's low image (1, C, h, w) and its target (1, C, h * scale, w * scale)."""

    low: Tensor
    target: Tensor


@dataclass(frozen=True)
class ClipPair(Pair):
    """A clip and, where the benchmark brings it, its low clip; ``high`` and ``low`` are each one's first file."""

    frames: Clip = field(default_factory=lambda: Clip("", ()))
    low_frames: Clip | None = None

    def hashes(self) -> tuple[str, ...]:
        """SHA-256 over the files of the clip and, where it is given, over those of the low clip."""
        return tuple(_hash_of(clip) for clip in (self.frames, self.low_frames) if clip is not None)

    def of_frame(self, number: int) -> tuple[str, ...]:
        """SHA-256 of the files that a frame lies in."""
        files = [clip.files[0 if clip.video else number] for clip in (self.frames, self.low_frames) if clip is not None]
        return tuple(sha256(file) for file in files)


class ClipBenchmark(Benchmark):
    """The clips of a folder at one scale. Its pairs are clips, each of which has one draw of the degradation.

    Arguments are those of ``Benchmark``; the folder holds ``HR/`` and ``LR/`` with clips of the same names, or clips.

    Raises:
        ValueError: if the folder, the degradation and the scale do not fit together.
    """

    protocol: ClipProtocol
    pairs: Sequence[ClipPair]

    def find(self) -> Sequence[ClipPair]:
        """The clips of the folder, at least one."""
        return _find(self.folder)

    def known(self) -> dict[str, Truth]:
        """Of clips nothing is known."""
        return {}

    def name_of_degradation(self) -> str:
        """The degradation's class, with the first pixel that it keeps of each ``scale`` where it takes every so many.

        There are two BD's under one name in papers, 4.4 dB apart: DUF's keeps pixel 0, BasicVSR's the middle one.
        """
        strides = [op for op in getattr(self.degradation, "ops", {}).values() if isinstance(op, Stride)]
        return super().name_of_degradation() + "".join(f"_phase{op.phase}" for op in strides)

    def read(self, index: int) -> tuple[Tensor, Tensor]:
        """Low image and target of the first frame of clip ``index``."""
        first = next(self.frames(index))
        return first.low, first.target

    def frames(self, index: int) -> Iterator[Inputs]:
        """Low image and target of one frame of a clip after the other.

        Raises:
            ProtocolMismatch: If the protocol cannot judge such frames.
            ValueError, OSError: If a frame does not decode, or sizes or numbers do not fit.
        """
        pair = self.pairs[index]
        counts = [clip.timing.count for clip in (pair.frames, pair.low_frames) if clip is not None]
        if len(set(counts)) > 1:
            raise ValueError(f"{pair.name}: {counts[0]} frames in HR/ and {counts[1]} in LR/: they do not pair off")
        if pair.low_frames is None and not self._by_frame():
            yield from self._degraded_whole(index)
            return
        lows = None if pair.low_frames is None else pair.low_frames.frames()
        size: tuple[int, ...] | None = None
        for pixels in pair.frames.frames():
            try:
                self.protocol.require(
                    num_channels=1 if pixels.ndim == 2 else pixels.shape[2], deep=has_deep_levels(pixels)
                )
            except ProtocolMismatch as error:
                raise ProtocolMismatch(f"{pair.high}: {error}") from None
            high = to_tensor(pixels).to(self.device)
            if size is not None and high.shape != size:
                raise ValueError(f"{pair.name}: its frames differ in size: give each clip a folder of its own")
            size = high.shape
            low = None if lows is None else to_tensor(next(lows)).to(self.device)
            yield Inputs(
                *self.protocol.inputs(high, low, scale=self.scale, degrade=lambda image: self._degrade(image, index))
            )

    def _by_frame(self) -> bool:
        """Whether a frame's low image depends on that frame alone: then no clip is held in memory."""
        return self.degradation.deterministic

    def _degraded_whole(self, index: int) -> Iterator[Inputs]:
        """A clip under a degradation that draws, or codes frames from their neighbours: as a whole."""
        pair = self.pairs[index]
        highs = [to_tensor(pixels) for pixels in pair.frames.frames()]
        if len({high.shape for high in highs}) > 1:
            raise ValueError(f"{pair.name}: its frames differ in size: give each clip a folder of its own")
        clip = torch.stack([crop_to_multiple(high, self.scale) for high in highs], dim=1)
        low = self.degradation.pair_clip(clip, self.degradation.draw_keyed([(self.seed, 0, index)]))[0]
        for number in range(clip.shape[1]):
            yield Inputs(low[:, number].to(self.device), clip[:, number].to(self.device))


def benchmark_of(
    folder: Path,
    *,
    scale: int,
    protocol: Protocol,
    degradation: Degradation | None = None,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Benchmark:
    """The images of a folder or, under a protocol for clips, its clips; arguments are those of ``Benchmark``."""
    if isinstance(protocol, ClipProtocol):
        return ClipBenchmark(folder, scale=scale, protocol=protocol, degradation=degradation, seed=seed, device=device)
    return Benchmark(folder, scale=scale, protocol=protocol, degradation=degradation, seed=seed, device=device)


def _find(folder: Path) -> list[ClipPair]:
    if not folder.is_dir():
        raise FileNotFoundError(f"benchmark {folder} is not a folder: give one with HR/ and LR/, or with clips")
    high_folder, low_folder = folder / "HR", folder / "LR"
    high = find_clips(high_folder if high_folder.is_dir() else folder)
    if not low_folder.is_dir():
        return [ClipPair(name, clip.files[0], None, clip) for name, clip in high.items()]
    if not high_folder.is_dir():
        raise ValueError(f"{folder} has LR/ but no HR/: without originals nothing can be scored")
    low: Mapping[str, Clip] = find_clips(low_folder)
    if odd := sorted(set(high) ^ set(low)):
        raise ValueError(f"the clips of {folder} do not pair off by name: {', '.join(odd[:5])}")
    return [ClipPair(name, clip.files[0], low[name].files[0], clip, low[name]) for name, clip in high.items()]


def _hash_of(clip: Clip) -> str:
    if len(clip.files) == 1:
        return sha256(clip.files[0])
    digest = hashlib.sha256()
    for file in clip.files:
        digest.update(f"{file.name}\0{sha256(file)}\0".encode())
    return digest.hexdigest()
