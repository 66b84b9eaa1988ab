"""Video files: what was not touched is identical, what is bad is said; kinds of input as tables."""

import dataclasses
import functools
import itertools
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from filelock import FileLock

pytest.importorskip("av")

import av
from clips import contents, frames_of, picture, write_clip

from sr_lab.cli import main
from sr_lab.images import read_image, write_image
from sr_lab.inference.clips import network_restorer
from sr_lab.inference.stream import target_of
from sr_lab.workflows.restore_video import restore_video
from sr_lab.workflows.video import RestoredVideo, VideoSettings

FONT = (("font.ttf", b"FONT" * 9),)
BT709, BT601 = (1, 1, 1, 1), (6, 6, 6, 1)


class Nearest:
    """Each pixel becomes a square; counts what it is asked for, and fails where it is told to."""

    metadata = None

    def __init__(self, scale: int = 2, fails_at: int | None = None) -> None:
        self.scale, self.fails_at, self.asked = scale, fails_at, 0

    def __call__(self, low: torch.Tensor) -> torch.Tensor:
        if self.asked == self.fails_at:
            raise RuntimeError("the power went out")
        self.asked += 1
        return low.repeat_interleave(self.scale, -1).repeat_interleave(self.scale, -2)


def restored(
    file: Path,
    output: Path,
    *,
    nearest: Nearest | None = None,
    scale: int = 2,
    **settings: Any,
) -> RestoredVideo:
    nearest = nearest or Nearest(scale)
    return restore_video(
        input=file,
        output=output,
        load=lambda device: nearest,
        made_by={"name": "nearest", "scale": nearest.scale},
        device=lambda: "cpu",
        settings=VideoSettings(**settings),
    )


@dataclasses.dataclass(frozen=True)
class Whole:
    """An input that has to come out whole; ``but`` names what may differ, and ``caution`` what is said of it."""

    clip: dict[str, Any]
    input: str = "mp4"
    output: str = "mp4"
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    but: tuple[str, ...] = ()
    caution: str = ""
    scale: int = 2
    tick: Fraction = Fraction(0)
    then: dict[str, Any] = dataclasses.field(default_factory=dict)


MS = Fraction(1, 1000)
RAW = {"time_base": Fraction(1, 25)}
EVERYTHING = {
    "audio": ("eng", "deu"), "subtitles": "subrip", "attachments": FONT, "chapters": True, "rotation": 90,
    "aspect": Fraction(4, 3), "colours": BT709, "metadata": {"title": "A day"}, "audio_start": 0.226,
    "time_base": MS,
}  # fmt: skip
WHOLE = {
    "constant rate": Whole({"audio": ("eng",)}),
    "constant rate into mkv": Whole({"audio": ("eng",)}, output="mkv", tick=MS, but=("shift",), caution="milliseconds"),
    "variable rate": Whole({"times": [0, 3600, 5400, 12000, 12100, 30000, 30001, 90000]}),
    "variable rate in mkv": Whole({"times": [0, 40, 41, 90, 200, 201, 202, 900], "time_base": MS}, "mkv", "mkv"),
    "29.97 frames a second": Whole({"rate": Fraction(30000, 1001), "time_base": Fraction(1, 30000)}),
    "119.88 frames a second": Whole({"rate": Fraction(120000, 1001), "time_base": Fraction(1, 120000)}),
    "a pause of an hour": Whole({"times": [0, 3600, 7200, 324007200, 324010800, 324014400, 324018000, 324021600]}),
    "picture begins late": Whole({"start": 45000, "audio": ("eng",)}),
    "sound begins late": Whole({"audio": ("eng",), "audio_start": 0.226}),
    "everything, in mkv": Whole(EVERYTHING, "mkv", "mkv"),
    "two sound tracks": Whole({"audio": ("eng", "deu")}),
    "languages of QuickTime": Whole({"audio": ("eng", "deu")}, output="mov", but=("languages",)),
    "sound is the first stream": Whole({"audio": ("eng",), "audio_first": True}),
    "uncompressed sound": Whole({"audio": ("eng",), "audio_codec": "pcm_s16le"}, "mov", "mov"),
    "flac": Whole({"audio": ("eng",), "audio_codec": "flac", "time_base": MS}, "mkv", "mkv"),
    "opus in webm": Whole(
        {"codec": "libvpx-vp9", "audio": ("eng",), "audio_codec": "libopus", "time_base": MS}, "webm", "webm"
    ),
    "chapters": Whole({"chapters": True}),
    "mov_text": Whole({"subtitles": "mov_text"}),
    "mov_text into mkv": Whole({"subtitles": "mov_text"}, output="mkv", tick=MS, caution="becomes SubRip"),
    "subrip into mp4": Whole(
        {"subtitles": "subrip", "time_base": MS}, "mkv", but=("words",), caution="becomes mov_text"
    ),
    "ass in mkv": Whole({"subtitles": "ass", "time_base": MS}, "mkv", "mkv"),
    "fonts": Whole({"attachments": FONT, "time_base": MS}, "mkv", "mkv"),
    "cover": Whole({"cover": True}),
    "title": Whole({"metadata": {"title": "T"}}),
    "place": Whole(
        {"metadata": {"com.apple.quicktime.location.ISO6709": "+48/"}, "options": {"movflags": "use_metadata_tags"}}
    ),
    "turned by 90": Whole({"rotation": 90}),
    "turned by 180 in mkv": Whole({"rotation": 180, "time_base": MS}, "mkv", "mkv"),
    "turned and flipped": Whole({"rotation": 270, "flip": True}, output="mov"),
    "anamorphic": Whole({"aspect": Fraction(16, 11)}),
    "anamorphic in mkv": Whole({"aspect": Fraction(4, 3), "time_base": MS}, "mkv", "mkv"),
    "BT.709": Whole({"colours": BT709}),
    "BT.601": Whole({"colours": BT601}),
    "full range": Whole({"colours": (1, 1, 1, 2)}),
    "SDR of BT.2020": Whole({"colours": (9, 9, 14, 1), "pix_fmt": "yuv420p10le"}),
    "no colour tags, becomes high": Whole(
        {"size": (64, 400), "frames": 2}, but=("colours",), caution="does not tell its colour matrix"
    ),
    "10 bits": Whole({"pix_fmt": "yuv420p10le"}, then={"codec": "hevc", "pix_fmt": "yuv420p10le"}),
    "tiny, of 10 bits": Whole(
        {"size": (20, 16), "pix_fmt": "yuv420p10le", "codec": "libx264"},
        then={"codec": "h264", "pix_fmt": "yuv420p10le"},
    ),
    "4:2:2 of 10 bits": Whole({"pix_fmt": "yuv422p10le"}, then={"pix_fmt": "yuv422p10le"}),
    "4:4:4": Whole({"pix_fmt": "yuv444p"}, then={"pix_fmt": "yuv444p"}),
    "12 bits without loss": Whole(
        {"codec": "ffv1", "pix_fmt": "yuv420p12le", "time_base": MS},
        "mkv",
        "mkv",
        {"codec": "ffv1"},
        then={"codec": "ffv1"},
    ),
    "grey": Whole(
        {"codec": "ffv1", "pix_fmt": "gray", "time_base": MS}, "mkv", "mkv", then={"pix_fmt": "yuv420p"}, but=("range",)
    ),
    "grey of 10 bits": Whole(
        {"codec": "ffv1", "pix_fmt": "gray10le", "time_base": MS}, "mkv", then={"pix_fmt": "gray10le"}, but=("range",)
    ),
    "grey into vp9": Whole(
        {"codec": "ffv1", "pix_fmt": "gray", "time_base": MS}, "mkv", "webm", but=("pix_fmt", "range")
    ),
    "RGB": Whole(
        {"codec": "libx264rgb", "pix_fmt": "rgb24"},
        but=("colours", "range"),
        caution="YCbCr 4:4:4",
        then={"pix_fmt": "yuv444p"},
    ),
    "transparency": Whole(
        {"codec": "ffv1", "pix_fmt": "yuva420p", "time_base": MS}, "mkv", "mkv", caution="without alpha"
    ),
    "4:1:1": Whole({"codec": "ffv1", "pix_fmt": "yuv411p", "time_base": MS}, "mkv", "mkv", then={"pix_fmt": "yuv422p"}),
    "odd sides of 4:2:0": Whole(
        {"codec": "ffv1", "size": (33, 25), "time_base": MS},
        "mkv",
        "mkv",
        scale=3,
        caution="is odd",
        then={"size": (100, 76)},
    ),
    "odd sides of 4:4:4": Whole({"size": (33, 25), "pix_fmt": "yuv444p"}, scale=3, then={"size": (99, 75)}),
    "one frame": Whole({"frames": 1}),
    "two frames": Whole({"frames": 2}),
    "16x16 pixels": Whole({"size": (16, 16)}),
    "256x8 pixels": Whole({"size": (256, 8)}),
    "MPEG-2 in a transport stream": Whole(
        {"codec": "mpeg2video", **RAW, "audio": ("eng",), "audio_codec": "mp2"}, "ts", "mp4", but=("shift",)
    ),
    "AAC with headers": Whole({"audio": ("eng",)}, "ts", "mkv", tick=MS, but=("shift",)),
    "MPEG-2 program stream": Whole({"codec": "mpeg2video", **RAW}, "mpg", "mkv", tick=MS, but=("shift",)),
    "MPEG-4 in AVI": Whole({"codec": "mpeg4", **RAW}, "avi"),
    "Motion JPEG": Whole({"codec": "mjpeg", "pix_fmt": "yuvj420p", **RAW}, "avi", but=("colours",)),
    "Flash video": Whole({"codec": "flv", "time_base": MS, "audio": ("eng",), "audio_codec": "aac"}, "flv"),
    "VP8": Whole({"codec": "libvpx", "time_base": MS}, "webm", "webm"),
    "AV1": Whole({"codec": "libsvtav1", "size": (64, 64)}),
    "into H.265": Whole({}, settings={"codec": "h265"}, then={"codec": "hevc"}),
    "into ProRes": Whole(
        {"pix_fmt": "yuv422p10le"}, output="mov", settings={"codec": "prores"}, then={"codec": "prores"}
    ),
    "nothing but pictures": Whole(
        {"format": "h264"}, "h264", "mkv", tick=MS, but=("pace", "shift"), caution="frame rate"
    ),
    "raw pictures": Whole({"codec": "rawvideo", "format": "yuv4mpegpipe", **RAW}, "y4m", "mp4"),
    "a second video": Whole({"second": True}, caution="second video"),
    "interlaced, made whole": Whole(
        {"codec_options": {"x264-params": "tff=1"}}, settings={"deinterlace": True}, caution="bwdif"
    ),
    "attachment left out": Whole(
        {"attachments": FONT, "time_base": MS}, "mkv", "mp4", {"drop": True}, but=("attachments",), caution="left out"
    ),
}


@pytest.mark.parametrize("kind", WHOLE)
def test_what_was_not_touched_is_identical(kind, tmp_path):
    case = WHOLE[kind]
    given = write_clip(tmp_path / f"clip.{case.input}", **case.clip)
    output = tmp_path / f"large.{case.output}"
    result = restored(given, output, scale=case.scale, segment=3, **case.settings)
    assert result.problems == ()
    assert case.caution in "; ".join(result.cautions)
    before, after = contents(given), contents(output)
    if "pace" not in case.but:
        first = (before["times"][0], after["times"][0])
        apart = [abs((b - first[0]) - (a - first[1])) for b, a in zip(before["times"], after["times"], strict=True)]
        assert max(apart) <= case.tick
    assert len(after["times"]) == len(before["times"]) == result.num_frames == case.clip.get("frames", 8)
    if "shift" not in case.but:
        assert abs(after["times"][0] - before["times"][0]) <= case.tick
    offsets = zip(before["offset"], after["offset"], strict=True)
    assert max((abs(b - a) for b, a in offsets), default=0) <= max(case.tick, Fraction(1, 48000))
    for what in (
        "sound",
        "languages",
        "words",
        "chapters",
        "attachments",
        "matrix",
        "aspect",
        "colours",
        "range",
        "covers",
    ):
        if what not in case.but:
            assert after[what] == before[what], what
    for key, value in case.clip.get("metadata", {}).items():
        assert after["metadata"][key] == value
    size = target_of(before["size"][1], before["size"][0], scale=case.scale)[0]
    expected = {"size": size[::-1], **case.then}
    assert {key: after[key] for key in expected} == expected
    if kind == "subrip into mp4":
        assert after["words"] == [(40, "Hello there"), (160, "Grüße")]


def test_a_frame_is_restored_in_its_own_colours(tmp_path):
    for name, clip in {
        "a.mp4": {"colours": BT709},
        "b.mp4": {"colours": BT601},
        "c.mp4": {"colours": (1, 1, 1, 2)},
        "d.mkv": {"codec": "ffv1", "pix_fmt": "yuv422p10le", "time_base": MS},
    }.items():
        given = write_clip(tmp_path / name, frames=2, **clip)
        restored(
            given, tmp_path / f"large_{name}", crf=None if "d." in name else 0, codec="ffv1" if "d." in name else None
        )
        for low, high in zip(frames_of(given), frames_of(tmp_path / f"large_{name}"), strict=True):
            apart = high[::2, ::2].astype(int) - low
            assert np.abs(apart.mean(axis=(0, 1))).max() < 1, name
            assert np.abs(apart).mean() < 4, name


def test_equal_frames_are_restored_once(tmp_path):
    given = write_clip(
        tmp_path / "clip.mp4", frames=9, codec_options={"qp": "0"}, pictures=lambda n, *s: picture(n // 3, *s)
    )
    nearest = Nearest()
    result = restored(given, tmp_path / "large.mp4", nearest=nearest)
    assert (nearest.asked, result.reused, result.num_frames) == (3, 6, 9)


BAD = {
    "no such file": (lambda path: path, "no such file"),
    "a folder": (lambda path: path.mkdir() or path, "a folder, name one video file"),
    "an empty file": (lambda path: (path.write_bytes(b"") and path) or path, "is empty"),
    "a text": (lambda path: path.write_text("no video") and path, "cannot be opened as a video"),
    "zeros": (lambda path: path.write_bytes(bytes(5000)) and path, "cannot be opened as a video"),
    "no index": (lambda path: cut(write_clip(path), 0.6), "was cut off before its index was written"),
    "sound alone": (lambda path: only_sound(path), "holds no video, but stream 0 \\(audio aac"),
    "a cover alone": (lambda path: only_sound(path, cover=True), "holds no video, but"),
    "an unknown codec": (lambda path: unknown_codec(path), "no decoder|cannot be decoded|cannot be opened"),
    "no picture that can be decoded": (lambda path: no_picture(path), "none of its first pictures can be decoded"),
    "interlaced": (lambda path: write_clip(path, codec_options={"x264-params": "tff=1"}), "video.deinterlace=true"),
    "PQ": (lambda path: write_clip(path, colours=(9, 9, 16, 1), pix_fmt="yuv420p10le"), "high dynamic range \\(PQ"),
    "HLG": (lambda path: write_clip(path, colours=(9, 9, 18, 1), pix_fmt="yuv420p10le"), "high dynamic range \\(HLG"),
    "a matrix that is not handled": (lambda path: write_clip(path, colours=(8, 1, 1, 1)), "matrix 8 of ITU-T H.273"),
}


def cut(path: Path, share: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path


def flipped(path: Path, start: float = 0.3, stop: float = 0.7, step: int = 97) -> Path:
    content = bytearray(path.read_bytes())
    for place in range(int(len(content) * start), int(len(content) * stop), step):
        content[place] ^= 255
    path.write_bytes(content)
    return path


def only_sound(path: Path, cover: bool = False) -> Path:
    whole = write_clip(path.with_name("whole.mp4"), audio=("eng",), cover=cover)
    with av.open(str(whole)) as given, av.open(str(path), "w") as made:
        chosen = [each for each in given.streams if each.type == "audio" or int(each.disposition) & 0x400]
        streams = {each.index: made.add_stream_from_template(each) for each in chosen}
        for each in chosen:
            streams[each.index].disposition = each.disposition
        for packet in given.demux(chosen):
            if packet.size:
                packet.stream = streams[packet.stream.index]
                made.mux(packet)
    return path


def unknown_codec(path: Path) -> Path:
    write_clip(path, codec="mpeg4", time_base=Fraction(1, 25), format="avi")
    path.write_bytes(path.read_bytes().replace(b"FMP4", b"ZZQ9"))
    return path


def no_picture(path: Path) -> Path:
    write_clip(path, codec="mjpeg", pix_fmt="yuvj420p", time_base=Fraction(1, 25), format="avi")
    content = path.read_bytes()
    for place in range(content.index(b"movi"), len(content)):
        if content[place : place + 4] == b"00dc":
            count = int.from_bytes(content[place + 4 : place + 8], "little")
            content = content[: place + 8] + bytes(count) + content[place + 8 + count :]
    path.write_bytes(content)
    return path


@pytest.mark.parametrize("kind", BAD)
def test_an_input_that_is_no_use_is_refused(kind, tmp_path):
    make, said = BAD[kind]
    file = make(tmp_path / "clip.mp4")
    with pytest.raises(ValueError, match=said):
        restored(file, tmp_path / "large.mkv")
    assert not (tmp_path / "large.mkv").exists()


UNFIT: dict[str, tuple[dict[str, Any], str, str, dict[str, Any], str]] = {
    "avi": ({}, "mp4", "large.avi", {}, "no container that is written"),
    "no suffix that is known": ({}, "mp4", "large.xyz", {}, "no container that is written"),
    "fonts in mp4": (
        {"attachments": FONT, "time_base": MS},
        "mkv",
        "large.mp4",
        {},
        "cannot hold .*font.ttf.*video.drop",
    ),
    "ass in mp4": (
        {"subtitles": "ass", "time_base": MS},
        "mkv",
        "large.mp4",
        {},
        "cannot hold .*subtitle (ass|ssa).*mkv",
    ),
    "aac in webm": ({"audio": ("eng",), "time_base": MS}, "mkv", "large.webm", {}, "cannot hold .*audio aac"),
    "H.264 in webm": ({}, "mp4", "large.webm", {"codec": "h264"}, "hold no video of video.codec=h264"),
    "ProRes in mp4": ({"pix_fmt": "yuv422p10le"}, "mp4", "large.mp4", {"codec": "prores"}, "hold no video of"),
    "an unknown codec": ({}, "mp4", "large.mp4", {"codec": "h263"}, "one of h264, h265"),
    "H.265 of tiny pictures": ({"size": (20, 16)}, "mp4", "large.mp4", {"codec": "h265"}, "less than 64 wide: give"),
    "a crf for ProRes": ({}, "mp4", "large.mov", {"codec": "prores", "crf": 3}, "prores has none"),
    "a crf too high": ({}, "mp4", "large.webm", {"crf": 99}, "does not take pictures of|crf"),
    "an unknown preset": ({}, "mp4", "large.mp4", {"preset": "warp"}, "preset warp"),
    "anamorphic VP9 in mkv": ({"aspect": Fraction(4, 3)}, "mp4", "large.mkv", {"codec": "vp9"}, "pixels of 4:3"),
    "no frame a segment": ({}, "mp4", "large.mkv", {"segment": 0}, "at least one frame"),
    "the input": ({}, "mp4", "clip.mp4", {}, "which is the input"),
    "a store": ({}, "mp4", "s3://bucket/large.mkv", {}, "files on this machine"),
}


@pytest.mark.parametrize("kind", UNFIT)
def test_an_output_that_cannot_hold_it_is_refused_before_anything_is_computed(kind, tmp_path):
    clip, suffix, output, settings, said = UNFIT[kind]
    given = write_clip(tmp_path / f"clip.{suffix}", frames=2, **clip)
    nearest = Nearest()
    with pytest.raises(ValueError, match=said):
        restored(given, output if "://" in output else tmp_path / output, nearest=nearest, **settings)
    assert nearest.asked == 0


DAMAGED: dict[str, tuple[dict[str, Any], str, Callable[[Path], Any], str]] = {
    "mkv cut off": ({"time_base": MS}, "mkv", lambda path: cut(path, 0.6), "damaged or was cut off"),
    "transport stream cut off": ({}, "ts", lambda path: cut(path, 0.55), "damaged|could not be decoded|cut off"),
    "index first, cut off": (
        {"options": {"movflags": "faststart"}},
        "mp4",
        lambda path: cut(path, 0.85),
        "cut off|damaged",
    ),
    "fragments, cut off": (
        {"options": {"movflags": "frag_keyframe+empty_moov"}, "codec_options": {"g": "4"}},
        "mp4",
        lambda path: cut(path, 0.8),
        "cut off|damaged|could not be decoded",
    ),
    "AVI cut off": (
        {"codec": "mpeg4", **RAW, "size": (96, 64)},
        "avi",
        lambda path: cut(path, 0.85),
        "cut off|damaged|could not be",
    ),
    "bits of the pictures flipped": ({}, "mp4", lambda path: flipped(path, 0.2, 0.6), "damaged|could not be decoded"),
    "bits of mkv flipped": ({"time_base": MS}, "mkv", lambda path: flipped(path, 0.4, 0.8), "damaged|could not be"),
    "begins in the middle": ({}, "ts", lambda path: late(path), "could not be decoded|damaged"),
    "the size changes": (
        {"format": "h264", "codec_options": {"x264-params": "repeat-headers=1"}},
        "h264",
        lambda path: joined_sizes(path),
        "the picture becomes 64x48 there",
    ),
    "times run backwards": ({"time_base": MS}, "mkv", lambda path: backwards(path), "not after the one before"),
}


def late(path: Path) -> None:
    content = path.read_bytes()
    start = 188 * (len(content) // 188 // 2)
    path.write_bytes(content[: 188 * 3] + content[start:])


def joined_sizes(path: Path) -> None:
    other = write_clip(path.with_name("other.h264"), size=(64, 48), format="h264")
    path.write_bytes(path.read_bytes() + other.read_bytes())


def backwards(path: Path) -> None:
    """Every picture is a key picture, and two of them change their times."""
    whole = write_clip(path.with_name("whole.mkv"), codec="mjpeg", pix_fmt="yuvj420p", time_base=MS)
    with av.open(str(whole)) as given, av.open(str(path), "w", options={"fflags": "+bitexact"}) as made:
        stream = made.add_stream_from_template(given.streams.video[0])
        for number, packet in enumerate(each for each in given.demux() if each.size):
            packet.stream, packet.dts = stream, number
            packet.pts = {3: 160, 4: 100}.get(number, 40 * number)
            made.mux(packet)


@pytest.mark.parametrize("kind", DAMAGED)
def test_what_was_readable_is_kept_and_the_damage_said(kind, tmp_path):
    clip, suffix, damage, said = DAMAGED[kind]
    given = write_clip(tmp_path / f"clip.{suffix}", **{"frames": 24, "codec_options": {"g": "6"}, **clip})
    damage(given)
    output = tmp_path / "large.mkv"
    result = restored(given, output, segment=5)
    assert any(re.search(said, each) for each in result.problems), result
    assert 1 <= len(contents(output)["times"]) == result.num_frames <= 24
    again = restored(given, output, segment=5)
    assert again.was_there
    assert again.problems == result.problems


@pytest.mark.parametrize("smoothing", [False, True])
def test_a_run_that_was_killed_anywhere_goes_on_to_the_same_file(smoothing, tmp_path):
    given = write_clip(tmp_path / "clip.mp4", frames=17, audio=("eng",), codec_options={"qp": "0"},
                       pictures=lambda n, *s: picture(n - n % 3 // 2, *s))  # fmt: skip
    whole, parts = tmp_path / "whole.mp4", tmp_path / "parts.mp4"
    restored(given, whole, segment=4, smoothing=smoothing)
    for fails_at in (0, 3, 5, 6):
        with pytest.raises(RuntimeError, match="power"):
            restored(given, parts, nearest=Nearest(fails_at=fails_at), segment=4, smoothing=smoothing)
        assert not parts.exists()
    work = tmp_path / ".parts.mp4.restoring"
    assert json.loads((work / "segments.jsonl").read_text().splitlines()[0])["frames"] == 4
    (work / ".000003.1234abcd.part.segment").write_bytes(b"half")  # what a killed writer leaves
    last = max(work.glob("*.segment"))
    last.write_bytes(last.read_bytes()[:-1])  # and a torn one, which is made again
    if smoothing:
        last.unlink()
        shutil.rmtree(work)
        with pytest.raises(RuntimeError, match="power"):
            restored(given, parts, nearest=Nearest(fails_at=8), segment=4, smoothing=True)
    restored(given, parts, segment=4, smoothing=smoothing)
    assert parts.read_bytes() == whole.read_bytes()
    assert not work.exists()


@pytest.fixture(scope="module")
def causal():
    """A network for clips that makes much of the frames before."""
    from sr_lab.networks.edsr import EDSR
    from sr_lab.networks.temporal.recurrent import RecurrentEDSR

    torch.manual_seed(0)
    network = RecurrentEDSR(image=EDSR(scale=2, num_blocks=1, num_features=8)).eval()
    torch.nn.init.normal_(network.recurrent.weight, std=0.2)
    return network


def test_images_of_a_folder_are_no_clip_and_that_is_said(tmp_path, causal):
    from sr_lab.inference.places import FRAMES_TO_VIDEO
    from sr_lab.workflows.restore import restore

    for number in range(2):
        write_image(tmp_path / "frames" / f"{number}.png", np.full((8, 9, 3), 40 * number, np.uint8))
    what = {"load": lambda device: network_restorer(causal), "made_by": {"name": "causal"}, "device": lambda: "cpu"}
    (said,) = restore(input=tmp_path / "frames", output=tmp_path / "out", **what).cautions
    assert FRAMES_TO_VIDEO in said
    alone = read_image(tmp_path / "out" / "1.png")
    one = restore(input=tmp_path / "frames" / "1.png", output=tmp_path / "one.png", **what)
    assert not one.cautions
    assert np.array_equal(alone, read_image(tmp_path / "one.png")), "nothing of the frame before"


def by_network(file: Path, output: Path, network: Any, *, fails_at: int | None = None, **settings: Any) -> Any:
    restorer = network_restorer(network)
    step, asked = getattr(restorer, "step", None), itertools.count()

    def failing(*given: Any, **named: Any) -> Any:
        if next(asked) == fails_at:
            raise RuntimeError("the power went out")
        return step(*given, **named)

    if step is not None:
        restorer.step = failing
    return restore_video(
        input=file,
        output=output,
        load=lambda device: restorer,
        made_by={"name": "causal", "scale": 2},
        device=lambda: "cpu",
        settings=VideoSettings(codec="ffv1", **settings),
    )


def test_a_network_for_clips_carries_its_state_through_a_file_and_through_kills(causal, tmp_path):
    """Frames are those of the network on the whole clip, wherever the work was cut into segments or stopped."""
    given = write_clip(tmp_path / "clip.mkv", frames=9, codec="ffv1", pix_fmt="yuv444p", time_base=MS)
    whole, alone = tmp_path / "whole.mkv", tmp_path / "alone.mkv"
    by_network(given, whole, causal, segment=100)
    restore_video(
        input=given, output=alone, load=lambda device: network_restorer(causal.image),
        made_by={"name": "alone", "scale": 2}, device=lambda: "cpu", settings=VideoSettings(codec="ffv1", segment=100),
    )  # fmt: skip
    shown, single = frames_of(whole), frames_of(alone)
    assert np.array_equal(shown[0], single[0])
    assert not any(np.array_equal(ours, theirs) for ours, theirs in zip(shown[1:], single[1:], strict=True))
    for fails_at in range(1, 9):
        parts = tmp_path / f"{fails_at}.mkv"
        with pytest.raises(RuntimeError, match="power"):
            by_network(given, parts, causal, fails_at=fails_at, segment=3)
        by_network(given, parts, causal, segment=3)
        for ours, theirs in zip(frames_of(parts), shown, strict=True):
            assert np.array_equal(ours, theirs)


def test_the_state_of_a_network_for_clips_is_forgotten_at_a_cut(causal, tmp_path):
    def dark(number: int, width: int, height: int) -> np.ndarray:
        return picture(number, width, height) // 8

    def light(number: int, width: int, height: int) -> np.ndarray:
        return 255 - picture(3 * number, width, height) // 4

    lossless = {"codec": "ffv1", "pix_fmt": "yuv444p", "time_base": MS}
    write_clip(
        tmp_path / "both.mkv",
        frames=4,
        pictures=lambda number, *size: (dark if number < 2 else light)(number, *size),
        **lossless,
    )
    write_clip(tmp_path / "second.mkv", frames=2, pictures=lambda number, *size: light(number + 2, *size), **lossless)
    shown = {}
    for name in ("both", "second"):
        by_network(tmp_path / f"{name}.mkv", tmp_path / f"{name}.large.mkv", causal)
        shown[name] = frames_of(tmp_path / f"{name}.large.mkv")
    for ours, theirs in zip(shown["both"][2:], shown["second"], strict=True):
        assert np.array_equal(ours, theirs)


def test_a_network_that_looks_ahead_goes_on_to_the_same_frames(tmp_path, monkeypatch):
    from sr_lab.inference.clips import ClipNetworkRestorer, WindowedRestorer
    from sr_lab.networks.temporal.basicvsr import BasicVSR

    torch.manual_seed(0)
    network = BasicVSR(num_features=4, num_blocks=1).eval()
    monkeypatch.setattr(
        WindowedRestorer, "__init__", functools.partialmethod(WindowedRestorer.__init__, window=4, margin=1)
    )
    given = write_clip(tmp_path / "clip.mkv", frames=9, codec="ffv1", pix_fmt="yuv444p", time_base=MS)
    by_network(given, tmp_path / "whole.mkv", network, segment=100)
    lows = torch.stack([torch.from_numpy(frame).permute(2, 0, 1) / 255 for frame in frames_of(given)])
    with torch.no_grad():
        expected = [network(lows[None, begin:end])[0] for begin, end in ((0, 5), (3, 9), (7, 9))]
    expected = torch.cat([expected[0][:4], expected[1][1:5], expected[2][1:]]).clamp(0, 1).permute(0, 2, 3, 1)
    shown = np.stack(frames_of(tmp_path / "whole.mkv"))
    assert np.abs(shown / 255 - expected.numpy()).max() < 0.02
    frames, asked = ClipNetworkRestorer.frames, itertools.count()
    for fails_at in (1, 2):
        asked = itertools.count()

        def failing(self, lows, asked=asked, fails_at=fails_at):
            if next(asked) == fails_at:
                raise RuntimeError("the power went out")
            return frames(self, lows)

        parts = tmp_path / f"{fails_at}.mkv"
        with monkeypatch.context() as patched:
            patched.setattr(ClipNetworkRestorer, "frames", failing)
            with pytest.raises(RuntimeError, match="power"):
                by_network(given, parts, network, segment=3)
        assert list((tmp_path / f".{fails_at}.mkv.restoring").glob("*.segment"))
        by_network(given, parts, network, segment=3)
        assert np.array_equal(np.stack(frames_of(parts)), shown)


def test_a_process_that_was_killed_goes_on_to_the_same_file(tmp_path):
    given = write_clip(tmp_path / "clip.mp4", frames=12, audio=("eng",))
    program = """
import sys, time
from sr_lab.workflows.restore_video import restore_video
from sr_lab.workflows.video import VideoSettings
class Slow:
    scale, metadata = 2, None
    def __call__(self, low):
        print("frame", flush=True)
        time.sleep(0.02)
        return low.repeat_interleave(2, -1).repeat_interleave(2, -2)
restore_video(input=sys.argv[1], output=sys.argv[2], load=lambda device: Slow(),
              made_by={"name": "nearest", "scale": 2}, device=lambda: "cpu",
              settings=VideoSettings(segment=3))
"""
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(given), str(tmp_path / "killed.mkv")], stdout=subprocess.PIPE, text=True
    )
    for _ in range(8):
        assert process.stdout.readline() == "frame\n"
    process.kill()
    process.wait()
    assert not (tmp_path / "killed.mkv").exists()
    nearest = Nearest()
    restored(given, tmp_path / "killed.mkv", nearest=nearest, segment=3)
    assert nearest.asked < 12
    restored(given, tmp_path / "whole.mkv", segment=3)
    assert (tmp_path / "killed.mkv").read_bytes() == (tmp_path / "whole.mkv").read_bytes()


def test_memory_does_not_grow_with_the_clip(tmp_path):
    import tracemalloc

    peaks = []
    for frames in (20, 120):
        given = write_clip(tmp_path / f"{frames}.mp4", frames=frames, audio=("eng",), size=(96, 64))
        tracemalloc.start()
        restored(given, tmp_path / f"large{frames}.mp4", segment=10)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.5 * peaks[0]
    assert not list(tmp_path.rglob("*.png"))


def test_other_settings_another_process_and_a_full_disk_are_refused(tmp_path, monkeypatch):
    given = write_clip(tmp_path / "clip.mp4")
    output = tmp_path / "large.mkv"
    with pytest.raises(RuntimeError):
        restored(given, output, nearest=Nearest(fails_at=4), segment=3)
    with pytest.raises(ValueError, match=r"begun with other settings: .*smoothing was False, is True"):
        restored(given, output, smoothing=True, segment=3)
    with FileLock(tmp_path / ".large.mkv.restoring" / "lock"), pytest.raises(ValueError, match="another process"):
        restored(given, output, segment=3)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: shutil._ntuple_diskusage(9, 9, 0))
    with pytest.raises(ValueError, match=r"the disk has 0.0 GB left"):
        restored(given, output, segment=3)
    monkeypatch.undo()
    restored(given, output, segment=3)
    with pytest.raises(ValueError, match=r"begun with other settings: .*scale was 2, is 3"):
        restored(given, output, scale=3, segment=3)
    output.unlink()
    output.write_text("mine")
    shutil.rmtree(tmp_path / ".restored")
    with pytest.raises(ValueError, match="not of srlab restore"):
        restored(given, output, segment=3)


def test_what_a_container_loses_on_the_way_is_named(tmp_path, monkeypatch):
    from sr_lab.inference.video import joining

    given = write_clip(tmp_path / "clip.mkv", **EVERYTHING)
    monkeypatch.setattr(joining, "_tell", lambda stream, copy: None)
    monkeypatch.setattr(joining, "payload", lambda content, kind: content + b"!")
    result = restored(given, tmp_path / "large.mkv")
    assert any("language of stream 2" in each and "deu" in each for each in result.problems)
    assert any("contents were changed" in each for each in result.problems)


@pytest.fixture
def command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> tuple[int, str, str]:
        code = main(["restore", *words])
        said = capsys.readouterr()
        return code, said.out, said.err

    return run


def test_one_command_with_the_model_that_comes_along(command):
    write_clip(Path("clip.mp4"), frames=3, audio=("eng",))
    code, out, err = command("input=clip.mp4", "output=large.mkv", "engine=torch")
    assert (code, out) == (0, "3 frames of 192x128: large.mkv\n")
    assert "caution: mkv counts milliseconds" in err
    assert (
        command("input=clip.mp4", "output=large.mkv", "engine=torch")[1] == "3 frames of 192x128: large.mkv, is there\n"
    )
    code, out, _ = command("input=clip.mp4", "output=other.mp4", "restorer=bicubic", "scale=2", "dry_run=true")
    assert (code, Path("other.mp4").exists()) == (0, False)
    assert out.startswith("about 3 frames of 96x64: about 0.00 GB are needed for other.mp4")


def test_the_command_says_what_was_lost_and_fails(command):
    cut(write_clip(Path("clip.mkv"), frames=24, time_base=MS, codec_options={"g": "6"}), 0.6)
    code, _, err = command("input=clip.mkv", "output=out/", "restorer=bicubic", "scale=2", "smoothing=true")
    assert code == 1
    assert "srlab restore: clip.mkv is damaged or was cut off" in err
    assert Path("out/clip.mkv").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["format=png"], "the suffix of output tells the container"),
        (["quality=50"], "give video.crf"),
        (["consistency=exact"], "is for images"),
        (["launcher=slurm"], "leave launcher out"),
        (["video.codek=h265"], "video.codec"),
    ],
)
def test_the_command_refuses_what_is_for_images(command, words, said):
    write_clip(Path("clip.mp4"), frames=1)
    code, _, err = command("input=clip.mp4", "output=large.mkv", "restorer=bicubic", "scale=2", *words)
    assert code
    assert said in err


def test_a_turned_clip_gets_the_width_that_players_show(command):
    write_clip(Path("clip.mp4"), frames=1, rotation=90)
    assert command("input=clip.mp4", "output=large.mp4", "restorer=bicubic", "width=128")[1].startswith(
        "1 frame of 192x128"
    )
