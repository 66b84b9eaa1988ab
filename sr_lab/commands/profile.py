"""Measure a folder of images: the reference that ``srlab drift`` compares with.

    srlab profile input=DIR output=reference.parquet
    srlab profile input=DIR output=reference.parquet restorer=models:/NAME@champion scale=4
    srlab profile input=DIR output=reference.parquet name=NAME   # also kept with the champion: of srlab serve and watch

Writes one row an image: sharpness, noise, blur, JPEG quality, blockiness, colour and exposure, spectrum slope, size and
an embedding of the content; with a restorer also LR consistency and naturalness of its output and, if it is generative,
the spread of its samples. There are no pixels in the file; names of the images are. Settings and versions are.
"""

import sys
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from sr_lab.config.compose import build
from sr_lab.config.words import counted
from sr_lab.workflows.load import load_restorer
from sr_lab.workflows.profile import ProfileResult, feature_extractor, measure_profile


def run(cfg: DictConfig) -> int:
    """Runs the command; see the module's docstring."""
    result = call(cfg)
    for name, reason in result.skipped.items():
        print(f"srlab profile: not used: {name}: {reason}", file=sys.stderr)
    for line in result.lines:
        print(line)
    number = len(result.profile)
    print(f"{counted(number, 'image')}, {number / result.seconds:.0f} a second\nprofile: {result.path}")
    if result.version is not None:
        print(f"the reference of {cfg.name} version {result.version}")
    return 0


def call(cfg: DictConfig) -> ProfileResult:
    """Measures the folder and writes the profile."""
    return measure_profile(
        Path(cfg.input),
        Path(cfg.output),
        extractor=extractor(cfg),
        num_images=cfg.num_images,
        workers=cfg.workers,
        name=cfg.name,
        version=cfg.version,
        tracking_uri=str(cfg.tracking_uri),
    )


def extractor(cfg: DictConfig) -> Any:
    """What measures an image, of ``embedding``, ``crop`` and, with a restorer, of its outputs."""
    if cfg.restorer is not None and (not isinstance(cfg.scale, int) or cfg.scale < 1):
        raise ValueError(f"scale={cfg.scale}: a whole number of at least 1, the factor of restorer={cfg.restorer}")
    restorer = None
    if cfg.restorer is not None:
        restorer = load_restorer(str(cfg.restorer), scale=cfg.scale, device=cfg.device, tracking_uri=cfg.tracking_uri)
    return feature_extractor(
        embedding=build(cfg.embedding),
        crop=cfg.crop,
        restorer=restorer,
        num_samples=cfg.num_samples,
        side=cfg.side,
    )
