"""ONNX Runtime."""

from collections.abc import Mapping
from typing import Any

from torch import nn

from sr_lab.inference.engines.base import Array, Engine
from sr_lab.networks.graph import plain_layers
from sr_lab.networks.graph.onnx import onnx_model


def session(model: bytes, *, threads: int, options: Mapping[str, Any] | None = None) -> Any:
    """ONNX Runtime's session for a graph: on the CPU, with threads that sleep while there is nothing to do."""
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.intra_op_num_threads = threads
    settings.inter_op_num_threads = 1
    settings.log_severity_level = 3
    settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    for name, value in (options or {}).items():
        setattr(settings, name, value)
    return onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])


class OnnxEngine(Engine):
    """The network as an ONNX graph, for tiles of any size."""

    name = "onnx"
    packages = ("onnxruntime", "onnx")
    modules = ("onnxruntime", "onnx")

    def build(self, network: nn.Module) -> None:
        """Writes the graph and opens it."""
        self.session = session(onnx_model(plain_layers(network)).SerializeToString(), threads=self.threads)

    def __call__(self, tile: Array) -> Array:
        """The restored tile."""
        restored: Array = self.session.run(None, {"low": tile})[0]
        return restored
