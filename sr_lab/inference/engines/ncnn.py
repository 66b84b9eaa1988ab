"""ncnn: Winograd convolutions, the fastest in float32 for chains of 3x3 convolutions."""

import tempfile
from pathlib import Path

import numpy as np
from torch import nn

from sr_lab.inference.engines.base import Array, Engine
from sr_lab.inference.runtimes import ncnn_net, run_ncnn
from sr_lab.networks.graph import plain_layers
from sr_lab.networks.graph.ncnn import ncnn_files


class NcnnEngine(Engine):
    """The network as ncnn's two files; its tiles are restored one after the other."""

    name = "ncnn"
    packages = ("ncnn",)
    modules = ("ncnn",)

    def build(self, network: nn.Module) -> None:
        """Writes the files and reads them."""
        param, weights = ncnn_files(plain_layers(network))
        with tempfile.TemporaryDirectory(prefix="srlab-") as folder:
            (Path(folder) / "model.param").write_text(param, encoding="ascii")
            (Path(folder) / "model.bin").write_bytes(weights)
            self.net = ncnn_net(Path(folder) / "model.param", Path(folder) / "model.bin", threads=self.threads)

    def __call__(self, tile: Array) -> Array:
        """The restored tiles."""
        return np.stack([run_ncnn(self.net, np.ascontiguousarray(one)) for one in tile])
