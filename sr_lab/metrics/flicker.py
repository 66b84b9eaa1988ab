"""Flicker: what changes over time where the source stands still, by frequency."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from sr_lab.metrics.base import Context
from sr_lab.metrics.temporal import TemporalMetric

Floats = npt.NDArray[np.float64]
LEAST_STILL = 64
"""Pixels below which nothing is said about flicker."""


def flicker_spectrum(series: npt.NDArray[Any], *, rate: float) -> tuple[Floats, Floats]:
    """Power over frequency of what changes at pixels over time, their mean taken off, under a Hann window.

    Args:
        series: (T, N), values of N pixels at T times, T >= 4.
        rate: Frames a second.

    Returns:
        Frequencies above zero up to half of ``rate``, in hertz, and at each the mean power over the pixels: the powers
        add up to the variance (of noise; of a single tone but for what the window smears into frequency zero).

    Raises:
        ValueError: If there are fewer than four times.

    Example:
        >>> noise = np.random.default_rng(0).standard_normal((16, 20000))
        >>> frequencies, power = flicker_spectrum(noise, rate=25.0)
        >>> float(frequencies[-1]), abs(float(power.sum()) - 1) < 0.1
        (12.5, True)
    """
    times = len(series)
    if times < 4:
        raise ValueError(f"{times} frames have no spectrum: at least 4")
    values = series.astype(np.float64)
    values = values - values.mean(axis=0)
    window = np.hanning(times + 1)[:-1, None]
    power = np.square(np.abs(np.fft.rfft(values * window, axis=0))).mean(axis=1) / (times * np.square(window).sum())
    power[1 : (times + 1) // 2] *= 2
    return np.asarray(np.fft.rfftfreq(times, 1 / rate)[1:], np.float64), np.asarray(power[1:], np.float64)


class Flicker(TemporalMetric):
    """Root of the power of flicker in a band of frequencies, in 8-bit levels, at pixels that stand still in the source.

    Looked at are windows of 16 frames, one after the other, half overlapping; a window's value stands at its last
    frame. Pixels are those whose low pixel, and all within two of it, change by at most one level over the window; the
    values are the mean over the channels of the 8-bit frames. A window with fewer than 64 such pixels has none.

    Args:
        low: Bottom of the band in hertz; the frequency itself is not in it.
        high: Top of the band, which is in it; null for half of the rate.
        rate: Frames a second of clips that do not tell: folders of images.
        name: What stands behind ``flicker_`` in its key; null for ``flicker`` alone.

    Raises:
        ValueError: If the band is empty.
    """

    frames_before: ClassVar[int] = 15
    own: ClassVar[bool] = True
    unit = "levels"
    digits = ".3f"

    def __init__(
        self, *, low: float = 0.0, high: float | None = None, rate: float = 25.0, name: str | None = None
    ) -> None:
        super().__init__()
        if low < 0 or (high is not None and high <= low) or rate <= 0:
            raise ValueError(f"low={low}, high={high}, rate={rate}: a band above zero, and a rate")
        self.low, self.high, self.rate, self.name = low, high, rate, name

    @property
    def key(self) -> str:
        """``flicker``, or ``flicker_NAME``."""
        return "flicker" if self.name is None else f"flicker_{self.name}"

    @property
    def label(self) -> str:
        """With its band."""
        if self.low == 0 and self.high is None:
            return "flicker"
        return f"flicker, {self.low:g} to {'the highest' if self.high is None else f'{self.high:g}'} Hz"

    @property
    def definition(self) -> str:  # type: ignore[override]
        """The metric in words."""
        return (
            "RMS over time, in 8-bit levels, of pixels that stand still in the source (16 frames, Hann window), in "
            f"the band above {self.low:g} Hz up to {'half of the rate' if self.high is None else f'{self.high:g} Hz'}; "
            f"clips that tell no rate are taken to have {self.rate:g} frames a second. The original's own is beside it."
        )

    def step(self, context: Context) -> float:
        """Of the window that ends at this frame; NaN between windows, and where too little stands still."""
        moment = context.moment
        assert moment is not None
        if moment.varies:
            raise ValueError("flicker has no frequencies where the rate of the clip varies")
        if (moment.number + 1) % 8 or len(moment.lows) < 16:
            return float("nan")
        still = moment.once("still", lambda: moment.still(16))
        if int(still.sum()) < LEAST_STILL:
            return float("nan")
        frequencies, power = self._spectrum(
            [moment.crop(frame) for frame in context.shown[-16:]], still, moment.rate or self.rate
        )
        inside = (frequencies > self.low) & (frequencies <= (np.inf if self.high is None else self.high))
        return float(np.sqrt(power[inside].sum()))

    @staticmethod
    def _spectrum(
        frames: Sequence[npt.NDArray[np.uint8]], still: npt.NDArray[np.bool_], rate: float
    ) -> tuple[Floats, Floats]:
        return flicker_spectrum(np.stack([frame[still].mean(axis=-1) for frame in frames]), rate=rate)
