"""Video codecs through PyAV, on a single frame or a clip."""

import importlib
import math
from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any, ClassVar, Literal

import cv2
import numpy as np
import numpy.typing as npt

from sr_lab.base.extras import install
from sr_lab.base.randomness import Floats
from sr_lab.base.words import counted
from sr_lab.degradations.compression import Bytes, to_bytes, to_floats
from sr_lab.degradations.operation import Array, Operation, Sample, Size
from sr_lab.degradations.ranges import Range, between, bounds, integer_bounds, integers

Codec = Literal["h264", "h265", "mpeg4", "mpeg2"]
_ENCODERS = {"h264": "libx264", "h265": "libx265", "mpeg4": "mpeg4", "mpeg2": "mpeg2video"}
_DECODERS = {"h264": "h264", "h265": "hevc", "mpeg4": "mpeg4", "mpeg2": "mpeg2video"}
_QUALITIES = {"h264": (0, 51), "h265": (0, 51), "mpeg4": (1, 31), "mpeg2": (1, 31)}
_LEAST_SIDE = 64


def code_clip(
    frames: Sequence[Bytes],
    *,
    codec: Codec,
    quality: int = 23,
    bits: float | None = None,
    gop: int | None = None,
    b_frames: int | None = None,
) -> list[Bytes]:
    """Encodes and decodes a clip, in memory, on one thread (so that equal input gives equal output).

    Args:
        frames: (H, W, 3) RGB or (H, W, 1) grey, all of one size; odd or tiny ones are continued at the right and bottom
            for the codec.
        codec: see ``Codec``; the first frame is coded by itself, the others also from their neighbours.
        quality: CRF of H.264 and H.265 (0..51), fixed quantiser of MPEG-2 and MPEG-4 (1..31); higher is worse.
        bits: Bits a pixel on average, instead of the quality; web video has 0.03 to 0.1.
        gop: Most frames from one that is coded by itself to the next; None for the encoder's own.
        b_frames: Most frames in a row that are predicted from both sides; None for the encoder's own.

    Returns:
        As many frames of the same size.

    Raises:
        ValueError: if the frames are not RGB or grey of one size, or PyAV or its encoder is missing.
    """
    av = _load(codec)
    shapes = {frame.shape for frame in frames}
    if len(shapes) != 1 or (shape := shapes.pop())[2] not in (1, 3):
        raise ValueError(
            f"{codec} takes RGB or grey frames of one size, got {[frame.shape for frame in frames][:3]}: leave "
            "VideoCodec out"
        )
    pixels = "rgb24" if shape[2] == 3 else "gray"
    height, width = (max(_LEAST_SIDE, -(-side // 2) * 2) for side in shape[:2])
    pad = ((0, height - shape[0]), (0, width - shape[1]), (0, 0))
    encoder = av.CodecContext.create(_ENCODERS[codec], "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.time_base, encoder.framerate, encoder.thread_count = Fraction(1, 25), Fraction(25), 1
    if codec in ("h264", "h265"):
        more = {"x265-params": "log-level=none:pools=none:frame-threads=1"} if codec == "h265" else {}
        if codec == "h264" and len(frames) > 1:
            more = {
                "x264-params": "mbtree=0"
            }  # with B frames its tree gives other bytes for equal clips; images have none
        encoder.options = more if bits is not None else {"crf": str(quality), **more}
    elif bits is None:
        encoder.options = {"qmin": str(quality), "qmax": str(quality)}
        encoder.bit_rate = 1_000_000_000
    if bits is not None:
        encoder.bit_rate = max(1000, round(bits * height * width * 25))
    if gop is not None:
        encoder.gop_size = gop
    if b_frames is not None:
        encoder.max_b_frames = b_frames
    packets = []
    for number, frame in enumerate(frames):
        padded = np.pad(frame, pad, mode="edge")
        picture = av.VideoFrame.from_ndarray(padded if shape[2] == 3 else padded[:, :, 0], format=pixels)
        picture.pts = number
        packets += encoder.encode(picture)
    packets += encoder.encode(None)
    decoder = av.CodecContext.create(_DECODERS[codec], "r")
    decoder.thread_count = 1
    if encoder.extradata:
        decoder.extradata = encoder.extradata
    pictures = [picture for packet in [*packets, None] for picture in decoder.decode(packet)]
    if len(pictures) != len(frames):
        raise RuntimeError(f"{codec} gave {len(pictures)} of {counted(len(frames), 'frame')} back")
    return [
        picture.to_ndarray(format=pixels).reshape(height, width, -1)[: shape[0], : shape[1]] for picture in pictures
    ]


class VideoCodec(Operation):
    """A video codec; an image is a clip of one frame, ``pair_clip`` codes clips as a whole.

    On a GPU samples make a detour through the host.

    Args:
        codec: ``h264``, ``h265``, ``mpeg4`` or ``mpeg2``.
        quality: Range of the quality, whole numbers: CRF (0..51) of H.264 and H.265, quantiser (1..31) of the others;
            higher is worse.
        bits: Range of bits a pixel, drawn by its logarithm, instead of the quality; null codes by quality.
        gop: Range of the most frames between two that are coded by themselves; null for the encoder's own.
        b_frames: Range of the most frames in a row that are predicted from both sides; null for the encoder's own.
        start: Range of the place of a clip's first frame in what is coded: so many frames, the clip's own mirrored, are
            coded before it and thrown away, so that clips do not always begin at a frame that is coded by itself.
        probability: Probability that a sample is coded.

    Raises:
        ValueError: if the codec is unknown, PyAV or its encoder is missing, or the quality is out of range.
    """

    num_uniforms: ClassVar[int] = 5
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {"quality": (0, 51)}

    def __init__(
        self,
        *,
        codec: Codec,
        quality: Range = 23,
        bits: Range | None = None,
        gop: Range | None = None,
        b_frames: Range | None = None,
        start: Range = 0,
        probability: float = 1.0,
    ) -> None:
        super().__init__(probability=probability)
        self.codec, self.quality = codec, quality
        self.bits, self.gop, self.b_frames, self.start = bits, gop, b_frames, start
        self._bits = None if bits is None else bounds("bits", bits, low=1e-3, high=100)
        self._whole = {
            name: integer_bounds(name, value, low=low, high=high)
            for name, value, low, high in (
                ("gop", gop, 1, 1000), ("b_frames", b_frames, 0, 16), ("start", None if start == 0 else start, 0, 100)
            )
            if value is not None
        }  # fmt: skip
        if codec not in _ENCODERS:
            raise ValueError(f"codec={codec!r} is not known: choose from {', '.join(_ENCODERS)}")
        low, high = _QUALITIES[codec]
        self._quality = integer_bounds("quality", quality, low=low, high=high)
        _load(codec)

    def parameters(self, uniform: Floats) -> dict[str, npt.NDArray[Any]]:
        """Quality, an integer; bits, GOP, B frames and start where they are drawn."""
        drawn: dict[str, npt.NDArray[Any]] = {"quality": integers(uniform[:, 0], self._quality)}
        for place, (name, limits) in enumerate(self._whole.items(), start=1):
            drawn[name] = integers(uniform[:, place], limits)
        if self._bits is not None:
            low, high = (math.log(bound) for bound in self._bits)
            drawn["bits"] = np.exp(between(uniform[:, 4], (low, high)))
        return drawn

    def degrade(self, image: Array, sample: Sample, *, high: Size) -> Array:
        """(H, W, C) as a clip of one frame."""
        return self.degrade_clip([image], sample, high=high)[0]

    def degrade_clip(self, frames: list[Array], sample: Sample, *, high: Size) -> list[Array]:
        """The clip as a whole: frames are predicted from their neighbours."""
        height, width = frames[0].shape[:2]
        pictures = [to_bytes(_sized(frame, height, width)) for frame in frames]
        before = mirrored(len(pictures), int(sample.get("start", 0)))
        coded = code_clip(
            [*(pictures[number] for number in before), *pictures],
            codec=self.codec,
            quality=int(sample["quality"]),
            bits=sample.get("bits"),
            gop=None if "gop" not in sample else int(sample["gop"]),
            b_frames=None if "b_frames" not in sample else int(sample["b_frames"]),
        )
        return [to_floats(frame) for frame in coded[len(before) :]]


def mirrored(count: int, before: int) -> list[int]:
    """Numbers of the frames that lead up to frame 0 of a clip of ``count`` frames, which is played back and forth.

    Example:
        >>> mirrored(3, 5)
        [1, 0, 1, 2, 1]
    """
    if count == 1:
        return [0] * before
    period = 2 * (count - 1)
    return [min(place % period, period - place % period) for place in range(before, 0, -1)]


def _sized(frame: Array, height: int, width: int) -> Array:
    """Frames of a clip whose sizes wander get the first one's, as an encoder asks for."""
    if frame.shape[:2] == (height, width):
        return frame
    sized = cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(sized.reshape(height, width, -1), np.float32)


def _load(codec: str) -> Any:
    """PyAV, if it is there and can write ``codec``."""
    try:
        av = importlib.import_module("av")
    except ImportError as error:
        raise ValueError(f"codec={codec!r} needs PyAV: {install('av')}, or leave VideoCodec out") from error
    if _ENCODERS[codec] not in av.codecs_available:
        raise ValueError(f"codec={codec!r}: this PyAV has no {_ENCODERS[codec]}: install its wheel from PyPI")
    av.logging.set_level(av.logging.PANIC)
    return av
