"""Public weights: a file that others have trained becomes an artefact, or the start of a training."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sr_lab.artefacts.artefact import Artefact, build_network
from sr_lab.artefacts.pretrained import is_pretrained, pretrained_state
from sr_lab.networks.base import Network
from sr_lab.networks.community import load_community
from sr_lab.networks.keys import convert_state_dict, read_weights, unwrap
from sr_lab.networks.public import network_node

SUFFIXES = {".pth", ".pt", ".safetensors"}
SCALES = (1, 2, 3, 4, 8)


def load_public(path: Path, *, scale: int | None = None) -> Artefact:
    """The network of a file of public weights, with nothing known of its training.

    Our own architectures are tried first, under their authors' names, then what spandrel knows.

    Args:
        path: The file; nothing in it is executed.
        scale: Enlargement factor, for weights that do not tell it.

    Raises:
        ValueError: If the file holds anything but weights, or no architecture is known that they are of.
    """
    content = read_weights(path)
    try:
        weights = unwrap(content)
        node = network_node(weights, scale=scale)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error
    refused: ValueError | None = None
    if node is not None:
        try:
            network = build_network(node)
            network.load_state_dict(convert_state_dict(weights, network))
            return Artefact(network.eval(), {"model": {"network": node}}, {"weights": str(path)})
        except ValueError as error:
            refused = ValueError(f"{path}: {error}")
    try:
        community = load_community(path=str(path)).eval()
    except ValueError as error:
        raise (refused or error) from error
    return Artefact(community, {"model": {"network": community.config}}, {"weights": str(path)})


def weights_for(path: Path, network: Network, node: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights of a public file under the names of ``network``, or of its like for another scale.

    Args:
        path: The file, nothing in which is executed; or ``pretrained/NAME``.
        network: The network that is to start from them.
        node: Its configuration.

    Returns:
        Weights for ``warm_start``.

    Raises:
        ValueError: If they are of another network, or it has other sizes.
    """
    content: Mapping[str, Any] = pretrained_state(path) if is_pretrained(path) else read_weights(path)
    try:
        return convert_state_dict(content, network)
    except ValueError as error:
        for scale in SCALES:
            if scale != network.scale:
                with contextlib.suppress(ValueError, TypeError), torch.random.fork_rng(devices=[]):
                    return convert_state_dict(content, build_network({**node, "scale": scale}))
        raise ValueError(f"initial={path}: {error}") from error
