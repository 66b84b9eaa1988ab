"""What the output of a video will be: codec, pixel format, tracks; decided or refused before anything is computed."""

import io
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from sr_lab.inference.video.encoding import CODECS, LEAST_H265, Codec, EncoderSettings
from sr_lab.inference.video.facts import Colours, Track, VideoFacts, open_video
from sr_lab.inference.video.library import CONTAINERS, VideoError, load_av

Way = Literal["copy", "to_srt", "to_mov_text"]
_MATRIX_TAGS = {"bt601": 6, "bt709": 1}
_HD_HEIGHT = 720


@dataclass(frozen=True)
class VideoPlan:
    """What is to be written.

    Attributes:
        facts: What it is made of.
        output: The file.
        encoder: How pictures are encoded.
        tracks: What becomes of the streams beside the picture that are kept, by their number.
        cautions: A sentence for each thing that the output has in another way, or not.
    """

    facts: VideoFacts
    output: Path
    encoder: EncoderSettings
    tracks: dict[int, Way]
    cautions: tuple[str, ...]


def plan_video(
    facts: VideoFacts,
    output: Path,
    *,
    size: tuple[int, int],
    codec: Codec | None = None,
    crf: int | None = None,
    preset: str | None = None,
    deinterlace: bool = False,
    drop: bool = False,
) -> VideoPlan:
    """Decides on the output.

    Args:
        facts: Of the input.
        output: A file; its suffix tells the container.
        size: Height and width of the enlarged picture.
        codec: Of the picture; None for H.264, H.265 where samples have more than 8 bits (if not tiny), VP9 in WebM.
        crf: Quality, lower is better; None for nearly transparent. FFV1 and ProRes take none.
        preset: Of the encoder; None for its middle one.
        deinterlace: Whether interlaced pictures are made whole ones.
        drop: Whether tracks that the container cannot hold are left out; otherwise they refuse.

    Raises:
        VideoError: If the output cannot hold what the input has, or the input is of a kind that is not handled.
    """
    suffix = output.suffix[1:].lower()
    if suffix not in CONTAINERS:
        raise VideoError(
            f"output={output}: .{suffix} is no container that is written ({', '.join(CONTAINERS)}): mkv "
            "holds everything"
        )
    _check_kind(facts, deinterlace)
    cautions: list[str] = []
    name = codec or _usual(suffix, facts, size[1])
    if name not in CODECS:
        raise VideoError(f"video.codec={name}: one of {', '.join(CODECS)}")
    for key, value, usual in (("crf", crf, CODECS[name].crf), ("preset", preset, CODECS[name].preset)):
        if value is not None and usual is None:
            raise VideoError(f"video.{key}={value}: {name} has none, leave it out")
    pix_fmt = _pix_fmt(facts, name, cautions)
    colours = colours_of(facts, size, cautions)
    width, height = _even(size, pix_fmt, cautions)
    encoder = EncoderSettings(
        codec=name,
        width=width,
        height=height,
        pix_fmt=pix_fmt,
        time_base=facts.time_base,
        rate=facts.rate or Fraction(25),
        aspect=facts.aspect,
        colours=colours,
        crf=crf,
        preset=preset,
    )
    _check_codec(encoder, suffix)
    if facts.aspect != 1 and suffix in ("mkv", "webm") and name in ("vp9", "ffv1", "av1"):
        raise VideoError(
            f"{facts.file} has pixels of {facts.aspect.numerator}:{facts.aspect.denominator}, which {suffix} cannot "
            f"tell of {name}: give video.codec=h264 or h265{', in .mkv' if suffix == 'webm' else ''}"
        )
    if facts.alpha:
        cautions.append("transparency is left out: the picture is stored without alpha")
    if facts.interlaced:
        cautions.append("interlaced pictures were made whole ones (bwdif), as many as there are")
    if facts.rate is None:
        cautions.append("the file tells no frame rate: 25 frames a second are assumed where times are missing")
    _check_clock(facts, suffix, cautions)
    tracks = _tracks(facts, suffix, cautions, drop=drop)
    return VideoPlan(facts, output, encoder, tracks, tuple(cautions))


def _check_kind(facts: VideoFacts, deinterlace: bool) -> None:
    if facts.hdr:
        raise VideoError(
            f"{facts.file} has high dynamic range ({facts.hdr}), for which no restorer here was trained or measured: "
            "convert it to SDR first (FFmpeg's zscale and tonemap)"
        )
    if facts.interlaced and not deinterlace:
        raise VideoError(
            f"{facts.file} is interlaced: enlarged as it is, its combs would become part of the picture; give "
            "video.deinterlace=true, which makes each picture a whole one (bwdif)"
        )


def _usual(suffix: str, facts: VideoFacts, width: int) -> Codec:
    if suffix == "webm":
        return "vp9"
    return "h265" if facts.layout.bits > 8 and width >= LEAST_H265 else "h264"


def _pix_fmt(facts: VideoFacts, codec: Codec, cautions: list[str]) -> str:
    """The encoder's pixel format that comes nearest to the frames'."""
    able = {format.name for format in load_av().Codec(CODECS[codec].encoder, "w").video_formats or ()}
    if codec == "h264":
        able = {name for name in able if not name.startswith("gray")}  # its decoders give 4:2:0 back
    layout, wanted = facts.layout, facts.working
    if layout.kind == "rgb" and wanted not in able:
        wanted = "yuv444p" if layout.bits == 8 else f"yuv444p{min(layout.bits, 16)}le"
        cautions.append("RGB colours are stored as YCbCr 4:4:4 (BT.709), which rounds them once")
    if wanted in able:
        return wanted
    depths = [each for each in (8, 10, 12, 16) if each >= layout.bits] + [
        each for each in (12, 10, 8) if each < layout.bits
    ]
    base = wanted.removesuffix("le").rstrip("0123456789") if layout.bits > 8 else wanted
    bases = {"gray": ["gray", "yuv420p", "yuv422p"], "yuv420p": ["yuv420p", "yuv422p", "yuv444p"]}
    bases |= {"yuv422p": ["yuv422p", "yuv444p", "yuv420p"], "yuv444p": ["yuv444p", "yuv422p", "yuv420p"]}
    for bits in depths:
        for form in bases[base]:
            name = form if bits == 8 else f"{form}{bits}le"
            if name in able:
                coarser = form == "yuv420p" and base in ("yuv422p", "yuv444p")
                if bits < layout.bits or coarser or (form == "yuv422p" and base == "yuv444p"):
                    cautions.append(f"{codec} cannot hold {facts.pix_fmt}: the picture is stored as {name}")
                return name
    raise VideoError(f"video.codec={codec} cannot hold pictures like {facts.pix_fmt}: give video.codec=h264 or ffv1")


def colours_of(facts: VideoFacts, size: tuple[int, int], cautions: list[str]) -> Colours:
    """The input's tags; a matrix that is not told is named where players would take another one for the larger size."""
    own, layout = facts.colours, facts.layout
    if layout.kind == "rgb":
        return Colours(1, own.primaries, own.curve, 1)
    if layout.kind == "yuv" and own.matrix in (0, 2):
        guessed = "bt709" if size[0] >= _HD_HEIGHT else "bt601"
        if guessed != layout.matrix:
            cautions.append(
                f"the file does not tell its colour matrix; players take {layout.matrix.upper()} for its size, which "
                "is now written, as they would take another one for the larger size"
            )
            return Colours(_MATRIX_TAGS[layout.matrix], own.primaries, own.curve, 2 if layout.full else own.range)
    return Colours(own.matrix if own.matrix else 2, own.primaries, own.curve, 2 if layout.full else own.range)


def _even(size: tuple[int, int], pix_fmt: str, cautions: list[str]) -> tuple[int, int]:
    """Width and height that chroma planes of half the size allow."""
    height, width = size
    wide, tall = width, height
    if pix_fmt.startswith(("yuv420p", "yuv422p")):
        wide += width % 2
    if pix_fmt.startswith("yuv420p"):
        tall += height % 2
    if (wide, tall) != (width, height):
        cautions.append(
            f"{width}x{height} is odd, which {pix_fmt} cannot hold: the last column or row is written twice "
            f"({wide}x{tall})"
        )
    return wide, tall


def _check_codec(encoder: EncoderSettings, suffix: str) -> None:
    """Opens the encoder, and lets the container take its stream."""
    from sr_lab.inference.video.encoding import add_video_stream

    encoder.make()
    with _trial(suffix) as container:
        try:
            add_video_stream(container, encoder)
            container.start_encoding()
        except (load_av().error.FFmpegError, ValueError) as error:
            raise VideoError(f"{suffix} files hold no video of video.codec={encoder.codec}: give .mkv") from error


def _check_clock(facts: VideoFacts, suffix: str, cautions: list[str]) -> None:
    base = facts.time_base
    if suffix in ("mkv", "webm") and (1000 * base).denominator != 1 and "matroska" not in facts.container:
        cautions.append(
            f"{suffix} counts milliseconds: times are within 0.5 ms of the input's; mp4 and mov keep them exactly"
        )


def _trial(suffix: str) -> Any:
    """A container in memory that is thrown away."""
    return load_av().open(io.BytesIO(), "w", format=CONTAINERS[suffix])


def _tracks(facts: VideoFacts, suffix: str, cautions: list[str], *, drop: bool) -> dict[int, Way]:
    ways: dict[int, Way] = {}
    lost: list[Track] = []
    with open_video(facts.file) as given:
        for track in facts.tracks:
            if track.kind == "data" or track.kind == "unknown":
                if "text" not in (track.codec or "text") or not facts.chapters:
                    cautions.append(f"{track.title} is no sound, text or picture, and left out")
                continue
            way = _way(given.streams[track.index], track, suffix)
            if way is None:
                lost.append(track)
            else:
                ways[track.index] = way
                if way == "to_mov_text":
                    cautions.append(f"{track.title} becomes mov_text, the subtitles of {suffix}: words and times stay")
                elif way == "to_srt":
                    cautions.append(
                        f"{track.title} becomes SubRip, as {suffix} holds no mov_text: words and times stay"
                    )
                elif track.kind == "video":
                    cautions.append(f"{track.title} is a second video, which is kept as it is")
    if lost and not drop:
        names = "; ".join(track.title for track in lost)
        raise VideoError(
            f"{suffix} files cannot hold {names} of {facts.file}: give an output that ends in .mkv, or "
            "video.drop=true to leave it out"
        )
    cautions.extend(f"{track.title} is left out, as {suffix} cannot hold it" for track in lost)
    return ways


def _way(stream: Any, track: Track, suffix: str) -> Way | None:
    """How a track gets into the container; None where it cannot."""
    if track.kind == "attachment":
        return "copy" if suffix == "mkv" else None
    if track.kind == "subtitle":
        if track.codec in ("subrip", "srt", "text") and suffix in ("mp4", "m4v", "mov"):
            return "to_mov_text"
        if track.codec == "mov_text" and suffix == "mkv":
            return "to_srt"
    with _trial(suffix) as container:
        try:
            container.add_stream_from_template(stream)
            container.start_encoding()
        except (load_av().error.FFmpegError, ValueError, RuntimeError):
            return None
    return "copy"
