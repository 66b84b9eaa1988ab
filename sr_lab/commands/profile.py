"""Measure a folder of images: the reference that ``srlab drift`` compares with.

    srlab profile input=DIR output=reference.parquet
    srlab profile input=DIR output=reference.parquet restorer=models:/NAME@champion scale=4
    srlab profile input=DIR output=reference.parquet name=NAME   # also kept with the champion: of srlab serve and watch

Writes one row an image: sharpness, noise, blur, JPEG quality, blockiness, colour and exposure, spectrum slope, size and
an embedding of the content; with a restorer also LR consistency and naturalness of its output and, if it is generative,
the spread of its samples. There are no pixels in the file; names of the images are. Settings and versions are.
"""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from sr_lab.commands._telling import complain
from sr_lab.config.call import called
from sr_lab.config.words import counted
from sr_lab.workflows.load import load_restorer
from sr_lab.workflows.profile import feature_extractor, measure_profile


def run(cfg: DictConfig) -> int:
    """Measures the folder and writes the profile."""
    result = called(measure_profile, cfg, folder=Path(cfg.input), extractor=extractor(cfg))
    complain("profile", (f"not used: {name}: {reason}" for name, reason in result.skipped.items()))
    number = len(result.profile)
    print("\n".join([*result.lines, f"{counted(number, 'image')}, {number / result.seconds:.0f} a second"]))
    print(f"profile: {result.path}")
    if result.version is not None:
        print(f"the reference of {cfg.name} version {result.version}")
    return 0


def extractor(cfg: DictConfig) -> Any:
    """What measures an image, of ``embedding``, ``crop`` and, with a restorer, of its outputs."""
    if cfg.restorer is None:
        return called(feature_extractor, cfg, restorer=None)
    if not isinstance(cfg.scale, int) or cfg.scale < 1:
        raise ValueError(f"scale={cfg.scale}: a whole number of at least 1, the factor of restorer={cfg.restorer}")
    own = {key: cfg[key] for key in ("scale", "device", "tracking_uri")}
    return called(feature_extractor, cfg, restorer=load_restorer(cfg.restorer, **own))
