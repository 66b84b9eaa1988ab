"""Which kind of content an image shows, from its statistics, so that a loss on one kind is seen.

These are heuristics: they sort the images of a hold-out into groups on which two models are compared, and a group
that is mostly right serves that. They are no text or face detectors to rely on for anything else. The groups overlap,
and an image may be in none. They look at the original only, so that no model has a say in its slices.

Seen on BSD100, Set14 and Set5 (119 images): text finds the one printed page and no other; face finds 7 pictures of
people, misses profiles and tilted heads, and takes 4 pictures of animals for faces (brown fur has the colour of skin);
47 are texture, 13 flat. A hold-out for which text or faces matter should name their slices itself.
"""

from collections.abc import Iterable
from functools import cache
from typing import Any

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sr_lab.images import resize_bicubic, rgb_to_y, to_array
from sr_lab.images.cuts import is_cut
from sr_lab.images.flow import dis_flow

TEXT_SHARE = 0.09
TEXTURE_SHARE = 0.5
FLAT_SHARE = 0.3
SKIN_SHARE = 0.6

_TEXT_BLOCK = 32
_BLOCK = 16
_FACE_SIDE = 320


def content_slices(image: Tensor) -> frozenset[str]:
    """The content slices of an original: some of ``content_text``, ``_texture``, ``_flat``, ``_face``.

    Args:
        image: (1, C, H, W), C = 1 or 3, values in [0, 1].

    Returns:
        Names as a promotion policy uses them.

    Raises:
        ValueError: if the shape is another.
    """
    if image.ndim != 4 or image.shape[0] != 1 or image.shape[1] not in (1, 3):
        raise ValueError(f"an image is (1, C, H, W) with C = 1 or 3, not {tuple(image.shape)}")
    found = {
        "content_text": text_share(image) >= TEXT_SHARE,
        "content_texture": texture_share(image) >= TEXTURE_SHARE,
        "content_flat": flat_share(image) >= FLAT_SHARE,
        "content_face": num_face_like(image) > 0,
    }
    return frozenset(name for name, present in found.items() if present)


def clip_slices(frames: Iterable[Tensor]) -> frozenset[str]:
    """The slices of a clip: the content of its first frame, and how it moves.

    ``motion_still``: the median speed (DIS, over 8 steps spread over the clip) is below 0.2 pixels a frame;
    ``motion_fast``: above 4; ``motion_cut``: there is a cut.

    Args:
        frames: Originals (1, C, H, W), C = 1 or 3, values in [0, 1].

    Returns:
        Names as a promotion policy uses them.
    """
    found: frozenset[str] = frozenset()
    speeds: list[float] = []
    before = None
    for number, frame in enumerate(frames):
        if number == 0 and frame.shape[1] in (1, 3):
            found = content_slices(frame.cpu())
        now = _small_grey(frame)
        if before is not None:
            if is_cut(before, now):
                found |= {"motion_cut"}
            elif number % 4 == 1 and len(speeds) < 8:
                shrink = frame.shape[-1] / now.shape[1]
                speeds.append(shrink * float(np.median(np.linalg.norm(dis_flow(before, now), axis=-1))))
        before = now
    if speeds and np.median(speeds) < 0.2:
        found |= {"motion_still"}
    if speeds and np.median(speeds) > 4:
        found |= {"motion_fast"}
    return found


def _small_grey(frame: Tensor) -> Any:
    """(h, w) of 8 bits, at most 320 pixels wide."""
    grey = to_array(rgb_to_y(frame.cpu()) if frame.shape[1] == 3 else frame[:, :1].cpu())
    grey = np.ascontiguousarray(grey[..., 0] if grey.ndim == 3 else grey)
    factor = min(1.0, 320 / grey.shape[1])
    size = (max(1, round(grey.shape[1] * factor)), max(1, round(grey.shape[0] * factor)))
    return cv2.resize(grey, size, interpolation=cv2.INTER_AREA)


def flat_share(image: Tensor) -> float:
    """Share of the 16 x 16 blocks whose luma hardly varies: standard deviation below 3 grey levels of 255.

    Args:
        image: (1, C, H, W), C = 1 or 3, values in [0, 1].

    Returns:
        In [0, 1]; 0 for an image smaller than a block.
    """
    blocks = _blocks(rgb_to_y(image), _BLOCK)
    return float((blocks.std(dim=1) < 3 / 255).float().mean()) if len(blocks) else 0.0


def texture_share(image: Tensor) -> float:
    """Share of the 16 x 16 blocks with strong gradients of no common direction: grass, gravel, fur, foliage.

    By the structure tensor of a block: root of its trace above 0.025, coherence (difference of the eigenvalues over
    their sum) below 0.5; an edge or a stripe has one direction and a coherence near 1.

    Args:
        image: (1, C, H, W), C = 1 or 3, values in [0, 1].

    Returns:
        In [0, 1]; 0 for an image smaller than a block.
    """
    luma = rgb_to_y(image)
    if min(luma.shape[-2:]) < _BLOCK:
        return 0.0
    vertical, horizontal = torch.gradient(luma, dim=(2, 3))
    xx, yy, xy = (
        F.avg_pool2d(product, _BLOCK)
        for product in (horizontal * horizontal, vertical * vertical, horizontal * vertical)
    )
    trace = xx + yy
    coherence = ((xx - yy).square() + 4 * xy.square()).sqrt() / trace.clamp(min=1e-8)
    return float(((trace.sqrt() > 0.025) & (coherence < 0.5)).float().mean())


def text_share(image: Tensor) -> float:
    """Share of the 32 x 32 blocks that look like print: thin strokes of one tone on even paper of another.

    A block is split at the middle of its range (which has to exceed 0.25). The larger part is the paper: 85 % of it
    lies within 12 % of the range of its median. The rest is ink: 5 to 40 % of the block, in strokes below 8 pixels
    (twice the area over the boundary), crossed 1.5 times or more by an average row and column. Light print on dark
    counts too. Handwriting in uneven light and letters above about 40 pixels are missed; a wall of bricks may pass.

    Args:
        image: (1, C, H, W), C = 1 or 3, values in [0, 1].

    Returns:
        In [0, 1]; 0 for an image smaller than a block.
    """
    blocks = _blocks(rgb_to_y(image), _TEXT_BLOCK)
    if not len(blocks):
        return 0.0
    low, high = blocks.quantile(0.02, dim=1, keepdim=True), blocks.quantile(0.98, dim=1, keepdim=True)
    contrast = high - low
    dark = blocks < (low + high) / 2
    dark_share = dark.float().mean(dim=1, keepdim=True)
    paper = torch.where(dark_share < 0.5, ~dark, dark)
    median = torch.where(paper, blocks, torch.nan).nanmedian(dim=1, keepdim=True).values
    near = paper & ((blocks - median).abs() < 0.12 * contrast)
    evenness = near.sum(dim=1) / paper.sum(dim=1)
    ink = torch.minimum(dark_share, 1 - dark_share)[:, 0]
    square = dark.view(-1, _TEXT_BLOCK, _TEXT_BLOCK)
    across = (square[:, :, 1:] != square[:, :, :-1]).sum(dim=(1, 2)) / _TEXT_BLOCK
    down = (square[:, 1:] != square[:, :-1]).sum(dim=(1, 2)) / _TEXT_BLOCK
    stroke = 2 * ink * _TEXT_BLOCK / (across + down).clamp(min=1e-6)
    printed = (contrast[:, 0] > 0.25) & (evenness > 0.85) & (ink > 0.05) & (ink < 0.4) & (stroke < 8)
    return float((printed & (torch.minimum(across, down) >= 1.5)).float().mean())


def num_face_like(image: Tensor) -> int:
    """Number of places that a frontal-face detector likes and that have the colour of skin.

    The local-binary-pattern cascade of OpenCV that scikit-image ships, on the image shrunk to at most 320 pixels a
    side, faces of 24 pixels or more there. In a colour image 60 % of the place must have skin's chroma (Cb 77 to 127,
    Cr 133 to 173; Chai and Ngan 1999: complexions differ in luma more than in chroma); in a grey one the cascade alone
    decides.

    Args:
        image: (1, C, H, W), C = 1 or 3, values in [0, 1].

    Returns:
        The number of places, which may overlap.
    """
    factor = _FACE_SIDE / max(image.shape[-2:])
    small = resize_bicubic(image, scale=factor).clamp(0, 1) if factor < 1 else image
    small = small.expand(1, 3, *small.shape[-2:])
    if min(small.shape[-2:]) < 24:
        return 0
    places = _face_cascade().detect_multi_scale(
        img=to_array(small), scale_factor=1.2, step_ratio=1, min_size=(24, 24), max_size=(_FACE_SIDE, _FACE_SIDE)
    )
    red, green, blue = 255 * small[0]
    grey = float((red - green).abs().max()) < 1.5 and float((green - blue).abs().max()) < 1.5
    if grey:
        return len(places)
    cb = 128 - 0.168736 * red - 0.331264 * green + 0.5 * blue
    cr = 128 + 0.5 * red - 0.418688 * green - 0.081312 * blue
    skin = ((cb >= 77) & (cb <= 127) & (cr >= 133) & (cr <= 173)).float()
    return sum(
        float(skin[p["r"] : p["r"] + p["height"], p["c"] : p["c"] + p["width"]].mean()) >= SKIN_SHARE for p in places
    )


@cache
def _face_cascade() -> Any:
    from skimage.data import lbp_frontal_face_cascade_filename
    from skimage.feature import Cascade

    return Cascade(lbp_frontal_face_cascade_filename())


def _blocks(luma: Tensor, side: int) -> Tensor:
    """(N, side * side) values of the whole blocks of (1, 1, H, W)."""
    height, width = luma.shape[-2] // side * side, luma.shape[-1] // side * side
    if not (height and width):
        return luma.new_zeros((0, side * side))
    return F.unfold(luma[..., :height, :width], side, stride=side)[0].T
