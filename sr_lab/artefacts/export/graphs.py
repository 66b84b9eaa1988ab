"""A network's graph as the files of a runtime."""

import tempfile
from pathlib import Path
from typing import Literal

from sr_lab.networks.graph import Plain
from sr_lab.networks.graph.ncnn import ncnn_files
from sr_lab.networks.graph.onnx import onnx_model
from sr_lab.networks.graph.step import PlainStep, onnx_step

Target = Literal["onnx", "openvino", "ncnn", "bundle"]
Precision = Literal["fp32", "fp16", "int8"]
TARGETS, PRECISIONS = ("onnx", "openvino", "ncnn", "bundle"), ("fp32", "fp16", "int8")
ONNX, NCNN, OPENVINO = "model.onnx", ("model.param", "model.bin"), ("model.xml", "model.bin")


def write_onnx(folder: Path, model: bytes) -> None:
    """The graph as one file."""
    (folder / ONNX).write_bytes(model)


def write_openvino(folder: Path, model: bytes, *, half: bool) -> None:
    """OpenVINO's two files of an ONNX graph; weights in 16 bits where ``half``."""
    import openvino

    with tempfile.TemporaryDirectory(prefix="srlab-") as scratch:
        file = Path(scratch) / ONNX
        file.write_bytes(model)
        openvino.save_model(openvino.convert_model(str(file)), str(folder / OPENVINO[0]), compress_to_fp16=half)


def write_ncnn(folder: Path, plain: Plain, *, half: bool) -> None:
    """Ncnn's two files."""
    param, weights = ncnn_files(plain, half=half)
    (folder / NCNN[0]).write_text(param, encoding="ascii")
    (folder / NCNN[1]).write_bytes(weights)


def onnx_bytes(plain: Plain | PlainStep, *, half: bool = False, size: tuple[int, int] | None = None) -> bytes:
    """The ONNX graph as it is written to a file; that of a step takes any size."""
    model = onnx_step(plain, half=half) if isinstance(plain, PlainStep) else onnx_model(plain, half=half, size=size)
    content: bytes = model.SerializeToString()
    return content
