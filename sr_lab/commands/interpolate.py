"""Mix the weights of networks of one architecture, as PSNR and GAN weights of one generator, into a new artefact.

    srlab interpolate artefacts=[runs/PSNR/best,runs/GAN/best] weights=[0.3,0.7] output=runs/mixed
    srlab interpolate artefacts=[runs/a/best,runs/b/best,runs/c/best] output=runs/mean

The weights add up to 1; without them every artefact counts alike. The artefact at OUTPUT names its parents with their
hashes, and every image that any of them has seen. Networks of different architectures are refused: their outputs can
be averaged, by srlab evaluate restorer=[A,B].
"""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from sr_lab.artefacts.artefact import build_network, save_artefact
from sr_lab.artefacts.lineage import merged_images, parent_of, perceptual_backbones
from sr_lab.networks.ensemble import interpolate
from sr_lab.workflows.load import fetch_artefact


def run(cfg: DictConfig) -> int:
    """Runs the command; see the module's docstring."""
    names = [str(name) for name in cfg.artefacts]
    weights = [1 / len(names)] * len(names) if cfg.weights is None else [float(weight) for weight in cfg.weights]
    artefacts = [fetch_artefact(name, tracking_uri=cfg.tracking_uri) for name in names]
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
    network.load_state_dict(interpolate([artefact.network.state_dict() for artefact in artefacts], weights))
    config: dict[str, Any] = dict(artefacts[0].config)
    config["losses"] = {
        f"{index}_{key}": loss
        for index, artefact in enumerate(artefacts)
        for key, loss in artefact.config.get("losses", {}).items()
    }
    metadata = {
        "parents": [
            {**parent_of(name, artefact), "weight": weight}
            for name, artefact, weight in zip(names, artefacts, weights, strict=True)
        ],
        "images": merged_images(*(artefact.metadata.get("images") for artefact in artefacts)),
        "perceptual_backbones": perceptual_backbones([], [artefact.metadata for artefact in artefacts]),
    }
    save_artefact(Path(cfg.output), network.eval(), config=config, metadata=metadata)
    parts = " + ".join(f"{weight:g} x {name}" for name, weight in zip(names, weights, strict=True))
    print(f"{cfg.output} = {parts}")
    return 0
