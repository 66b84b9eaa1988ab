"""ncnn: Winograd convolutions, the fastest in float32 for chains of 3x3 convolutions."""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from sr_lab.inference.engines.base import Array, Engine, UnfitEngine
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
            self.net = opened(Path(folder) / "model.param", Path(folder) / "model.bin", threads=self.threads)

    def __call__(self, tile: Array) -> Array:
        """The restored tiles."""
        return np.stack([run(self.net, np.ascontiguousarray(one)) for one in tile])


def opened(param: Path, weights: Path, *, threads: int) -> Any:
    """A network of ncnn's files, computed in float32.

    Raises:
        UnfitEngine: if ncnn cannot read them.
    """
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = threads
    net.opt.use_vulkan_compute = False
    for name in ("use_fp16_packed", "use_fp16_storage", "use_fp16_arithmetic", "use_bf16_storage", "use_bf16_packed"):
        if hasattr(net.opt, name):
            setattr(net.opt, name, False)
    if net.load_param(str(param)) != 0 or net.load_model(str(weights)) != 0:
        raise UnfitEngine(f"engine=ncnn: ncnn cannot read {param} with {weights.name}")
    return net


def run(net: Any, low: Array) -> Array:
    """One image (C, h, w), contiguous, through a network whose blobs are ``low`` and ``restored``."""
    import ncnn

    outside = ncnn.Mat(low)
    with net.create_extractor() as extractor:
        extractor.input(
            "low", outside.clone()
        )  # memory of ncnn's own: layers that work in place look who else holds it
        code, restored = extractor.extract("restored")
        if code != 0:
            raise MemoryError(f"ncnn could not restore a tile of {low.shape[2]}x{low.shape[1]} pixels (code {code})")
        return np.array(restored, dtype=np.float32)
