"""What can be said of two models' images of one input, without an original: proxies of quality, and no more than that.

Each compares the candidate's image with the champion's, and is turned so that positive is better for the candidate. A
candidate that is truly better may lose in one of them (a sharper image shows more detail that nothing bears out), and
one that invents convincingly may gain in naturalness. What they are for is to notice a model that does something else
than it did on the images of the gate.
"""

import math
from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from sr_lab.images import resize_bicubic, rgb_to_y
from sr_lab.metrics.consistency import LIMIT
from sr_lab.metrics.hallucination import unseen_detail
from sr_lab.metrics.psnr import psnr
from sr_lab.monitoring.naturalness import MIN_SIDE, naturalness

Pixels = NDArray[np.uint8] | NDArray[np.uint16]

SIDE = 64
"""Side, in pixels of the input, of the square that is compared: the cost of a pair does not grow with the image."""
_EDGE = 4
_BLOCK = 8


def proxy_gains(
    low: Pixels, champion: Pixels, candidate: Pixels, *, place: float = 0.5, side: int = SIDE
) -> dict[str, float]:
    """The gains of a candidate's image over a champion's, in one square of it.

    - ``lr_consistency``: decibels by which the candidate's image, made small again by MATLAB's bicubic, is nearer to
      the input, each counted up to 60. That the input was made so is an assumption; it is the same for both.
    - ``naturalness``: by how much its distance from the statistics of photos is less; not for squares below 32 pixels.
    - ``unseen_detail``: by how much the RMS of the detail that leaves no trace in the input is less, in units of the
      value range: an upper bound on what is invented.
    - ``disagreement``: the RMS of the detail in which the two differ, beyond what the input can tell: where they
      disagree, at least one of them invents. Negative or 0.
    - ``tone``: by how much nearer to the input the means over 8 x 8 of its pixels are, RMS in units of the value range:
      a model that takes noise away loses ``lr_consistency`` by it, and nearly nothing here.

    Args:
        low: (h, w, C) of uint8 or uint16.
        champion: (h * scale, w * scale, C) of the same type.
        candidate: The same of the candidate.
        place: Where the square lies in a larger image, from 0 (upper left) to 1 (lower right).
        side: Side of the square, in pixels of the input.

    Raises:
        ValueError: if the shapes do not belong together.
    """
    height, width = low.shape[:2]
    scale = champion.shape[0] // height
    if champion.shape != candidate.shape or champion.shape[:2] != (height * scale, width * scale):
        raise ValueError(f"{low.shape} was enlarged to {champion.shape} and {candidate.shape}: no pair")
    top, left = (int(place * max(0, length - side)) for length in (height, width))
    square = low[top : top + side, left : left + side]
    inner = [
        image[top * scale : (top + side) * scale, left * scale : (left + side) * scale]
        for image in (champion, candidate)
    ]
    ours, theirs = (_tensor(image) for image in reversed(inner))
    given = _tensor(square)
    edge = _EDGE if min(square.shape[:2]) > 4 * _EDGE else 0
    seen = [
        min(float(psnr(resize_bicubic(image, scale=1 / scale), given, border=edge)), LIMIT) for image in (ours, theirs)
    ]
    unseen = [unseen_detail(image, scale=scale) for image in (ours, theirs)]
    gains = {
        "lr_consistency": seen[0] - seen[1],
        "unseen_detail": _rms(unseen[1]) - _rms(unseen[0]),
        "disagreement": -_rms(unseen[0] - unseen[1]),
    }
    if min(square.shape[:2]) >= _BLOCK:
        means = [_rms(_means(resize_bicubic(image, scale=1 / scale)) - _means(given)) for image in (ours, theirs)]
        gains["tone"] = means[1] - means[0]
    if min(inner[0].shape[:2]) >= MIN_SIDE:
        distances = [naturalness(_luma(image)) for image in (ours, theirs)]
        gains["naturalness"] = distances[1] - distances[0]
    return {key: gain for key, gain in gains.items() if math.isfinite(gain)}


def badness(gains: Mapping[str, float], margins: Mapping[str, float]) -> float:
    """How bad a pair is: the largest loss, each in units of the margin of its check; 0 where nothing is lost."""
    return max((-gain / margins[key] for key, gain in gains.items() if key in margins), default=0.0)


def _tensor(image: Pixels) -> torch.Tensor:
    top = float(np.iinfo(image.dtype).max)
    planes = np.ascontiguousarray(np.moveaxis(image, -1, 0)[None], dtype=np.float32)
    return torch.from_numpy(planes) / top


def _luma(image: torch.Tensor) -> NDArray[np.float32]:
    luma = rgb_to_y(image) if image.shape[1] == 3 else image.mean(dim=1, keepdim=True)
    return np.asarray(luma[0, 0].numpy() * 255, dtype=np.float32)


def _means(image: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.avg_pool2d(image, _BLOCK)


def _rms(detail: torch.Tensor) -> float:
    return math.sqrt(float(detail.square().mean()))
