"""Optical flow between two frames (DIS, as OpenCV has it), warping by it, and where it can be believed."""

from typing import Any, Literal

import cv2
import numpy as np
import numpy.typing as npt

Flow = npt.NDArray[np.float32]
"""(H, W, 2) of float32: pixels to the right and down from a pixel of one frame to its place in another."""
_PRESETS = {
    "ultrafast": cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST,
    "fast": cv2.DISOPTICAL_FLOW_PRESET_FAST,
    "medium": cv2.DISOPTICAL_FLOW_PRESET_MEDIUM,
}
LEAST_SIDE = 16
"""Smaller frames are continued by their edges for the search."""


def dis_flow(
    first: npt.NDArray[np.uint8],
    second: npt.NDArray[np.uint8],
    *,
    preset: Literal["ultrafast", "fast", "medium"] = "medium",
    enlarge: int = 1,
) -> Flow:
    """Where each pixel of ``first`` is in ``second``: dense inverse search (Kroeger et al., ECCV 2016).

    Args:
        first: (H, W), grey.
        second: The same.
        preset: ``medium`` is the most precise one.
        enlarge: Factor by which the frames are enlarged before. The search ends at half the size, so that small frames
            have edges of motions, and parts of a pixel, only where they are enlarged.

    Returns:
        (H, W, 2): ``warp(second, flow)`` looks like ``first``.

    Raises:
        ValueError: If the frames are not grey ones of one size.

    Example:
        >>> ground = np.random.default_rng(0).integers(0, 255, (48, 64), dtype=np.uint8)
        >>> smooth = cv2.GaussianBlur(ground, (9, 9), 2)
        >>> flow = dis_flow(smooth[:, :-3], smooth[:, 3:])
        >>> abs(float(np.median(flow[..., 0])) + 3) < 0.1
        True
    """
    if first.shape != second.shape or first.ndim != 2:
        raise ValueError(f"flow needs two grey frames (H, W) of one size, got {first.shape} and {second.shape}")
    height, width = first.shape
    if enlarge > 1:
        size = (enlarge * width, enlarge * height)
        large = [cv2.resize(frame, size, interpolation=cv2.INTER_CUBIC) for frame in (first, second)]
        flow = cv2.resize(dis_flow(*large, preset=preset), (width, height), interpolation=cv2.INTER_AREA)
        return np.asarray(flow / enlarge, np.float32)
    pad = (max(0, LEAST_SIDE - height), max(0, LEAST_SIDE - width))
    if any(pad):
        first, second = (np.pad(each, ((0, pad[0]), (0, pad[1])), mode="edge") for each in (first, second))
    first, second = np.ascontiguousarray(first), np.ascontiguousarray(second)
    search: Any = cv2.DISOpticalFlow.create(_PRESETS[preset])
    flow = search.calc(first, second, None)
    return np.asarray(flow[:height, :width], np.float32)


def warp(image: npt.NDArray[Any], flow: Flow, *, cubic: bool = False) -> npt.NDArray[Any]:
    """The image as seen from where the flow starts: each pixel is taken from its place in ``image``.

    Args:
        image: (H, W) or (H, W, C), uint8, uint16 or float32.
        flow: (H, W, 2), from the result to ``image``; places outside take the nearest edge pixel.
        cubic: Whether to interpolate by cubic polynomials, which blur less where warps follow one another.
    """
    height, width = flow.shape[:2]
    x = flow[..., 0] + np.arange(width, dtype=np.float32)
    y = flow[..., 1] + np.arange(height, dtype=np.float32)[:, None]
    way = cv2.INTER_CUBIC if cubic else cv2.INTER_LINEAR
    warped = cv2.remap(image, x, y, way, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped.reshape(height, width, *image.shape[2:]))


def enlarge_flow(flow: Flow, size: tuple[int, int]) -> Flow:
    """The flow at another size (height, width), in that size's pixels."""
    height, width = flow.shape[:2]
    larger = cv2.resize(flow, (size[1], size[0]), interpolation=cv2.INTER_LINEAR)
    return np.asarray(larger * np.array([size[1] / width, size[0] / height], np.float32), np.float32)


def occluded(forward: Flow, backward: Flow) -> npt.NDArray[np.bool_]:
    """Pixels whose place in the other frame does not lead back to them, or that lie at the edge of a motion.

    The rule of Ruder et al. (GCPR 2016), as Lai et al. (ECCV 2018) use it; all magnitudes are squared ones.

    Args:
        forward: (H, W, 2), from the first frame to the second.
        backward: (H, W, 2), from the second to the first.

    Returns:
        (H, W); places outside the frame count as occluded, too.
    """
    height, width = forward.shape[:2]
    returned = warp(backward, forward)
    there, back = (forward**2).sum(axis=-1), (returned**2).sum(axis=-1)
    apart = ((forward + returned) ** 2).sum(axis=-1) > 0.01 * (there + back) + 0.5
    slopes = np.zeros((height, width), np.float32)
    slopes[:, :-1] += (np.diff(forward, axis=1) ** 2).sum(axis=-1)
    slopes[:-1] += (np.diff(forward, axis=0) ** 2).sum(axis=-1)
    edges = slopes > 0.01 * there + 0.002
    x = forward[..., 0] + np.arange(width)
    y = forward[..., 1] + np.arange(height)[:, None]
    outside = (x < 0) | (x > width - 1) | (y < 0) | (y > height - 1)
    return np.asarray(apart | edges | outside)
