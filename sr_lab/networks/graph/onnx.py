"""Plain layers as an ONNX graph: any batch, height and width, or fixed ones."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from sr_lab.networks.graph.plain import LOW, RESTORED, Array, Layer, Plain

if TYPE_CHECKING:
    import onnx

OPSET, IR = 18, 10
Shape = Sequence[int | str]


def onnx_model(plain: Plain, *, half: bool = False, size: tuple[int, int] | None = None) -> "onnx.ModelProto":
    """The graph, from ``low`` (B, C, h, w) to ``restored``, float32 both.

    Args:
        plain: the layers.
        half: whether weights are stored in 16 bits; they are widened when the graph is loaded, and it computes in
            float32 all the same.
        size: the one height and width that it takes; None for any. Its batch is free.
    """
    writer = Writer(half)
    for layer in plain.layers:
        writer.write(layer)
    height, width = size if size is not None else ("height", "width")
    large = (height * plain.scale, width * plain.scale) if size is not None else ("large_height", "large_width")
    return writer.model(
        "super_resolution",
        {LOW: (plain.num_channels, height, width)},
        {RESTORED: (plain.layers[-1].channels, *large)},
    )


class Writer:
    """Nodes and constants of a graph, layer by layer; ``half`` as ``onnx_model`` takes it."""

    def __init__(self, half: bool) -> None:
        self.half = half
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def constant(self, name: str, array: Array) -> str:
        """Adds a constant; gives its name."""
        from onnx import TensorProto, helper, numpy_helper

        if not (self.half and array.size > 1):
            self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
            return name
        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array.astype(np.float16)), f"{name}.half"))
        self.nodes.append(helper.make_node("Cast", [f"{name}.half"], [name], name=f"{name}.cast", to=TensorProto.FLOAT))
        return name

    def add(self, kind: str, inputs: Sequence[str], output: str, **attributes: Any) -> str:
        """Adds a node that is no layer; gives the name of its output."""
        from onnx import helper

        self.nodes.append(helper.make_node(kind, list(inputs), [output], name=output, **attributes))
        return output

    def node(self, kind: str, layer: Layer, *inputs: str, **attributes: Any) -> None:
        """Adds a node that is a layer."""
        self.add(kind, [*layer.inputs, *inputs], layer.output, **attributes)

    def model(self, name: str, inputs: Mapping[str, Shape], outputs: Mapping[str, Shape]) -> "onnx.ModelProto":
        """The graph of what was added; shapes are without the batch."""
        from onnx import TensorProto, helper

        given, made = (
            [helper.make_tensor_value_info(key, TensorProto.FLOAT, ["batch", *shape]) for key, shape in values.items()]
            for values in (inputs, outputs)
        )
        graph = helper.make_graph(self.nodes, name, given, made, self.constants)
        return helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR, producer_name="sr_lab"
        )

    def write(self, layer: Layer) -> None:
        """Adds a layer."""
        name, numbers, arrays = layer.output, layer.numbers, layer.arrays
        if layer.kind in ("conv", "deconv"):
            weights = [self.constant(f"{name}.{key}", array) for key, array in arrays.items()]
            top, left = numbers["padding"]
            attributes = {
                "kernel_shape": list(arrays["weight"].shape[2:]),
                "strides": list(numbers["stride"]),
                "pads": [top, left, top, left],
                "dilations": list(numbers["dilation"]),
                "group": numbers["groups"],
            }
            if layer.kind == "deconv":
                attributes["output_padding"] = list(numbers["output_padding"])
            self.node("Conv" if layer.kind == "conv" else "ConvTranspose", layer, *weights, **attributes)
        elif layer.kind == "prelu":
            self.node("PRelu", layer, self.constant(f"{name}.slope", arrays["slope"][:, None, None]))
        elif layer.kind == "leaky_relu":
            slope = numbers["slope"]
            self.node("LeakyRelu", layer, alpha=slope) if slope else self.node("Relu", layer)
        elif layer.kind == "pixel_shuffle":
            self.node("DepthToSpace", layer, blocksize=numbers["factor"], mode="CRD")
        elif layer.kind == "nearest":
            factors = self.constant(f"{name}.factors", np.array([1, 1, *[numbers["factor"]] * 2], np.float32))
            self.node(
                "Resize", layer, "", factors, mode="nearest", coordinate_transformation_mode="asymmetric",
                nearest_mode="floor",
            )  # fmt: skip
        elif layer.kind == "affine":
            self._affine(layer)
        elif layer.kind == "add":
            self.node("Add", layer)
        elif layer.kind == "cat":
            self.node("Concat", layer, axis=1)
        else:
            raise AssertionError(layer.kind)

    def _affine(self, layer: Layer) -> None:
        steps = [
            (kind, _column(layer.arrays[key]), key)
            for kind, key, nothing in (("Mul", "multiplier", 1), ("Add", "offset", 0))
            if not np.all(layer.arrays[key] == nothing)
        ] or [("Add", _column(layer.arrays["offset"]), "offset")]
        value = layer.inputs[0]
        half, self.half = self.half, False
        for index, (kind, array, key) in enumerate(steps):
            name = layer.output if index == len(steps) - 1 else f"{layer.output}.{key}.value"
            value = self.add(kind, [value, self.constant(f"{layer.output}.{key}", array)], name)
        self.half = half


def _column(array: Array) -> Array:
    """(C,) as (C, 1, 1), or as one number where all are equal."""
    return array[:1].reshape(1, 1, 1) if np.all(array == array[0]) else array[:, None, None]
