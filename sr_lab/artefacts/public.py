"""Files of weights: what others have trained becomes an artefact, or the start of a training."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sr_lab.artefacts.artefact import Artefact, build_network, from_checkpoint, load_artefact
from sr_lab.artefacts.folder import FILES, METADATA
from sr_lab.artefacts.pretrained import PREFIX, is_pretrained, pretrained_state
from sr_lab.networks.base import Network
from sr_lab.networks.community import load_community
from sr_lab.networks.keys import convert_state_dict, read_weights, readings
from sr_lab.networks.public import network_node
from sr_lab.networks.temporal.recurrent import RecurrentEDSR

SCALES = (1, 2, 3, 4, 8)


def load_file(path: Path, *, scale: int | None = None) -> Artefact:
    """The network of a file, whatever its suffix: a checkpoint of ours, a file of an artefact, or public weights.

    Of public weights nothing is known of their training. Our own architectures are tried first, under their authors'
    names, then what spandrel knows.

    Args:
        path: The file; nothing in it is executed.
        scale: Enlargement factor, for weights that do not tell it.

    Raises:
        ValueError: If the file holds anything but weights, or no architecture is known that they are of.
    """
    if (path.parent / METADATA).is_file() and path.name in FILES:
        return load_artefact(path.parent)
    content = read_weights(path)
    if "sr_lab" in content:
        return from_checkpoint(path, content)
    refused: ValueError | None = None
    try:
        for weights in readings(content):
            if (node := network_node(weights, scale=scale)) is None:
                continue
            try:
                network = build_network(node)
                network.load_state_dict(convert_state_dict(weights, network))
                return Artefact(network.eval(), {"model": {"network": node}}, {"weights": str(path)})
            except ValueError as error:
                refused = refused or ValueError(f"{path}: {error}")
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    try:
        community = load_community(path=str(path)).eval()
    except ValueError as error:
        raise (refused or error) from error
    return Artefact(community, {"model": {"network": community.config}}, {"weights": str(path)})


def starting_weights(
    path: Path, network: Network, node: Mapping[str, Any]
) -> tuple[dict[str, Tensor], dict[str, Any] | None]:
    """What a training starts from: weights under the names of ``network``, or of its like for another scale.

    Args:
        path: An artefact's folder or a file in it, a checkpoint, a file of public weights, or ``pretrained/NAME``;
            nothing in it is executed.
        network: The network that is to start from them.
        node: Its configuration.

    Returns:
        Weights for ``warm_start``; and the metadata of ours. Of ``pretrained/NAME`` that its history is not known; None
        of a file of public weights.

    Raises:
        FileNotFoundError: If there is nothing at ``path``.
        ValueError: If they are of another network, or it has other sizes.
    """
    if is_pretrained(path):
        unknown = {"images": {}, "unknown_history": [f"{PREFIX}{path.name}"]}
        return _converted(path, pretrained_state(path), network, node), unknown
    if path.is_dir() or (path.name in FILES and (path.parent / METADATA).is_file()):
        artefact = load_artefact(path if path.is_dir() else path.parent)
        return artefact.network.state_dict(), artefact.metadata
    content = read_weights(path)
    if "sr_lab" in content:
        artefact = from_checkpoint(path, content)
        return artefact.network.state_dict(), artefact.metadata
    return _converted(path, content, network, node), None


def _converted(path: Path, content: Mapping[str, Any], network: Network, node: Mapping[str, Any]) -> dict[str, Tensor]:
    """Public weights under the names of a network, or of its like for another scale."""
    try:
        return convert_state_dict(content, network)
    except ValueError as error:
        if isinstance(network, RecurrentEDSR):
            return _converted(path, content, network.image, node["image"])
        for scale in SCALES:
            if scale != network.scale:
                with contextlib.suppress(ValueError, TypeError), torch.random.fork_rng(devices=[]):
                    return convert_state_dict(content, build_network({**node, "scale": scale}))
        raise ValueError(f"initial={path}: {error}") from error
