"""Encoded segments on the disk: each whole or not there, with what tells how to go on behind it."""

import contextlib
import hashlib
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from sr_lab.base.files import read_json, replacing, write_json
from sr_lab.inference.video.library import VideoError
from sr_lab.inference.video.reading import Findings, Mark

_MAGIC = b"srlabseg"
State = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True)
class Segment:
    """What the end of a segment's file tells.

    Attributes:
        packets: Time, decoding order aside; whether it is a key picture; and bytes of each packet, as encoded.
        extradata: The encoder's header, hexadecimal.
        mark: The last frame.
        duration: Ticks that the last frame is shown; 0 where the file does not tell.
        reused: Frames that were equal to their predecessor.
        cuts: Numbers of frames at which a scene begins.
        findings: What was not as it should be in the input.
        sha256: Of the packets.
    """

    packets: tuple[tuple[int, bool, int], ...]
    extradata: str
    mark: Mark
    duration: int
    reused: int
    cuts: tuple[int, ...]
    findings: Findings
    sha256: str = ""

    @property
    def times(self) -> list[int]:
        """Times of its frames, in the order in which they are shown."""
        return sorted(pts for pts, _, _ in self.packets)


@dataclass
class SegmentWriter:
    """Packets as they come, and at the end what they are; nothing is kept in memory but their sizes."""

    stream: BinaryIO
    packets: list[tuple[int, bool, int]] = field(default_factory=list)
    hashed: Any = field(default_factory=hashlib.sha256)

    def add(self, packets: Sequence[Any]) -> None:
        """Appends an encoder's packets."""
        for packet in packets:
            content = bytes(packet)
            self.stream.write(content)
            self.hashed.update(content)
            self.packets.append((int(packet.pts), bool(packet.is_keyframe), len(content)))

    def finish(self, **known: Any) -> Segment:
        """Writes the end; ``known`` are the other attributes of ``Segment``."""
        segment = Segment(packets=tuple(self.packets), sha256=self.hashed.hexdigest(), **known)
        content = json.dumps(asdict(segment)).encode()
        self.stream.write(content + struct.pack("<Q", len(content)) + _MAGIC)
        return segment


class WorkFolder:
    """Where a video is while it is being restored: a folder beside the output.

    Args:
        output: The file that is to be.
    """

    def __init__(self, output: Path) -> None:
        self.path = output.with_name(f".{output.name}.restoring")

    @property
    def begun(self) -> Path:
        """File with the recipe that it was begun with."""
        return self.path / "begun.json"

    @property
    def manifest(self) -> Path:
        """File with a line for each segment."""
        return self.path / "segments.jsonl"

    def file(self, number: int) -> Path:
        """A segment's."""
        return self.path / f"{number:06d}.segment"

    @contextlib.contextmanager
    def writing(self, number: int) -> Iterator[SegmentWriter]:
        """A segment that appears, whole and on the disk, at the end of the block."""
        with replacing(self.file(number)) as partial, partial.open("wb") as stream:
            yield SegmentWriter(stream)

    def enter(self, number: int, segment: Segment) -> None:
        """Adds a finished segment to the manifest."""
        line = {
            "segment": number,
            "frames": len(segment.packets),
            "last": asdict(segment.mark),
            "sha256": segment.sha256,
        }
        with self.manifest.open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(line) + "\n")
            stream.flush()

    def keep_state(self, number: int, state: State) -> None:
        """Keeps what restoring goes on from behind a segment; what was kept before it is removed afterwards."""
        if state:
            with replacing(self.path / f"{number:06d}.state.npz") as partial, partial.open("wb") as stream:
                np.savez(stream, **dict[str, Any](state))

    def forget_states(self, but: int) -> None:
        """Removes the states of other segments."""
        for file in self.path.glob("*.state.npz"):
            if file.name != f"{but:06d}.state.npz":
                file.unlink()

    def state(self, number: int) -> State:
        """What ``keep_state`` kept; empty where there was nothing."""
        file = self.path / f"{number:06d}.state.npz"
        if not file.is_file():
            return {}
        with np.load(file) as found:
            return dict(found)

    def done(self) -> list[Segment]:
        """The segments that are there, from the first on; a damaged one, and what follows, is done again."""
        found: list[Segment] = []
        while (file := self.file(len(found))).is_file():
            segment = read_segment(file)
            if segment is None:
                break
            found.append(segment)
        number = len(found)
        while (file := self.file(number)).is_file():
            file.unlink()
            number += 1
        for partial in self.path.glob(".*.part*"):
            partial.unlink()
        self.manifest.unlink(missing_ok=True)
        for number, segment in enumerate(found):
            self.enter(number, segment)
        return found

    @property
    def ended(self) -> Findings | None:
        """What was found behind the last segment, once the input was read to its end."""
        file = self.path / "end.json"
        return Findings(**read_json(file)) if file.is_file() else None

    def end(self, findings: Findings) -> None:
        """Tells that the input was read to its end."""
        write_json(self.path / "end.json", asdict(findings))


def read_segment(file: Path) -> Segment | None:
    """The end of a segment's file; None where it is damaged."""
    with file.open("rb") as stream:
        size = stream.seek(0, 2)
        if size < 16:
            return None
        stream.seek(size - 16)
        length, magic = struct.unpack("<Q8s", stream.read(16))
        if magic != _MAGIC or length > size - 16:
            return None
        stream.seek(size - 16 - length)
        told = json.loads(stream.read(length))
        stream.seek(0)
        hashed, left = hashlib.sha256(), size - 16 - length
        while left:
            content = stream.read(min(left, 1 << 20))
            hashed.update(content)
            left -= len(content)
    if hashed.hexdigest() != told["sha256"]:
        return None
    return Segment(
        packets=tuple((pts, key, count) for pts, key, count in told["packets"]),
        extradata=told["extradata"],
        mark=Mark(**told["mark"]),
        duration=told["duration"],
        reused=told["reused"],
        cuts=tuple(told["cuts"]),
        findings=Findings(**told["findings"]),
        sha256=told["sha256"],
    )


def packets_of(file: Path, segment: Segment) -> Iterator[tuple[int, bool, bytes]]:
    """Time, whether it is a key picture, and content of each packet of a segment, as encoded."""
    with file.open("rb") as stream:
        for pts, key, count in segment.packets:
            content = stream.read(count)
            if len(content) != count:
                raise VideoError(f"{file} was changed while it was read")
            yield pts, key, content
