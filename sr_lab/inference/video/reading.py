"""Reading a video frame by frame, from its beginning or from where an earlier run stopped; nothing is held back."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from sr_lab.images.yuv import Planes
from sr_lab.inference.video.facts import VideoFacts, open_video
from sr_lab.inference.video.library import VideoError, load_av, reason


@dataclass(frozen=True)
class Frame:
    """A decoded picture.

    Attributes:
        number: Counted from 0.
        pts: Its time in ticks of the stream's clock, later than its predecessor's.
        planes: Its planes; see ``VideoFacts.layout``.
        digest: Hash of the planes.
        duration: Ticks that it is shown, as the file tells; 0 where it does not.
        findings: What was not as it should be since its predecessor.
    """

    number: int
    pts: int
    planes: Planes
    digest: str
    duration: int
    findings: "Findings"


@dataclass(frozen=True)
class Mark:
    """The last frame that is done: its number, its time and its hash."""

    number: int
    pts: int
    digest: str


@dataclass
class Findings:
    """What was not as it should be while frames were read.

    Attributes:
        undecodable: Packets that could not be decoded.
        corrupt: Pictures that the decoder repaired.
        untimed: Pictures without a time of their own.
        moved: Pictures whose time was not after their predecessor's.
        ended: Why reading ended before the end of the file; empty otherwise.
    """

    undecodable: int = 0
    corrupt: int = 0
    untimed: int = 0
    moved: int = 0
    ended: str = ""

    def add(self, other: "Findings") -> None:
        """Counts another part's findings in."""
        for name in ("undecodable", "corrupt", "untimed", "moved"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.ended = self.ended or other.ended


@dataclass
class Reader:
    """The frames of a video.

    Attributes:
        facts: What the file is.
        deinterlace: Whether each interlaced picture is made a whole one (bwdif), as many as there are.
        findings: What was not as it should be since the last frame.
    """

    facts: VideoFacts
    deinterlace: bool = False
    findings: Findings = field(default_factory=Findings)

    def frames(self, after: Mark | None = None) -> Iterator[Frame]:
        """One frame after the other, from behind ``after``.

        Where seeking does not find the very picture that ``after`` tells of, the file is read from its beginning.

        Raises:
            VideoError: If a picture is interlaced that was not expected to be, or ``after`` is not in the file.
        """
        if after is None:
            yield from self._frames(None, seek=False)
            return
        for seek in (True, False):
            found = self._frames(after, seek=seek)
            try:
                first = next(found)
            except StopIteration:
                return
            except _NotFound:
                continue
            yield first
            yield from found
            return
        raise VideoError(f"{self.facts.file} is not the file that was begun with: remove the begun output")

    def take(self) -> Findings:
        """What was found since the last frame."""
        taken, self.findings = self.findings, Findings()
        return taken

    def _frames(self, after: Mark | None, *, seek: bool) -> Iterator[Frame]:
        facts = self.facts
        number, last = after.number if after is not None and seek else 0, None
        seen = after is None
        with open_video(facts.file) as container:
            stream = container.streams[facts.index]
            stream.thread_type = "SLICE"  # damaged pictures are repaired alike each time
            if seek and after is not None:
                container.seek(after.pts, stream=stream)
            for picture, digest in self._pictures(container, stream):
                if not seen and after is not None:
                    at_mark = digest == after.digest and (picture.pts == after.pts if seek else number == after.number)
                    if not at_mark and (number > after.number or (seek and (picture.pts or 0) > after.pts)):
                        raise _NotFound
                    if at_mark:
                        seen, number, last = True, after.number + 1, after.pts
                        self.take()
                    elif not seek:
                        number += 1
                    continue
                pts = self._time(picture, last)
                self.findings.corrupt += bool(picture.is_corrupt)
                duration = int(picture.duration or 0)
                yield Frame(number, pts, self._planes(picture), digest, duration, self.take())
                number, last = number + 1, pts
        if not seen:
            raise _NotFound

    def _pictures(self, container: Any, stream: Any) -> Iterator[tuple[Any, str]]:
        """Decoded pictures of the main size and format, with the hash of what was decoded."""
        if not self.deinterlace:
            for picture in self._decoded(container, stream):
                yield picture, self._digest(picture)
            return
        graph = _Deinterlacer(stream, self.facts)
        waiting: list[tuple[str, Any, Any]] = []
        for picture in self._decoded(container, stream):
            waiting.append((self._digest(picture), picture.pts, picture.duration))
            for whole in graph.push(picture):
                digest, whole.pts, whole.duration = waiting.pop(0)
                yield whole, digest
        for whole in graph.push(None):
            digest, whole.pts, whole.duration = waiting.pop(0)
            yield whole, digest

    def _decoded(self, container: Any, stream: Any) -> Iterator[Any]:
        av, facts = load_av(), self.facts
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.error.FFmpegError as error:
                self.findings.ended = f"reading ended early ({reason(error)})"
                return
            try:
                pictures = packet.decode()
            except av.error.FFmpegError:
                self.findings.undecodable += 1
                continue
            for picture in pictures:
                if (picture.width, picture.height) != (facts.width, facts.height):
                    size = f"{picture.width}x{picture.height}"
                    self.findings.ended = (
                        f"the picture becomes {size} there, and is {facts.width}x{facts.height} before"
                    )
                    return
                if picture.interlaced_frame and not self.deinterlace:
                    raise VideoError(
                        f"{facts.file}: pictures are interlaced: give video.deinterlace=true, which makes each a whole "
                        "one (bwdif)"
                    )
                if picture.format.name != facts.working:
                    whole = picture.reformat(format=facts.working)
                    whole.pts, whole.duration = picture.pts, picture.duration
                    picture = whole
                yield picture

    def _time(self, picture: Any, last: int | None) -> int:
        facts = self.facts
        step = max(1, round(1 / (facts.rate or Fraction(25)) / facts.time_base))
        if picture.pts is None:
            self.findings.untimed += 1
            return 0 if last is None else last + step
        pts = int(picture.pts)
        if last is not None and pts <= last:
            self.findings.moved += 1
            return last + 1
        return pts

    def _planes(self, picture: Any) -> Planes:
        return tuple(_plane(plane, self.facts.layout.dtype) for plane in picture.planes)

    def _digest(self, picture: Any) -> str:
        hashed = hashlib.blake2b(digest_size=16)
        for plane in picture.planes:
            hashed.update(_plane(plane, self.facts.layout.dtype).tobytes())
        return hashed.hexdigest()


class _NotFound(Exception):
    """The picture to go on behind was not met."""


class _Deinterlacer:
    """FFmpeg's bwdif, one whole picture for each interlaced one."""

    def __init__(self, stream: Any, facts: VideoFacts) -> None:
        av = load_av()
        self.again = av.error.BlockingIOError, av.error.EOFError
        self.graph = av.filter.Graph()
        source = self.graph.add_buffer(
            width=facts.width, height=facts.height, format=facts.working, time_base=stream.time_base
        )
        bwdif, sink = self.graph.add("bwdif", "mode=send_frame:deint=interlaced"), self.graph.add("buffersink")
        source.link_to(bwdif)
        bwdif.link_to(sink)
        self.graph.configure()

    def push(self, picture: Any) -> Iterator[Any]:
        """Gives a picture in, None at the end, and takes those that are whole."""
        self.graph.push(picture)
        while True:
            try:
                yield self.graph.pull()
            except self.again:
                return


def _plane(plane: Any, dtype: Any) -> Any:
    """A view of a plane without what pads its lines."""
    size = np.dtype(dtype).itemsize
    lines = np.frombuffer(plane, dtype).reshape(plane.height, plane.line_size // size)
    return lines[:, : plane.width]
