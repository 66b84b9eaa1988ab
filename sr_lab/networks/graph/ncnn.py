"""Plain layers as the two files of ncnn (https://github.com/Tencent/ncnn, param format 7767517)."""

import struct
from collections import Counter
from typing import Any

import numpy as np

from sr_lab.networks.graph.plain import LOW, RESTORED, Array, Layer, NotPlain, Plain

MAGIC = "7767517"
FLOAT32, FLOAT16 = 0, 0x01306B47
"""What the weights of a convolution begin with."""


def ncnn_files(plain: Plain, *, half: bool = False) -> tuple[str, bytes]:
    """Text of the ``.param`` file and content of the ``.bin`` file; the blobs are called ``low`` and ``restored``.

    Args:
        plain: the layers.
        half: whether the weights of convolutions are stored in 16 bits; ncnn widens them when it loads them.

    Raises:
        NotPlain: if ncnn has no such layer.
    """
    uses = Counter(name for layer in plain.layers for name in layer.inputs)
    lines = ["Input low 0 1 low"]
    blobs, data = 1, bytearray()
    copies: dict[str, list[str]] = {}

    def produced(name: str) -> None:
        """A value that several layers take is split: each blob has one consumer."""
        nonlocal blobs
        if uses[name] > 1:
            copies[name] = [f"{name}_{index}" for index in range(uses[name])]
            lines.append(f"Split split_{name} 1 {uses[name]} {name} {' '.join(copies[name])}")
            blobs += uses[name]

    produced(LOW)
    for layer in plain.layers:
        taken = [copies[name].pop(0) if name in copies else name for name in layer.inputs]
        kind, numbers = _written(layer, data, half)
        said = "".join(f" {key}={value}" for key, value in numbers.items())
        lines.append(f"{kind} {layer.output}_layer {len(taken)} 1 {' '.join(taken)} {layer.output}{said}")
        blobs += 1
        produced(layer.output)
    assert plain.layers[-1].output == RESTORED
    return "\n".join([MAGIC, f"{len(lines)} {blobs}", *lines]) + "\n", bytes(data)


def _written(layer: Layer, data: bytearray, half: bool) -> tuple[str, dict[int, Any]]:
    """Kind and numbers of a layer; its weights are put behind those of the ones before."""
    numbers, arrays = layer.numbers, layer.arrays
    if layer.kind in ("conv", "deconv"):
        return _convolution(layer, data, half)
    if layer.kind == "prelu":
        data += arrays["slope"].astype("<f4").tobytes()
        return "PReLU", {0: len(arrays["slope"])}
    if layer.kind == "leaky_relu":
        return "ReLU", {0: _number(numbers["slope"])}
    if layer.kind == "pixel_shuffle":
        return "PixelShuffle", {0: numbers["factor"]}
    if layer.kind == "nearest":
        return "Interp", {0: 1, 1: _number(numbers["factor"]), 2: _number(numbers["factor"])}
    if layer.kind == "affine":
        data += arrays["multiplier"].astype("<f4").tobytes() + arrays["offset"].astype("<f4").tobytes()
        return "Scale", {0: layer.channels, 1: 1}
    if layer.kind == "add":
        return "BinaryOp", {0: 0}
    if layer.kind == "cat":
        return "Concat", {0: 0}
    raise NotPlain(f"ncnn has no layer for {layer.kind}")


def _convolution(layer: Layer, data: bytearray, half: bool) -> tuple[str, dict[int, Any]]:
    numbers, weight, bias = layer.numbers, layer.arrays["weight"], layer.arrays.get("bias")
    groups = numbers["groups"]
    if layer.kind == "deconv":  # ncnn wants the output channels first
        parts = weight.reshape(groups, -1, *weight.shape[1:])
        weight = np.ascontiguousarray(parts.transpose(0, 2, 1, 3, 4))
    data += _weights(weight, half)
    if bias is not None:
        data += bias.astype("<f4").tobytes()
    (tall, wide), (down, across) = weight.shape[-2:], numbers["stride"]
    (high, broad), (top, left) = numbers["dilation"], numbers["padding"]
    said: dict[int, Any] = {0: layer.channels, 1: wide, 11: tall, 2: broad, 12: high, 3: across, 13: down}
    said |= {4: left, 14: top, 5: int(bias is not None), 6: weight.size}
    if groups > 1:
        said[7] = groups
    if layer.kind == "deconv":
        below, right = numbers["output_padding"]
        said |= {18: right, 19: below}
    kind = "Convolution" if layer.kind == "conv" else "Deconvolution"
    return kind + ("DepthWise" if groups > 1 else ""), said


def _weights(weight: Array, half: bool) -> bytes:
    """The tag and the weights, filled up to four bytes."""
    content = weight.astype("<f2" if half else "<f4").tobytes()
    return struct.pack("<I", FLOAT16 if half else FLOAT32) + content + bytes(-len(content) % 4)


def _number(value: float) -> str:
    """As ncnn reads a float: with a point or an exponent."""
    return f"{float(value):e}"
