"""Temporal smoothing for restorers that see one picture at a time: less flicker, and the same motion and brightness.

What a restored picture adds to its bicubic enlargement, the detail layer, is smoothed along the motion, which is
searched in the source, never in what was restored. The layer below follows the source; only where that stands still but
for noise, its noise is smoothed, too: what differs from the frame before and has no mean, so that brightness follows.
"""

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch

from sr_lab.images import resize_bicubic
from sr_lab.images.cuts import is_cut
from sr_lab.images.flow import dis_flow, enlarge_flow, occluded, warp

Image = npt.NDArray[np.float32]
MOVING, STILL = 0.3, 0.75
"""Share of the previous detail, where the source moves and where it stands still."""
_ALPHA = 50.0
_NOISE = (2e-4, 8e-4)
_WINDOW = (7, 7)
_WIDE, _EXPLAINED = (11, 11), (0.2, 0.4)


class DetailSmoother:
    """``y[t] = up(b[t]) + d[t] + k m (warp(d[t-1]) - d[t])``, where ``d`` is the restored minus the bicubic picture.

    ``m`` is the visibility of Lai et al. (ECCV 2018), ``exp(-50 |low[t] - warp(low[t-1])|^2)``, and 0 where the flow
    does not lead back; ``k`` is larger where the source stands still but for noise. ``b`` is ``low``, but there
    ``b[t] = low[t] + still h(b[t-1] - low[t])``; ``h`` takes the mean of 7x7 pixels away.

    Args:
        moving: Share of the previous detail where the source moves.
        still: The same where it stands still.

    Raises:
        ValueError: If these are not from 0 to below 1.
    """

    def __init__(self, *, moving: float = MOVING, still: float = STILL) -> None:
        if not (0 <= moving < 1 and 0 <= still < 1):
            raise ValueError(f"moving={moving}, still={still}: shares from 0 to below 1")
        self.moving, self.still = moving, still
        self._grey: npt.NDArray[np.uint8] | None = None
        self._detail: Image | None = None
        self._low: Image | None = None
        self.cut = False

    def __call__(self, restored: Image, low: Image) -> Image:
        """The restored picture with smoothed detail.

        Args:
            restored: (H, W, C), values in [0, 1].
            low: (h, w, C), what it was made of.
        """
        size = (restored.shape[0], restored.shape[1])
        detail = restored - enlarged(low, size)
        grey = np.round(255 * low.mean(axis=-1)).astype(np.uint8)
        self.cut = self._grey is not None and is_cut(self._grey, grey)
        if self._grey is not None and self._detail is not None and self._low is not None and not self.cut:
            still = _stillness(grey, self._grey)
            detail = self._smoothed(detail, grey, self._grey, self._detail, still)
            apart = self._low - low
            share = self.still * still * _unmoved(low, self._low)
            low = np.asarray(low + share[..., None] * (apart - cv2.blur(apart, _WINDOW)), np.float32)
        self._grey, self._detail, self._low = grey, detail, low
        return np.asarray(np.clip(enlarged(low, size) + detail, 0, 1), np.float32)

    def state(self) -> dict[str, npt.NDArray[Any]]:
        """What the next frame is smoothed with; empty before the first one."""
        if self._grey is None or self._detail is None or self._low is None:
            return {}
        return {"grey": self._grey, "detail": self._detail, "low": self._low}

    def resume(self, state: Any) -> None:
        """Goes on from a state."""
        self._grey, self._detail, self._low = state.get("grey"), state.get("detail"), state.get("low")

    def _smoothed(
        self,
        detail: Image,
        grey: npt.NDArray[np.uint8],
        grey_before: npt.NDArray[np.uint8],
        before: Image,
        still: Image,
    ) -> Image:
        size = (detail.shape[0], detail.shape[1])
        flow = dis_flow(grey, grey_before)
        hidden = occluded(flow, dis_flow(grey_before, grey))
        flow = flow * (1 - still[..., None])
        apart = (grey.astype(np.float32) - warp(grey_before, flow).astype(np.float32)) / 255
        visible = np.exp(-_ALPHA * apart**2) * np.maximum(~hidden, still)
        share = visible * (self.moving + (self.still - self.moving) * still)
        large = cv2.resize(share.astype(np.float32), (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
        moved = warp(before, enlarge_flow(np.asarray(flow, np.float32), size), cubic=True)
        return np.asarray(detail + large[..., None] * (moved - detail), np.float32)


def enlarged(low: Image, size: tuple[int, int]) -> Image:
    """The classical enlargement of (h, w, C) to (H, W, C): MATLAB's bicubic."""
    tensor = torch.from_numpy(np.ascontiguousarray(np.moveaxis(low, -1, 0)))[None]
    return np.asarray(np.moveaxis(resize_bicubic(tensor, size=size)[0].numpy(), 0, -1), np.float32)


def _stillness(grey: npt.NDArray[np.uint8], before: npt.NDArray[np.uint8]) -> Image:
    """1 where two frames are alike but for noise, 0 where something moved; (h, w)."""
    change = (grey.astype(np.float32) - before.astype(np.float32)) / 255
    power = cv2.blur(change**2, _WINDOW)
    least, most = _NOISE
    return np.asarray(np.clip((most - power) / (most - least), 0, 1), np.float32)


def _unmoved(low: Image, before: Image) -> Image:
    """1 where no motion explains how two frames differ (Lucas and Kanade 1981), 0 where it explains much; (h, w)."""
    now, then = low.mean(axis=-1), before.mean(axis=-1)
    middle = cv2.GaussianBlur((now + then) / 2, (0, 0), 1.0)
    change = cv2.GaussianBlur(now - then, (0, 0), 1.0)
    x, y = (cv2.Scharr(middle, cv2.CV_32F, right, 1 - right) for right in (1, 0))
    xx, xy, yy, xt, yt, tt = (
        cv2.blur(a * b, _WIDE) for a, b in ((x, x), (x, y), (y, y), (x, change), (y, change), (change, change))
    )
    explained = (yy * xt**2 - 2 * xy * xt * yt + xx * yt**2) / np.maximum(xx * yy - xy**2, 1e-12)
    return np.asarray(
        np.clip((_EXPLAINED[1] - explained / np.maximum(tt, 1e-9)) / (_EXPLAINED[1] - _EXPLAINED[0]), 0, 1), np.float32
    )
