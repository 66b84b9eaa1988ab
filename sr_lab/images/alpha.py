"""Transparency of an image that is enlarged: the colours that nobody sees, and a ground under it."""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

REACH = 16
"""Pixels that colours are carried under transparent pixels: what a network looks at next to an edge of alpha."""
_ROWS = 256


def bleed(pixels: npt.NDArray[Any]) -> None:
    """Gives transparent pixels the colours of the visible ones beside them, in place; further away they stay.

    What is stored there (often black) would darken the edges of what is visible. Each pixel gets the mean of its
    known neighbours, ring by ring, so that a part of the image gets what it gets in the whole.

    Args:
        pixels: (H, W, C + 1), uint8 or uint16, alpha last.
    """
    for top in range(0, len(pixels), _ROWS):
        first = max(0, top - REACH)
        part = pixels[first : top + _ROWS + REACH]
        hidden = part[:, :, -1] == 0
        if not hidden.any() or hidden.all():
            continue
        known = (~hidden).astype(np.float32)
        colours = part[:, :, :-1].astype(np.float32) * known[:, :, None]
        for _ in range(REACH):
            count = cv2.boxFilter(known, -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT)
            ring = (known == 0) & (count > 0)
            if not ring.any():
                break
            total = cv2.boxFilter(colours, -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT)
            total = total.reshape(*known.shape, -1)
            colours[ring] = total[ring] / count[ring, None]
            known[ring] = 1
        filled = hidden & (known > 0)
        filled[: top - first] = filled[top - first + _ROWS :] = False
        part[:, :, :-1][filled] = np.rint(colours[filled]).astype(pixels.dtype)


def lay_on(pixels: npt.NDArray[Any], colour: tuple[int, int, int]) -> npt.NDArray[Any]:
    """An image without transparency: the colours over one colour.

    Args:
        pixels: (H, W, C + 1), alpha last; C is 1 or 3.
        colour: Red, green and blue, 0 to 255; of a grey image their mean is taken.
    """
    top = np.iinfo(pixels.dtype).max
    under = np.array(colour, np.float32) * (top / 255)
    under = under if pixels.shape[2] == 4 else under.mean(keepdims=True)
    share = pixels[:, :, -1:].astype(np.float32) / top
    return np.asarray(np.rint(pixels[:, :, :-1] * share + under * (1 - share)).astype(pixels.dtype))
