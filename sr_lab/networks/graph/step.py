"""A step of a causal network as an ONNX graph: frame, state and flow in, the restored frame out."""

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from sr_lab.networks.graph.onnx import IR, OPSET, Writer
from sr_lab.networks.graph.plain import LOW, RESTORED, NotPlain, Plain, plain_layers
from sr_lab.networks.temporal.flow import DISFlow
from sr_lab.networks.temporal.recurrent import RecurrentEDSR

if TYPE_CHECKING:
    import onnx

LOW_BEFORE, RESTORED_BEFORE, FLOW, SAME = "low_before", "restored_before", "flow", "same"
INPUTS = (LOW, LOW_BEFORE, RESTORED_BEFORE, FLOW, SAME)
_SEEN = "seen"


@dataclass(frozen=True, eq=False)
class PlainStep:
    """A step: what is brought along by the flow, and plain layers behind it.

    Attributes:
        enlarger: From what a step sees to the restored frame.
        scale: Enlargement factor.
        num_channels: Channels of the frames.
        share: How much of the last detail is seen.
        gate: See ``RecurrentEDSR``.
    """

    enlarger: Plain
    scale: int
    num_channels: int
    share: float
    gate: float

    @property
    def radius(self) -> float:
        """See ``Plain``; along the motion it sees further."""
        return self.enlarger.radius


def plain_step(network: nn.Module) -> PlainStep:
    """The step of a causal network whose flow is a runtime's caller's to search.

    Raises:
        NotPlain: Naming what cannot be written as a graph.
    """
    name = type(network).__name__
    if type(network) is not RecurrentEDSR:  # another one brings other things along
        raise NotPlain(f"{name} has no step that could be written as a graph")
    if not isinstance(network.flow, DISFlow):
        raise NotPlain(
            f"{name} has a flow that is trained ({type(network.flow).__name__}); with DISFlow it has a graph"
        )
    return PlainStep(
        plain_layers(network.enlarger),
        network.scale,
        network.num_channels,
        network.leak * network.damping,
        network.gate,
    )


def onnx_step(step: PlainStep, *, half: bool = False) -> "onnx.ModelProto":
    """The graph of a step; float32, any batch, height and width.

    Its inputs are ``low`` and ``low_before`` (B, C, h, w), ``restored_before`` (B, C, h * scale, w * scale), ``flow``
    (B, 2, h, w) in pixels to the right and down from ``low`` to ``low_before``, and ``same`` (B, 1, 1, 1): 0 at the
    beginning of a clip and at cuts, 1 elsewhere. Its output is ``restored``; with ``low`` it is the next state.

    Args:
        step: What is written.
        half: See ``onnx_model``.
    """
    from onnx import TensorProto, helper

    writer = Writer(half)
    _write_seen(writer, step)
    for layer in step.enlarger.layers:
        inputs = tuple(_SEEN if name == LOW else name for name in layer.inputs)
        writer.write(dataclasses.replace(layer, inputs=inputs))
    channels, small, large = step.num_channels, ("height", "width"), ("large_height", "large_width")
    shapes: dict[str, tuple[Any, ...]] = {
        LOW: (channels, *small),
        LOW_BEFORE: (channels, *small),
        RESTORED_BEFORE: (channels, *large),
        FLOW: (2, *small),
        SAME: (1, 1, 1),
    }
    given = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", *shape]) for name, shape in shapes.items()
    ]
    output = helper.make_tensor_value_info(RESTORED, TensorProto.FLOAT, ["batch", channels, *large])
    graph = helper.make_graph(writer.nodes, "super_resolution_step", given, [output], writer.constants)
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR, producer_name="sr_lab"
    )


def _write_seen(writer: Writer, step: PlainStep) -> None:
    """What a step sees: the frame, the last detail where the frame shows it, and how they differ."""
    add, scale, channels = writer.add, step.scale, step.num_channels
    base = _enlarged(writer, LOW_BEFORE, scale, "base")
    detail = add("Sub", [RESTORED_BEFORE, base], "detail")
    factor = _number(writer, "flow.factor", scale)
    large = add("Mul", [_enlarged(writer, FLOW, scale, "flow.large"), factor], "flow.scaled")
    moved = _warped(writer, detail, large, "detail.moved")
    # A pixel's scale^2 values become channels, the channel before them: a convolution of zeros and ones.
    ones = np.eye(scale**2, dtype=np.float32).reshape(scale**2, 1, scale, scale)
    weight = writer.constant("unshuffle.weight", np.tile(ones, (channels, 1, 1, 1)))
    moved = add(
        "Conv", [moved, weight], "detail.unshuffled", kernel_shape=[scale] * 2, strides=[scale] * 2, group=channels
    )
    apart = add("Sub", [_warped(writer, LOW_BEFORE, FLOW, "low.moved"), LOW], "apart")
    trust = add("Mul", [SAME, _number(writer, "share", step.share)], "trust.scene")
    if step.gate:
        square = add("Mul", [apart, apart], "apart.square")
        axes = _whole(writer, "axes.channels", 1)
        mean = add("ReduceMean", [square, axes], "apart.mean", keepdims=1)
        exponent = add("Mul", [mean, _number(writer, "gate", -step.gate)], "apart.gate")
        trust = add("Mul", [trust, add("Exp", [exponent], "gate.open")], "trust")
    brought = add("Concat", [moved, apart], "brought", axis=1)
    add("Concat", [LOW, add("Mul", [brought, trust], "brought.trusted")], _SEEN, axis=1)


def _enlarged(writer: Writer, value: str, scale: int, output: str) -> str:
    factors = _number(writer, f"{output}.factors", 1, 1, scale, scale)
    return writer.add(
        "Resize", [value, "", factors], output, mode="linear", coordinate_transformation_mode="half_pixel"
    )


def _warped(writer: Writer, image: str, flow: str, output: str) -> str:
    """See ``flow_warp`` with ``border``."""
    add, shape = writer.add, writer.add("Shape", [flow], f"{output}.shape")
    zero, one = (_number(writer, f"{output}.{number}", number) for number in (0, 1))
    two = _number(writer, f"{output}.2", 2)
    places = []
    for axis, dimension in ((0, 3), (1, 2)):
        name = f"{output}.{axis}"
        count = add("Gather", [shape, _whole(writer, f"{name}.dimension", dimension, scalar=True)], f"{name}.count")
        length = add("Cast", [count], f"{name}.length", to=1)
        place = add("Range", [zero, length, one], f"{name}.range")
        if axis == 1:
            place = add("Unsqueeze", [place, _whole(writer, f"{name}.axes", 1)], f"{name}.column")
        shift = add("Gather", [flow, _whole(writer, f"{name}.which", axis, scalar=True)], f"{name}.shift", axis=1)
        place = add("Mul", [add("Add", [place, shift], f"{name}.place"), two], f"{name}.twice")
        last = add("Max", [add("Sub", [length, one], f"{name}.last"), one], f"{name}.most")
        place = add("Sub", [add("Div", [place, last], f"{name}.share"), one], f"{name}.coordinate")
        places.append(add("Unsqueeze", [place, _whole(writer, f"{name}.end", -1)], f"{name}.coordinates"))
    grid = add("Concat", places, f"{output}.grid", axis=-1)
    return add("GridSample", [image, grid], output, mode="bilinear", padding_mode="border", align_corners=1)


def _number(writer: Writer, name: str, *numbers: float) -> str:
    """Numbers as a constant: one alone has no shape."""
    return writer.constant(name, np.array(numbers if len(numbers) > 1 else numbers[0], np.float32))


def _whole(writer: Writer, name: str, number: int, *, scalar: bool = False) -> str:
    """A whole number as a constant, in a list of one unless ``scalar``."""
    from onnx import numpy_helper

    writer.constants.append(numpy_helper.from_array(np.array(number if scalar else [number], np.int64), name))
    return name
