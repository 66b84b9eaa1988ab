"""Tiny video files of every kind, made by PyAV, and what a file holds, told independently of sr_lab."""

import hashlib
from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

try:
    import av

    av.logging.set_level(av.logging.PANIC)
except ImportError:
    av = None

CHAPTERS = [("one", 0, 100), ("two", 100, 250)]
ASS = b"""[Script Info]
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize
Style: Default,Arial,16

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
"""


def picture(number: int, width: int, height: int) -> np.ndarray:
    """A smooth pattern that moves by a pixel a frame, (h, w, 3) of uint8."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    x = x + number
    waves = [np.sin(x / 5) + np.cos(y / 7), np.sin((x + y) / 9), np.cos(x / 11) * np.sin(y / 4)]
    return np.clip(128 + 50 * np.stack(waves, axis=-1), 0, 255).astype(np.uint8)


def write_clip(
    path: Path,
    *,
    frames: int = 8,
    size: tuple[int, int] = (48, 32),
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    format: str | None = None,
    options: dict[str, str] | None = None,
    codec_options: dict[str, str] | None = None,
    rate: Fraction | int = 25,
    time_base: Fraction = Fraction(1, 90000),
    times: Sequence[int] | None = None,
    start: int = 0,
    rotation: float = 0,
    flip: bool = False,
    aspect: Fraction | None = None,
    colours: tuple[int, int, int, int] | None = None,
    audio: Sequence[str] = (),
    audio_codec: str = "aac",
    audio_start: float = 0.0,
    audio_first: bool = False,
    subtitles: str | None = None,
    attachments: Sequence[tuple[str, bytes]] = (),
    chapters: bool = False,
    cover: bool = False,
    second: bool = False,
    metadata: dict[str, str] | None = None,
    pictures: Callable[[int, int, int], np.ndarray] = picture,
) -> Path:
    """Writes a clip of H.264 or another codec with whatever is asked for beside it."""
    with av.open(str(path), "w", format=format, options={"fflags": "+bitexact", **(options or {})}) as made:
        sounds: list[Any] = []
        if audio_first:
            sounds = [_sound(made, language, audio_codec) for language in audio]
        stream = made.add_stream(codec, rate=rate, options=codec_options)
        context = stream.codec_context
        context.width, context.height, context.pix_fmt = *size, pix_fmt
        context.time_base = stream.time_base = time_base
        context.thread_count = 1
        if aspect:
            context.sample_aspect_ratio = aspect
        if colours:
            context.colorspace, context.color_primaries, context.color_trc, context.color_range = colours
        if rotation or flip:
            stream.set_display_rotation(rotation, hflip=flip)
        others = [_other(made, size, 0)] if second else []
        if not audio_first:
            sounds = [_sound(made, language, audio_codec) for language in audio]
        words = None if subtitles is None else _words(made, subtitles)
        for name, content in attachments:
            made.add_attachment(name, "font/ttf", content)
        front = _other(made, (16, 16), 0x400) if cover else None
        if chapters:
            made.set_chapters([_chapter(number, *each) for number, each in enumerate(CHAPTERS, 1)])
        made.metadata.update(metadata or {})
        packets = []
        step = round(1 / Fraction(rate) / time_base)
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(pictures(number, *size), format="rgb24")
            frame = frame.reformat(format=pix_fmt)
            frame.pts, frame.time_base = start + (times[number] if times else number * step), time_base
            packets += stream.encode(frame)
        packets += stream.encode(None)
        for other in others:
            packets += _still(other, size, 3)
        for sound in sounds:
            packets += _noise(sound, audio_start, frames * float(step * time_base))
        if words is not None:
            packets += _said(words, subtitles)
        if front is not None:
            packets += _still(front, (16, 16), 1)
        for packet in sorted(packets, key=lambda each: each.dts * each.time_base):
            made.mux(packet)
    return path


def _chapter(number: int, title: str, begin: int, end: int) -> dict[str, Any]:
    return {"id": number, "start": begin, "end": end, "time_base": Fraction(1, 1000), "metadata": {"title": title}}


def _sound(made: Any, language: str, codec: str) -> Any:
    sound = made.add_stream(codec, rate=48000)
    sound.codec_context.layout = "mono"
    sound.metadata["language"] = language
    return sound


def _noise(sound: Any, start: float, seconds: float) -> list[Any]:
    generator = np.random.default_rng(len(sound.metadata["language"]))
    count = sound.codec_context.frame_size or 1024
    form = sound.codec_context.format.name
    packets = []
    for number in range(max(2, round(seconds * 48000 / count))):
        values = generator.standard_normal((1, count)) * 0.1
        made = values.astype(np.float32) if form.startswith("flt") else (values * 20000).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(made, format=form, layout="mono")
        frame.sample_rate, frame.time_base = 48000, Fraction(1, 48000)
        frame.pts = round(start * 48000) + number * count
        packets += sound.encode(frame)
    return packets + sound.encode(None)


def _other(made: Any, size: tuple[int, int], disposition: int) -> Any:
    other = made.add_stream("mjpeg", rate=25)
    other.codec_context.width, other.codec_context.height, other.codec_context.pix_fmt = *size, "yuvj420p"
    other.disposition = disposition
    return other


def _still(stream: Any, size: tuple[int, int], count: int) -> list[Any]:
    packets = []
    for number in range(count):
        frame = av.VideoFrame.from_ndarray(picture(number, *size), format="rgb24").reformat(format="yuvj420p")
        frame.pts, frame.time_base = number, Fraction(1, 25)
        packets += stream.encode(frame)
    return packets + stream.encode(None)


def _words(made: Any, kind: str) -> Any:
    if kind in ("subrip", "webvtt"):
        words = made.add_mux_stream(kind)
    else:
        words = made.add_stream(kind)
        words.codec_context.subtitle_header = ASS
    words.time_base = Fraction(1, 1000)
    words.metadata["language"] = "eng"
    return words


def _said(words: Any, kind: str) -> list[Any]:
    packets = []
    for at, text in ((40, "Hello <i>there</i>"), (160, "Grüße")):
        content = text.encode()
        if kind == "mov_text":
            content = len(content).to_bytes(2, "big") + content
        if kind == "ass":
            content = b"0,0,Default,,0,0,0,," + content
        packet = av.Packet(content)
        packet.stream, packet.time_base = words, Fraction(1, 1000)
        packet.pts = packet.dts = at
        packet.duration = 80
        packets.append(packet)
    return packets


def contents(path: Path) -> dict[str, Any]:
    """What a file holds: times of pictures, sums of every sound track, words, chapters, attachments, tags."""
    with av.open(str(path)) as file:
        video = next(each for each in file.streams.video if not int(each.disposition) & 0x400)
        sounds: dict[int, Any] = {each.index: hashlib.md5() for each in file.streams.audio}
        starts: dict[int, Fraction] = {}
        times, words, frame = [], [], None
        for packet in file.demux():
            kind, content = packet.stream.type, bytes(packet)
            if packet.stream.index == video.index:
                for frame in packet.decode():
                    times.append(Fraction(len(times), 25) if frame.pts is None else frame.pts * video.time_base)
            elif kind == "audio" and content:
                body = content[7:] if content[0] == 0xFF and content[1] & 0xF6 == 0xF0 else content
                sounds[packet.stream.index].update(body)
                starts.setdefault(packet.stream.index, packet.pts * packet.time_base)
            elif kind == "subtitle" and content:
                text = content[2:] if packet.stream.codec_context.name == "mov_text" else content
                words += [(round(packet.pts * packet.time_base * 1000), text.decode())] if text else []
        matrix = frame.side_data.get("DISPLAYMATRIX")
        return {
            "times": times,
            "size": (frame.width, frame.height),
            "pix_fmt": frame.format.name.replace("yuvj", "yuv"),
            "codec": video.codec_context.name,
            "sound": [each.hexdigest() for each in sounds.values()],
            "offset": [each - times[0] for each in starts.values()],
            "languages": [each.metadata.get("language", "und") for each in file.streams.audio],
            "words": words,
            "chapters": [
                (each["metadata"].get("title"), round(each["start"] * each["time_base"] * 1000))
                for each in file.chapters()
            ],
            "attachments": [(each.metadata["filename"], each.data) for each in file.streams.attachments],
            "matrix": None if matrix is None else bytes(matrix),
            "aspect": video.sample_aspect_ratio or Fraction(1),
            "colours": tuple(int(getattr(frame, name)) for name in ("colorspace", "color_primaries", "color_trc")),
            "range": int(frame.color_range) or 1,
            "covers": sum(bool(int(each.disposition) & 0x400) for each in file.streams.video),
            "metadata": dict(file.metadata),
        }


def frames_of(path: Path) -> list[np.ndarray]:
    """The pictures of a file, (h, w, 3) of uint8."""
    with av.open(str(path)) as file:
        return [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]
