"""Enlarge every image of a folder or object store, or one image file.

    srlab restore input=photos output=large restorer=models:/demo@champion
    srlab restore input=photo.jpg output=large.png restorer=runs/NAME/best
    srlab restore input=photo.png output=large.png restorer=edge consistency=exact
    srlab restore input=s3://BUCKET/low output=s3://BUCKET/high restorer=runs/NAME/best launcher=ray launcher.gpus=1

Each image is written once, whole, under its own name, as deep as it was (8 or 16 bit); what is there already is left
alone, so that the same command goes on where it was stopped. An image that cannot be read or restored is named, the
others are done all the same, and the exit code is 1. OUTPUT/restore.json tells what made the images; another restorer
does not write among them. Of one image file, output is the file to write, in the format of its suffix, or a folder.
What the images have beside their pixels (alpha, ICC profile, EXIF, GPS, GeoTIFF tags) is not carried over: a line
"caution:" on standard error says so.
"""

import functools
import sys
from typing import Any

from omegaconf import DictConfig

from sr_lab.config.compose import build
from sr_lab.workflows.load import choose_device, fetch_artefact, load_restorer
from sr_lab.workflows.restore import RestoredFolder, restore


def run(cfg: DictConfig) -> int:
    """Runs the command; see the module's docstring."""
    result = call(cfg)
    for caution in result.cautions:
        print(f"caution: {caution}", file=sys.stderr)
    for message in result.failures:
        print(f"srlab restore: {message}", file=sys.stderr)
    if result.failures:
        count = f"{len(result.failures)} of {result.num_images} images failed"
        print(f"srlab restore: {count}; the others are written", file=sys.stderr)
        return 1
    print(f"{result.num_images} images: {result.output}")
    return 0


def call(cfg: DictConfig) -> RestoredFolder:
    """Restores; see the module's docstring."""
    settings = _settings(cfg)
    kept = ("name", "scale", "tile", "overlap", "seed", "num_steps")
    return restore(
        input=cfg.input,
        output=cfg.output,
        load=functools.partial(_load, settings),
        made_by={key: settings[key] for key in kept} | _kept_of_consistency(settings),
        device=functools.partial(choose_device, cfg.device),
        format=cfg.format,
        launcher=build(cfg.launcher),
    )


def _settings(cfg: DictConfig) -> dict[str, Any]:
    """What ``load_restorer`` takes, but for the device."""
    name, keys = str(cfg.restorer), ("tile", "overlap", "tracking_uri", "seed", "num_steps", "engine")
    scale = cfg.scale
    if scale is None:
        if name == "bicubic":
            raise ValueError("restorer=bicubic enlarges by any factor: give scale=...")
        scale = fetch_artefact(name, tracking_uri=cfg.tracking_uri).scale
    settings = {"name": name, "scale": scale, **{key: cfg[key] for key in keys}}
    if cfg.consistency is None:
        return settings
    cfg = cfg.copy()
    cfg.scale = scale  # the degradation's, too
    degradation = None if cfg.degradation is None else build(cfg.degradation)
    return settings | {"consistency": cfg.consistency, "input_noise": cfg.input_noise, "degradation": degradation}


def _kept_of_consistency(settings: dict[str, Any]) -> dict[str, Any]:
    """What changes the images of consistent restorers, as ``restore.json`` keeps it; None otherwise, as before."""
    degradation = settings.get("degradation")
    return {
        "consistency": settings.get("consistency"),
        "input_noise": settings.get("input_noise"),
        "degradation": None if degradation is None else degradation.fingerprint(),
    }


def _load(settings: dict[str, Any], device: Any) -> Any:
    return load_restorer(**settings, device=device)
