"""Changes of tone and colour."""

from collections.abc import Mapping
from typing import Any, ClassVar

import cv2
import numpy as np
import numpy.typing as npt

from sr_lab.base.randomness import Floats, upload
from sr_lab.degradations.canvas import Canvas
from sr_lab.degradations.operation import Array, Columns, Operation, Sample, Size
from sr_lab.degradations.ranges import Range, between, bounds


class ColourShift(Operation):
    """``gain * x^gamma + offset``, gain and offset drawn for each channel.

    Args:
        gamma: Range of the exponent, the same for all channels; drawn log-uniformly, so that 1/2 and 2 are as likely.
        gain: Range of the factor of each channel.
        offset: Range of what is added to each channel, in levels of 0..255.
        probability: Probability that a sample is changed.
    """

    num_uniforms: ClassVar[int] = 9
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        "gamma": (0.01, 100),
        "gain": (0, 100),
        "offset": (-255, 255),
    }

    def __init__(self, *, gamma: Range = 1.0, gain: Range = 1.0, offset: Range = 0.0, probability: float = 1.0) -> None:
        super().__init__(probability=probability)
        self.gamma, self.gain, self.offset = gamma, gain, offset
        self._log_gamma = tuple(np.log(bounds("gamma", gamma, low=0.01, high=100)))
        self._gain = bounds("gain", gain, low=0, high=100)
        self._offset = bounds("offset", offset, low=-255, high=255)

    def parameters(self, uniform: Floats) -> dict[str, npt.NDArray[Any]]:
        """Exponent; gain and offset (B, 4): of red, green, blue and of any further channel."""
        return {
            "gamma": np.exp(between(uniform[:, 0], (self._log_gamma[0], self._log_gamma[1]))),
            "gain": between(uniform[:, 1:5], self._gain),
            "offset": between(uniform[:, 5:9], self._offset),
        }

    def degrade(self, image: Array, sample: Sample, *, high: Size) -> Array:
        """(H, W, C) changed, cut to [0, 1]."""
        channels = image.shape[2]
        which = np.minimum(np.arange(channels), 3)
        gain, offset = np.asarray(sample["gain"])[which], np.asarray(sample["offset"])[which] / 255
        shifted = image if sample["gamma"] == 1 else cv2.pow(image, sample["gamma"]).reshape(image.shape)
        if channels <= 4:
            shifted = cv2.transform(shifted, np.column_stack([np.diag(gain), offset])).reshape(image.shape)
        else:
            shifted = shifted * gain.astype(np.float32) + offset.astype(np.float32)
        return np.clip(shifted, 0, 1, out=shifted)

    def degrade_canvas(self, canvas: Canvas, columns: Columns, *, high: Size) -> Canvas:
        """The batch; equals ``degrade`` up to 1e-5."""
        pixels = canvas.pixels.clamp(min=0)
        which = np.minimum(np.arange(pixels.shape[1]), 3)
        gamma, gain, offset = (
            upload(values.astype(np.float32), pixels.device)[:, :, None, None]
            for values in (columns["gamma"][:, None], columns["gain"][:, which], columns["offset"][:, which] / 255)
        )
        return canvas.with_pixels((pixels.clamp(min=1e-12).pow(gamma) * gain + offset).clamp(0, 1))


class Banding(Operation):
    """Too few levels: smooth gradients break into bands.

    Args:
        levels: Range of the whole number of levels, at least 2.
        probability: Probability that a sample is changed.
    """

    num_uniforms: ClassVar[int] = 1
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {"levels": (2, 65536)}

    def __init__(self, *, levels: Range, probability: float = 1.0) -> None:
        super().__init__(probability=probability)
        self.levels = levels
        self._levels = bounds("levels", levels, low=2, high=65536)

    def parameters(self, uniform: Floats) -> dict[str, npt.NDArray[Any]]:
        """Number of levels."""
        first, last = self._levels
        return {"levels": (first + np.floor(uniform[:, 0] * (last - first + 1))).astype(np.int64)}

    def degrade(self, image: Array, sample: Sample, *, high: Size) -> Array:
        """(H, W, C) rounded."""
        top = np.float32(sample["levels"] - 1)
        result: Array = np.rint(np.clip(image, 0, 1) * top) / top
        return result

    def degrade_canvas(self, canvas: Canvas, columns: Columns, *, high: Size) -> Canvas:
        """The batch; equals ``degrade``."""
        top = upload((columns["levels"] - 1).astype(np.float32), canvas.pixels.device)[:, None, None, None]
        return canvas.with_pixels((canvas.pixels.clamp(0, 1) * top).round() / top)
