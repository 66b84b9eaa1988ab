"""Take whole filters out of a trained network: a smaller one of the same kind, as a new artefact.

    srlab prune artefact=runs/NAME/best amount=0.5 output=runs/pruned
    srlab prune artefact=runs/NAME/best amount=0.5 output=runs/pruned criterion=taylor criterion.photos=DIR
    srlab train model/network=artefact initial=runs/pruned ...

Filters inside the residual blocks of EDSR, the dense blocks of RRDBNet and the body of Compact are ranked within their
layer, and the least are removed. What is left is worse at once and recovers by fine-tuning (the third line): the
network's configuration holds its new widths. The artefact names its parent and every image that it has seen.
"""

from omegaconf import DictConfig

from sr_lab.config.call import called
from sr_lab.config.compose import plain
from sr_lab.config.words import counted, line, setting
from sr_lab.workflows.derive import prune


def run(cfg: DictConfig) -> int:
    """Prunes as ``cfg`` says."""
    done = called(prune, cfg, name=cfg.artefact, described=plain(cfg.criterion))
    share = done.num_parameters / done.num_before
    left = f"{done.num_parameters:,} of {counted(done.num_before, 'parameter')} ({share:.0%})"
    print(f"{done.artefact}: {left} are left")
    tuned = line("train", "model/network=artefact", setting("initial", done.artefact), setting("scale", done.scale))
    print(f"fine-tune it, on data of your choice: {tuned}")
    return 0
