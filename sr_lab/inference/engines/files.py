"""Running the files of an export, whatever runtime they are for."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

from sr_lab.inference.engines import ncnn, onnx, openvino
from sr_lab.inference.engines.base import Array


def open_files(folder: Path, target: str, *, threads: int = 1) -> Callable[[Array], Array]:
    """What the files of a folder compute: (B, C, h, w) float32 to (B, C, h * scale, w * scale).

    Args:
        folder: of the files.
        target: onnx, bundle, openvino or ncnn.
        threads: cores that may be used.
    """
    if target in ("onnx", "bundle"):
        session = onnx.session((folder / "model.onnx").read_bytes(), threads=threads)
        return lambda tile: session.run(None, {"low": tile})[0]
    if target == "ncnn":
        net = ncnn.opened(folder / "model.param", folder / "model.bin", threads=threads)
        return lambda tile: np.stack([ncnn.run(net, np.ascontiguousarray(one)) for one in tile])
    graphs: dict[tuple[int, ...], Callable[[Array], list[Array]]] = {}

    def run(tile: Array) -> Array:
        if tile.shape not in graphs:
            graphs.clear()
            graphs[tile.shape] = openvino.compiled(folder / "model.xml", tile.shape, threads=threads)
        return graphs[tile.shape](tile)[0].copy()

    return run
