"""Encoding pictures: one codec with fixed settings, so that equal pictures become equal bytes on every machine."""

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import Any, Literal

import numpy as np

from sr_lab.images.yuv import PixelLayout, Planes
from sr_lab.inference.video.facts import Colours
from sr_lab.inference.video.library import VideoError, load_av, reason

Codec = Literal["h264", "h265", "av1", "vp9", "ffv1", "prores"]
LEAST_H265 = 64
"""Width below which x265 writes beyond its memory now and then, and ends the process (PyAV's wheel 18.1)."""
THREADS = 4
"""Of an encoder, on every machine: what x264 and x265 write depends on it."""
_GLOBAL_HEADER = 1 << 22
_DEPTH = re.compile(r"^(?:yuv\d+p|gbrp|gray)|le$")


@dataclass(frozen=True)
class _Kind:
    encoder: str
    crf: int | None = None
    preset: str | None = None
    options: dict[str, str] = field(default_factory=dict)


CODECS: dict[Codec, _Kind] = {
    "h264": _Kind("libx264", 16, "medium", {"x264-params": "mbtree=0"}),  # its tree makes other bytes of equal pictures
    "h265": _Kind("libx265", 18, "medium", {"x265-params": "log-level=none:frame-threads=2:open-gop=0"}),
    "av1": _Kind("libsvtav1", 20, "8", {"svtav1-params": "lp=2"}),
    "vp9": _Kind("libvpx-vp9", 20, None, {"b": "0", "deadline": "good", "cpu-used": "4", "auto-alt-ref": "0"}),
    "ffv1": _Kind("ffv1", None, None, {"level": "3", "slicecrc": "1"}),
    "prores": _Kind("prores_ks", None, None, {"vendor": "apl0"}),
}
"""Encoders, and their usual quality and preset."""


@dataclass(frozen=True)
class EncoderSettings:
    """All that decides over the encoded bytes, but for the pictures.

    Attributes:
        codec: See ``CODECS``.
        width: Columns.
        height: Rows.
        pix_fmt: FFmpeg's pixel format.
        time_base: Seconds of a tick.
        rate: Frames a second, for the encoder's estimates.
        aspect: Width of a pixel by its height.
        colours: Tags.
        crf: Quality; None for the codec's usual one.
        preset: The encoder's; None for the usual one.
    """

    codec: Codec
    width: int
    height: int
    pix_fmt: str
    time_base: Fraction
    rate: Fraction
    aspect: Fraction
    colours: Colours
    crf: int | None = None
    preset: str | None = None

    def make(self) -> Any:
        """An open encoder.

        Raises:
            VideoError: If the encoder does not take these settings.
        """
        if self.codec == "h265" and self.width < LEAST_H265:
            raise VideoError(
                f"video.codec=h265: its encoder fails on pictures of {self.width}x{self.height}, which are less than "
                f"{LEAST_H265} wide: give video.codec=h264"
            )
        av = load_av()
        context = av.CodecContext.create(CODECS[self.codec].encoder, "w")
        self.fill(context)
        try:
            context.open()
        except (av.error.FFmpegError, ValueError) as error:
            size = f"{self.width}x{self.height} of {self.pix_fmt}"
            raise VideoError(
                f"video.codec={self.codec} (crf {self.crf}, preset {self.preset}) does not take pictures of {size} "
                f"({reason(error)}): give another codec, crf or preset"
            ) from error
        return context

    def fill(self, context: Any) -> None:
        """Gives the settings to an encoder that is not open yet."""
        kind = CODECS[self.codec]
        context.width, context.height, context.pix_fmt = self.width, self.height, self.pix_fmt
        context.time_base, context.framerate = self.time_base, self.rate
        context.sample_aspect_ratio = self.aspect
        context.colorspace, context.color_primaries = self.colours.matrix, self.colours.primaries
        context.color_trc, context.color_range = self.colours.curve, self.colours.range
        context.thread_count = THREADS
        context.flags |= _GLOBAL_HEADER
        options = dict(kind.options)
        if kind.crf is not None:
            options["crf"] = str(kind.crf if self.crf is None else self.crf)
        preset = self.preset or kind.preset
        if preset is not None:
            options["preset"] = preset
        if self.codec == "prores" and "444" in self.pix_fmt:
            options["profile"] = "4"
        context.options = options

    def plain(self) -> dict[str, Any]:
        """As plain values, for a manifest."""
        return {
            key: str(value) if isinstance(value, Fraction) else value
            for key, value in (asdict(self) | {"threads": THREADS}).items()
        }


def add_video_stream(container: Any, settings: EncoderSettings) -> Any:
    """A stream of an output container for packets that encoders with these settings made."""
    stream = container.add_stream(CODECS[settings.codec].encoder, rate=settings.rate)
    settings.fill(stream.codec_context)
    stream.time_base = settings.time_base
    if settings.codec == "h265" and container.format.name in ("mp4", "mov", "ipod"):
        stream.codec_context.codec_tag = "hvc1"  # Apple's players ask for it
    return stream


def encoder_layout(settings: EncoderSettings, layout: PixelLayout) -> PixelLayout:
    """How the encoder's planes hold colours, where the input's hold them by ``layout``."""
    name = settings.pix_fmt
    bits = int(_DEPTH.sub("", name) or 8)
    if name.startswith("gray"):
        return PixelLayout("grey", bits, (0, 0), layout.matrix, layout.full)
    if name.startswith("gbrp"):
        return PixelLayout("rgb", bits, (0, 0), layout.matrix, True)
    shifts = {"yuv420p": (1, 1), "yuv422p": (1, 0), "yuv444p": (0, 0)}[name[:7]]
    return PixelLayout("yuv", bits, shifts, layout.matrix, layout.full and layout.kind != "rgb")


def picture_of(planes: Planes, settings: EncoderSettings, pts: int) -> Any:
    """Planes as a frame for an encoder; a plane that is too small by a row or column is continued by its edge."""
    av = load_av()
    frame = av.VideoFrame(settings.width, settings.height, settings.pix_fmt)
    for plane, values in zip(frame.planes, planes, strict=True):
        pad = (plane.height - values.shape[0], plane.width - values.shape[1])
        if any(pad):
            values = np.pad(values, ((0, pad[0]), (0, pad[1])), mode="edge")
        line = np.zeros((plane.height, plane.line_size // values.itemsize), values.dtype)
        line[:, : plane.width] = values
        plane.update(line.tobytes())
    colours = settings.colours
    frame.colorspace, frame.color_range = colours.matrix, colours.range
    frame.color_primaries, frame.color_trc = colours.primaries, colours.curve
    frame.pts, frame.time_base = pts, settings.time_base
    return frame


def encoded(encoder: Any, frame: Any) -> Sequence[Any]:
    """The packets that an encoder gives for a frame; those that are left for None.

    Raises:
        VideoError: If it fails.
    """
    try:
        return list(encoder.encode(frame))
    except (load_av().error.FFmpegError, ValueError) as error:
        raise VideoError(f"{encoder.name} failed ({reason(error)})") from error
