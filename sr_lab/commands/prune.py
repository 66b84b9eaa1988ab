"""Take whole filters out of a trained network: a smaller one of the same kind, as a new artefact.

    srlab prune artefact=runs/NAME/best amount=0.5 output=runs/pruned
    srlab prune artefact=runs/NAME/best amount=0.5 output=runs/pruned criterion=taylor criterion.photos=DIR
    srlab train model/network=artefact initial=runs/pruned ...

Filters inside the residual blocks of EDSR, the dense blocks of RRDBNet and the body of Compact are ranked within their
layer, and the least are removed. What is left is worse at once and recovers by fine-tuning (the third line): the
network's configuration holds its new widths. The artefact names its parent and every image that it has seen.
"""

from pathlib import Path

from omegaconf import DictConfig

from sr_lab.artefacts.artefact import build_network, save_artefact
from sr_lab.artefacts.lineage import parent_of
from sr_lab.config.compose import build, plain
from sr_lab.config.words import line, setting
from sr_lab.networks.pruning import choose, narrowed_state, prunable
from sr_lab.workflows.load import fetch_artefact


def run(cfg: DictConfig) -> int:
    """Runs the command; see the module's docstring."""
    artefact = fetch_artefact(str(cfg.artefact), tracking_uri=cfg.tracking_uri)
    network, config = artefact.network, artefact.config
    criterion = build(cfg.criterion)
    keep = choose(criterion(network, prunable(network)), cfg.amount)
    node = {**config["model"]["network"], "widths": [int(mask.sum()) for mask in keep]}
    pruned = build_network(node)
    pruned.load_state_dict(narrowed_state(network, keep))
    known = ("data_version", "images", "perceptual_backbones", "protocol", "commit")
    metadata = {key: artefact.metadata[key] for key in known if key in artefact.metadata}
    metadata |= {"parents": [parent_of(str(cfg.artefact), artefact)]}
    metadata |= {"pruning": {"amount": cfg.amount, "criterion": plain(cfg.criterion)}}
    stored = {**config, "model": {**config["model"], "network": node}}
    save_artefact(Path(cfg.output), pruned.eval(), config=stored, metadata=metadata)
    before, after = network.num_parameters, pruned.num_parameters
    print(f"{cfg.output}: {after:,} of {before:,} parameters ({after / before:.0%}) are left")
    tuned = line("train", "model/network=artefact", setting("initial", cfg.output), setting("scale", network.scale))
    print(f"fine-tune it, on data of your choice: {tuned}")
    return 0
