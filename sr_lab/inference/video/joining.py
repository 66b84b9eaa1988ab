"""Joining segments into a file, together with every track of the input that was not touched, packet by packet."""

import hashlib
import math
import re
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

from sr_lab.inference.video.encoding import add_video_stream
from sr_lab.inference.video.facts import VideoFacts, open_video
from sr_lab.inference.video.library import CONTAINERS, VideoError, load_av, reason
from sr_lab.inference.video.plan import VideoPlan, Way
from sr_lab.inference.video.segments import Segment, WorkFolder, packets_of

_ITUNES = {
    *("title", "artist", "album_artist", "composer", "album", "date", "comment", "genre", "copyright", "grouping"),
    *("description", "synopsis", "lyrics", "show", "episode_id", "network", "keywords", "creation_time", "track"),
}
QUICKTIME = {
    "deu": "ger", "nld": "dut", "swe": "sve", "ell": "gre", "isl": "ice", "zho": "chi", "sqi": "alb", "mkd": "mac",
    "hye": "arm", "kat": "geo", "cym": "wel", "eus": "baq", "fre": "fra", "rum": "ron", "cze": "ces", "slo": "slk",
}  # fmt: skip
"""Words for languages that mov files know, by those of ISO 639 that they do not."""
OWN = {"major_brand", "minor_version", "compatible_brands", "encoder"}
_COUNTED = ("DURATION", "BPS", "NUMBER_OF_FRAMES", "NUMBER_OF_BYTES", "_STATISTICS_")


@dataclass
class Copied:
    """What was seen of a track while it was copied.

    Attributes:
        index: Its number in the input.
        title: What a user knows it by.
        kind: See ``Track.kind``.
        way: How it was copied.
        place: Number of its stream in the output.
        packets: How many.
        digest: Of their contents.
        start: Seconds at which the first begins.
    """

    index: int
    title: str
    kind: str
    way: Way
    place: int
    packets: int = 0
    digest: Any = field(default_factory=hashlib.md5)
    start: Fraction | None = None


@dataclass
class Joined:
    """What joining saw.

    Attributes:
        place: Number of the picture's stream in the output.
        copied: The other tracks that were copied.
        packets: Packets of the picture in the input.
        corrupt: How many of them are marked as damaged.
        first: Seconds at which the first packet of any stream of the input begins.
        end: Seconds at which the last packet of any stream of the input ends.
        complaints: What the demuxer said of the input's damages.
        ended: Why reading the input ended early; empty otherwise.
    """

    place: int
    copied: list[Copied]
    packets: int = 0
    corrupt: int = 0
    first: Fraction = Fraction(0)
    end: Fraction = Fraction(0)
    ended: str = ""
    complaints: list[str] = field(default_factory=list)


def join(plan: VideoPlan, work: WorkFolder, segments: list[Segment], file: Path) -> Joined:
    """Writes the output: pictures of the segments, copied tracks, chapters, attachments, tags.

    Raises:
        VideoError: If segments were encoded otherwise than now, or the container refuses something.
    """
    av, facts = load_av(), plan.facts
    suffix = plan.output.suffix[1:].lower()
    flags = {"fflags": "+bitexact"}
    kept = {key: value for key, value in facts.metadata.items() if key.lower() not in OWN}
    if suffix in ("mp4", "m4v", "mov") and any(key.lower() not in _ITUNES for key in kept):
        flags["movflags"] = "+use_metadata_tags"
    if suffix in ("mp4", "m4v", "mov"):
        flags["movie_timescale"] = str(_movie_timescale(facts))
    said: list[str] = []
    with (
        _opened(facts, said) as given,
        av.open(str(file), "w", format=CONTAINERS[suffix], options=flags) as made,
    ):
        joined, streams, picture = _streams(plan, given, made)
        joined.complaints = said
        made.metadata.update(kept)
        made.set_chapters(given.chapters())
        try:
            made.start_encoding()
            _check_header(picture, segments)
            _write(plan, work, segments, joined, streams, picture, given, made)
        except av.error.FFmpegError as error:
            if isinstance(error, OSError) and not isinstance(error, av.error.InvalidDataError | av.error.ArgumentError):
                raise
            raise VideoError(f"{plan.output}: the container refused what is to be written ({reason(error)})") from error
    return joined


def _movie_timescale(facts: VideoFacts) -> int:
    """Ticks a second in which every track's clock begins at a whole one: FFmpeg's 1000 move sound by up to a ms."""
    finest = facts.time_base.denominator
    for base in facts.clocks:
        common = math.lcm(finest, base.denominator)
        finest = common if common < 2**31 else finest
    return max(1000, finest)


def _opened(facts: VideoFacts, said: list[str]) -> Any:
    with complaints(facts.container, said):
        return open_video(facts.file)


def _streams(plan: VideoPlan, given: Any, made: Any) -> tuple[Joined, dict[int, tuple[Any, Way, Copied]], Any]:
    """The output's streams, in the input's order."""
    facts = plan.facts
    picture, streams, tracks = None, {}, {track.index: track for track in facts.tracks}
    joined = Joined(0, [])
    for stream in given.streams:
        if stream.index == facts.index:
            picture = add_video_stream(made, plan.encoder)
            if facts.matrix is not None:
                picture.set_display_matrix(facts.matrix)
            joined.place = picture.index
            _tell(stream, picture)
            continue
        way = plan.tracks.get(stream.index)
        if way is None:
            continue
        track = tracks[stream.index]
        if track.kind == "attachment":
            made.add_attachment(
                stream.metadata.get("filename", "attachment"),
                stream.mimetype or "application/octet-stream",
                stream.data,
            )
            continue
        copy = _copy(stream, way, made)
        _tell(stream, copy)
        copied = Copied(track.index, track.title, track.kind, way, copy.index)
        joined.copied.append(copied)
        streams[stream.index] = (copy, way, copied)
    assert picture is not None
    return joined, streams, picture


def _copy(stream: Any, way: Way, made: Any) -> Any:
    if way == "to_srt":
        copy = made.add_mux_stream("subrip")
        copy.time_base = Fraction(1, 1000)
        return copy
    if way == "to_mov_text":
        copy = made.add_stream("mov_text")
        copy.codec_context.subtitle_header = _ASS_HEADER
        copy.time_base = Fraction(1, 1000)
        return copy
    return made.add_stream_from_template(stream)


def _tell(stream: Any, copy: Any) -> None:
    """Language, title and dispositions; not what counts packets, which the container counts anew."""
    copy.metadata.update({key: value for key, value in stream.metadata.items() if not key.upper().startswith(_COUNTED)})
    copy.disposition = stream.disposition
    if copy.container.format.name == "mov" and (language := copy.metadata.get("language")) in QUICKTIME:
        copy.metadata["language"] = QUICKTIME[language]


def _check_header(picture: Any, segments: list[Segment]) -> None:
    header = (picture.codec_context.extradata or b"").hex()
    for number, segment in enumerate(segments):
        if segment.extradata != header:
            raise VideoError(
                f"segment {number} was encoded by another encoder than there is now: remove the begun output"
            )


def _write(
    plan: VideoPlan,
    work: WorkFolder,
    segments: list[Segment],
    joined: Joined,
    streams: dict[int, tuple[Any, Way, Copied]],
    picture: Any,
    given: Any,
    made: Any,
) -> None:
    """Both in the order of their times, so that no container has to hold one back."""
    av, facts = load_av(), plan.facts
    pictures = _pictures(plan, work, segments)
    following = next(pictures, None)
    for packet in _given_packets(given, facts, streams, joined):
        copy, way, copied = streams[packet.stream.index]
        at = (packet.dts if packet.dts is not None else packet.pts or 0) * packet.time_base
        while following is not None and following[1] * facts.time_base <= at:
            _mux(av, made, picture, following, facts.time_base)
            following = next(pictures, None)
        content = _content(bytes(packet), way)
        if way != "copy" and not content:
            continue
        if not is_gap(content, copied):
            copied.packets += 1
            copied.digest.update(payload(content, copied.kind))
            if copied.start is None:
                copied.start = (packet.pts if packet.pts is not None else packet.dts or 0) * packet.time_base
        if way != "copy":
            content = len(content).to_bytes(2, "big") + content if way == "to_mov_text" else content
            packet = _changed(av, packet, content)
        elif packet.dts is None:
            packet.dts = packet.pts = packet.pts or 0
        packet.stream = copy
        made.mux(packet)
    while following is not None:
        _mux(av, made, picture, following, facts.time_base)
        following = next(pictures, None)


def _content(content: bytes, way: Way) -> bytes:
    """A packet's content; of converted subtitles the words alone."""
    if way == "to_srt":
        return content[2 : 2 + int.from_bytes(content[:2], "big")]
    return _MARKUP.sub(b"", content) if way == "to_mov_text" else content


def is_gap(content: bytes, copied: Copied) -> bool:
    """Whether a packet only says that no words are shown, as mov_text has it between subtitles."""
    return copied.kind == "subtitle" and content in (b"", b"\0\0")


def payload(content: bytes, kind: str) -> bytes:
    """What of a packet stays the same in every container: AAC loses the headers that a transport stream needs."""
    if kind == "audio" and len(content) > 9 and content[0] == 0xFF and content[1] & 0xF6 == 0xF0:
        return content[7 if content[1] & 1 else 9 :]
    return content


def _changed(av: Any, packet: Any, content: bytes) -> Any:
    changed = av.Packet(content)
    changed.pts, changed.dts, changed.duration = packet.pts, packet.pts, packet.duration
    changed.time_base = packet.time_base
    return changed


def _given_packets(
    given: Any, facts: VideoFacts, streams: dict[int, tuple[Any, Way, Copied]], joined: Joined
) -> Iterator[Any]:
    """Packets of the tracks that are copied; those of the picture are only counted."""
    av = load_av()
    packets = given.demux()
    while True:
        try:
            with complaints(facts.container, joined.complaints):
                packet = next(packets)
        except StopIteration:
            return
        except av.error.FFmpegError as error:
            joined.ended = f"reading ended early ({reason(error)})"
            return
        if not packet.size:
            continue
        at = packet.pts if packet.pts is not None else packet.dts
        if at is not None and packet.stream.type != "attachment":
            began = Fraction(at * packet.time_base)
            joined.first = began if not joined.end else min(joined.first, began)
            joined.end = max(joined.end, began + (packet.duration or 0) * packet.time_base)
        if packet.stream.index in streams:
            yield packet
        elif packet.stream.index == facts.index and not packet.is_discard:
            joined.packets += 1
            joined.corrupt += packet.is_corrupt


@contextmanager
def complaints(container: str, said: list[str]) -> Iterator[None]:
    """Within it what a container's reader says of damages is added, each thing once."""
    av = load_av()
    av.logging.set_level(av.logging.ERROR)
    logs: list[tuple[int, str, str]] = []
    try:
        with av.logging.Capture() as logs:
            yield
    finally:
        av.logging.set_level(av.logging.PANIC)
        for _, name, text in logs:
            if name == container and (line := text.strip()) not in said:
                said.append(line)


Timed = tuple[int, int, int, bool, bytes]
"""Time of showing, of decoding, duration in ticks, whether it is a key picture, content."""


def _pictures(plan: VideoPlan, work: WorkFolder, segments: list[Segment]) -> Iterator[Timed]:
    """Packets of the segments under one clock: each is decoded ``delay`` frames before its place among the shown."""
    facts = plan.facts
    step = max(1, round(1 / plan.encoder.rate / facts.time_base))
    delay = max(_delay(segment) for segment in segments)
    first = segments[0].times[0]
    decoded = deque(first - back * step for back in range(delay, 0, -1))
    for number, segment in enumerate(segments):
        times = segment.times
        behind = segments[number + 1].times[0] if number + 1 < len(segments) else None
        last = times[-1] + (segment.duration or step)
        ends = dict(zip(times, chain(times[1:], [last if behind is None else behind]), strict=True))
        for place, (pts, key, content) in enumerate(packets_of(work.file(number), segment)):
            decoded.append(times[place])
            yield pts, decoded.popleft(), max(1, ends[pts] - pts), key, content


def _delay(segment: Segment) -> int:
    """By how many places a packet comes later than it is shown."""
    rank = {pts: place for place, pts in enumerate(segment.times)}
    return max(place - rank[pts] for place, (pts, _, _) in enumerate(segment.packets))


def _mux(av: Any, made: Any, stream: Any, timed: Timed, time_base: Fraction) -> None:
    packet = av.Packet(timed[4])
    packet.stream, packet.time_base = stream, time_base
    packet.pts, packet.dts, packet.duration, packet.is_keyframe = timed[:4]
    made.mux(packet)


_MARKUP = re.compile(rb"<[^<>]*>|\{\\[^{}]*\}")
_ASS_HEADER = b"""[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour, SecondaryColour, OutlineColour, BackColour, Bold, Italic, Underline, \
StrikeOut, ScaleX, ScaleY, Spacing, Angle, BorderStyle, Outline, Shadow, Alignment, MarginL, MarginR, MarginV, Encoding
Style: Default,Arial,16,&Hffffff,&Hffffff,&H0,&H0,0,0,0,0,100,100,0,0,1,1,0,2,10,10,10,0

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""
