"""Still-picture codecs: the real ones on the CPU, a differentiable JPEG on the GPU."""

from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import cv2
import numpy as np
import numpy.typing as npt

from sr_lab.base.randomness import Floats, upload
from sr_lab.degradations.canvas import Canvas
from sr_lab.degradations.jpeg import code_canvas
from sr_lab.degradations.operation import Array, Columns, Operation, Sample, Size
from sr_lab.degradations.ranges import Range, integer_bounds, integers

Bytes = npt.NDArray[np.uint8]


def to_bytes(image: Array) -> Bytes:
    """[0, 1] to 0..255, rounded (half to even) and clamped; the shape is kept."""
    result: Bytes = cv2.convertScaleAbs(image, alpha=255).reshape(image.shape)
    return result


def to_floats(image: Bytes) -> Array:
    """0..255 to float32 in [0, 1]; (H, W) becomes (H, W, 1)."""
    floats = image * np.float32(1 / 255)
    return floats if floats.ndim == 3 else floats[:, :, None]


def code_picture(image: Bytes, suffix: str, flag: int, quality: int) -> Bytes:
    """Encodes and decodes a picture by OpenCV.

    Args:
        image: (H, W, 3) RGB or (H, W, 1) grey.
        suffix: of the format, ``.jpg`` for example.
        flag: OpenCV's name of the quality.
        quality: as the format counts it.

    Returns:
        The decoded picture, same shape.

    Raises:
        ValueError: if there are not 1 or 3 channels.
    """
    channels = image.shape[2]
    if channels == 3:
        _, data = cv2.imencode(suffix, cv2.cvtColor(image, cv2.COLOR_RGB2BGR), [flag, quality])
        return np.asarray(cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB))
    if channels != 1:
        raise ValueError(f"{suffix[1:]} stores 1 or 3 channels, the image has {channels}: leave the codec out")
    _, data = cv2.imencode(suffix, image, [flag, quality])
    return np.asarray(cv2.imdecode(data, cv2.IMREAD_GRAYSCALE))[:, :, None]


class _Picture(Operation):
    """A codec of single pictures with a quality of 1..100."""

    num_uniforms: ClassVar[int] = 1
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {"quality": (1, 100)}
    suffix: ClassVar[str]

    def __init__(self, *, quality: Range, probability: float = 1.0) -> None:
        super().__init__(probability=probability)
        self.quality = quality
        self._quality = integer_bounds("quality", quality, low=1, high=100)
        if not cv2.haveImageWriter(f"x{self.suffix}"):
            raise ValueError(
                f"OpenCV was built without {self.suffix[1:]}: install the opencv-python-headless wheel, or leave "
                f"{type(self).__name__} out"
            )

    def parameters(self, uniform: Floats) -> dict[str, npt.NDArray[Any]]:
        """Quality, an integer."""
        return {"quality": integers(uniform[:, 0], self._quality)}

    def degrade(self, image: Array, sample: Sample, *, high: Size) -> Array:
        """(H, W, C) through the codec, by way of 8 bits."""
        return to_floats(code_picture(to_bytes(image), self.suffix, self.flag(), int(sample["quality"])))

    @abstractmethod
    def flag(self) -> int:
        """OpenCV's name of the quality."""


class Jpeg(_Picture):
    """JPEG, 4:2:0, libjpeg-turbo's tables.

    On a GPU (and for gradients) the codec is :mod:`sr_lab.degradations.jpeg`, whose result differs from the real one by
    0.05 to 0.7 levels on average on photos (kornia's by 0.6 to 1.9); ``benchmarks/degradations.py`` prints both by
    quality.

    Args:
        quality: Range of the quality, whole numbers within 1..100.
        probability: Probability that a sample is compressed.
    """

    suffix: ClassVar[str] = ".jpg"

    def flag(self) -> int:
        """OpenCV's name of the quality."""
        return int(cv2.IMWRITE_JPEG_QUALITY)

    def degrade_canvas(self, canvas: Canvas, columns: Columns, *, high: Size) -> Canvas:
        """The batch through the differentiable codec; borders are continued to whole blocks, as libjpeg does."""
        return code_canvas(canvas, upload(columns["quality"], canvas.pixels.device))


class WebP(_Picture):
    """WebP, lossy (libwebp). On a GPU samples make a detour through the host.

    Args:
        quality: Range of the quality, whole numbers within 1..100.
        probability: Probability that a sample is compressed.
    """

    suffix: ClassVar[str] = ".webp"

    def flag(self) -> int:
        """OpenCV's name of the quality."""
        return int(cv2.IMWRITE_WEBP_QUALITY)


class Avif(_Picture):
    """AVIF (AV1 intra frames), where OpenCV has it. On a GPU samples make a detour through the host.

    Args:
        quality: Range of the quality, whole numbers within 1..100.
        probability: Probability that a sample is compressed.
    """

    suffix: ClassVar[str] = ".avif"

    def flag(self) -> int:
        """OpenCV's name of the quality."""
        return int(cv2.IMWRITE_AVIF_QUALITY)


class Quantise(Operation):
    """Rounds to 8 bits, as a file would; straight through for gradients.

    Args:
        levels: Number of levels that are kept.
    """

    def __init__(self, *, levels: int = 256) -> None:
        super().__init__()
        if levels < 2:
            raise ValueError(f"levels={levels}: must be at least 2")
        self.levels = levels

    def degrade(self, image: Array, sample: Sample, *, high: Size) -> Array:
        """(H, W, C) rounded and clamped."""
        top = np.float32(self.levels - 1)
        rounded = np.rint(image * top)
        rounded /= top
        result: Array = np.clip(rounded, 0, 1, out=rounded)
        return result

    def degrade_canvas(self, canvas: Canvas, columns: Columns, *, high: Size) -> Canvas:
        """The batch, rounded and clamped."""
        pixels = canvas.pixels.clamp(0, 1)
        rounded = (pixels * (self.levels - 1)).round() / (self.levels - 1)
        return canvas.with_pixels(pixels + (rounded - pixels).detach() if pixels.requires_grad else rounded)
