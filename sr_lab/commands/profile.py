"""Measure a folder of images: the reference that ``srlab drift`` compares with.

    srlab profile input=DIR output=reference.parquet
    srlab profile input=DIR output=reference.parquet restorer=models:/NAME@champion scale=4

Writes one row an image: sharpness, noise, blur, JPEG quality, blockiness, colour and exposure, spectrum slope, size and
an embedding of the content; with a restorer also LR consistency and naturalness of its output and, if it is generative,
the spread of its samples. There are no pixels in the file; names of the images are. Settings and versions are.
"""

import sys
import time
from pathlib import Path

from omegaconf import DictConfig

from sr_lab.commands._extractor import extractor, progress_bar
from sr_lab.monitoring.features import feature, feature_columns
from sr_lab.monitoring.measuring import measure_folder
from sr_lab.monitoring.profile import write_profile


def run(cfg: DictConfig) -> int:
    """Runs the command; see the module's docstring."""
    output, measure, start = Path(cfg.output), extractor(cfg), time.perf_counter()
    with progress_bar("profile") as progress:
        profile = measure_folder(
            Path(cfg.input), measure, num_images=cfg.num_images, workers=cfg.workers, progress=progress
        )
    seconds = time.perf_counter() - start
    write_profile(profile, output)
    for name, reason in profile.facts["skipped"].items():
        print(f"srlab profile: not used: {name}: {reason}", file=sys.stderr)
    for name in feature_columns(profile.table):
        known, values = feature(name), profile.table[name]
        low, middle, high = (f"{value:.{known.decimals}f}" for value in values.quantile([0.05, 0.5, 0.95]))
        text = "none" if values.isna().all() else f"median {middle}, 90 % in {low} to {high} {known.unit}".rstrip()
        missing = f", none in {values.isna().sum()}" if 0 < values.isna().sum() < len(values) else ""
        print(f"{known.label}: {text}{missing}")
    print(f"{len(profile)} images, {len(profile) / seconds:.0f} a second\nprofile: {output}")
    return 0
