"""OpenVINO, which reads the same ONNX graph and is compiled for tiles of any size."""

from torch import nn

from sr_lab.inference.engines.base import Array, Engine
from sr_lab.inference.runtimes import OpenVinoGraphs
from sr_lab.networks.graph import plain_layers
from sr_lab.networks.graph.onnx import onnx_model


class OpenVinoEngine(Engine):
    """The network compiled for tiles of any size, in float32."""

    name = "openvino"
    packages = ("openvino", "onnx")
    modules = ("openvino", "onnx")

    def build(self, network: nn.Module) -> None:
        """Writes the graph; it is compiled when the first tile comes."""
        model = onnx_model(plain_layers(network)).SerializeToString()
        self.graphs = OpenVinoGraphs(model, threads=self.threads)

    def __call__(self, tile: Array) -> Array:
        """The restored tile."""
        return self.graphs(tile)
