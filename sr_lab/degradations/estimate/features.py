"""The numbers from which noise and blur are read: block spectra, patch covariance and edge ratios of one image.

What each part tells:

* low percentiles of the energy of the 8x8 DCT bands: blocks without texture, that is noise (Y for grey, Cb and Cr for
  colour noise; by brightness for shot noise); high percentiles: how fast the spectrum of textured blocks falls;
* eigenvalues of the covariance of 5x5 patches: the smallest is the variance of white noise, texture spans the others
  (Pyatykh et al. 2013, doi:10.1109/TIP.2012.2221728);
* gradient magnitude at strong edges after two Gaussian smoothings: for a step edge blurred by sigma the squared ratio
  is (sigma^2 + s2^2) / (sigma^2 + s1^2) (Zhuo and Sim 2011, doi:10.1016/j.patcog.2011.03.009);
* energy in blocks whose neighbours are smooth; of a JPEG, the shares of coefficients there that did not round to zero,
  and to one step, as the sigma of the Gaussian of which that share passes the rounding threshold;
* the steps of the JPEG compression found, below which a coefficient tells nothing.
"""

from itertools import pairwise
from statistics import NormalDist

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from sr_lab.degradations.estimate.arrays import Floats, blocks, chroma, dct, luma
from sr_lab.degradations.estimate.jpeg import Jpeg, luma_table

_U, _V = np.mgrid[0:8, 0:8]
_RADIUS = np.hypot(_U, _V).ravel()
_EDGES = (0.5, 1.2, 1.8, 2.5, 3.3, 4.2, 5.1, 6.1, 7.2, 10)
_MEMBERS = [(low < _RADIUS) & (high >= _RADIUS) for low, high in pairwise(_EDGES)]
_BANDS: Floats = np.stack([members / members.sum() for members in _MEMBERS], 1).astype(np.float32)
_CHROMA_BANDS: Floats = np.stack(
    [
        members / members.sum()
        for members in ((_RADIUS > 0) & (_RADIUS < 2.5), (_RADIUS >= 2.5) & (_RADIUS < 4.5), _RADIUS >= 4.5)
    ],
    1,
).astype(np.float32)
_PERCENTILES = (3, 10, 25, 50, 75, 90, 97)
_CHROMA_PERCENTILES = (3, 10, 25, 50)
_FLOOR = 0.1
_SCALES = (0.6, 1.2, 2.4, 4.8)
_ROUNDED = 7
_MAX_EDGES = 400
_BRIGHTNESS = (16, 64, 112, 160, 240)


def features(levels: Floats, jpeg: Jpeg) -> NDArray[np.float64]:
    """The features of (H, W, 3) RGB in [0, 255] as one vector; its length is the same for all images."""
    y = luma(levels)
    energy, mean = _band_energy(y, jpeg.grid)
    parts = [
        np.log(np.percentile(energy, _PERCENTILES, axis=0) + _FLOOR).ravel(),
        _chroma_part(chroma(levels), jpeg.grid),
        _brightness_part(energy, mean),
        _patch_part(y),
        _edge_part(y),
        _rounding_part(y, jpeg),
        _jpeg_part(jpeg),
        _colour_part(levels),
    ]
    return np.concatenate(parts).astype(np.float64)


def spectrum_slope(plane: Floats) -> float:
    """Slope of the log RMS of the 8x8 DCT bands of (H, W) over their log frequency, by least squares."""
    power = np.square(dct(blocks(plane))).mean(0) @ _BANDS
    return float(np.polyfit(np.log(_RADIUS @ _BANDS), np.log(power + _FLOOR**2) / 2, 1)[0])


def _band_energy(plane: Floats, grid: tuple[int, int]) -> tuple[Floats, Floats]:
    """RMS coefficient of each band (N, bands) and mean level (N,) of the blocks that do not clip, or of all of them."""
    cut = blocks(plane, top=grid[0], left=grid[1])
    flat = cut.reshape(-1, 64)
    inside = (flat.min(1) > 2) & (flat.max(1) < 253)
    if inside.sum() >= 0.2 * len(cut):
        cut = cut[inside]
    coefficients = dct(cut)
    rms: Floats = np.sqrt(np.square(coefficients) @ _BANDS)
    return rms, coefficients[:, 0] / np.float32(8)


def _chroma_part(planes: Floats, grid: tuple[int, int]) -> Floats:
    energy = np.zeros(0)
    for channel in (0, 1):
        cut = blocks(np.ascontiguousarray(planes[:, :, channel]), top=grid[0], left=grid[1])
        rms = np.sqrt(np.square(dct(cut)) @ _CHROMA_BANDS)
        energy = rms if channel == 0 else np.sqrt((np.square(energy) + np.square(rms)) / 2)
    part: Floats = np.log(np.percentile(energy, _CHROMA_PERCENTILES, axis=0) + _FLOOR).ravel()
    return part


def _brightness_part(energy: Floats, mean: Floats) -> Floats:
    """Excess of the log noise floor of each range of brightness over that of all; 0 where there is too little of it."""
    fine = energy[:, -3:].mean(1)
    floor = np.log(np.percentile(fine, 15) + _FLOOR)
    part = np.zeros(len(_BRIGHTNESS), np.float32)
    for index, (low, high) in enumerate(pairwise(_BRIGHTNESS)):
        here = fine[(mean >= low) & (mean < high)]
        if len(here) >= 12:
            part[index] = np.log(np.percentile(here, 15) + _FLOOR) - floor
    part[-1] = mean.mean() / 255
    return part


def _patch_part(plane: Floats) -> Floats:
    """Log square roots of eigenvalues (1, 3, 6, 12, 18 of 25, from the smallest) of the 5x5 patch covariance."""
    windows = sliding_window_view(plane - plane.mean(), (5, 5))[::2, 1::3].reshape(-1, 25)
    windows = windows - windows.mean(0)
    covariance = windows.T @ windows / len(windows)
    values = np.sqrt(np.maximum(np.linalg.eigvalsh(covariance), 0))
    part: Floats = np.log(values[[0, 2, 5, 11, 17]] + _FLOOR)
    return part


def _edge_part(plane: Floats) -> Floats:
    """Percentiles of the gradient ratio at the strongest edges, for each pair of neighbouring scales."""
    slopes = []
    for scale in _SCALES:
        smooth = cv2.GaussianBlur(plane, (0, 0), scale, borderType=cv2.BORDER_REFLECT)
        slopes.append(cv2.magnitude(cv2.Sobel(smooth, -1, 1, 0, ksize=1), cv2.Sobel(smooth, -1, 0, 1, ksize=1)))
    part = []
    for fine, coarse, scale in zip(slopes[:-1], slopes[1:], _SCALES[1:], strict=True):
        margin = min(int(2 * scale) + 1, min(plane.shape) // 4)
        inner = (slice(margin, -margin), slice(margin, -margin))
        peak = coarse[inner]
        at = np.flatnonzero((peak >= cv2.dilate(coarse, np.ones((3, 3), np.uint8))[inner]).ravel())
        at = at if len(at) else np.array([peak.argmax()])
        strength = peak.ravel()[at]
        kept = np.argsort(strength)[-min(_MAX_EDGES, max(len(at) // 8, 20)) :]
        ratio = fine[inner].ravel()[at[kept]] / np.maximum(strength[kept], 1e-3)
        part.append(np.log(np.percentile(ratio, (20, 50, 80, 95)) + 0.05))
        part.append(np.log(np.percentile(strength[kept], (20, 80)) + _FLOOR))
    return np.concatenate(part)


def _rounding_part(plane: Floats, jpeg: Jpeg) -> Floats:
    """Log sigma of the bands in the 15 and 50 % of blocks with the smoothest neighbours.

    Of a JPEG, that of which the share past 0.5 and 1.5 steps is left, for the lower bands; else the RMS, for the lower
    and for the upper bands.
    """
    top, left = jpeg.grid
    size = np.abs(dct(blocks(plane, top=top, left=left)))
    activity = np.log(size[:, 1:].sum(1) + 1).reshape((plane.shape[0] - top) // 8, (plane.shape[1] - left) // 8)
    around = cv2.boxFilter(activity, -1, (3, 3), normalize=False, borderType=cv2.BORDER_REFLECT) - activity
    order = np.argsort(around, axis=None)
    parts = []
    for share in (0.15, 0.5):
        chosen = size[order[: max(int(share * len(order)), 9)]]
        if jpeg.quality is None:
            rms = np.log(np.sqrt(np.square(chosen).mean(0) @ _BANDS) + _FLOOR)
            parts += [rms[:_ROUNDED], rms[-_ROUNDED:]]
            continue
        steps = luma_table(jpeg.quality).reshape(64).astype(np.float32)
        for threshold in (0.5, 1.5):
            passed = (chosen > threshold * steps).mean(0) @ _BANDS[:, :_ROUNDED]
            quantile = [NormalDist().inv_cdf(1 - share / 2) for share in np.clip(passed, 0.002, 0.9).tolist()]
            parts.append(np.log(threshold / np.array(quantile)) + np.log(steps) @ _BANDS[:, :_ROUNDED])
    return np.concatenate(parts)


def _jpeg_part(jpeg: Jpeg) -> Floats:
    """Log mean step of each band (0 without JPEG), whether there is one, and its quality."""
    if jpeg.quality is None:
        return np.zeros(_BANDS.shape[1] + 2, np.float32)
    steps = luma_table(jpeg.quality).reshape(64).astype(np.float32)
    return np.concatenate([np.log(steps @ _BANDS), [1, jpeg.quality / 100]])


def _colour_part(levels: Floats) -> Floats:
    """Whether there is no colour at all, log of the smaller side, and the share of clipped samples."""
    sample = levels[::3, ::3]
    grey = float(np.abs(sample - sample[:, :, :1]).max() < 0.5)
    clipped = float(((sample < 0.5) | (sample > 254.5)).mean())
    return np.array([grey, np.log(min(levels.shape[:2])) - 5, clipped], np.float32)
