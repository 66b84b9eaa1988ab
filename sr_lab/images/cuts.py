"""Where one scene ends and the next begins."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

_SIDE, _BINS = 48, 32
LEAST_CHANGE, LEAST_SHIFT = 0.08, 0.30
"""Of a cut: mean difference of small grey pictures, and share of their histogram that moves."""


def is_cut(before: npt.NDArray[Any], after: npt.NDArray[Any]) -> bool:
    """Whether two grey frames, one behind the other, are of different scenes.

    Small pictures of both must differ, and so must their brightness, which motion alone leaves alike. A cut between
    scenes of equal brightness is found where nearly nothing is alike.

    Args:
        before: (H, W), uint8.
        after: The same.

    Example:
        >>> ramp = np.tile(np.arange(0, 128, 2, dtype=np.uint8), (64, 1))
        >>> is_cut(ramp, np.roll(ramp, 3, axis=1)), is_cut(ramp, 255 - ramp)
        (False, True)
    """
    small = [
        cv2.resize(each, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32) for each in (before, after)
    ]
    change = float(np.abs(small[0] - small[1]).mean()) / 255
    if change < LEAST_CHANGE:
        return False
    shares = [np.histogram(each, _BINS, (0, 256))[0] / each.size for each in small]
    shift = float(np.abs(shares[0] - shares[1]).sum()) / 2
    alike = float(np.corrcoef(small[0].ravel(), small[1].ravel())[0, 1]) if min(map(np.std, small)) > 1 else 0.0
    return shift > LEAST_SHIFT or alike < 0.2
