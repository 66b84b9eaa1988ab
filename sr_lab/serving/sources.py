"""Where models come from: a registered model by its alias, or any restorer by its name."""

import tempfile
from pathlib import Path
from typing import Any

import torch

from sr_lab.artefacts.artefact import load_artefact
from sr_lab.inference.restorers import NetworkRestorer
from sr_lab.serving.models import Served
from sr_lab.tracking.registry.aliases import aliases
from sr_lab.tracking.registry.beside import CARD
from sr_lab.tracking.registry.card import WARNING
from sr_lab.tracking.store import download
from sr_lab.workflows.load import load_restorer, on_engine


class RegistrySource:
    """A registered model, as its alias says.

    Args:
        name: What clients call it.
        alias: What is followed.
        tracking_uri: The store that has the registry.
        device: Where to compute.
        tile: Side of its tiles.
        seed: Of a generative network.
        engine: What computes a plain network on a CPU; None: PyTorch.
        registered: Its name in the registry; None: ``name``, which is what clients call it.
    """

    def __init__(
        self,
        *,
        name: str,
        alias: str,
        tracking_uri: str,
        device: torch.device,
        tile: int = 256,
        seed: int = 0,
        engine: str | None = None,
        registered: str | None = None,
    ) -> None:
        self.registered = registered or name
        self.name, self.alias, self.tracking_uri = name, alias, tracking_uri
        self.device, self.tile, self.seed, self.engine = device, tile, seed, engine

    def version(self) -> str:
        """The version that the alias names."""
        found = aliases(self.tracking_uri, self.registered)
        if self.alias not in found:
            raise ValueError(
                f"{self.registered} has no alias {self.alias}: srlab register or srlab promote gives it one"
            )
        return str(found[self.alias])

    def load(self, version: str) -> Served:
        """A version, whose files are compared with the registry's hashes and with its own."""
        with tempfile.TemporaryDirectory(prefix="srlab-") as directory:
            uri = f"models:/{self.registered}/{version}"
            folder = download(uri, tracking_uri=self.tracking_uri, directory=Path(directory))
            artefact = load_artefact(folder)
            card = folder / CARD
            text = card.read_text(encoding="utf-8") if card.is_file() else ""
        metadata = {key: value for key, value in artefact.metadata.items() if key != "images"}
        restorer = NetworkRestorer(
            artefact.network, tile=_side(self.tile), device=self.device, seed=self.seed, metadata=metadata
        )
        if self.engine is not None:
            restorer.apply = on_engine(artefact.network, self.engine, self.device).eval()
        return Served(
            name=self.name, version=version, restorer=restorer, device=self.device, tile=self.tile, card=text,
            warning=WARNING, alias=self.alias, source=f"{self.registered}@{self.alias}",
            engine=self.engine, seed=self.seed,
        )  # fmt: skip


class RestorerSource:
    """A restorer by the name that ``srlab restore`` takes; it does not change.

    Args:
        name: What clients call it.
        restorer: See ``workflows.load.load_restorer``.
        scale: Enlargement factor that is wanted; None takes the network's own. Bicubic needs it.
        tracking_uri: The store that knows ``runs:/`` and ``models:/``.
        device: Where to compute.
        tile: Side of its tiles.
        seed: Of a generative network.
        engine: What computes a plain network on a CPU; None: PyTorch.
    """

    def __init__(
        self,
        *,
        name: str,
        restorer: str,
        scale: int | None,
        tracking_uri: str,
        device: torch.device,
        tile: int = 256,
        seed: int = 0,
        engine: str | None = None,
    ) -> None:
        self.engine = engine
        self.name, self.restorer, self.scale = name, restorer, scale
        self.tracking_uri, self.device, self.tile, self.seed = tracking_uri, device, tile, seed
        self._version: str | None = None
        self._loaded: Any = None

    def version(self) -> str:
        """The first digits of its weights' hash."""
        if self._version is None:
            self._loaded = load_restorer(
                self.restorer, scale=self.scale, device=self.device, tracking_uri=self.tracking_uri,
                tile=_side(self.tile), seed=self.seed, engine=self.engine,
            )  # fmt: skip
            known = (self._loaded.metadata or {}).get("sha256", {}).get("weights.safetensors")
            self._version = "bicubic" if self.restorer == "bicubic" else str(known or Path(self.restorer).name)[:12]
        return self._version

    def load(self, version: str) -> Served:
        """The restorer."""
        self.version()
        return Served(
            name=self.name, version=version, restorer=self._loaded, device=self.device, tile=self.tile,
            warning="" if self.restorer == "bicubic" else WARNING, source=self.restorer, engine=self.engine,
            seed=self.seed,
        )  # fmt: skip


def _side(tile: int) -> int:
    """Of the restorer's own tiles, where it is asked for a whole image: as ``srlab restore`` has it."""
    return max(tile, 512)
