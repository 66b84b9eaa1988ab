"""A camera's sensor: the image is taken back to raw, gets the sensor's noise, and is developed again."""

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sr_lab.base.randomness import Floats, normals, normals_tensor, seeds, upload
from sr_lab.base.words import counted
from sr_lab.degradations.canvas import Canvas
from sr_lab.degradations.operation import Array, Columns, Operation, Sample, Size
from sr_lab.degradations.ranges import Range, between, bounds

_GAMMA = 2.2
_FULL = np.array([[0.25, 0.5, 0.25], [0.5, 1.0, 0.5], [0.25, 0.5, 0.25]], dtype=np.float32)
_QUINCUNX = np.array([[0.0, 0.25, 0.0], [0.25, 1.0, 0.25], [0.0, 0.25, 0.0]], dtype=np.float32)


class CameraSensor(Operation):
    """Shot and read noise on a Bayer mosaic, through a simple image signal processor.

    Inverse gamma 2.2, white balance undone, RGGB mosaic, noise of variance ``shot x + read`` (Brooks et al., CVPR 2019,
    whose ranges these are), bilinear demosaicking, white balance, gamma. Noise gets the colour and grain of a real one,
    and fine detail the softness of demosaicking. A grey image is taken by a grey sensor: the same noise without mosaic
    and white balance.

    Args:
        shot: Range of the shot noise: variance per unit of linear signal, drawn log-uniformly.
        spread: Standard deviation of the log of the read noise about its regression on the shot noise, ``log read =
            2.18 log shot + 1.2``.
        red: Range of the white balance gain of red.
        blue: Range of the white balance gain of blue.
        probability: Probability that a sample goes through the sensor.
    """

    num_uniforms: ClassVar[int] = 5
    new_each_frame: ClassVar[bool] = True
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {
        "shot": (0, 1),
        "read": (0, 1),
        "red": (0.1, 10),
        "blue": (0.1, 10),
        "seed": (0, 2.0**53),
    }

    def __init__(
        self,
        *,
        shot: Range = (0.0001, 0.012),
        spread: float = 0.26,
        red: Range = (1.9, 2.4),
        blue: Range = (1.5, 1.9),
        probability: float = 1.0,
    ) -> None:
        super().__init__(probability=probability)
        self.shot, self.spread, self.red, self.blue = shot, spread, red, blue
        lowest, highest = bounds("shot", shot, low=1e-6, high=1)
        self._log_shot = (math.log(lowest), math.log(highest))
        bounds("spread", spread, low=0, high=3)
        self._red = bounds("red", red, low=0.1, high=10)
        self._blue = bounds("blue", blue, low=0.1, high=10)

    def parameters(self, uniform: Floats) -> dict[str, npt.NDArray[Any]]:
        """Noise and gains."""
        log_shot = between(uniform[:, 0], self._log_shot)
        deviate = torch.special.ndtri(torch.from_numpy(uniform[:, 1] * (1 - 2e-9) + 1e-9)).numpy()
        return {
            "shot": np.exp(log_shot),
            "read": np.minimum(np.exp(2.18 * log_shot + 1.2 + self.spread * deviate), 1.0),
            "red": between(uniform[:, 2], self._red),
            "blue": between(uniform[:, 3], self._blue),
            "seed": seeds(uniform[:, 4]),
        }

    def degrade(self, image: Array, sample: Sample, *, high: Size) -> Array:
        """(H, W, 3) or (H, W, 1) taken again by the camera."""
        _check_channels(image.shape[2])
        gains = np.array([sample["red"], 1.0, sample["blue"]], dtype=np.float32)
        linear = cv2.pow(image, _GAMMA).reshape(image.shape)
        raw = linear[:, :, 0].copy()
        if image.shape[2] == 3:
            for y, x, channel in ((0, 0, 0), (0, 1, 1), (1, 0, 1), (1, 1, 2)):
                raw[y::2, x::2] = linear[y::2, x::2, channel] / gains[channel]
        noise = normals(sample["seed"], raw.shape)
        noise *= np.sqrt(raw * np.float32(sample["shot"]) + np.float32(sample["read"]))
        raw = np.clip(raw + noise, 0, 1)
        if image.shape[2] == 1:
            return np.asarray(cv2.pow(raw, 1 / _GAMMA), dtype=np.float32)[:, :, None]
        planes = []
        for channel, taps in enumerate((_FULL, _QUINCUNX, _FULL)):
            plane = np.zeros_like(raw)
            for y, x in _SITES[channel]:
                plane[y::2, x::2] = raw[y::2, x::2]
            planes.append(cv2.filter2D(plane, -1, taps, borderType=cv2.BORDER_REFLECT_101) * gains[channel])
        developed = np.clip(cv2.merge(planes), 0, 1)
        return np.asarray(cv2.pow(developed, 1 / _GAMMA), dtype=np.float32)

    def degrade_canvas(self, canvas: Canvas, columns: Columns, *, high: Size) -> Canvas:
        """The batch with the same noise; equals ``degrade`` up to 1e-4."""
        pixels = canvas.pixels
        _check_channels(pixels.shape[1])
        colour, device = pixels.shape[1] == 3, pixels.device
        ones = np.ones_like(columns["red"])
        gains = upload(np.stack([columns["red"], ones, columns["blue"]], 1).astype(np.float32), device)[
            :, :, None, None
        ]
        site = torch.zeros(3, *pixels.shape[2:], device=device)
        for channel in range(3):
            for y, x in _SITES[channel]:
                site[channel, y::2, x::2] = 1
        linear = pixels.clamp(min=0).pow(_GAMMA)
        raw = (linear / gains * site).sum(1, keepdim=True) if colour else linear
        shot, read = (
            upload(columns[name].astype(np.float32), device)[:, None, None, None] for name in ("shot", "read")
        )
        noise = normals_tensor(columns["seed"], canvas.positions(1))
        raw = (raw + noise * (raw * shot + read).sqrt()).clamp(0, 1)
        if not colour:
            return canvas.with_pixels(raw.clamp(min=1e-12).pow(1 / _GAMMA))
        mosaic = Canvas(raw * site, canvas.sizes).extended(1, border="reflect")
        taps = upload(np.stack([_FULL, _QUINCUNX, _FULL]), device)[:, None]
        planes: Tensor = torch.nn.functional.conv2d(mosaic, taps, groups=3) * gains
        return canvas.with_pixels(planes.clamp(1e-12, 1).pow(1 / _GAMMA))


_SITES = (((0, 0),), ((0, 1), (1, 0)), ((1, 1),))


def _check_channels(channels: int) -> None:
    if channels not in (1, 3):
        raise ValueError(
            f"CameraSensor takes grey or RGB images, the image has {counted(channels, 'channel')}: leave it out"
        )
