"""Artefacts: a network's weights with all that is needed to use it again, and nothing that is executed.

A folder of three files: ``weights.safetensors``, ``config.yaml`` (the resolved configuration of its run,
network included) and ``metadata.json`` (commit, data version, metrics, and the hashes of the other two).
"""

import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import nn

from sr_lab.artefacts.folder import CONFIG, METADATA, WEIGHTS, naming_damage, read_folder
from sr_lab.base.files import naming, replacing_folder, settle, sha256
from sr_lab.base.trusted import is_within, trust_hint, trusted_packages
from sr_lab.networks.base import Network
from sr_lab.networks.keys import read_weights

NETWORKS = "sr_lab.networks"
Part = TypeVar("Part", bound=nn.Module)


@dataclass(frozen=True)
class Artefact:
    """A network with its history; ``network`` is in evaluation mode on the CPU."""

    network: Network
    config: dict[str, Any]
    metadata: dict[str, Any]

    @property
    def scale(self) -> int:
        """Enlargement factor of the network."""
        return self.network.scale


def save_artefact(directory: Path, network: Network, *, config: Mapping[str, Any], metadata: Mapping[str, Any]) -> Path:
    """Writes an artefact, whole or not at all: a former one at ``directory`` is replaced at the end.

    Args:
        directory: the artefact's folder.
        network: its state is stored as float tensors on the CPU.
        config: plain resolved configuration; ``config["model"]["network"]`` builds the network.
        metadata: plain values to keep beside: commit, data version, metrics.
    """
    state = {name: tensor.detach().cpu().contiguous() for name, tensor in network.state_dict().items()}
    with replacing_folder(directory) as folder:
        for name, content in (
            (WEIGHTS, save(state)),  # through Python, whose files have the rights that the user's other files have
            (CONFIG, yaml.safe_dump(dict(config), sort_keys=False).encode()),
        ):
            with naming(directory / name):
                (folder / name).write_bytes(content)
        record = {**metadata, "sha256": {name: sha256(folder / name) for name in (WEIGHTS, CONFIG)}}
        with naming(directory / METADATA):
            (folder / METADATA).write_text(json.dumps(record, indent=2, sort_keys=True), encoding="utf-8")
    return directory


def load_artefact(path: Path) -> Artefact:
    """Loads an artefact's folder, a folder that holds one, or a training checkpoint.

    Nothing is unpickled or executed: weights are read as tensors, and the configuration may name classes of
    ``sr_lab.networks`` only, and of packages that the user trusts (see ``base.trusted``). The weights of a checkpoint
    are its EMA where it has one.

    Raises:
        FileNotFoundError: if there is nothing at ``path``.
        ValueError: if a file is missing, differs from its recorded hash, or names another class.
    """
    if settle(path).is_file():
        try:
            content = read_weights(path)
        except ValueError as error:
            raise ValueError(f"{path} is neither an artefact's folder nor a whole checkpoint: {error}") from error
        return from_checkpoint(path, content)
    if not path.exists():
        raise FileNotFoundError(f"no artefact or checkpoint at {path}")
    found = read_folder(path)
    network = build_network(found.node)
    with naming_damage(found.folder / WEIGHTS) as file:
        try:
            network.load_state_dict(load_file(file))
        except SafetensorError as error:
            raise ValueError(str(error)) from error
    return Artefact(network.eval(), dict(found.config), dict(found.metadata))


def from_checkpoint(path: Path, content: Mapping[str, Any]) -> Artefact:
    """The network of a training checkpoint, by its content.

    Raises:
        ValueError: if sr_lab did not write it.
    """
    if "sr_lab" not in content:
        raise ValueError(f"{path} is not a checkpoint of sr_lab: it does not carry its configuration")
    record = content["sr_lab"]
    state = content["state_dict"]
    prefix = "ema.module." if any(name.startswith("ema.module.") for name in state) else "network."
    weights = {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}
    network = build_network(record["network"])
    network.load_state_dict(weights)
    metadata = {key: value for key, value in record.items() if key not in ("config", "network")} | {
        "step": content["global_step"]
    }
    return Artefact(network.eval(), record["config"], metadata)


def build_network(node: Mapping[str, Any]) -> Network:
    """The network that a configuration node describes: a class of ours or of a trusted package, its arguments.

    An argument that has a ``_target_`` itself is a network, or another module, that this one is made of.

    Raises:
        ValueError: if the node names anything else.
    """
    return _built(node, Network)  # type: ignore[type-abstract]


def _built(node: Mapping[str, Any], kind: type[Part]) -> Part:
    target = str(node.get("_target_", ""))
    module, _, name = target.rpartition(".")
    if not is_within(target, [NETWORKS, *trusted_packages()]):
        raise ValueError(
            f"{target!r} is not a network of {NETWORKS}, and building it would run other code: it is not built "
            f"from an artefact{trust_hint(target)}"
        )
    try:
        network_class = getattr(importlib.import_module(module), name, None)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{target!r} is not there (no module {error.name!r}): install its package, or name its folder by PYTHONPATH"
        ) from error
    if not (isinstance(network_class, type) and issubclass(network_class, kind)):
        raise ValueError(f"{target!r} is not a {'network' if kind is Network else 'module'} class")
    arguments = {key: _argument(value) for key, value in node.items() if key != "_target_"}
    return network_class(**arguments)


def load_network(*, path: str | None) -> Network:
    """The network of an artefact or a checkpoint, as a part of another one; see ``load_artefact``.

    Its ``config`` describes it, so that an artefact of the whole can be loaded without that file; ``origin`` keeps its
    metadata.
    """
    if path is None:
        raise ValueError(
            "the network of an artefact is asked for, and no path is given: model/network=artefact takes initial=PATH"
        )
    artefact = load_artefact(Path(path))
    artefact.network.config = artefact.config["model"]["network"]
    artefact.network.origin = artefact.metadata
    return artefact.network


def complete_config(node: Mapping[str, Any], network: Network) -> dict[str, Any]:
    """``node`` as ``build_network`` takes it: parts that it names by a file are described by what was loaded.

    It is built once, so that a network that could not be loaded again is refused before it is trained.

    Raises:
        ValueError: If its package is not trusted, or ``node`` builds another network than this one.
    """
    whole = _completed(node, network)
    with torch.random.fork_rng(devices=[]):
        again = build_network(whole)
    ours, theirs = ({key: tensor.shape for key, tensor in one.state_dict().items()} for one in (network, again))
    if odd := sorted(key for key in ours.keys() | theirs.keys() if ours.get(key) != theirs.get(key)):
        raise ValueError(
            f"{type(network).__name__} is not the network that its configuration builds again ({odd[0]} differs), so "
            "that its artefact could not be loaded: a network is made by its arguments alone"
        )
    return whole


def _completed(node: Mapping[str, Any], network: nn.Module) -> dict[str, Any]:
    if isinstance(network, Network) and network.config is not None:
        return dict(network.config)
    return {key: _completed(value, getattr(network, key)) if _is_node(value) else value for key, value in node.items()}


def _argument(value: Any) -> Any:
    return _built(value, nn.Module) if _is_node(value) else value


def _is_node(value: Any) -> bool:
    return isinstance(value, Mapping) and "_target_" in value
