"""Comparing a written video with its input: whatever was to stay and has not is named."""

import dataclasses
import hashlib
from collections.abc import Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from sr_lab.base.words import counted
from sr_lab.inference.video.facts import VideoFacts, open_video, read_facts
from sr_lab.inference.video.joining import OWN, QUICKTIME, Copied, Joined, is_gap, payload
from sr_lab.inference.video.library import load_av, reason
from sr_lab.inference.video.plan import VideoPlan
from sr_lab.inference.video.segments import Segment

_SHOWN = 3


def verify(plan: VideoPlan, joined: Joined, segments: list[Segment], file: Path) -> list[str]:
    """Reads the output once, decodes its pictures, and tells what differs from the input: a sentence each."""
    found = read_facts(file)
    lost = _differences(plan, found)
    with open_video(plan.facts.file) as given, open_video(file) as made:
        lost += _beside(given, made, plan)
        lost += _words(given, made, joined, plan)
        lost += _packets(plan, joined, segments, made)
    return lost


def _differences(plan: VideoPlan, found: VideoFacts) -> list[str]:
    facts, encoder = plan.facts, plan.encoder
    told = {
        "size": ((encoder.width, encoder.height), (found.width, found.height)),
        "pixel aspect ratio": (facts.aspect, found.aspect),
        "rotation": (facts.matrix, found.matrix),
        "colour matrix": (encoder.colours.matrix, found.colours.matrix),
        "colour primaries": (encoder.colours.primaries, found.colours.primaries),
        "transfer curve": (encoder.colours.curve, found.colours.curve),
        "colour range": (encoder.colours.range or 1, found.colours.range or 1),
        "pixel format": (_plain(encoder.pix_fmt), _plain(found.pix_fmt)),
    }
    return [f"the {name} should be {wanted}, and is {is_}" for name, (wanted, is_) in told.items() if wanted != is_]


def _plain(name: str) -> str:
    return name.replace("yuvj", "yuv")


def _beside(given: Any, made: Any, plan: VideoPlan) -> list[str]:
    lost = []
    chapters = [_chapters(each) for each in (given, made)]
    if chapters[0] != chapters[1]:
        lost.append(
            f"{counted(len(chapters[0]), 'chapter')} should be there, and {len(chapters[1])} are, or they differ"
        )
    wanted = _attachments(each for each in given.streams.attachments if each.index in plan.tracks)
    there = _attachments(made.streams.attachments)
    if wanted != there:
        lost.append(f"attachments should be {[name for name, _ in wanted]}, and are {[name for name, _ in there]}")
    return lost


def _words(given: Any, made: Any, joined: Joined, plan: VideoPlan) -> Iterator[str]:
    """Tags of the file, and what tells one track from the other."""
    there = {key.lower(): value for key, value in made.metadata.items()}
    for key, value in given.metadata.items():
        if key.lower() not in OWN and there.get(key.lower()) != value:
            yield f"the tag {key}={value!r} is {there.get(key.lower())!r}"
    pairs = [(plan.facts.index, joined.place, "the picture"), *((e.index, e.place, e.title) for e in joined.copied)]
    for index, place, title in pairs:
        before, after = given.streams[index], made.streams[place]
        languages = [each.metadata.get("language", "und") for each in (before, after)]
        if QUICKTIME.get(languages[0], languages[0]) != QUICKTIME.get(languages[1], languages[1]):
            yield f"the language of {title} was {languages[0]}, and is {languages[1]}"


def _attachments(streams: Iterable[Any]) -> list[tuple[str, str]]:
    return sorted((each.metadata.get("filename", ""), hashlib.md5(each.data).hexdigest()) for each in streams)


def _chapters(container: Any) -> list[tuple[int, int, str]]:
    return [
        (round(each["start"] * base * 1000), round(each["end"] * base * 1000), each["metadata"].get("title", ""))
        for each in container.chapters()
        if (base := each["time_base"]) is not None
    ]


def _packets(plan: VideoPlan, joined: Joined, segments: list[Segment], made: Any) -> list[str]:
    """Pictures by their number and times, copied tracks by their contents and their distance to the picture."""
    av, lost = load_av(), []
    by_place = {
        copied.place: (copied, dataclasses.replace(copied, packets=0, digest=hashlib.md5(), start=None))
        for copied in joined.copied
    }
    picture = made.streams[joined.place]
    times = _Times(plan, segments, picture.time_base)
    picture.thread_type = "AUTO"
    try:
        for packet in made.demux([picture, *(made.streams[place] for place in by_place)]):
            if packet.stream.index == joined.place:
                for frame in packet.decode():
                    times.see(frame.pts)
            elif packet.size:
                _, seen = by_place[packet.stream.index]
                content = bytes(packet)
                if is_gap(content, seen):
                    continue
                if seen.way == "to_mov_text":
                    content = content[2:]
                seen.packets += 1
                seen.digest.update(payload(content, seen.kind))
                if seen.start is None:
                    seen.start = (packet.pts if packet.pts is not None else packet.dts or 0) * packet.time_base
    except av.error.FFmpegError as error:
        lost.append(f"the output cannot be read to its end ({reason(error)})")
    lost += times.lost()
    for copied, seen in by_place.values():
        lost += _track(copied, seen, times.shift, made.streams[copied.place].time_base)
    return lost


def _track(copied: Copied, seen: Copied, shift: Fraction, tick: Fraction) -> Iterator[str]:
    if copied.packets != seen.packets:
        yield f"{copied.title}: {counted(copied.packets, 'packet')} should be there, and {seen.packets} are"
    elif copied.kind != "video" and copied.digest.digest() != seen.digest.digest():
        yield f"{copied.title}: its contents were changed on the way"
    if copied.kind == "cover" or copied.start is None or seen.start is None:
        return
    apart = seen.start - copied.start - shift
    if abs(apart) > tick + Fraction(1, 1000):
        yield f"{copied.title} begins {float(apart) * 1000:+.1f} ms from where it should beside the picture"


class _Times:
    """Compares the times of shown pictures with those of the input."""

    def __init__(self, plan: VideoPlan, segments: list[Segment], tick: Fraction) -> None:
        self.base, self.tick = plan.facts.time_base, tick
        self.expected = (pts for segment in segments for pts in segment.times)
        self.wanted = sum(len(segment.packets) for segment in segments)
        self.seen = 0
        self.shift = Fraction(0)
        self.wrong: list[str] = []
        self.num_wrong = 0

    def see(self, pts: int | None) -> None:
        """The next shown picture."""
        expected = next(self.expected, None)
        self.seen += 1
        if expected is None:
            return
        at = None if pts is None else pts * self.tick
        if self.seen == 1 and at is not None:
            self.shift = at - expected * self.base
        if at is None or abs(at - self.shift - expected * self.base) > (self.tick if self.base % self.tick else 0):
            self.num_wrong += 1
            if len(self.wrong) < _SHOWN:
                self.wrong.append(f"{self.seen - 1}")

    def lost(self) -> list[str]:
        """What is wrong."""
        lost = []
        if self.seen != self.wanted:
            lost.append(f"{counted(self.wanted, 'picture')} should be there, and {self.seen} can be decoded")
        if self.num_wrong:
            lost.append(
                f"{counted(self.num_wrong, 'picture', 'is/are')} shown at another time: {', '.join(self.wrong)}"
            )
        return lost
