"""Mix the weights of networks of one architecture, as PSNR and GAN weights of one generator, into a new artefact.

    srlab interpolate artefacts=[runs/PSNR/best,runs/GAN/best] weights=[0.3,0.7] output=runs/mixed
    srlab interpolate artefacts=[runs/a/best,runs/b/best,runs/c/best] output=runs/mean

The weights add up to 1; without them every artefact counts alike. The artefact at OUTPUT names its parents with their
hashes, and every image that any of them has seen. Networks of different architectures are refused: their outputs can
be averaged, by srlab evaluate restorer=[A,B].
"""

from omegaconf import DictConfig

from sr_lab.config.call import called
from sr_lab.workflows.derive import interpolate


def run(cfg: DictConfig) -> int:
    """Mixes the weights of the artefacts that ``cfg`` names."""
    done = called(interpolate, cfg, names=list(cfg.artefacts))
    print(f"{done.artefact} = {' + '.join(f'{weight:g} x {name}' for name, weight in done.parts)}")
    return 0
