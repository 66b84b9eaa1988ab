"""What a video file is, before anything is made of it: its picture, its clock, its colours, and what lies beside."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from sr_lab.images.yuv import Matrix, PixelLayout
from sr_lab.inference.video.library import VideoError, load_av, reason

_MATRICES: dict[int, Matrix] = {1: "bt709", 4: "fcc", 5: "bt601", 6: "bt601", 7: "smpte240m", 9: "bt2020"}
_UNSPECIFIED = 2
_HD_HEIGHT = 720
_CURVES = {16: "PQ (HDR10)", 18: "HLG"}
_PROBED_FRAMES, _PROBED_PACKETS = 12, 600
_DEEP = {9: 10, 10: 10, 12: 12, 14: 16, 16: 16}


@dataclass(frozen=True)
class Track:
    """A stream beside the main picture.

    Attributes:
        index: Its number in the file.
        kind: ``audio``, ``subtitle``, ``attachment``, ``video``, ``cover`` or ``data``.
        codec: As FFmpeg calls it; empty where it is unknown.
        title: What a user knows it by.
    """

    index: int
    kind: str
    codec: str
    title: str


@dataclass(frozen=True)
class Colours:
    """Colour tags of a stream by FFmpeg's numbers, 2 where a tag is not specified; the range is 0 there."""

    matrix: int = _UNSPECIFIED
    primaries: int = _UNSPECIFIED
    curve: int = _UNSPECIFIED
    range: int = 0


@dataclass(frozen=True)
class VideoFacts:
    """What a video file is.

    Attributes:
        file: The file.
        container: FFmpeg's names of its format.
        index: Number of the main video stream.
        codec: Its codec.
        width: Columns of a picture as stored, not turned.
        height: Its rows.
        pix_fmt: FFmpeg's pixel format.
        working: The planar format that frames are converted to where theirs is another one.
        layout: How the planes of ``working`` hold colours.
        alpha: Whether there is transparency.
        time_base: Seconds of a tick of the stream's clock.
        rate: Frames a second on average; None where nobody knows.
        num_frames: As the header tells; 0 where it does not.
        seconds: Duration that the header tells; None where it does not.
        aspect: Width of a pixel by its height.
        matrix: How the picture is turned and flipped, FFmpeg's nine numbers; None where it is not.
        rotation: Degrees by which players turn the picture, anticlockwise.
        colours: Colour tags.
        interlaced: Whether pictures consist of two fields.
        hdr: Name of the transfer curve of high dynamic range; empty otherwise.
        tracks: The other streams.
        chapters: Number of chapters.
        metadata: Tags of the whole file.
        clocks: Seconds of a tick of every stream that has a clock.
    """

    file: Path
    container: str
    index: int
    codec: str
    width: int
    height: int
    pix_fmt: str
    working: str
    layout: PixelLayout
    alpha: bool
    time_base: Fraction
    rate: Fraction | None
    num_frames: int
    seconds: Fraction | None
    aspect: Fraction
    matrix: tuple[int, ...] | None
    rotation: int
    colours: Colours
    interlaced: bool
    hdr: str
    tracks: tuple[Track, ...] = ()
    chapters: int = 0
    metadata: dict[str, str] = field(default_factory=dict)
    clocks: tuple[Fraction, ...] = ()

    @property
    def expected_frames(self) -> int:
        """About how many frames there are; 0 where nobody knows."""
        if self.num_frames or self.seconds is None or self.rate is None:
            return self.num_frames
        return round(self.seconds * self.rate)


def open_video(file: Path) -> Any:
    """An open PyAV container for reading.

    Raises:
        VideoError: If the file is missing, or no video.
    """
    av = load_av()
    if not file.is_file():
        raise VideoError(f"input={file}: {'a folder, name one video file' if file.is_dir() else 'no such file'}")
    if not file.stat().st_size:
        raise VideoError(f"{file} is empty: nothing was written into it")
    try:
        return av.open(str(file), metadata_errors="replace")
    except (av.error.FFmpegError, OSError, ValueError) as error:
        text = f"{file} cannot be opened as a video ({reason(error)}): it is damaged, of another kind, or was cut off"
        raise VideoError(f"{text} before its index was written") from error


def read_facts(file: str | Path) -> VideoFacts:
    """Looks into a video file; its first pictures are decoded.

    Raises:
        VideoError: If it cannot be opened, holds no video, none of its first pictures can be decoded, or its colours
            are of a kind that is not handled.
    """
    file = Path(file)
    with open_video(file) as container:
        stream = main_stream(file, container)
        return facts_of(file, container, stream, _first_frames(load_av(), file, container, stream))


def facts_of(file: Path, container: Any, stream: Any, frames: Sequence[Any]) -> VideoFacts:
    """What an open container tells of its main picture, with the first frames that were decoded of it.

    Raises:
        VideoError: If its colours are of a kind that is not handled.
    """
    av = load_av()
    frame, context = frames[0], stream.codec_context
    format = av.VideoFormat(frame.format.name)
    tags = (frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range)
    colours = Colours(int(tags[0]), int(tags[1]), int(tags[2]), int(tags[3]))
    side = frame.side_data
    turned = side.get("DISPLAYMATRIX")
    matrix = None if turned is None else _matrix(bytes(turned))
    dolby = any("DOVI" in str(each.type) for each in side) or context.codec_tag in ("dvh1", "dvhe", "dav1")
    working, layout = _working(file, format, frame, colours)
    aspect = stream.sample_aspect_ratio or context.sample_aspect_ratio
    seconds = _seconds(container, stream)
    return VideoFacts(
        file=file,
        container=container.format.name,
        index=stream.index,
        codec=context.name,
        width=frame.width,
        height=frame.height,
        pix_fmt=frame.format.name,
        working=working,
        layout=layout,
        alpha=_has_alpha(format) or stream.metadata.get("alpha_mode") == "1",
        time_base=Fraction(stream.time_base),
        rate=_rate(stream),
        num_frames=int(stream.frames),
        seconds=seconds,
        aspect=Fraction(aspect) if aspect else Fraction(1),
        matrix=None if matrix == _UPRIGHT else matrix,
        rotation=int(frame.rotation),
        colours=colours,
        interlaced=any(each.interlaced_frame for each in frames),
        hdr="Dolby Vision" if dolby else _CURVES.get(colours.curve, ""),
        tracks=tuple(_track(each) for each in container.streams if each.index != stream.index),
        chapters=len(container.chapters()),
        metadata=dict(container.metadata),
        clocks=tuple(Fraction(each.time_base) for each in container.streams if each.time_base),
    )


_UPRIGHT = (1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)


def _matrix(raw: bytes) -> tuple[int, ...]:
    return tuple(int.from_bytes(raw[at : at + 4], "little", signed=True) for at in range(0, 36, 4))


def _is_cover(stream: Any) -> bool:
    return bool(int(stream.disposition) & 0x400)  # attached_pic


def main_stream(file: Path | str, container: Any) -> Any:
    """The stream of an open container that is the picture.

    Raises:
        VideoError: If there is none, or no decoder for it.
    """
    if not len(container.streams):
        raise VideoError(
            f"{file} cannot be read as a video: it was cut off before its index was written, or is damaged"
        )
    moving = [stream for stream in container.streams.video if not _is_cover(stream)]
    if not moving:
        others = ", ".join(_track(each).title for each in container.streams) or "nothing at all"
        raise VideoError(f"{file} holds no video, but {others}")
    best = container.streams.best("video")
    stream = best if best is not None and not _is_cover(best) else moving[0]
    if stream.codec_context is None or stream.codec_context.name in (None, "none"):
        raise VideoError(f"{file}: there is no decoder for its video (an unknown codec)")
    return stream


def _first_frames(av: Any, file: Path, container: Any, stream: Any) -> list[Any]:
    frames: list[Any] = []
    said = "it holds no picture"
    try:
        for number, packet in enumerate(container.demux(stream)):
            try:
                frames += packet.decode()
            except av.error.FFmpegError as error:
                said = reason(error)
            if len(frames) >= _PROBED_FRAMES or number > _PROBED_PACKETS:
                break
    except av.error.FFmpegError as error:
        said = reason(error)
    if not frames:
        raise VideoError(f"{file}: none of its first pictures can be decoded ({said})")
    return frames


def _track(stream: Any) -> Track:
    context = getattr(stream, "codec_context", None)
    codec = "" if context is None else str(context.name)
    kind = "cover" if stream.type == "video" and _is_cover(stream) else str(stream.type)
    name = stream.metadata.get("filename") or stream.metadata.get("title") or ""
    language = stream.metadata.get("language", "")
    words = [kind, codec, language if language != "und" else "", f"“{name}”" if name else ""]
    return Track(stream.index, kind, codec, f"stream {stream.index} ({' '.join(word for word in words if word)})")


def _rate(stream: Any) -> Fraction | None:
    for rate in (stream.average_rate, stream.guessed_rate, stream.base_rate):
        if rate and 0 < rate <= 1000:
            return Fraction(rate)
    return None


def _seconds(container: Any, stream: Any) -> Fraction | None:
    if stream.duration:
        return Fraction(stream.duration * stream.time_base)
    return Fraction(container.duration, 1_000_000) if container.duration else None


def _has_alpha(format: Any) -> bool:
    return any(component.is_alpha for component in format.components)


def _working(file: Path, format: Any, frame: Any, colours: Colours) -> tuple[str, PixelLayout]:
    """The planar format in which frames are worked on, and what its planes mean."""
    colourful = [component for component in format.components if not component.is_alpha]
    bits = max((component.bits for component in colourful), default=8)
    deep = next((bits for most, bits in sorted(_DEEP.items()) if most >= bits), 16) if bits > 8 else 8
    end = "" if deep == 8 else f"{deep}le"
    full = colours.range == 2 or format.name.startswith("yuvj")
    if format.is_rgb or format.has_palette:
        return f"gbrp{end}", PixelLayout("rgb", deep, (0, 0), "bt709", True)
    if len(colourful) == 1:
        return f"gray{end}", PixelLayout("grey", deep, (0, 0), "bt709", full or colours.range == 0)
    if colours.matrix not in (_UNSPECIFIED, 0, *_MATRICES):
        raise VideoError(
            f"{file}: its colours are of matrix {colours.matrix} of ITU-T H.273, which is not handled: convert them "
            "to BT.709 first"
        )
    matrix = _MATRICES.get(colours.matrix) or ("bt709" if frame.height >= _HD_HEIGHT else "bt601")
    shifts = (int(format.chroma_width(16) < 16), int(format.chroma_height(16) < 16))
    if shifts == (0, 1):
        shifts = (0, 0)
    name = {(1, 1): "yuv420p", (1, 0): "yuv422p", (0, 0): "yuv444p"}[shifts]
    return f"{name}{end}", PixelLayout("yuv", deep, shifts, matrix, full)
