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

from sr_lab.config.compose import build, plain
from sr_lab.config.words import counted, line, setting
from sr_lab.workflows.derive import Pruned, prune


def run(cfg: DictConfig) -> int:
    """Runs the command; see the module's docstring."""
    done = call(cfg)
    share = (
        f"{done.num_parameters:,} of {counted(done.num_before, 'parameter')} "
        f"({done.num_parameters / done.num_before:.0%})"
    )
    print(f"{done.artefact}: {share} are left")
    tuned = line("train", "model/network=artefact", setting("initial", done.artefact), setting("scale", done.scale))
    print(f"fine-tune it, on data of your choice: {tuned}")
    return 0


def call(cfg: DictConfig) -> Pruned:
    """Prunes as ``cfg`` says."""
    return prune(
        str(cfg.artefact),
        Path(cfg.output),
        amount=cfg.amount,
        criterion=build(cfg.criterion),
        described=plain(cfg.criterion),
        tracking_uri=str(cfg.tracking_uri),
    )
