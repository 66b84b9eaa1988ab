"""An ONNX graph in 8-bit integers that no processor saturates, calibrated on patches.

Activations are unsigned 8 bits and weights signed 7 bits: the sum of two products is at most 2 * 255 * 64 = 32,640,
which fits into the 16 bits in which AVX2 without VNNI adds them; with 8-bit weights it saturates, silently, and one
photo lost 5 dB. Convolutions alone are quantised: skips, activations and the pixel shuffle stay in float.
"""

import logging
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sr_lab.images import resize_bicubic, rgb_to_y

Array = npt.NDArray[np.float32]
SIDE, NUM_PATCHES = 48, 24
BRIGHTER = 0.35
"""What some patches are raised by, so that they saturate. Multiplied by 1.6 instead, their contrast widened the ranges
of activations that photos use a part of, and an edge model lost half as much again."""


def calibration_patches(photos: Sequence[Tensor], *, scale: int, num_channels: int) -> list[Array]:
    """Patches (1, C, 48, 48) as the network meets them: cut from shrunk photos, the same too bright, and flat ones.

    Args:
        photos: originals (1, C, H, W) in [0, 1]; the patches are cut at fixed places.
        scale: they are shrunk by it first, as the network's low images are.
        num_channels: of the network; luma, where it is 1.
    """
    generator = np.random.default_rng(0)
    cut: list[Tensor] = []
    for photo in photos:
        low = resize_bicubic(photo, scale=1 / scale).clamp(0, 1) if min(photo.shape[-2:]) >= scale * SIDE else photo
        if min(low.shape[-2:]) < SIDE:
            continue
        for _ in range(-(-NUM_PATCHES // len(photos))):
            top, left = (int(generator.integers(length - SIDE + 1)) for length in low.shape[-2:])
            cut.append(low[..., top : top + SIDE, left : left + SIDE])
    if not cut:
        raise ValueError(f"calibration: no photo is {SIDE} pixels high and wide: give larger ones")
    real = [_fitted(patch, num_channels) for patch in cut[:NUM_PATCHES]]
    bright = [(patch + BRIGHTER).clamp(0, 1) for patch in real[: NUM_PATCHES // 3]]
    return [np.ascontiguousarray(patch.numpy()) for patch in (*real, *bright, *_extremes(num_channels))]


def _fitted(patch: Tensor, num_channels: int) -> Tensor:
    if patch.shape[1] == num_channels:
        return patch
    return rgb_to_y(patch[:, :3]) if num_channels == 1 else patch[:, :1].expand(-1, num_channels, -1, -1)


def _extremes(num_channels: int) -> list[Tensor]:
    """White, black, and each primary with its complement, flat.

    Lines and checks of black and white are left out: they double the range of every activation, which photos then use
    a half of (an edge model lost 3 dB by them, and .15 dB without).
    """
    shape = (1, num_channels, SIDE, SIDE)
    flat = [torch.zeros(shape), torch.ones(shape)]
    if num_channels > 1:
        for channel in range(num_channels):
            flat += [torch.zeros(shape), torch.ones(shape)]
            flat[-2][:, channel], flat[-1][:, channel] = 1, 0
    return flat


def quantised(model: bytes, patches: Sequence[Array], *, exclude: Sequence[str] = ()) -> bytes:
    """The graph with its convolutions in integers.

    Args:
        model: an ONNX graph from ``low`` to ``restored``, in float.
        patches: what the ranges of the activations are taken from.
        exclude: names of convolutions that stay in float.

    Raises:
        ValueError: if one of these is none of the graph's convolutions, or none is left.
    """
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    known = convolutions(model)
    if unknown := [name for name in exclude if name not in known]:
        raise ValueError(f"exclude={unknown[0]}: the network's convolutions are {', '.join(known)}")
    if not set(known) - set(exclude):
        raise ValueError("exclude leaves no convolution to quantise: give precision=fp32")

    class Patches(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = iter(patches)

        def get_next(self) -> Any:
            patch = next(self.left, None)
            return None if patch is None else {"low": patch}

    with tempfile.TemporaryDirectory(prefix="srlab-") as scratch:
        given, made = Path(scratch) / "given.onnx", Path(scratch) / "made.onnx"
        given.write_bytes(model)
        level = logging.root.level
        logging.root.setLevel(logging.ERROR)  # it advises, on the root logger, a preparation that these graphs need not
        try:
            quantize_static(
                str(given),
                str(made),
                Patches(),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=["Conv"],
                per_channel=True,
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=list(exclude),
            )
        finally:
            logging.root.setLevel(level)
        content: bytes = onnx.load(str(made)).SerializeToString()
    return content


def convolutions(model: bytes) -> list[str]:
    """Names of a graph's convolutions, in the order in which they are computed."""
    import onnx

    return [node.name for node in onnx.load_from_string(model).graph.node if node.op_type == "Conv"]
