"""Models as MLflow keeps them, loadable without pickle: an exported graph, and the weights for training on."""

import contextlib
import copy
import errno
import importlib.metadata
import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sr_lab.base.files import replacing_folder
from sr_lab.networks.graph.network import GraphNetwork
from sr_lab.tracking.store import prepare_mlflow

TOLERANCE = 1e-4


def save_model(directory: Path, network: nn.Module, *, artefact: Path, example_size: int = 24) -> Path:
    """Write an MLflow model folder: a graph for any batch and image size, beside it the artefact's files.

    The graph is pt2; of an export the ONNX graph that it is (``mlflow.onnx``).

    ``mlflow.pytorch.load_model`` reads it with ``MLFLOW_ALLOW_PICKLE_DESERIALIZATION=false``, and it is an artefact's
    folder itself. The network is left as it is; its evaluation mode on the CPU is exported. The exported graph is
    compared with the network at sizes other than the example's before anything counts as saved.

    Args:
        directory: the model's folder, written whole or not at all; a former one is replaced.
        network: (B, C, h, w) in [0, 1] -> (B, C, h * scale, w * scale), with the attribute ``num_channels``.
        artefact: folder of weights.safetensors, config.yaml, metadata.json; its files are copied to the top.
        example_size: height and width of an input that the network takes.

    Returns:
        ``directory``.

    Raises:
        ValueError: if the artefact is missing or the graph does not hold for other sizes.
        OSError: if the disk is full; it names ``directory``.
    """
    if not (artefact / "metadata.json").is_file():
        raise ValueError(f"{artefact} is not an artefact's folder: it has no metadata.json")
    metadata = json.loads((artefact / "metadata.json").read_text("utf-8"))
    metadata.pop("images", None)  # the list stays in metadata.json: MLmodel is parsed on every load
    num_channels = int(getattr(network, "num_channels", 3))
    twin = copy.deepcopy(network).cpu().float().eval()
    with replacing_folder(directory) as temporary:
        if isinstance(twin, GraphNetwork):
            _write_graph(temporary, twin, metadata)
        else:
            _export(temporary, twin, num_channels, example_size, metadata)
            _compare(temporary, twin, num_channels, example_size)
        for file in sorted(artefact.iterdir()):
            shutil.copyfile(file, temporary / file.name)
    return directory


def _export(directory: Path, network: nn.Module, num_channels: int, size: int, metadata: dict[str, Any]) -> None:
    prepare_mlflow()
    import mlflow.pytorch
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    prepare_mlflow()
    spec = TensorSpec(np.dtype(np.float32), (-1, num_channels, -1, -1))
    with torch.no_grad(), _written(directory):
        mlflow.pytorch.save_model(
            network,
            str(directory),
            signature=ModelSignature(inputs=Schema([spec]), outputs=Schema([spec])),
            input_example=_picture(2, num_channels, size, size + 2).numpy(),
            serialization_format="pt2",
            pip_requirements=[_pin(name) for name in ("mlflow", "numpy", "torch")],
            metadata=metadata,
        )


def _write_graph(directory: Path, network: GraphNetwork, metadata: dict[str, Any]) -> None:
    """A network that is an ONNX graph already: ``mlflow.onnx.load_model`` reads it."""
    prepare_mlflow()
    import mlflow.onnx
    import onnx
    from mlflow.models import ModelSignature
    from mlflow.types import Schema, TensorSpec

    height, width = network.size or (-1, -1)
    spec = TensorSpec(np.dtype(np.float32), (-1, network.num_channels, height, width))
    high = TensorSpec(np.dtype(np.float32), (-1, network.num_channels, -1, -1))
    mlflow.onnx.save_model(
        onnx.load_from_string(network.model),
        str(directory),
        signature=ModelSignature(inputs=Schema([spec]), outputs=Schema([high])),
        pip_requirements=[_pin(name) for name in ("mlflow", "numpy", "onnx", "onnxruntime")],
        save_as_external_data=False,
        metadata=metadata,
    )


@contextlib.contextmanager
def _written(directory: Path) -> Iterator[None]:
    """An archive that torch could not write is an error of the disk, which torch tells as a position in a file."""
    try:
        yield
    except RuntimeError as error:
        if not re.search(r"PytorchStreamWriter|inline_container", str(error)):
            raise
        told = "the model could not be written whole: is the disk full?"
        raise OSError(errno.ENOSPC, told, str(directory)) from error


def _compare(directory: Path, network: nn.Module, num_channels: int, size: int) -> None:
    """Run the saved graph at other batches and sizes, odd ones among them, and compare it with the network."""
    graph = torch.export.load(directory / "data" / "model.pt2").module()
    for shape in ((1, num_channels, size + 3, size + 9), (3, num_channels, size + 8, size - 1)):
        low = _picture(*shape)
        with torch.no_grad():
            expected = network(low)
            try:
                difference = float((graph(low) - expected).abs().max())
            except Exception as error:
                raise ValueError(
                    f"{type(network).__name__} cannot be exported for any size: it fails at {shape}: "
                    f"{str(error).splitlines()[0][:300]}"
                ) from error
        if not difference <= TOLERANCE:
            raise ValueError(
                f"{type(network).__name__}: the exported graph differs by {difference:.2g} at {shape}: look for code "
                "that depends on the size of its input or draws random numbers"
            )


def _pin(name: str) -> str:
    return f"{name}=={importlib.metadata.version(name).split('+')[0]}"


def _picture(*shape: int) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(0))
