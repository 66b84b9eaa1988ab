"""A network as a list of plain layers: what every engine has, with the weights as arrays.

The forward method is traced symbolically, so that nothing depends on the size of an image. Networks that look at the
size of their input, as attention over windows does, are not plain.
"""

import operator
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, fx, nn
from torch.nn import functional

from sr_lab.networks.base import Network

Array = npt.NDArray[np.float32]
LOW, RESTORED = "low", "restored"


class NotPlain(ValueError):
    """The network does something that the list of plain layers has no word for."""


@dataclass(frozen=True, eq=False)
class Layer:
    """One layer.

    Attributes:
        kind: conv, deconv, prelu, leaky_relu (relu with slope 0), pixel_shuffle, nearest, affine, add, cat or sigmoid.
        inputs: names of the values that go in.
        output: name of the value that comes out.
        channels: of the output.
        numbers: stride, padding, output_padding, dilation, groups, factor, slope.
        arrays: weight (as PyTorch shapes it) and bias; slope (C,); multiplier and offset (C,) of affine.
    """

    kind: str
    inputs: tuple[str, ...]
    output: str
    channels: int
    numbers: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, Array] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Plain:
    """A network from the value ``low`` (B, C, h, w) to ``restored`` (B, C, h * scale, w * scale)."""

    layers: tuple[Layer, ...]
    scale: int
    num_channels: int

    @property
    def convolutions(self) -> list[Layer]:
        """Its convolutions, in the order in which they are computed."""
        return [layer for layer in self.layers if layer.kind in ("conv", "deconv")]

    @property
    def radius(self) -> float:
        """Low-resolution pixels that an output pixel can see to each side, by the sizes of the kernels."""
        seen: dict[str, tuple[float, float]] = {LOW: (0.0, 1.0)}
        """Of each value: radius in low-resolution pixels, and by what it is enlarged."""
        for layer in self.layers:
            radius = max(seen[name][0] for name in layer.inputs)
            factor = seen[layer.inputs[0]][1]
            if layer.kind == "conv":
                reach = (layer.arrays["weight"].shape[-1] - 1) // 2 * layer.numbers["dilation"][0]
                radius, factor = radius + reach / factor, factor / layer.numbers["stride"][0]
            elif layer.kind == "deconv":
                factor *= layer.numbers["stride"][0]
                radius += (layer.arrays["weight"].shape[-1] - 1) / 2 / factor
            elif layer.kind in ("pixel_shuffle", "nearest"):
                factor *= layer.numbers["factor"]
            seen[layer.output] = radius, factor
        return seen[RESTORED][0]


def plain_layers(network: nn.Module) -> Plain:
    """The plain layers of a network.

    Args:
        network: with ``scale`` and ``num_channels``; its weights are copied.

    Raises:
        NotPlain: naming what is not a plain layer.

    Example:
        >>> from sr_lab.networks.compact import Compact
        >>> plain = plain_layers(Compact(scale=2, num_channels=1, num_features=4, num_convs=1))
        >>> [layer.kind for layer in plain.layers]
        ['conv', 'prelu', 'conv', 'prelu', 'conv', 'pixel_shuffle', 'nearest', 'add']
    """
    scale, channels = int(network.scale), int(network.num_channels)  # type: ignore[arg-type]
    module = network.for_graph() if isinstance(network, Network) else network
    try:
        with _ONE_AT_A_TIME:
            graph = _Tracer().trace(module)
    except (fx.proxy.TraceError, TypeError, RuntimeError, AttributeError, ValueError) as error:
        raise NotPlain(f"{type(network).__name__} is not a chain of plain layers: {_first(error)}") from error
    reader = _Reader(module, type(network).__name__)
    with torch.no_grad():
        for node in _needed(graph):
            reader.read(node, channels)
    return Plain(tuple(reader.layers), scale, channels)


_ONE_AT_A_TIME = threading.Lock()
"""Two traces would take each other's changes of nn.Module for the original."""


class _Tracer(fx.Tracer):
    """Traces in its own thread alone: while it does, torch changes how *every* module of the process is called."""

    def __init__(self) -> None:
        super().__init__(autowrap_modules=())  # type: ignore[arg-type]
        self.thread = threading.get_ident()

    def call_module(self, m: nn.Module, forward: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        if threading.get_ident() != self.thread:
            return forward(*args, **kwargs)
        return super().call_module(m, forward, args, kwargs)

    def getattr(self, attr: str, attr_val: Any, parameter_proxy_cache: dict[str, fx.Proxy]) -> Any:
        if threading.get_ident() != self.thread:
            return attr_val
        return super().getattr(attr, attr_val, parameter_proxy_cache)


def _needed(graph: fx.Graph) -> list[fx.Node]:
    """The nodes that the output is made of, in their order."""
    nodes = list(graph.nodes)
    needed = {nodes[-1]}
    for node in reversed(nodes):
        if node in needed:
            needed.update(node.all_input_nodes)
    return [node for node in nodes if node in needed]


class _Reader:
    """Turns nodes of a traced graph into layers, in their order."""

    def __init__(self, module: nn.Module, name: str) -> None:
        self.modules, self.root, self.name = dict(module.named_modules()), module, name
        self.layers: list[Layer] = []
        self.values: dict[fx.Node, Any] = {}
        """Of each node: name and channels of its value, or a tensor."""

    def read(self, node: fx.Node, channels: int) -> None:
        if node.op == "placeholder":
            self.values[node] = (LOW, channels)
        elif node.op == "output":
            (name, _) = self.value(node.args[0], node)
            self.layers[-1] = Layer(**{**vars(self.layers[-1]), "output": RESTORED})
            if name != self.name_of(len(self.layers) - 1):
                raise NotPlain(f"{self.name} gives back something else than its last layer")
        elif node.op == "get_attr":
            self.values[node] = operator.attrgetter(str(node.target))(self.root)
        elif node.op == "call_module":
            module = self.modules[str(node.target)]
            known = _MODULES.get(type(module))
            if known is None:
                raise NotPlain(f"{self.name} has the layer {type(module).__name__} ({node.target}), which is not plain")
            self.values[node] = known(self, node, module)
        else:
            make = _FUNCTIONS.get(node.target)
            if make is None:
                called = getattr(node.target, "__name__", node.target)
                raise NotPlain(f"{self.name} calls {called}, which is not a plain layer")
            self.values[node] = make(self, node)

    def name_of(self, index: int) -> str:
        return f"v{index}"

    def value(self, argument: Any, node: fx.Node) -> tuple[str, int]:
        """Name and channels of the value that a node takes."""
        found = self.values.get(argument) if isinstance(argument, fx.Node) else None
        if not isinstance(found, tuple):
            raise NotPlain(f"{self.name}: {node.name} takes {argument}, which is not a value of the image")
        return found

    def add(
        self,
        kind: str,
        inputs: Sequence[str],
        channels: int,
        arrays: Mapping[str, Tensor] | None = None,
        **numbers: Any,
    ) -> tuple[str, int]:
        name = self.name_of(len(self.layers))
        kept = {
            key: tensor.detach().to("cpu", torch.float32).contiguous().numpy().copy()
            for key, tensor in (arrays or {}).items()
        }
        self.layers.append(Layer(kind, tuple(inputs), name, channels, numbers, kept))
        return name, channels


def _convolution(reader: _Reader, node: fx.Node, module: Any) -> tuple[str, int]:
    name, _ = reader.value(node.args[0], node)
    if module.padding_mode != "zeros" or isinstance(module.padding, str):
        raise NotPlain(f"{reader.name}: {node.target} pads by {module.padding_mode}, not by a number of zeros")
    numbers = {
        "stride": module.stride,
        "padding": module.padding,
        "dilation": module.dilation,
        "groups": module.groups,
        "output_padding": module.output_padding,
    }
    arrays = {"weight": module.weight} | ({} if module.bias is None else {"bias": module.bias})
    kind = "deconv" if isinstance(module, nn.ConvTranspose2d) else "conv"
    return reader.add(kind, [name], module.out_channels, arrays, **numbers)


def _prelu(reader: _Reader, node: fx.Node, module: Any) -> tuple[str, int]:
    name, channels = reader.value(node.args[0], node)
    return reader.add("prelu", [name], channels, {"slope": module.weight.expand(channels)})


def _upsample(reader: _Reader, node: fx.Node, module: Any) -> tuple[str, int]:
    return _nearest(reader, node, module.scale_factor, module.mode)


def _interpolate(reader: _Reader, node: fx.Node) -> tuple[str, int]:
    said = dict(zip(("input", "size", "scale_factor", "mode"), node.args, strict=False)) | dict(node.kwargs)
    return _nearest(reader, node, said.get("scale_factor"), str(said.get("mode", "nearest")))


def _nearest(reader: _Reader, node: fx.Node, factor: Any, mode: str) -> tuple[str, int]:
    taken = node.args[0] if node.args else node.kwargs["input"]
    name, channels = reader.value(taken, node)
    if mode != "nearest" or not isinstance(factor, int | float) or factor != int(factor):
        raise NotPlain(f"{reader.name} resizes by {factor} ({mode}); plain is nearest by a whole number")
    return reader.add("nearest", [name], channels, factor=int(factor))


def _shuffle(reader: _Reader, node: fx.Node, factor: int) -> tuple[str, int]:
    name, channels = reader.value(node.args[0], node)
    return reader.add("pixel_shuffle", [name], channels // factor**2, factor=int(factor))


def _slope(reader: _Reader, node: fx.Node, slope: float) -> tuple[str, int]:
    name, channels = reader.value(node.args[0], node)
    return reader.add("leaky_relu", [name], channels, slope=float(slope))


def _leaky(reader: _Reader, node: fx.Node) -> tuple[str, int]:
    slope = node.args[1] if len(node.args) > 1 else node.kwargs.get("negative_slope", 0.01)
    return _slope(reader, node, float(slope))  # type: ignore[arg-type]


def _same(reader: _Reader, node: fx.Node, module: Any = None) -> tuple[str, int]:
    return reader.value(node.args[0], node)


def _cat(reader: _Reader, node: fx.Node) -> tuple[str, int]:
    parts: Any = node.args[0]
    axis = node.args[1] if len(node.args) > 1 else node.kwargs.get("dim", 0)
    if axis != 1:
        raise NotPlain(f"{reader.name} joins along axis {axis}; plain is along the channels")
    values = [reader.value(part, node) for part in parts]
    return reader.add("cat", [name for name, _ in values], sum(channels for _, channels in values))


def _repeat(reader: _Reader, node: fx.Node) -> tuple[str, int]:
    """``repeat_interleave`` along the channels: a fixed 1x1 convolution of zeros and ones."""
    said = dict(zip(("input", "repeats", "dim"), node.args, strict=False)) | dict(node.kwargs)
    name, channels = reader.value(said.get("input", said.get("self")), node)
    times = said.get("repeats")
    if said.get("dim") not in (1, -3) or not isinstance(times, int):
        raise NotPlain(f"{reader.name} repeats along axis {said.get('dim')}; plain is along the channels")
    weight = torch.eye(channels).repeat_interleave(times, 0)[:, :, None, None]
    numbers = {"stride": (1, 1), "padding": (0, 0), "dilation": (1, 1), "groups": 1, "output_padding": (0, 0)}
    return reader.add("conv", [name], channels * times, {"weight": weight}, **numbers)


def _arithmetic(sign: int, is_product: bool) -> Callable[[_Reader, fx.Node], tuple[str, int]]:
    """Sum or product of two values, or of a value and constants of its channels; ``sign`` -1: difference, quotient."""

    def read(reader: _Reader, node: fx.Node) -> tuple[str, int]:
        left, right = node.args[:2]
        one: Any
        other: Any
        one, other = (reader.values.get(side, side) if isinstance(side, fx.Node) else side for side in (left, right))
        if isinstance(one, tuple) and isinstance(other, tuple):
            if is_product or one[1] != other[1]:
                raise NotPlain(f"{reader.name} multiplies two values, or adds such of other channels: not plain")
            name = other[0] if sign > 0 else reader.add(
                "affine", [other[0]], other[1], {"multiplier": -torch.ones(other[1]), "offset": torch.zeros(other[1])}
            )[0]  # fmt: skip
            return reader.add("add", [one[0], name], one[1])
        if not isinstance(one, tuple) and (sign < 0 or not isinstance(other, tuple)):
            raise NotPlain(f"{reader.name}: {node.name} has no value of the image on its left")
        (name, channels), constant = (one, other) if isinstance(one, tuple) else (other, one)
        number = torch.as_tensor(constant, dtype=torch.float64)
        if number.numel() not in (1, channels) or (number.numel() > 1 and number.shape[-3:] != (channels, 1, 1)):
            raise NotPlain(f"{reader.name}: {node.name} takes a constant of the shape {tuple(number.shape)}")
        number = number.flatten().expand(channels)
        if is_product:
            return reader.add(
                "affine",
                [name],
                channels,
                {"multiplier": number if sign > 0 else 1 / number, "offset": torch.zeros(channels)},
            )
        return reader.add("affine", [name], channels, {"multiplier": torch.ones(channels), "offset": sign * number})

    return read


def _first(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


_ADD, _SUB, _MUL, _DIV = (_arithmetic(1, False), _arithmetic(-1, False), _arithmetic(1, True), _arithmetic(-1, True))
_MODULES: dict[type, Callable[[_Reader, fx.Node, Any], tuple[str, int]]] = {
    nn.Conv2d: _convolution,
    nn.ConvTranspose2d: _convolution,
    nn.PReLU: _prelu,
    nn.ReLU: lambda reader, node, module: _slope(reader, node, 0.0),
    nn.LeakyReLU: lambda reader, node, module: _slope(reader, node, module.negative_slope),
    nn.PixelShuffle: lambda reader, node, module: _shuffle(reader, node, module.upscale_factor),
    nn.Upsample: _upsample,
    nn.Identity: _same,
    nn.Dropout: _same,
}
_FUNCTIONS: dict[Any, Callable[[_Reader, fx.Node], tuple[str, int]]] = {
    operator.add: _ADD,
    operator.iadd: _ADD,
    torch.add: _ADD,
    "add": _ADD,
    operator.sub: _SUB,
    operator.mul: _MUL,
    operator.imul: _MUL,
    torch.mul: _MUL,
    "mul": _MUL,
    operator.truediv: _DIV,
    torch.cat: _cat,
    functional.interpolate: _interpolate,
    functional.leaky_relu: _leaky,
    functional.relu: lambda reader, node: _slope(reader, node, 0.0),
    torch.relu: lambda reader, node: _slope(reader, node, 0.0),
    functional.pixel_shuffle: lambda reader, node: _shuffle(reader, node, node.args[1]),  # type: ignore[arg-type]
    torch.repeat_interleave: _repeat,
    "repeat_interleave": _repeat,
    "contiguous": _same,
    "relu": lambda reader, node: _slope(reader, node, 0.0),
    "relu_": lambda reader, node: _slope(reader, node, 0.0),
}
