"""What a command's ``restorer=`` names."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import torch

from sr_lab.artefacts.artefact import Artefact, load_artefact
from sr_lab.backbones import Net
from sr_lab.inference.restorers import BicubicRestorer, NetworkRestorer, Restorer
from sr_lab.networks.community import load_community
from sr_lab.networks.ensemble import SelfEnsemble

PUBLIC_SUFFIXES = {".pth", ".pt", ".safetensors"}


def choose_device(name: str) -> torch.device:
    """The device that ``auto``, ``cpu`` or ``cuda`` means on this machine."""
    if name not in ("auto", "cpu", "cuda"):
        raise ValueError(f"device={name}: auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise ValueError("device=cuda: this machine has no CUDA GPU, give device=cpu")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def load_restorer(
    name: str,
    *,
    scale: int,
    tile: int,
    overlap: int,
    device: torch.device,
    tracking_uri: str,
    seed: int = 0,
    num_steps: int | None = None,
    self_ensemble: bool = False,
) -> tuple[Restorer, dict[str, Any] | None]:
    """The restorer called ``name``, and its metadata without the long list of images; None for bicubic.

    ``self_ensemble``: a network's image is the mean over the 8 flips and turns; bicubic stays as it is.

    Raises:
        FileNotFoundError: if there is no such file or folder.
        ValueError: if it enlarges by another factor, or the store does not know it.
    """
    if name == "bicubic":
        return BicubicRestorer(scale=scale), None
    artefact = fetch_artefact(name, tracking_uri=tracking_uri)
    if artefact.scale != scale:
        raise ValueError(f"restorer={name} enlarges by {artefact.scale}, the evaluation is at scale={scale}")
    metadata = {key: value for key, value in artefact.metadata.items() if key != "images"}
    if backbones := perceptual_backbones(artefact.config, artefact.metadata):
        metadata["perceptual_backbones"] = backbones
    network = SelfEnsemble(artefact.network) if self_ensemble else artefact.network
    restorer = NetworkRestorer(network, tile=tile, overlap=overlap, device=device, seed=seed, num_steps=num_steps)
    return restorer, metadata


def perceptual_backbones(config: Mapping[str, Any], *lineage: Mapping[str, Any]) -> list[str]:
    """The ImageNet networks, as LPIPS calls them, that losses have looked through: ``alex``, for example.

    Args:
        config: of a run.
        lineage: metadata of what its weights were made from.
    """
    losses = config.get("losses", {})
    named = {str(loss.get(key, "")) for loss in losses.values() for key in ("net", "backbone")}
    named.update(net for metadata in lineage for net in metadata.get("perceptual_backbones", []))
    return [net for net in get_args(Net) if any(name.startswith(net) for name in named)]


def fetch_artefact(name: str, *, tracking_uri: str) -> Artefact:
    """The artefact at a path, in a store (``runs:/...``, ``models:/...``), or made of a public weights file."""
    if name.startswith(("runs:/", "models:/")):
        from sr_lab.tracking.store import download

        with tempfile.TemporaryDirectory() as folder:
            return load_artefact(download(name, tracking_uri=tracking_uri, directory=Path(folder)))
    if not Path(name).exists():
        raise FileNotFoundError(
            f"restorer={name}: no such file or folder; give bicubic, an artefact's folder, a checkpoint, "
            f"runs:/RUN/PATH, models:/NAME@ALIAS or a public weights file (.pth, .safetensors)"
        )
    if Path(name).suffix in PUBLIC_SUFFIXES:
        network = load_community(path=name).eval()
        return Artefact(network, {"model": {"network": network.config}}, {"weights": name})
    return load_artefact(Path(name))
