"""Degradations read from low images alone: noise, blur, JPEG quality, colour; one by one and for a folder.

``estimate_image`` and ``estimate_file`` read one image, ``fit`` a folder, ``preset`` writes the pipeline that imitates
it, ``plots.plot_fit`` draws it.
"""

from sr_lab.degradations.estimate.colour import Colour
from sr_lab.degradations.estimate.fit import Fit, Span, fit, fit_estimates, preset
from sr_lab.degradations.estimate.jpeg import Jpeg
from sr_lab.degradations.estimate.single import Estimate, ImageEstimate, estimate_file, estimate_image

__all__ = [
    "Colour",
    "Estimate",
    "Fit",
    "ImageEstimate",
    "Jpeg",
    "Span",
    "estimate_file",
    "estimate_image",
    "fit",
    "fit_estimates",
    "preset",
]
