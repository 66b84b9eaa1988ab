"""Colour and exposure of one image."""

from dataclasses import dataclass

import cv2
import numpy as np

from sr_lab.degradations.estimate.arrays import Floats, extremes, luma


@dataclass(frozen=True)
class Colour:
    """Statistics of colour and exposure; levels are scaled to [0, 1].

    Attributes:
        red: mean.
        green: mean.
        blue: mean.
        brightness: median luma.
        contrast: 95th less 5th percentile of the luma.
        dark: share of pixels with a channel at 0.
        bright: share of pixels with a channel at 255.
        saturation: mean of the largest less the smallest channel.
        warmth: mean red less mean blue.
        tint: mean green less the mean of red and blue.
    """

    red: float
    green: float
    blue: float
    brightness: float
    contrast: float
    dark: float
    bright: float
    saturation: float
    warmth: float
    tint: float


def colour_of(levels: Floats) -> Colour:
    """Statistics of (H, W, 3) RGB in [0, 255]."""
    red, green, blue = (mean / 255 for mean in cv2.mean(levels)[:3])
    low, middle, high = np.percentile(luma(levels)[::2, ::2], (5, 50, 95)) / 255
    least, most = extremes(levels)
    return Colour(
        red=red,
        green=green,
        blue=blue,
        brightness=float(middle),
        contrast=float(high - low),
        dark=float((least < 0.5).mean()),
        bright=float((most > 254.5).mean()),
        saturation=float((most - least).mean()) / 255,
        warmth=red - blue,
        tint=green - (red + blue) / 2,
    )
