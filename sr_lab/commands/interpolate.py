"""Mix the weights of networks of one architecture, as PSNR and GAN weights of one generator, into a new artefact.

    srlab interpolate artefacts=[runs/PSNR/best,runs/GAN/best] weights=[0.3,0.7] output=runs/mixed
    srlab interpolate artefacts=[runs/a/best,runs/b/best,runs/c/best] output=runs/mean

The weights add up to 1; without them every artefact counts alike. The artefact at OUTPUT names its parents with their
hashes, and every image that any of them has seen. Networks of different architectures are refused: their outputs can
be averaged, by srlab evaluate restorer=[A,B].
"""

from pathlib import Path

from omegaconf import DictConfig

from sr_lab.workflows.derive import Interpolated, interpolate


def run(cfg: DictConfig) -> int:
    """Runs the command; see the module's docstring."""
    done = call(cfg)
    print(f"{done.artefact} = {' + '.join(f'{weight:g} x {name}' for name, weight in done.parts)}")
    return 0


def call(cfg: DictConfig) -> Interpolated:
    """Mixes the weights of the artefacts that ``cfg`` names."""
    return interpolate(
        [str(name) for name in cfg.artefacts],
        Path(cfg.output),
        weights=None if cfg.weights is None else [float(weight) for weight in cfg.weights],
        tracking_uri=str(cfg.tracking_uri),
    )
