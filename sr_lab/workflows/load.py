"""Loading: a restorer by its name, whether it is a file, a model of the registry, public weights or bicubic."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from sr_lab.artefacts.artefact import Artefact, load_artefact
from sr_lab.artefacts.export.manifest import is_export
from sr_lab.artefacts.export.opened import load_export
from sr_lab.artefacts.lineage import backbones_seen
from sr_lab.artefacts.pretrained import is_pretrained, load_pretrained
from sr_lab.artefacts.public import load_file
from sr_lab.artefacts.shipped import find_shipped, shipped_families
from sr_lab.base.files import settle
from sr_lab.degradations.base import Degradation
from sr_lab.inference.clips import CausalRestorer, ClipNetworkRestorer, network_restorer
from sr_lab.inference.consistency import ConsistentRestorer, LoadedRestorer
from sr_lab.inference.engines import ENGINES, EngineNetwork, UnfitEngine, choose_engine, make_engine
from sr_lab.inference.restorers import BicubicRestorer, NetworkRestorer
from sr_lab.networks.base import GenerativeNetwork, Network
from sr_lab.networks.ensemble import SelfEnsemble
from sr_lab.networks.graph.network import GraphNetwork
from sr_lab.networks.temporal.base import ClipNetwork

__all__ = ["choose_device", "fetch_artefact", "load_restorer", "on_engine"]


def choose_device(name: torch.device | str = "auto") -> torch.device:
    """The device that ``auto``, ``cpu`` or ``cuda`` means on this machine; a device is itself.

    Raises:
        ValueError: If it is another word, or there is no CUDA GPU.

    >>> choose_device("cpu")
    device(type='cpu')
    """
    if isinstance(name, torch.device):
        return name
    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device={name}: auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device=cuda: this machine has no CUDA GPU, give device=cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def load_restorer(
    name: str,
    *,
    scale: int | None = None,
    device: torch.device | str = "auto",
    tracking_uri: str | None = None,
    tile: int = 512,
    overlap: int | None = None,
    seed: int = 0,
    num_steps: int | None = None,
    self_ensemble: bool = False,
    engine: str | None = None,
    consistency: str | None = None,
    degradation: Degradation | None = None,
    input_noise: float | str = 0.0,
    artefact: Artefact | None = None,
) -> LoadedRestorer:
    """The restorer called ``name``: it maps low images (B, C, h, w) in [0, 1] to (B, C, h * scale, w * scale).

    Args:
        name: ``bicubic``; ``edge``, ``base`` or ``clip``, models that come with the package; an artefact's folder or a
            folder that holds one, as ``runs/NAME/best``; a checkpoint; ``models:/NAME@ALIAS``,
            ``models:/NAME/VERSION`` or ``runs:/RUN/model``; or a file of public weights.
        scale: Enlargement factor that is wanted; None takes the network's own. Bicubic needs it.
        device: Where to compute: a device, or ``auto``, ``cpu`` or ``cuda``.
        tracking_uri: The MLflow store or server that knows ``runs:/`` and ``models:/``; None is that of
            ``MLFLOW_TRACKING_URI``, else sqlite:///mlflow.db.
        tile: Side in low-resolution pixels above which an image is restored in tiles.
        overlap: Low-resolution pixels that neighbouring tiles share; None for as many as the network is measured to
            need.
        seed: Seed of the images that a generative network draws.
        num_steps: Evaluations of a generative network for an image; None for as many as it was trained for.
        self_ensemble: Whether a network's image is the mean over the 8 flips and turns; bicubic stays as it is.
        engine: What computes the network on a CPU: ``torch``, ``onnx``, ``openvino``, ``ncnn``, or ``auto`` for the
            fastest installed one that computes the same image on this machine; None for the network as it is, to the
            bits of an evaluation.
        consistency: ``exact``: the image is projected so that, degraded again, it is its input; see
            ``ConsistentRestorer``. None: the restorer's own image.
        degradation: What made the low images, for ``consistency``; None for MATLAB's bicubic.
        input_noise: Noise in the low images, for ``consistency``: 8-bit levels, or ``auto``.
        artefact: What ``name`` means, where it was fetched before; None fetches it.

    Returns:
        The restorer. Its ``scale`` is the factor, its ``metadata`` what is known of its training (None for bicubic).

    Raises:
        FileNotFoundError: If there is no such file or folder.
        ValueError: If it enlarges by another factor, the store does not know it, or a file is not what was saved.
        UnfitEngine: If the engine is not installed, or does not compute this network's image.
        NotLinear: If no image can be made consistent with what the degradation makes.

    >>> load_restorer("bicubic", scale=2)(torch.zeros(1, 3, 4, 5)).shape
    torch.Size([1, 3, 8, 10])
    """
    if name == "bicubic":
        if scale is None:
            raise ValueError("restorer=bicubic enlarges by any factor: give scale=...")
        if num_steps is not None:
            raise ValueError(f"num_steps={num_steps}: bicubic draws no samples, leave it out")
        return _consistent(BicubicRestorer(scale=scale), consistency, degradation, input_noise)
    artefact = artefact or fetch_artefact(name, tracking_uri=tracking_uri, scale=scale)
    if scale not in (None, artefact.scale):
        raise ValueError(f"restorer={name} enlarges by {artefact.scale}, and scale={scale} is asked for")
    chosen = choose_device(device)
    network = artefact.network
    if isinstance(network, ClipNetwork) and (self_ensemble or consistency is not None):
        raise ValueError(f"restorer={name} is a network for clips, which takes neither self_ensemble nor consistency")
    restorer = network_restorer(
        SelfEnsemble(network) if self_ensemble else network,
        tile=tile,
        overlap=overlap,
        device=chosen,
        seed=seed,
        num_steps=num_steps,
        metadata=_known(artefact),
        seen=artefact.metadata.get("images"),
    )
    if isinstance(restorer, ClipNetworkRestorer):
        _compute_clips(restorer, engine, chosen)
    elif engine is not None and (ours := on_engine(network, engine, chosen)) is not network:
        restorer.apply = (SelfEnsemble(ours) if self_ensemble else ours).eval()
    return _consistent(restorer, consistency, degradation, input_noise)


def _compute_clips(restorer: ClipNetworkRestorer, engine: str | None, device: torch.device) -> None:
    """Has an engine compute what of a network for clips is an image's."""
    windows = restorer.windows if isinstance(restorer, CausalRestorer) else None
    if engine is not None and windows is not None:
        assert isinstance(windows.network, Network)
        windows.apply = on_engine(windows.network, engine, device)
    elif engine not in (None, "auto", "torch"):
        raise UnfitEngine(
            f"engine={engine}: {type(restorer.network).__name__} is no chain of plain layers: give engine=torch"
        )


def on_engine(network: Network, engine: str, device: torch.device) -> Network:
    """A network as an engine computes it; itself where only PyTorch can, and ``auto`` is asked for.

    Args:
        network: On the CPU, in evaluation mode.
        engine: ``auto`` or an engine's name.
        device: Where the images are; engines compute on the CPU.

    Raises:
        UnfitEngine: If the engine is not installed, or does not compute this network's image.
    """
    if engine != "auto" and engine not in ENGINES:
        raise ValueError(f"engine={engine}: auto, {', '.join(ENGINES)}")
    if isinstance(network, GraphNetwork):  # an export, which is computed by ONNX Runtime
        if engine in ("auto", "onnx"):
            return network
        raise UnfitEngine(f"engine={engine}: this is an ONNX graph, which ONNX Runtime computes: give engine=onnx")
    if isinstance(network, GenerativeNetwork) or device.type != "cpu":
        if engine in ("auto", "torch"):
            return network
        why = f"device={device.type}" if device.type != "cpu" else f"{type(network).__name__} draws its images"
        raise UnfitEngine(f"engine={engine} computes plain networks on the CPU, and {why}: give engine=torch")
    if engine == "auto":
        return EngineNetwork(network, choose_engine(network)[0])
    return EngineNetwork(network, make_engine(network, engine))


def fetch_artefact(name: str, *, tracking_uri: str | None = None, scale: int | None = None) -> Artefact:
    """The artefact at a path, in a store (``runs:/...``, ``models:/...``), or made of a file of public weights.

    Args:
        name: As ``load_restorer`` takes it, but for ``bicubic``.
        tracking_uri: The MLflow store or server that knows ``runs:/`` and ``models:/``; None is that of
            ``MLFLOW_TRACKING_URI``, else sqlite:///mlflow.db.
        scale: Enlargement factor of public weights, which some architectures do not tell.

    Raises:
        FileNotFoundError: If there is no such file or folder.
        ValueError: If the store does not know it, or a file is not what was saved.
    """
    if name.startswith(("runs:/", "models:/")):
        from sr_lab.tracking.store import download

        with tempfile.TemporaryDirectory() as folder:
            return load_artefact(download(name, tracking_uri=tracking_uri, directory=Path(folder)))
    if (shipped := find_shipped(name, scale=scale)) is not None:
        return load_artefact(shipped)
    if name == "bicubic" and not Path(name).exists():
        raise ValueError(f"restorer=bicubic is no network, and one is needed here: give {_networks()}")
    if is_pretrained(name):
        return load_pretrained(name, scale=scale)
    path = Path(name)
    if is_export(path):
        return load_export(path)
    if settle(path).is_file():
        return load_file(path, scale=scale)
    try:
        return load_artefact(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"restorer={name}: no such file or folder; give bicubic, {_networks()}") from error


def _networks() -> str:
    """What a network may be given as, for messages."""
    return (
        f"{', '.join(shipped_families())}, an artefact's folder, a checkpoint, runs:/RUN/PATH, models:/NAME@ALIAS, "
        "pretrained/NAME or a file of public weights"
    )


def _consistent(
    restorer: BicubicRestorer | NetworkRestorer,
    consistency: str | None,
    degradation: Degradation | None,
    input_noise: float | str,
) -> LoadedRestorer:
    if consistency is None:
        return restorer
    if consistency != "exact":
        raise ValueError(f"consistency={consistency}: exact, or null")
    return ConsistentRestorer(restorer, degradation=degradation, input_noise=input_noise)


def _known(artefact: Artefact) -> Mapping[str, Any]:
    """An artefact's metadata without the long list of images, with the backbones that its losses looked through."""
    known = {key: value for key, value in artefact.metadata.items() if key != "images"}
    found = backbones_seen(artefact.metadata, artefact.config)
    return known | ({"perceptual_backbones": found} if found else {})
