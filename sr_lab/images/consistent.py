"""The projection of an image onto those that MATLAB's bicubic shrinks to a given one, with numpy alone.

x' = x + D^T (D D^T)^-1 (y - D x), with a matrix for the rows and one for the columns; ``images.projection`` is the same
for any separable degradation and size. The one file of an exported bundle holds this text.
"""

from functools import lru_cache
from typing import Any

import numpy as np

HALO_TOLERANCE = 1e-6
"""What the correction of low pixels beyond the halo may weigh together."""


def project(image: Any, low: Any) -> Any:
    """The image nearest to ``image`` (1, C, H, W) that shrinks to ``low`` (1, C, h, w); H and W are multiples."""
    scale = image.shape[2] // low.shape[2]
    (shrink_rows, lift_rows), (shrink_columns, lift_columns) = (shrinking(side, scale) for side in low.shape[2:])
    missing = low - shrink_rows @ image @ shrink_columns.T
    return (image + lift_rows @ missing @ lift_columns.T).astype(np.float32)


@lru_cache(maxsize=16)
def shrinking(length: int, scale: int) -> Any:
    """What shrinks ``length * scale`` pixels to ``length``, and the least that shrinks to what is missing."""
    high = length * scale
    centre = (np.arange(length) + 0.5) * scale - 0.5
    index = np.floor(centre - 2 * scale).astype(np.int64)[:, None] + np.arange(4 * scale + 2)
    away = np.abs(centre[:, None] - index) / scale
    weights = np.where(
        away <= 1,
        (1.5 * away - 2.5) * away * away + 1,
        np.where(away <= 2, ((-0.5 * away + 2.5) * away - 4) * away + 2, 0.0),
    )
    weights /= weights.sum(axis=1, keepdims=True)
    index %= 2 * high
    matrix = np.zeros((length, high))
    np.add.at(matrix, (np.arange(length)[:, None], np.minimum(index, 2 * high - 1 - index)), weights)
    return matrix, matrix.T @ np.linalg.inv(matrix @ matrix.T)


@lru_cache(maxsize=8)
def projection_halo(scale: int) -> int:
    """Low pixels beyond which a correction has decayed."""
    length = 64
    _, lift = shrinking(length, scale)
    spread = np.abs(lift[:, length // 2])
    distance = np.abs((np.arange(length * scale) + 0.5) / scale - 0.5 - length // 2)
    weighs = [spread[distance >= pixels].sum() for pixels in range(length // 2)]
    return next((pixels + 1 for pixels, weight in enumerate(weighs) if weight < HALO_TOLERANCE), length // 2)
