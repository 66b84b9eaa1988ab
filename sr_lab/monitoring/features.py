"""What is measured of an image without its original, and the scale on which two sets of images are compared.

A profile holds the raw values, in units that people read; the tests see them through ``Feature.scaled``, where a
change of equal weight is about equally long, and in units of the reference's own spread (``Scaling``).
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sr_lab.degradations.estimate import ImageEstimate

if TYPE_CHECKING:
    import pandas as pd

Array = NDArray[np.float64]

MAX_DEVIATION = 8.0
"""Scaled values are cut here, so that one broken image does not decide over a hundred."""


@dataclass(frozen=True, kw_only=True)
class Feature:
    """One column of a profile.

    Attributes:
        label: for people.
        unit: for people; may be empty.
        scaled: raw values to the scale of the tests.
        floor: on that scale, the least spread that counts as one unit: smaller changes are of no interest even where
            all images of the reference are alike.
        decimals: digits after the point, for people.
    """

    label: str
    unit: str = ""
    scaled: Callable[[Array], Array] = lambda values: values
    floor: float = 0.02
    decimals: int = 2


def _log_above(offset: float) -> Callable[[Array], Array]:
    return lambda values: np.log(values + offset)


def _without_jpeg(values: Array) -> Array:
    """No JPEG is as good as quality 100; the steps grow faster the lower the quality, hence the logarithm."""
    return -np.log(105 - np.nan_to_num(values, nan=100.0))


def _root(values: Array) -> Array:
    return np.asarray(np.sqrt(np.maximum(values, 0)))


INPUT: dict[str, Feature] = {
    "noise": Feature(label="noise sigma", unit="levels", scaled=_log_above(0.5), floor=0.1),
    "blur": Feature(label="blur sigma", unit="px", scaled=_log_above(0.25), floor=0.1),
    "quality": Feature(label="JPEG quality", scaled=_without_jpeg, floor=0.1, decimals=0),
    "blockiness": Feature(label="blockiness", floor=0.02),
    "sharpness": Feature(label="sharpness", scaled=_log_above(0.02), floor=0.05),
    "spectrum_slope": Feature(label="spectrum slope", floor=0.05),
    "megapixels": Feature(label="size", unit="MP", scaled=_log_above(1e-6), floor=0.1, decimals=3),
    "aspect": Feature(label="width / height", scaled=_log_above(0), floor=0.05),
    "brightness": Feature(label="brightness"),
    "contrast": Feature(label="contrast"),
    "dark": Feature(label="share of black", scaled=_root, decimals=4),
    "bright": Feature(label="share of white", scaled=_root, decimals=4),
    "saturation": Feature(label="saturation"),
    "warmth": Feature(label="red less blue", decimals=3),
    "tint": Feature(label="green less the others", decimals=3),
}

OUTPUT: dict[str, Feature] = {
    "consistency": Feature(label="LR consistency", unit="dB", floor=0.3),
    "naturalness": Feature(label="distance from natural statistics", scaled=_log_above(0.1), floor=0.05),
    "variance": Feature(label="spread of samples", unit="levels", scaled=_log_above(0.05), floor=0.05),
}

_CONTENT = re.compile(r"content_(\d+)$")


def feature(name: str) -> Feature:
    """The feature of a column: of the input, of the output, or ``content_K`` of the embedding.

    Raises:
        KeyError: for another name.
    """
    if found := _CONTENT.match(name):
        return Feature(label=f"content {found[1]}", floor=0.05)
    return (INPUT | OUTPUT)[name]


def feature_columns(table: "pd.DataFrame") -> list[str]:
    """The columns of a profile's table that are features, in their order."""
    return [name for name in table.columns if name in INPUT or name in OUTPUT or _CONTENT.match(str(name))]


def input_features(estimate: ImageEstimate, *, width: int, height: int) -> dict[str, float]:
    """The features of one image before restoration.

    Args:
        estimate: of the image or of its middle.
        width: of the whole image, in pixels.
        height: likewise.
    """
    colour = estimate.colour
    quality = estimate.jpeg.quality
    values = {
        "noise": estimate.noise.guess,
        "blur": estimate.blur.guess,
        "quality": np.nan if quality is None else quality,
        "blockiness": estimate.blockiness,
        "sharpness": estimate.sharpness,
        "spectrum_slope": estimate.spectrum_slope,
        "megapixels": width * height / 1e6,
        "aspect": width / height,
        **{name: getattr(colour, name) for name in INPUT if hasattr(colour, name)},
    }
    return {name: float(values[name]) for name in INPUT}


def transformed(table: "pd.DataFrame", names: Sequence[str]) -> Array:
    """(N, F) values of a profile's table on the scale of the tests."""
    columns = [feature(name).scaled(table[name].to_numpy(np.float64)) for name in names]
    return np.stack(columns, axis=1)


@dataclass(frozen=True)
class Scaling:
    """Centre and robust width of each feature.

    Attributes:
        names: of the features.
        centre: (F,) about the middle.
        width: (F,) about a standard deviation, the feature's floor at least.
    """

    names: Sequence[str]
    centre: Array
    width: Array

    @classmethod
    def of(cls, table: "pd.DataFrame") -> "Scaling":
        """By median and interquartile range of a reference: for effect sizes."""
        names = feature_columns(table)
        low, middle, high = np.percentile(transformed(table, names), (25, 50, 75), axis=0)
        return cls(names, middle, _width((high - low) / 1.349, names))

    @classmethod
    def pooled(cls, *tables: "pd.DataFrame") -> "Scaling":
        """By the shortest interval that holds 80 % of all tables together: for a permutation test.

        A scale of the reference alone would tell the two sets apart, so the test would not keep its level. The shortest
        interval is hardly moved by a few changed images, and does not collapse where most values are equal.
        """
        names = feature_columns(tables[0])
        values = np.sort(np.concatenate([transformed(table, names) for table in tables]), axis=0)
        span = int(0.8 * len(values))
        start = (values[span:] - values[:-span]).argmin(0)
        columns = np.arange(len(names))
        low, high = values[start, columns], values[start + span, columns]
        return cls(names, (low + high) / 2, _width((high - low) / 2.563, names))

    def __call__(self, table: "pd.DataFrame") -> Array:
        """(N, F) deviations of each image from the centre, in units of the width, cut at both ends."""
        values = (transformed(table, self.names) - self.centre) / self.width
        return np.clip(values, -MAX_DEVIATION, MAX_DEVIATION)


def _width(deviation: Array, names: Sequence[str]) -> Array:
    return np.maximum(deviation, [feature(name).floor for name in names])
