"""Lineage: what weights were made from, which images they have seen, and through which networks."""

from collections.abc import Iterable, Mapping
from typing import Any, get_args

from sr_lab.artefacts.artefact import Artefact
from sr_lab.artefacts.folder import WEIGHTS
from sr_lab.backbones import Net
from sr_lab.losses.base import Loss


def parent_of(name: str, artefact: Artefact) -> dict[str, Any]:
    """What an artefact made of others keeps of one of them: how it was called, and the hash of its weights."""
    return {"name": name, "weights": artefact.metadata.get("sha256", {}).get(WEIGHTS)}


def merged_images(*records: Mapping[str, list[str]] | None) -> dict[str, list[str]] | None:
    """Hashes of the images that any of several weights have seen, by use; None where one has no record of them.

    None is what no promotion accepts: what is not known cannot be excluded from the hold-out.
    """
    known = [record for record in records if record is not None]
    if len(known) < len(records):
        return None
    labels = {label for record in known for label in record}
    return {
        label: sorted({*(hash_ for record in known for hash_ in record.get(label, []))}) for label in sorted(labels)
    }


def unknown_history(lineage: Iterable[Mapping[str, Any]]) -> dict[str, list[str]]:
    """What an artefact's metadata says of weights of others that it comes from: what those have seen is not known.

    Args:
        lineage: Metadata of what the weights were made from.

    Returns:
        ``unknown_history`` with the names of the public weights; nothing where there are none.
    """
    names = sorted({str(name) for metadata in lineage for name in metadata.get("unknown_history", [])})
    return {"unknown_history": names} if names else {}


def perceptual_backbones(losses: Iterable[Loss], lineage: Iterable[Mapping[str, Any]] = ()) -> list[str]:
    """The ImageNet networks, as LPIPS calls them, that weights were trained to please: what a run records.

    Args:
        losses: The losses of the run; each says what it looks through.
        lineage: Metadata of the artefacts that the weights were made from.
    """
    named = {net for loss in losses for net in loss.backbones}
    named.update(net for metadata in lineage for net in metadata.get("perceptual_backbones", []))
    return [net for net in get_args(Net) if net in named]


def backbones_seen(metadata: Mapping[str, Any], config: Mapping[str, Any]) -> list[str]:
    """The ImageNet networks that an artefact's losses have looked through, as LPIPS calls them.

    Artefacts of early releases do not record them; theirs are read off the configuration of the losses, which then
    were called ``net`` or ``backbone`` in each.
    """
    if "perceptual_backbones" in metadata:
        return [str(net) for net in metadata["perceptual_backbones"]]
    losses = (loss for loss in config.get("losses", {}).values() if isinstance(loss, Mapping))
    named = {str(loss.get(key, "")) for loss in losses for key in ("net", "backbone")}
    return [net for net in get_args(Net) if any(name.startswith(net) for name in named)]
