"""Reading ncnn's files: ``.param``, the layers of a network as text, and ``.bin``, their weights in that order."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from sr_lab.base.words import counted

MAGIC = "7767517"
HALF, SINGLE = 0x01306B47, 0
"""The tag before a convolution's weights: float16, padded to a multiple of 4 bytes, or float32."""

Array = npt.NDArray[np.float32]

_CONVOLUTIONS = ("Convolution", "ConvolutionDepthWise", "InnerProduct", "Deconvolution")
_WITHOUT_WEIGHTS = {
    "Input", "Split", "Concat", "Eltwise", "BinaryOp", "UnaryOp", "Interp", "PixelShuffle", "ReLU", "Sigmoid", "TanH",
    "Clip", "Crop", "Padding", "Pooling", "Reshape", "Permute", "Dropout", "Noop", "Swish", "HardSwish", "Softmax",
}  # fmt: skip


@dataclass(frozen=True)
class Layer:
    """A layer of a ``.param`` file.

    Attributes:
        kind: As ncnn calls it: ``Convolution``, ``PReLU``, ...
        name: Its own name.
        settings: The ``key=value`` pairs; an array (a key of -23300 and below) is a list.
        weights: Its arrays: ``weight`` (out, in, k, k), ``bias``, ``slope``.
    """

    kind: str
    name: str
    settings: dict[int, Any]
    weights: dict[str, Array] = field(default_factory=dict)

    @property
    def activation(self) -> tuple[int, list[float]]:
        """What follows within a convolution: 0 nothing, 1 ReLU, 2 leaky ReLU, ...; and its parameters."""
        return int(self.settings.get(9, 0)), [float(value) for value in self.settings.get(-23310, [])]


def read_ncnn(param: Path, binary: Path) -> list[Layer]:
    """The layers of a network with their weights as float32.

    Args:
        param: The text file.
        binary: The file of weights.

    Raises:
        ValueError: If a file is none of ncnn's, is damaged, holds quantised weights or a layer whose weights are not
            known here, or the two do not belong together.
    """
    layers = read_layers(param)
    content = binary.read_bytes()
    taken = 0

    def take(count: int, kind: Any) -> npt.NDArray[Any]:
        nonlocal taken
        size = count * np.dtype(kind).itemsize
        if taken + size > len(content):
            raise ValueError(f"{binary} ends at byte {len(content)}, before the weights that {param.name} tells of")
        found = np.frombuffer(content, kind, count, taken)
        taken += size
        return found

    for layer in layers:
        try:
            layer.weights.update(_weights(layer, take))
        except KeyError as error:
            raise ValueError(f"{param}: layer {layer.name} ({layer.kind}) lacks setting {error}") from error
    if taken != len(content):
        raise ValueError(f"{binary} holds {len(content)} bytes, and {param.name} tells of {taken}: not of one network")
    return layers


def read_layers(param: Path) -> list[Layer]:
    """The layers of a ``.param`` file, without weights.

    Raises:
        ValueError: If it is none.
    """
    try:
        lines = param.read_text(encoding="ascii").splitlines()
        if lines[0].strip() != MAGIC:
            raise ValueError(f"its first line is not {MAGIC}")
        count = int(lines[1].split()[0])
        layers = list(_layers(line for line in lines[2:] if line.strip()))
    except (ValueError, IndexError) as error:
        raise ValueError(f"{param} is no .param file of ncnn's: {error}") from error
    if len(layers) != count:
        raise ValueError(f"{param} is damaged: it has {counted(len(layers), 'layer')} and tells of {count}")
    return layers


def _layers(lines: Iterator[str]) -> Iterator[Layer]:
    for line in lines:
        kind, name, num_in, num_out, *rest = line.split()
        settings: dict[int, Any] = {}
        for pair in rest[int(num_in) + int(num_out) :]:
            key, _, value = pair.partition("=")
            number = int(key)
            settings[number] = [_number(v) for v in value.split(",")[1:]] if number <= -23300 else _number(value)
        yield Layer(kind, name, settings)


def _number(text: str) -> int | float:
    return float(text) if any(sign in text for sign in ".eE") else int(text)


def _weights(layer: Layer, take: Callable[[int, Any], npt.NDArray[Any]]) -> dict[str, Array]:
    settings = layer.settings
    if layer.kind == "PReLU":
        return {"slope": take(int(settings[0]), "<f4").astype(np.float32)}
    if layer.kind in _CONVOLUTIONS:
        if layer.kind != "Convolution":
            raise ValueError(f"layer {layer.name} is a {layer.kind}, whose weights are not known here")
        out, across, count = int(settings[0]), int(settings[1]), int(settings[6])
        down = int(settings.get(11, across))
        tag = int(take(1, "<u4")[0])
        if tag not in (HALF, SINGLE):
            raise ValueError(f"layer {layer.name} has weights of another kind than float16 and float32 (tag {tag:#x})")
        kind = "<f2" if tag == HALF else "<f4"
        weight = take(count, kind).astype(np.float32).reshape(out, -1, down, across)
        if tag == HALF and count % 2:
            take(1, kind)
        bias = {"bias": take(out, "<f4").astype(np.float32)} if settings.get(5) else {}
        return {"weight": weight, **bias}
    if layer.kind not in _WITHOUT_WEIGHTS:
        raise ValueError(f"layer {layer.name} is a {layer.kind}, whose weights are not known here")
    return {}
