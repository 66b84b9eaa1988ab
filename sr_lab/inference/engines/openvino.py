"""OpenVINO, which reads the same ONNX graph and is compiled for each size of a tile."""

from collections import OrderedDict
from pathlib import Path
from typing import Any

from torch import nn

from sr_lab.inference.engines.base import Array, Engine
from sr_lab.networks.graph import plain_layers
from sr_lab.networks.graph.onnx import onnx_model

KEPT = 6
"""Sizes of tiles whose compiled graphs are kept."""


class OpenVinoEngine(Engine):
    """The network compiled for the sizes of the tiles that come, in float32."""

    name = "openvino"
    packages = ("openvino", "onnx")
    modules = ("openvino", "onnx")

    def build(self, network: nn.Module) -> None:
        """Writes the graph; it is compiled when the first tile comes."""
        self.model = onnx_model(plain_layers(network)).SerializeToString()
        self.compiled: OrderedDict[tuple[int, ...], Any] = OrderedDict()

    def __call__(self, tile: Array) -> Array:
        """The restored tile."""
        if tile.shape not in self.compiled:
            self.compiled[tile.shape] = compiled(self.model, tile.shape, threads=self.threads)
            while len(self.compiled) > KEPT:
                self.compiled.popitem(last=False)
        self.compiled.move_to_end(tile.shape)
        restored: Array = self.compiled[tile.shape](tile)[0].copy()
        return restored


def compiled(model: bytes | Path, shape: tuple[int, ...], *, threads: int) -> Any:
    """An ONNX graph, or a file of OpenVINO's, compiled for tiles of one shape."""
    import openvino

    core = openvino.Core()
    graph = core.read_model(model, b"") if isinstance(model, bytes) else core.read_model(str(model))
    graph.reshape(list(shape))
    settings = {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
    }
    return core.compile_model(graph, "CPU", settings)
