"""Running a network's files by ONNX Runtime, OpenVINO or ncnn: arrays in, arrays out, and no PyTorch."""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]


class UnfitEngine(ValueError):
    """An engine that is not installed, cannot hold a network, or computes something else than it."""


def open_files(folder: Path, target: str, *, threads: int = 1) -> Callable[[Array], Array]:
    """What the files of a folder compute: (B, C, h, w) float32 to (B, C, h * scale, w * scale).

    Args:
        folder: of the files.
        target: onnx, bundle, openvino or ncnn. OpenVINO takes its own files, or those of onnx.
        threads: cores that may be used.
    """
    if target in ("onnx", "bundle"):
        session = onnx_session((folder / "model.onnx").read_bytes(), threads=threads)
        return lambda tile: session.run(None, {"low": tile})[0]
    if target == "ncnn":
        net = ncnn_net(folder / "model.param", folder / "model.bin", threads=threads)
        return lambda tile: np.stack([run_ncnn(net, np.ascontiguousarray(one)) for one in tile])
    own = folder / "model.xml"
    return OpenVinoGraphs(own if own.is_file() else folder / "model.onnx", threads=threads)


def open_step(folder: Path, target: str, *, threads: int = 1) -> Callable[..., Array]:
    """What the files of a step compute: its inputs by name, float32, to the restored frame.

    Args:
        folder: of the files.
        target: onnx or openvino.
        threads: cores that may be used.
    """
    if target == "onnx":
        session = onnx_session((folder / "model.onnx").read_bytes(), threads=threads)
        return lambda **inputs: session.run(None, inputs)[0]
    graph = _openvino().compile_model(str(folder / "model.xml"), "CPU", _in_float32(threads))
    return lambda **inputs: np.array(graph(inputs)[0])


def onnx_session(model: bytes, *, threads: int, options: Mapping[str, Any] | None = None) -> Any:
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


def ncnn_net(param: Path, weights: Path, *, threads: int) -> Any:
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


def run_ncnn(net: Any, low: Array) -> Array:
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


class OpenVinoGraphs:
    """A graph in float32 for tiles of any size, compiled once for each number of tiles.

    Its values are those of a graph that is compiled for one size, but for rounding. A size that has not come before
    takes some milliseconds more, for kernels; a graph for it would take a fifth of a second. To continue images to a
    few sizes would change them: each layer of a network continues its own input by zeros. A free number of tiles would
    cost a tenth of the speed.

    Args:
        model: an ONNX graph, or a file of it or of OpenVINO's.
        threads: cores that may be used.
    """

    KEPT = 6
    """Numbers of tiles whose compiled graphs are kept."""
    KERNELS = 200
    """Kernels that are kept of sizes which came before: memory does not grow with the number of sizes."""

    def __init__(self, model: bytes | Path, *, threads: int) -> None:
        self.model, self.threads = model, threads
        self.compiled: dict[tuple[int, ...], Any] = {}

    def __call__(self, tile: Array) -> Array:
        """The restored tile."""
        number = tile.shape[:2]
        graph = self.compiled.pop(number, None) or self._compile([*number, -1, -1])
        self.compiled[number] = graph  # the last used comes last
        while len(self.compiled) > self.KEPT:
            del self.compiled[next(iter(self.compiled))]
        restored: Array = graph(tile)[0].copy()
        return restored

    def _compile(self, shape: list[int]) -> Any:
        core = _openvino()
        graph = core.read_model(self.model, b"") if isinstance(self.model, bytes) else core.read_model(str(self.model))
        graph.reshape(shape)
        settings = _in_float32(self.threads) | {"CPU_RUNTIME_CACHE_CAPACITY": self.KERNELS}
        return core.compile_model(graph, "CPU", settings)


def _in_float32(threads: int) -> dict[str, Any]:
    """Settings of OpenVINO: one image at a time."""
    return {
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
    }


@functools.cache
def _openvino() -> Any:
    """OpenVINO's core, one for the process and never let go.

    Its plugin gives the thread that loads it a stack for signals, and takes it back where it is let go: in another
    thread that leaves the first one with a stack that is gone, and the next signal ends the process.
    """
    import openvino

    return openvino.Core()
