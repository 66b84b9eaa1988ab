"""The degradation of one image, read from its pixels and, for a JPEG file, from its tables."""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import threadpoolctl  # type: ignore[import-untyped]
from PIL import Image, UnidentifiedImageError

from sr_lab.degradations.estimate.arrays import Floats, Pixels, as_levels, extremes, luma
from sr_lab.degradations.estimate.calibration import Reading, read
from sr_lab.degradations.estimate.colour import Colour, colour_of
from sr_lab.degradations.estimate.features import features, spectrum_slope
from sr_lab.degradations.estimate.jpeg import Jpeg, blockiness, find_comb, quality_of_tables
from sr_lab.images import read_image

MAX_SPREAD = {"noise": 0.3, "blur": 0.3}
"""Expected relative error above which an estimate is withheld, and its reason given instead."""

NEGLIGIBLE = {"noise": 1.0, "blur": 0.35}
"""Sigma of which photos bring about as much along: an estimate that is surely less is told, however vague."""

_ORIENTATION = 274


@dataclass(frozen=True)
class Estimate:
    """A sigma, or why there is none.

    Attributes:
        value: 8-bit levels for noise, pixels of this image for blur; ``None`` where the image does not tell.
        guess: the best guess, also where ``value`` is withheld.
        spread: standard deviation of the logarithm, about the relative error to expect (of sigmas well above 0).
        reason: why ``value`` is withheld, else ``None``.
    """

    value: float | None
    guess: float
    spread: float
    reason: str | None = None


@dataclass(frozen=True)
class ImageEstimate:
    """What was read from one image.

    Attributes:
        name: of the file.
        width: in pixels.
        height: in pixels.
        noise: standard deviation of the noise of a channel, in 8-bit levels, as it was before a JPEG compression.
        grey_noise: probability that the noise is the same in all channels.
        shot_noise: probability that its variance grows with brightness.
        blur: sigma of the Gaussian that would make a usual sharp photo this soft, in pixels of this image; the photo's
            own softness is not counted.
        jpeg: the last JPEG compression.
        blockiness: jump across 8x8 borders over that elsewhere, less 1.
        sharpness: RMS of the Laplacian of the luma over the RMS of its deviation from the mean.
        spectrum_slope: of the log amplitude over the log frequency; about -1 for sharp clean photos.
        colour: statistics of colour and exposure.
    """

    name: str
    width: int
    height: int
    noise: Estimate
    grey_noise: float
    shot_noise: float
    blur: Estimate
    jpeg: Jpeg
    blockiness: float
    sharpness: float
    spectrum_slope: float
    colour: Colour

    def to_dict(self) -> dict[str, Any]:
        """Every field, nested, as values that JSON can hold."""
        return asdict(self)

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> "ImageEstimate":
        """The estimate that ``to_dict`` described, as JSON gives it back."""
        parts = {
            "noise": Estimate(**kept["noise"]),
            "blur": Estimate(**kept["blur"]),
            "jpeg": Jpeg(**{**kept["jpeg"], "grid": tuple(kept["jpeg"]["grid"])}),
            "colour": Colour(**kept["colour"]),
        }
        return cls(**{**kept, **parts})

    def to_row(self) -> dict[str, float | str | None]:
        """One flat row of a table: noise, blur and quality are ``None`` where they are not known."""
        return {
            "name": self.name,
            "width": self.width,
            "height": self.height,
            "noise": self.noise.value,
            "noise_spread": self.noise.spread,
            "grey_noise": self.grey_noise,
            "shot_noise": self.shot_noise,
            "blur": self.blur.value,
            "blur_spread": self.blur.spread,
            "jpeg_quality": self.jpeg.quality,
            "jpeg_source": self.jpeg.source,
            "blockiness": self.blockiness,
            "sharpness": self.sharpness,
            "spectrum_slope": self.spectrum_slope,
            **{f"colour_{name}": value for name, value in asdict(self.colour).items()},
        }


def estimate_image(image: Pixels, *, name: str = "", jpeg: Jpeg | None = None) -> ImageEstimate:
    """Reads the degradation of an image.

    Args:
        image: (H, W), (H, W, 1) grey or (H, W, 3) RGB, uint8 or uint16, 24 pixels a side or more.
        name: kept in the result.
        jpeg: what the file's tables say (``jpeg_of_file``); ``None`` looks for traces in the pixels.

    Raises:
        ValueError: if the image has another type or shape, is too small, or is of one value throughout.
    """
    with _blas().limit(limits=1):
        return _estimate(as_levels(image), name, jpeg)


def _estimate(levels: Floats, name: str, jpeg: Jpeg | None) -> ImageEstimate:
    y = luma(levels)
    if float(y.max() - y.min()) < 1:
        raise ValueError(f"{name or 'the image'} is of one value throughout: there is nothing to estimate from")
    if jpeg is None:
        low, high = extremes(levels)
        jpeg = find_comb(y, saturated=(low <= 1) | (high >= 254))
    noise, blur, grey, shot = read(features(levels, jpeg))
    return ImageEstimate(
        name=name,
        width=levels.shape[1],
        height=levels.shape[0],
        noise=_judged(noise, "noise", jpeg),
        grey_noise=grey,
        shot_noise=shot,
        blur=_judged(blur, "blur", jpeg, noise=noise.value),
        jpeg=jpeg,
        blockiness=blockiness(y, grid=jpeg.grid),
        sharpness=sharpness(y),
        spectrum_slope=spectrum_slope(y),
        colour=colour_of(levels),
    )


@cache
def _blas() -> Any:
    """The loaded BLAS libraries: their threads cost more than they save on matrices as small as these."""
    return threadpoolctl.ThreadpoolController()


def estimate_file(path: Path, *, name: str | None = None) -> ImageEstimate:
    """Reads the degradation of an image file; a JPEG's quality from its tables.

    Args:
        path: the file.
        name: kept in the result; by default the file's.

    Raises:
        ValueError: as ``estimate_image``, and (``ImageError``) if the file is missing, damaged or not an image.
    """
    image = read_image(path)
    return estimate_image(image, name=path.name if name is None else name, jpeg=jpeg_of_file(path))


def jpeg_of_file(file: Path | BinaryIO) -> Jpeg | None:
    """Quality by a JPEG file's quantisation tables, and its grid in the upright image; ``None`` for other formats."""
    try:
        with Image.open(file) as opened:
            if opened.format not in ("JPEG", "MPO"):
                return None
            width, height = opened.size
            orientation = int(opened.getexif().get(_ORIENTATION, 1))
            quality, exact = quality_of_tables(opened.quantization)  # type: ignore[attr-defined]
    except UnidentifiedImageError:
        return None
    if orientation >= 5:
        width, height = height, width
    grid = (height % 8 if orientation in (3, 4, 7, 8) else 0, width % 8 if orientation in (2, 3, 6, 7) else 0)
    return Jpeg(quality=quality, source="tables", exact=exact, grid=grid)


def sharpness(plane: Floats) -> float:
    """RMS of the 5-point Laplacian of (H, W) over the standard deviation of its values."""
    laplacian = plane[:-2, 1:-1] + plane[2:, 1:-1] + plane[1:-1, :-2] + plane[1:-1, 2:] - 4 * plane[1:-1, 1:-1]
    return float(np.sqrt(np.square(laplacian).mean()) / max(float(plane.std()), 1e-3))


def _judged(reading: Reading, quantity: Literal["noise", "blur"], jpeg: Jpeg, *, noise: float = 0.0) -> Estimate:
    spread = reading.spread
    if not math.isfinite(reading.value):
        raise AssertionError(f"{quantity}={reading.value}")
    if spread <= MAX_SPREAD[quantity] or reading.most < NEGLIGIBLE[quantity]:
        return Estimate(reading.value, reading.value, spread)
    causes = []
    if quantity == "blur" and noise > 4:
        causes.append(f"noise of sigma {noise:.0f} hides the edges")
    if jpeg.quality is not None and jpeg.quality < 90:
        causes.append(f"JPEG of quality {jpeg.quality:.0f} rounded it away")
    cause = " and ".join(causes) or "too little to tell from"
    return Estimate(
        None,
        reading.value,
        spread,
        f"{cause}: the guess {reading.value:.2g} may be off by a factor {math.exp(spread):.1f}",
    )
