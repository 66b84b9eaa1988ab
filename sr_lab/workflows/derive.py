"""New artefacts made of trained ones: weights mixed, filters taken out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from sr_lab.artefacts.artefact import build_network, save_artefact
from sr_lab.artefacts.folder import METADATA
from sr_lab.artefacts.lineage import merged_images, parent_of, perceptual_backbones, unknown_history
from sr_lab.base.files import require_replaceable
from sr_lab.networks.base import Network
from sr_lab.networks.ensemble import interpolate as mixed
from sr_lab.networks.pruning import choose, narrowed_state, prunable
from sr_lab.workflows.load import fetch_artefact

__all__ = ["Interpolated", "Pruned", "interpolate", "prune"]


@dataclass(frozen=True, kw_only=True)
class Interpolated:
    """An artefact whose weights are a mean of others'.

    Attributes:
        artefact: Its folder.
        parts: Weight by the name of the artefact that it was made of; one named twice has the sum.
    """

    artefact: Path
    parts: Sequence[tuple[str, float]]


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """An artefact with fewer filters.

    Attributes:
        artefact: Its folder.
        scale: Enlargement factor.
        num_parameters: Parameters that are left.
        num_before: Parameters of the network that it was made of.
    """

    artefact: Path
    scale: int
    num_parameters: int
    num_before: int


def interpolate(
    names: Sequence[str], output: Path, *, weights: Sequence[float] | None = None, tracking_uri: str | None = None
) -> Interpolated:
    """Mixes the weights of networks of one architecture; the new artefact names its parents and what they have seen.

    Args:
        names: The artefacts, as ``workflows.load.fetch_artefact`` takes them.
        output: Folder of the new artefact.
        weights: A weight each, which add up to 1; None lets every artefact count alike.
        tracking_uri: The store or server that knows ``runs:/`` and ``models:/``; None is that of
            ``MLFLOW_TRACKING_URI``, else sqlite:///mlflow.db.

    Raises:
        ValueError: If the networks differ in more than their weights, or the weights do not add up to 1.
    """
    require_replaceable(output, mark=METADATA)
    shares = [1 / len(names)] * len(names) if weights is None else [float(weight) for weight in weights]
    artefacts = [fetch_artefact(name, tracking_uri=tracking_uri) for name in names]
    kinds = [type(artefact.network).__name__ for artefact in artefacts]
    if len(set(kinds)) > 1:
        raise ValueError(f"{names[0]} is a {kinds[0]}, another is not ({', '.join(kinds)}): average their outputs")
    nodes = [artefact.config["model"]["network"] for artefact in artefacts]
    for name, node in zip(names, nodes, strict=True):
        if odd := next((key for key in nodes[0].keys() | node.keys() if nodes[0].get(key) != node.get(key)), None):
            raise ValueError(
                f"{names[0]} and {name} differ in {odd} ({nodes[0].get(odd)}, {node.get(odd)}): average their outputs"
            )
    network = build_network(nodes[0])
    network.load_state_dict(mixed([artefact.network.state_dict() for artefact in artefacts], shares))
    config: dict[str, Any] = dict(artefacts[0].config)
    config["losses"] = {
        f"{index}_{key}": loss
        for index, artefact in enumerate(artefacts)
        for key, loss in artefact.config.get("losses", {}).items()
    }
    metadata = {
        "parents": [
            {**parent_of(name, artefact), "weight": share}
            for name, artefact, share in zip(names, artefacts, shares, strict=True)
        ],
        "images": merged_images(*(artefact.metadata.get("images") for artefact in artefacts)),
        "perceptual_backbones": perceptual_backbones([], [artefact.metadata for artefact in artefacts]),
        **unknown_history(artefact.metadata for artefact in artefacts),
    }
    save_artefact(output, network.eval(), config=config, metadata=metadata)
    return Interpolated(artefact=output, parts=list(zip(names, shares, strict=True)))


def prune(
    name: str,
    output: Path,
    *,
    amount: float,
    criterion: Callable[[Network, Any], Sequence[Tensor]],
    described: Mapping[str, Any] | None = None,
    tracking_uri: str | None = None,
) -> Pruned:
    """Takes whole filters out of a trained network; what is left recovers by fine-tuning.

    Args:
        name: The artefact, as ``workflows.load.fetch_artefact`` takes it.
        output: Folder of the new artefact, which names its parent and what that has seen.
        amount: Share of each layer's filters that is taken out, between 0 and 1.
        criterion: Ranks the filters of a network's prunable layers.
        described: The criterion in plain values, for the record.
        tracking_uri: The store or server that knows ``runs:/`` and ``models:/``; None is that of
            ``MLFLOW_TRACKING_URI``, else sqlite:///mlflow.db.

    Raises:
        ValueError: If the network cannot be pruned, or nothing would be left of a layer.
    """
    require_replaceable(output, mark=METADATA)
    artefact = fetch_artefact(name, tracking_uri=tracking_uri)
    network, config = artefact.network, artefact.config
    keep = choose(criterion(network, prunable(network)), amount)
    node = {**config["model"]["network"], "widths": [int(mask.sum()) for mask in keep]}
    pruned = build_network(node)
    pruned.load_state_dict(narrowed_state(network, keep))
    known = ("data_version", "images", "perceptual_backbones", "protocol", "commit", "unknown_history")
    metadata = {key: artefact.metadata[key] for key in known if key in artefact.metadata}
    metadata |= {"parents": [parent_of(name, artefact)]}
    metadata |= {"pruning": {"amount": amount, "criterion": dict(described or {})}}
    stored = {**config, "model": {**config["model"], "network": node}}
    save_artefact(output, pruned.eval(), config=stored, metadata=metadata)
    return Pruned(
        artefact=output,
        scale=network.scale,
        num_parameters=pruned.num_parameters,
        num_before=network.num_parameters,
    )
