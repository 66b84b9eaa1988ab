"""Boxes held against boxes, and networks of boxes from tiny ONNX files made here."""

import math

import numpy as np
import pytest

from sr_lab.images import to_tensor
from sr_lab.images.found import Found
from sr_lab.tasks.detection import iou, match, without_doubles
from sr_lab.tasks.detectors import Cascade, OnnxDetector
from sr_lab.tasks.objects import Face, Objects


def thing(text: str, left: float, top: float, side: float = 10, confidence: float = 1.0) -> Found:
    return Found(text=text, box=(left, top, left + side, top + side), confidence=confidence)


def test_overlap_is_intersection_over_union():
    assert iou([thing("a", 0, 0)], [thing("a", 5, 0), thing("a", 0, 0), thing("a", 40, 0)]).tolist() == [
        [pytest.approx(1 / 3), 1.0, 0.0]
    ]
    assert iou([], [thing("a", 0, 0)]).shape == (0, 1)


def test_a_thing_is_found_once_and_by_its_class():
    truth = (thing("car", 0, 0), thing("dog", 100, 0))
    reading = (thing("car", 1, 0, confidence=0.6), thing("car", 0, 1, confidence=0.9), thing("cat", 100, 0))
    matches = match(reading, truth)
    assert matches.found == [reading[1], None]
    assert {one.confidence for one in matches.false} == {0.6, 1.0}
    assert (matches.recall, matches.precision) == (0.5, pytest.approx(1 / 3))


def test_nothing_found_says_nothing_wrong_and_nothing_there_has_no_recall():
    assert match((), (thing("car", 0, 0),)).precision == 1.0
    assert math.isnan(match((), ()).recall)


def test_of_doubles_the_surest_stays():
    kept = without_doubles([thing("a", 0, 0, confidence=0.4), thing("a", 1, 0, confidence=0.7), thing("b", 0, 0)])
    assert sorted((one.text, one.confidence) for one in kept) == [("a", 0.7), ("b", 1.0)]


def network(path, outputs: dict[str, np.ndarray], side: int = 64) -> str:
    """An ONNX file that gives these arrays, their floats times the brightness of the upper left corner of the input."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from onnx import TensorProto, helper, numpy_helper

    nodes = [
        helper.make_node("Slice", ["x", "from", "to", "axes"], ["corner"]),
        helper.make_node("ReduceMean", ["corner"], ["bright"], keepdims=0),
    ]
    initial = [
        numpy_helper.from_array(np.array([0, 0], np.int64), "from"),
        numpy_helper.from_array(np.array([4, 4], np.int64), "to"),
        numpy_helper.from_array(np.array([2, 3], np.int64), "axes"),
    ]
    results = []
    for name, array in outputs.items():
        if np.issubdtype(array.dtype, np.floating):
            mask = (array <= 1).astype(np.float32)  # scores scale with the brightness, places do not
            initial += [
                numpy_helper.from_array((array * mask).astype(np.float32), f"{name}_scores"),
                numpy_helper.from_array((array * (1 - mask)).astype(np.float32), f"{name}_places"),
            ]
            nodes += [
                helper.make_node("Mul", [f"{name}_scores", "bright"], [f"{name}_lit"]),
                helper.make_node("Add", [f"{name}_lit", f"{name}_places"], [name]),
            ]
            kind = TensorProto.FLOAT
        else:
            initial.append(numpy_helper.from_array(array, f"{name}_kept"))
            nodes.append(helper.make_node("Identity", [f"{name}_kept"], [name]))
            kind = TensorProto.INT64
        results.append(helper.make_tensor_value_info(name, kind, array.shape))
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, side, side))]
    model = helper.make_model(
        helper.make_graph(nodes, "tiny", inputs, results, initial), opset_imports=[helper.make_opsetid("", 13)]
    )
    model.ir_version = 8
    onnx.save(model, str(path))
    return str(path)


WHITE = np.full((32, 64, 3), 255, np.uint8)


@pytest.mark.parametrize("turned", [False, True])
def test_a_yolo_file_is_read_either_way_round(tmp_path, turned):
    rows = np.array([[[16, 8, 20, 12, 0.9, 0.1], [17, 8, 20, 12, 0.5, 0.1], [48, 8, 8, 8, 0.02, 0.8]]], np.float32)
    file = network(tmp_path / "tiny.onnx", {"out": rows.transpose(0, 2, 1).copy() if turned else rows})
    found = OnnxDetector(weights=file, classes=["car", "dog"]).detect(np.repeat(WHITE, 2, 0).repeat(2, 1))
    assert [(one.text, round(one.confidence, 2)) for one in found] == [("car", 0.9), ("dog", 0.8)]
    assert found[0].box == pytest.approx((12, 4, 52, 28))  # the picture is twice the square's size


def test_objectness_multiplies_the_scores(tmp_path):
    rows = np.array([[[16, 8, 20, 12, 0.5, 0.8]]], np.float32)
    file = network(tmp_path / "tiny.onnx", {"out": rows})
    (found,) = OnnxDetector(weights=file, classes=["car"], layout="yolo_objectness").detect(WHITE)
    assert found.confidence == pytest.approx(0.4)


def test_boxes_and_scores_with_and_without_classes_of_their_own(tmp_path):
    boxes = np.array([[[2, 4, 12, 14], [30, 4, 50, 24]]], np.float32)
    scores = np.array([[[0.1, 0.9, 0.0], [0.3, 0.0, 0.6]]], np.float32)
    file = network(tmp_path / "ssd.onnx", {"boxes": boxes, "scores": scores})
    found = OnnxDetector(weights=file, classes=["car", "dog"], layout="boxes_scores", background=True).detect(WHITE)
    assert [(one.text, round(one.confidence, 2)) for one in found] == [("car", 0.9), ("dog", 0.6)]
    labelled = {"boxes": boxes, "scores": scores.max(axis=2), "labels": np.array([[1, 0]])}
    file = network(tmp_path / "labels.onnx", labelled)
    found = OnnxDetector(weights=file, classes=["car", "dog"], layout="boxes_scores").detect(WHITE)
    assert [one.text for one in found] == ["dog", "car"]


def test_another_output_than_the_layout_says_is_named(tmp_path):
    file = network(tmp_path / "tiny.onnx", {"out": np.ones((1, 7, 9), np.float32)})
    with pytest.raises(ValueError, match=r"gives \(1, 7, 9\), layout=yolo for the classes given \(1\) is \(1, 5, N\)"):
        OnnxDetector(weights=file, classes=["car"]).detect(WHITE)


def test_a_file_that_is_not_there_is_named_with_the_remedy(tmp_path):
    pytest.importorskip("onnxruntime")
    with pytest.raises(ValueError, match=r"object: there is no file .*none\.onnx: give the detector's ONNX file"):
        Objects(detector=OnnxDetector(weights=tmp_path / "none.onnx", classes=["car"]))


def test_small_objects_and_false_ones_are_counted_apart(tmp_path):
    file = network(tmp_path / "tiny.onnx", {"out": np.array([[[16, 8, 20, 12, 0.9]]], np.float32)})
    task = Objects(detector=OnnxDetector(weights=file, classes=["car"]), small=16)
    large, small = thing("car", 0, 0, 40), thing("car", 100, 0, 10)
    scored = task.score((large, thing("car", 200, 0)), (large, small))
    assert scored == {"recall": 0.5, "small_recall": 0.0, "false": 1.0}
    assert task.score((thing("car", 0, 0, 40, confidence=0.2),), (large, small))["recall"] == 0, "below the threshold"
    assert math.isnan(task.score((), (large,))["small_recall"])


def test_the_cascade_finds_the_face_of_a_photo_and_none_in_noise():
    from skimage.data import astronaut

    task = Face(detector=Cascade())
    photo = to_tensor(np.ascontiguousarray(astronaut()[:256, 100:356]))
    truth = task.truth_of(photo, _empty())
    assert len(truth) == 1
    assert task.score(task.read(photo), truth) == {"recall": 1.0, "precision": 1.0}
    noise = to_tensor(np.random.default_rng(0).integers(0, 255, (96, 96, 3)).astype(np.uint8))
    assert task.read(noise) == ()
    assert Face(detector=Cascade()).read(noise[..., :8, :8]) == ()


def _empty():
    from sr_lab.metrics.base import Context

    return Context()
