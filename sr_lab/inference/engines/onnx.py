"""ONNX Runtime."""

from torch import nn

from sr_lab.inference.engines.base import Array, Engine
from sr_lab.inference.runtimes import onnx_session
from sr_lab.networks.graph import plain_layers
from sr_lab.networks.graph.onnx import onnx_model


class OnnxEngine(Engine):
    """The network as an ONNX graph, for tiles of any size."""

    name = "onnx"
    packages = ("onnxruntime", "onnx")
    modules = ("onnxruntime", "onnx")

    def build(self, network: nn.Module) -> None:
        """Writes the graph and opens it."""
        self.session = onnx_session(onnx_model(plain_layers(network)).SerializeToString(), threads=self.threads)

    def __call__(self, tile: Array) -> Array:
        """The restored tile."""
        restored: Array = self.session.run(None, {"low": tile})[0]
        return restored
