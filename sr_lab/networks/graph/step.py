"""A step of a causal network as an ONNX graph: frame, state and flow in, the restored frame out."""

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import nn

from sr_lab.networks.graph.onnx import Shape, Writer
from sr_lab.networks.graph.plain import LOW, RESTORED, Array, NotPlain, Plain, plain_layers
from sr_lab.networks.temporal.flow import DISFlow
from sr_lab.networks.temporal.recurrent import RecurrentEDSR
from sr_lab.networks.temporal.trusting import AT_FIRST, HASTE, SENSITIVITY, TrustingEDSR

if TYPE_CHECKING:
    import onnx

LOW_BEFORE, RESTORED_BEFORE, FLOW, SAME = "low_before", "restored_before", "flow", "same"
_SEEN, _ENLARGED = "seen", "enlarged"


@dataclass(frozen=True, eq=False)
class PlainStep:
    """A step: what is brought along by the flow, and plain layers behind it.

    Attributes:
        enlarger: From what a step sees to the restored frame.
        scale: Enlargement factor.
        num_channels: Channels of the frames.
        share: How much of the last detail is seen.
        gate: See ``RecurrentEDSR``.
        flow_enlarge: By what frames are enlarged before their flow is searched; see ``DISFlow``.
    """

    enlarger: Plain
    scale: int
    num_channels: int
    share: float
    gate: float
    flow_enlarge: int

    @property
    def radius(self) -> float:
        """See ``Plain``; along the motion it sees further."""
        return self.enlarger.radius


@dataclass(frozen=True, eq=False)
class TrustingStep(PlainStep):
    """A step of ``TrustingEDSR``.

    Attributes:
        trust: Weights and biases of its two convolutions, as PyTorch shapes them.
        kernel: Weights of the pixels that a reduced pixel is made of.
    """

    trust: tuple[Array, ...]
    kernel: Array


def plain_step(network: nn.Module) -> PlainStep:
    """The step of a causal network whose flow is a runtime's caller's to search.

    Raises:
        NotPlain: Naming what cannot be written as a graph.
    """
    name = type(network).__name__
    if type(network) not in (RecurrentEDSR, TrustingEDSR):  # another one brings other things along
        raise NotPlain(f"{name} has no step that could be written as a graph")
    assert isinstance(network, RecurrentEDSR)
    if not isinstance(network.flow, DISFlow):
        raise NotPlain(
            f"{name} has a flow that is trained ({type(network.flow).__name__}); with DISFlow it has a graph"
        )
    known: dict[str, Any] = {
        "enlarger": plain_layers(network.enlarger),
        "scale": network.scale,
        "num_channels": network.num_channels,
        "share": network.leak * network.damping,
        "gate": network.gate,
        "flow_enlarge": network.flow.enlarge,
    }
    if not isinstance(network, TrustingEDSR):
        return PlainStep(**known)
    trust = tuple(weight.detach().cpu().numpy().copy() for weight in network.trust.parameters())
    return TrustingStep(**known, trust=trust, kernel=network.kernel.cpu().numpy().copy())


def onnx_step(step: PlainStep, *, half: bool = False) -> "onnx.ModelProto":
    """The graph of a step; float32, any batch, height and width.

    Its inputs are ``low`` and ``low_before`` (B, C, h, w), ``restored_before`` (B, C, h * scale, w * scale), ``flow``
    (B, 2, h, w) in pixels to the right and down from ``low`` to ``low_before``, and ``same`` (B, 1, 1, 1): 0 at the
    beginning of a clip and at cuts, 1 elsewhere. Its output is ``restored``; with ``low`` it is the next state.

    Args:
        step: What is written.
        half: See ``onnx_model``.
    """
    writer = Writer(half)
    behind: tuple[str, str] | None = None
    if isinstance(step, TrustingStep):
        behind = _write_trusting(writer, step)
    else:
        _write_recurrent(writer, step)
    names = {LOW: _SEEN, RESTORED: RESTORED if behind is None else _ENLARGED}
    for layer in step.enlarger.layers:
        inputs = tuple(names.get(name, name) for name in layer.inputs)
        writer.write(dataclasses.replace(layer, inputs=inputs, output=names.get(layer.output, layer.output)))
    if behind is not None:
        expected, share = behind
        more = writer.add("Mul", [share, writer.add("Sub", [expected, _ENLARGED], "expected.more")], "expected.share")
        writer.add("Add", [_ENLARGED, more], RESTORED)
    channels, small, large = step.num_channels, ("height", "width"), ("large_height", "large_width")
    inputs_of: dict[str, Shape] = {
        LOW: (channels, *small),
        LOW_BEFORE: (channels, *small),
        RESTORED_BEFORE: (channels, *large),
        FLOW: (2, *small),
        SAME: (1, 1, 1),
    }
    return writer.model("super_resolution_step", inputs_of, {RESTORED: (channels, *large)})


def _write_recurrent(writer: Writer, step: PlainStep) -> None:
    """What a step of ``RecurrentEDSR`` sees: the frame, the last detail where it shows that, and how they differ."""
    add = writer.add
    moved = _unshuffled(writer, step, _moved_detail(writer, step, cubic=False))
    apart = add("Sub", [_warped(writer, LOW_BEFORE, FLOW, "low.moved"), LOW], "apart")
    trust = _scaled(writer, SAME, step.share, "trust.scene")
    if step.gate:
        square = add("Mul", [apart, apart], "apart.square")
        mean = add("ReduceMean", [square, _whole(writer, "axes.channels", 1)], "apart.mean", keepdims=1)
        gate = add("Exp", [_scaled(writer, mean, -step.gate, "apart.gate")], "gate.open")
        trust = add("Mul", [trust, gate], "trust")
    brought = add("Concat", [moved, apart], "brought", axis=1)
    add("Concat", [LOW, add("Mul", [brought, trust], "brought.trusted")], _SEEN, axis=1)


def _write_trusting(writer: Writer, step: TrustingStep) -> tuple[str, str]:
    """What a step of ``TrustingEDSR`` sees; gives the expected frame, and its share in the restored one."""
    add, scale = writer.add, step.scale
    moved = _moved_detail(writer, step, cubic=True)
    moved_low = _warped(writer, LOW_BEFORE, FLOW, "low.moved")
    apart = add("Sub", [moved_low, LOW], "apart")
    expected = add("Add", [moved, _enlarged(writer, moved_low, scale, "low.moved.large")], "expected.low")
    residual = add("Sub", [_reduced(writer, step, expected), LOW], "residual")
    size = [scale, scale]
    strength = add("AveragePool", [add("Abs", [moved], "moved.abs")], "strength", kernel_shape=size, strides=size)
    sizes = [add("Abs", [residual], "residual.abs"), add("Abs", [apart], "apart.abs"), strength]
    value = _scaled(writer, add("Concat", sizes, "evidence.parts", axis=1), SENSITIVITY, "evidence")
    for number in (0, 1):
        weights = [
            writer.constant(f"trust.{number}.{name}", step.trust[2 * number + place])
            for place, name in enumerate(("weight", "bias"))
        ]
        value = add("Conv", [value, *weights], f"trust.{number}", kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        if number == 0:
            value = add("Relu", [value], "trust.relu")
    trust, share = (
        add("Gather", [value, _whole(writer, f"trust.which.{number}", number)], f"trust.{name}", axis=1)
        for number, name in enumerate(("believed", "share"))
    )
    trust = add("Sigmoid", [add("Add", [trust, _number(writer, "trust.first", AT_FIRST)], "trust.sum")], "trust.open")
    most = _scaled(writer, SAME, step.share, "most")
    believed = add("Mul", [_unshuffled(writer, step, moved), trust], "believed")
    brought = add("Concat", [believed, residual, apart], "brought", axis=1)
    add("Concat", [LOW, add("Mul", [brought, most], "brought.trusted")], _SEEN, axis=1)
    share = add("Mul", [add("Tanh", [_scaled(writer, share, HASTE, "share.haste")], "share.tanh"), most], "share.low")
    base = _enlarged(writer, LOW, scale, "low.large")
    return add("Add", [base, moved], "expected"), _enlarged(writer, share, scale, "share")


def _moved_detail(writer: Writer, step: PlainStep, *, cubic: bool) -> str:
    """The last detail as seen from the frame."""
    add, scale = writer.add, step.scale
    detail = add("Sub", [RESTORED_BEFORE, _enlarged(writer, LOW_BEFORE, scale, "base")], "detail")
    large = _scaled(writer, _enlarged(writer, FLOW, scale, "flow.large"), scale, "flow.scaled")
    return _warped(writer, detail, large, "detail.moved", cubic=cubic)


def _unshuffled(writer: Writer, step: PlainStep, value: str) -> str:
    """A pixel's scale^2 values as channels, the channel before them: a convolution of zeros and ones."""
    scale, channels = step.scale, step.num_channels
    ones = np.eye(scale**2, dtype=np.float32).reshape(scale**2, 1, scale, scale)
    weight = writer.constant("unshuffle.weight", np.tile(ones, (channels, 1, 1, 1)))
    size = [scale, scale]
    return writer.add("Conv", [value, weight], f"{value}.unshuffled", kernel_shape=size, strides=size, group=channels)


def _reduced(writer: Writer, step: TrustingStep, value: str) -> str:
    """See ``TrustingEDSR``: as MATLAB's bicubic reduces."""
    add, scale, channels, taps = writer.add, step.scale, step.num_channels, len(step.kernel)
    margin = (taps - scale) // 2
    pads = _whole(writer, "reduced.pads", 0, 0, margin, margin, 0, 0, margin, margin)
    value = add("Pad", [value, pads], "reduced.padded", mode="edge")
    across = np.tile(step.kernel.reshape(1, 1, 1, taps), (channels, 1, 1, 1))
    for name, weight, strides in (
        ("across", across, [1, scale]),
        ("down", np.ascontiguousarray(across.transpose(0, 1, 3, 2)), [scale, 1]),
    ):
        constant = writer.constant(f"reduced.{name}.weight", weight)
        value = add(
            "Conv", [value, constant], f"reduced.{name}", kernel_shape=list(weight.shape[2:]), strides=strides,
            group=channels,
        )  # fmt: skip
    return value


def _scaled(writer: Writer, value: str, factor: float, output: str) -> str:
    return writer.add("Mul", [value, _number(writer, f"{output}.factor", factor)], output)


def _enlarged(writer: Writer, value: str, scale: int, output: str) -> str:
    factors = _number(writer, f"{output}.factors", 1, 1, scale, scale)
    return writer.add(
        "Resize", [value, "", factors], output, mode="linear", coordinate_transformation_mode="half_pixel"
    )


def _warped(writer: Writer, image: str, flow: str, output: str, *, cubic: bool = False) -> str:
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
    return add(
        "GridSample",
        [image, grid],
        output,
        mode="bicubic" if cubic else "bilinear",
        padding_mode="border",
        align_corners=1,
    )


def _number(writer: Writer, name: str, *numbers: float) -> str:
    """Numbers as a constant: one alone has no shape."""
    return writer.constant(name, np.array(numbers if len(numbers) > 1 else numbers[0], np.float32))


def _whole(writer: Writer, name: str, *numbers: int, scalar: bool = False) -> str:
    """A list of whole numbers as a constant, or a single one where ``scalar``."""
    from onnx import numpy_helper

    writer.constants.append(numpy_helper.from_array(np.array(numbers[0] if scalar else numbers, np.int64), name))
    return name
