"""What a training's weights come from and have seen, and what one wants to see of the run in a list."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sr_lab.artefacts.artefact import load_artefact
from sr_lab.artefacts.lineage import merged_images, perceptual_backbones, unknown_history
from sr_lab.artefacts.public import starting_weights
from sr_lab.base.provenance import git_state
from sr_lab.data.datamodule import SRDataModule
from sr_lab.degradations.base import Degradation, record
from sr_lab.degradations.trace import summary
from sr_lab.losses.base import Loss
from sr_lab.networks.base import Network
from sr_lab.networks.keys import warm_start
from sr_lab.training.base import TrainingModule
from sr_lab.training.draws import Key
from sr_lab.training.resume import moved


def ancestors_of(
    module: TrainingModule, *, initial: Path | None, config: Mapping[str, Any], news: Callable[[str], object]
) -> list[Mapping[str, Any]]:
    """Metadata of what the weights start from, are joined with, or learn from; the weights of ``initial`` are loaded.

    Args:
        module: What is trained.
        initial: An artefact, a checkpoint of ours or a file of public weights to start from; None: the module's own.
        config: Resolved configuration of the training.
        news: Is told which weights start anew.

    Raises:
        ValueError: If the module has to start from given weights, or these do not fit.
    """
    if initial is None and module.needs_initial:
        raise ValueError(
            f"initial is null: {type(module).__name__} starts from weights that were trained for PSNR. Give "
            "initial=PATH (an artefact, a checkpoint, a public .pth file), or waive it with "
            "model.warm_start=waived"
        )
    ancestors = [part.origin for part in module.modules() if isinstance(part, Network) and part.origin]
    if initial is not None:
        ancestors += _started_from(initial, module.network, config["model"]["network"], news)
    parts = _parts(moved(config))
    return ancestors + [load_artefact(path).metadata for path in parts if path != initial]


def lineage_of(
    module: TrainingModule,
    data: SRDataModule,
    ancestors: Sequence[Mapping[str, Any]],
    *,
    protocol: str,
    selected_on: Sequence[str],
) -> dict[str, Any]:
    """What the artefact keeps of its making.

    ``images`` are the hashes of what the weights have seen, those of their ancestors among them; the images by
    which a sweep chose the settings count as validation images. It is None, which no promotion accepts, where an
    ancestor is ours and has no such record. What the authors of public weights have used cannot be known.
    """
    code = git_state()
    known = [ancestor.get("images") for ancestor in ancestors if ancestor]
    return {
        "commit": code.commit,
        "dirty": code.dirty,
        "data_version": data.data_version,
        "protocol": protocol,
        "images": merged_images(data.images, {"train": [], "val": list(selected_on)}, *known),
        "perceptual_backbones": perceptual_backbones(
            [part for part in module.modules() if isinstance(part, Loss)], ancestors
        ),
        **unknown_history(ancestors),
    }


def tags_of(module: TrainingModule, data: SRDataModule, *, protocol: str) -> dict[str, Any]:
    """Tags of the tracked run: what one wants to see of it in a list."""
    losses = getattr(module, "losses", {})
    return {
        "network": type(module.network).__name__,
        "algorithm": type(module).__name__,
        "losses": ", ".join(losses.keys()),
        "degradation": "paired" if data.degradation is None else _label(data.degradation),
        "data": data.name,
        "scale": str(module.network.scale),
        "protocol": protocol,
        "data.version": data.data_version,
    }


def draws_of(data: SRDataModule, seed: int) -> Callable[[Sequence[Key]], list[dict[str, Any]]] | None:
    """Gives file and draw, in words and in numbers, of samples by (epoch, index); None where nothing is drawn."""
    degradation = data.degradation
    if degradation is None or degradation.deterministic:
        return None

    def rows(keys: Sequence[Key]) -> list[dict[str, Any]]:
        drawn = degradation.draw_keyed((seed, epoch, index) for epoch, index in keys)
        files = data.train_names([index for _, index in keys])
        return [
            {
                "file": file,
                "words": dict(summary(degradation, {name: values[row : row + 1] for name, values in drawn.items()})),
                "draw": draw,
            }
            for row, (file, draw) in enumerate(zip(files, record(drawn), strict=True))
        ]

    return rows


def _started_from(
    path: Path, network: Network, node: Mapping[str, Any], news: Callable[[str], object]
) -> list[Mapping[str, Any]]:
    """Loads weights into a network and says what was left out.

    Returns:
        The metadata of an artefact or checkpoint of ours. Of the package index's weights (``pretrained/NAME``), that
        their history is not known; nothing of a file of public weights: what its authors have used cannot be known.
    """
    state, metadata = starting_weights(path, network, node)
    if left := warm_start(network, state):
        why = "of images" if any(key.startswith("recurrent.") for key in left) else "of another scale"
        news(f"initial={path}: {why}; these start anew: {', '.join(left)}")
    return [] if metadata is None else [metadata]


def _label(degradation: Degradation) -> str:
    """A degradation in a list of runs: the names of a pipeline's operations, or its class."""
    ops = getattr(degradation, "ops", None)
    return " > ".join(ops) if isinstance(ops, Mapping) and ops else type(degradation).__name__


def _parts(node: Any) -> list[Path]:
    """The artefacts that a configuration takes networks from: a teacher, a part of the network."""
    if not isinstance(node, Mapping):
        return []
    if node.get("_target_") == "sr_lab.artefacts.artefact.load_network":
        return [] if node.get("path") is None else [Path(node["path"])]
    return sorted({path for child in node.values() for path in _parts(child)})
