"""Quality without an original: NIQE and BRISQUE, from the statistics of natural photos.

Both divide luma by its local contrast, and describe the values and the products of neighbours by (asymmetric)
generalised Gaussians: 18 numbers at each of two scales. NIQE (Mittal, Soundararajan and Bovik 2013) is their distance
from those of photos; BRISQUE (Mittal, Moorthy and Bovik 2012) is what a support vector machine makes of them that was
trained on people's scores of the LIVE database. The photos' statistics are NIQE's own, as BasicSR 1.4.2 ships them; the
machine is that of the package brisque 0.2.0 (Apache 2.0). Both stand in ``no_reference.safetensors``.
"""

from functools import cache
from importlib.resources import files
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import correlate1d
from scipy.special import gamma
from torch import Tensor

from sr_lab.base.words import counted
from sr_lab.images import resize_bicubic, to_uint8
from sr_lab.metrics.base import PerImageMetric

Array = NDArray[np.float64]

BLOCK = 96
"""Side of NIQE's patches in pixels; BRISQUE takes images of any size from 32 on."""

_SHAPES = np.arange(0.2, 10.001, 0.001)
_RATIOS = gamma(2 / _SHAPES) ** 2 / (gamma(1 / _SHAPES) * gamma(3 / _SHAPES))
_WINDOW = np.exp(-(np.arange(-3, 4) ** 2) / (2 * (7 / 6) ** 2))
_WINDOW /= _WINDOW.sum()


def niqe(image: Tensor) -> Tensor:
    """Distance of each image from natural photos (NIQE); less is more natural.

    Args:
        image: (B, 3, H, W) or (B, 1, H, W), values in [0, 1]; rounded to 8 bits, its luma (0.299, 0.587, 0.114) too.
            Whole patches of 96 x 96 are looked at.

    Returns:
        (B,) float64.

    Raises:
        ValueError: if the images have other channels or are below 96 x 96.

    Example:
        >>> import torch
        >>> noise = torch.rand(1, 1, 96, 192, generator=torch.Generator().manual_seed(0))
        >>> bool(niqe(noise)[0] > 15)
        True
    """
    _check(image, least=BLOCK)
    return torch.tensor([_niqe(plane) for plane in _luma(image, (0.298936021, 0.587043074, 0.114020904))]).double()


def brisque(image: Tensor) -> Tensor:
    """What a machine trained on people's scores says of each image (BRISQUE); about 0 to 100, less is better.

    Args:
        image: (B, 3, H, W) or (B, 1, H, W), values in [0, 1]; rounded to 8 bits.

    Returns:
        (B,) float64.

    Raises:
        ValueError: if the images have other channels or are below 32 x 32.

    Example:
        >>> import torch
        >>> noise = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
        >>> bool(brisque(noise)[0] > 40)
        True
    """
    _check(image, least=32)
    return torch.tensor([_brisque(plane / 255) for plane in _luma(image, (0.2125, 0.7154, 0.0721), whole=False)])


class NIQE(PerImageMetric):
    """Mean per-image NIQE of the whole 8-bit images; no original is looked at."""

    higher_is_better = False
    digits = ".2f"
    definition: ClassVar[str] = (
        "Distance of luma's local statistics from those of photos (NIQE, 96 x 96 patches); less is more natural. It "
        "looks at no original: invented detail is natural too, and print is not."
    )

    @property
    def key(self) -> str:
        """``niqe``."""
        return "niqe"

    def refuses(self, num_channels: int) -> str | None:
        """NIQE looks at grey or RGB images."""
        return _refused("NIQE", num_channels)

    def per_image(self, restored: Tensor, target: Tensor) -> Tensor:
        """(B,) values of ``restored``."""
        return niqe(restored)


class BRISQUE(PerImageMetric):
    """Mean per-image BRISQUE of the whole 8-bit images; no original is looked at."""

    higher_is_better = False
    digits = ".2f"
    definition: ClassVar[str] = (
        "What a support vector machine, trained on people's scores of distorted photos, makes of luma's local "
        "statistics (BRISQUE, model of the package brisque 0.2.0); less is better. It looks at no original."
    )

    @property
    def key(self) -> str:
        """``brisque``."""
        return "brisque"

    def refuses(self, num_channels: int) -> str | None:
        """BRISQUE looks at grey or RGB images."""
        return _refused("BRISQUE", num_channels)

    def per_image(self, restored: Tensor, target: Tensor) -> Tensor:
        """(B,) values of ``restored``."""
        return brisque(restored)


def _niqe(luma: Array) -> float:
    rows, columns = (length // BLOCK for length in luma.shape)
    plane, features = luma[: rows * BLOCK, : columns * BLOCK], []
    for side in (BLOCK, BLOCK // 2):
        blocks = _normalised(plane, mode="nearest", least=1.0).reshape(rows, side, columns, side).swapaxes(1, 2)
        features.append([_of_block(block) for block in blocks.reshape(-1, side, side)])
        if side == BLOCK:
            low = resize_bicubic(torch.from_numpy(plane / 255)[None, None], scale=0.5)
            plane = 255 * low[0, 0].double().numpy()
    table = np.concatenate(features, axis=1)
    stored = _stored()
    known = table[~np.isnan(table).any(axis=1)]
    if not len(known):
        raise ValueError("NIQE: every patch of the image is of one tone")
    spread = np.cov(known.T) if len(known) > 1 else np.zeros((36, 36))
    offset = stored["niqe_mean"] - np.nanmean(table, axis=0)
    return float(np.sqrt(offset @ np.linalg.pinv((stored["niqe_covariance"] + spread) / 2) @ offset))


def _of_block(block: Array) -> list[float]:
    shape, left, right = _asymmetric(block)
    scale = np.sqrt(gamma(1 / shape) / gamma(3 / shape))
    numbers = [shape, scale * (left + right) / 2]
    for move in ((0, 1), (1, 0), (1, 1), (1, -1)):
        shape, left, right = _asymmetric(block * np.roll(block, move, axis=(0, 1)))
        scale = np.sqrt(gamma(1 / shape) / gamma(3 / shape))
        mean = scale * (right - left) * gamma(2 / shape) / gamma(1 / shape)
        numbers += [shape, mean, scale * left, scale * right]
    return numbers


def _brisque(luma: Array) -> float:
    import cv2

    features: list[float] = []
    for scale in (1, 2):
        plane = luma if scale == 1 else cv2.resize(luma, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_CUBIC)
        field = _normalised(plane, mode="constant", least=1 / 255)
        shape, left, right = _asymmetric(field, zeros=True)
        features += [shape, (left**2 + right**2) / 2]
        for one, other in (
            (field[:, :-1], field[:, 1:]), (field[:-1], field[1:]), (field[:-1, :-1], field[1:, 1:]),
            (field[1:, :-1], field[:-1, 1:]),
        ):  # fmt: skip
            shape, left, right = _asymmetric(one * other, zeros=True)
            mean = (right - left) * np.sqrt(gamma(1 / shape) / gamma(3 / shape)) * gamma(2 / shape) / gamma(1 / shape)
            features += [shape, mean, left**2, right**2]
    if np.isnan(features).any():
        raise ValueError("BRISQUE: the image is of one tone")
    stored = _stored()
    low, high = stored["brisque_low"], stored["brisque_high"]
    scaled = -1 + 2 * (np.array(features) - low) / (high - low)
    kernel = np.exp(-0.05 * np.square(stored["brisque_vectors"] - scaled).sum(axis=1))
    return float(kernel @ stored["brisque_weights"] - stored["brisque_offset"][0])


def _normalised(plane: Array, *, mode: str, least: float) -> Array:
    """Luma less its local mean, over its local deviation and a little."""

    def smooth(values: Array) -> Array:
        return np.asarray(correlate1d(correlate1d(values, _WINDOW, axis=0, mode=mode), _WINDOW, axis=1, mode=mode))

    mean = smooth(plane)
    deviation = np.sqrt(np.abs(smooth(plane * plane) - mean * mean))
    normalised: Array = (plane - mean) / (deviation + least)
    return normalised


def _asymmetric(values: Array, *, zeros: bool = False) -> tuple[float, float, float]:
    """Shape, left and right deviation of the asymmetric generalised Gaussian with the moments of the values.

    Whether zeros count on the right differs between NIQE and the package brisque, and tells where areas are flat.
    """
    below, above = values[values < 0], values[values >= 0 if zeros else values > 0]
    if not below.size or not above.size:
        return float("nan"), float("nan"), float("nan")
    left, right = float(np.sqrt(np.square(below).mean())), float(np.sqrt(np.square(above).mean()))
    ratio = left / right
    moment = float(np.abs(values).mean()) ** 2 / float(np.square(values).mean())
    wanted = moment * (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    return float(_SHAPES[np.abs(_RATIOS - wanted).argmin()]), left, right


def _luma(image: Tensor, weights: tuple[float, float, float], *, whole: bool = True) -> list[Array]:
    """(H, W) of each image, in [0, 255]; rounded where it is ``whole``."""
    pixels = to_uint8(image).cpu().double()
    if pixels.shape[1] == 1:
        planes = pixels[:, 0]
    else:
        planes = (pixels * torch.tensor(weights, dtype=torch.float64).view(1, 3, 1, 1)).sum(dim=1)
        planes = (planes + 0.5).floor() if whole else planes
    return [np.asarray(plane.numpy()) for plane in planes]


def _check(image: Tensor, *, least: int) -> None:
    if image.ndim != 4 or image.shape[1] not in (1, 3):
        raise ValueError(f"images are (B, C, H, W) with C = 1 or 3, not {tuple(image.shape)}")
    if min(image.shape[-2:]) < least:
        raise ValueError(f"a {image.shape[-1]}x{image.shape[-2]} image is too small: it takes {least} pixels a side")


def _refused(name: str, num_channels: int) -> str | None:
    return (
        None
        if num_channels in (1, 3)
        else f"{name} looks at grey or RGB images, these have {counted(num_channels, 'channel')}"
    )


@cache
def _stored() -> dict[str, Array]:
    from safetensors.numpy import load

    content = load(files(__package__).joinpath("no_reference.safetensors").read_bytes())
    return {name: array.astype(np.float64) for name, array in content.items()}
