"""Enlarge every image of a folder or object store.

    srlab restore input=photos output=large restorer=models:/demo@champion
    srlab restore input=s3://BUCKET/low output=s3://BUCKET/high restorer=runs/NAME/best launcher=ray launcher.gpus=1

Each image is written once, whole, under its own name, as deep as it was (8 or 16 bit); what is there already is left
alone, so that the same command goes on where it was stopped. An image that cannot be read or restored is named, the
others are done all the same, and the exit code is 1. OUTPUT/restore.json tells what made the images; another restorer
does not write among them.
"""

import functools
import json
from typing import Any

from omegaconf import DictConfig

from sr_lab.commands._restorer import choose_device, fetch_artefact, load_restorer
from sr_lab.commands._spread import spread, stores
from sr_lab.data.stores import Store, distinct_stems
from sr_lab.inference.batch import RestoreImages

RECORD = "restore.json"
FORMATS = ("png", "tif", "webp", "jpg", "bmp")


def run(cfg: DictConfig) -> int:
    """Runs the command; see the module's docstring."""
    if cfg.format not in FORMATS:
        raise ValueError(f"format={cfg.format}: one of {', '.join(FORMATS)}")
    source, target = stores(cfg)
    names = source.images()
    distinct_stems(names)
    settings = restorer_settings(cfg)
    _, metadata = load_restorer(**settings, device=choose_device("cpu"))
    _claim(target, settings, metadata or {}, cfg.format)
    make = functools.partial(make_work, str(cfg.input), str(cfg.output), settings, cfg.device, f".{cfg.format}")
    if code := spread(cfg, names, make, "restore"):
        return code
    print(f"{len(names)} images: {cfg.output}")
    return 0


def restorer_settings(cfg: DictConfig) -> dict[str, Any]:
    """What ``load_restorer`` takes, but for the device."""
    name, keys = str(cfg.restorer), ("tile", "overlap", "tracking_uri", "seed", "num_steps")
    scale = cfg.scale
    if scale is None:
        if name == "bicubic":
            raise ValueError("restorer=bicubic enlarges by any factor: give scale=...")
        scale = fetch_artefact(name, tracking_uri=cfg.tracking_uri).scale
    return {"name": name, "scale": scale, **{key: cfg[key] for key in keys}}


def make_work(source: str, target: str, settings: dict[str, Any], device: str, suffix: str) -> RestoreImages:
    """The restorer at work, made in the process that uses it."""
    chosen = choose_device(device)
    restorer, _ = load_restorer(**settings, device=chosen)
    return RestoreImages(source=source, target=target, restorer=restorer, device=chosen, suffix=suffix)


def _claim(output: Store, settings: dict[str, Any], metadata: dict[str, Any], suffix: str) -> None:
    """Records what makes the images of ``output``; refuses to mix them with those of another restorer."""
    kept = {key: settings[key] for key in ("scale", "tile", "overlap", "seed", "num_steps")}
    weights = metadata.get("sha256", {}).get("weights.safetensors") or settings["name"]
    record = {"restorer": weights, "format": suffix, **kept}
    found = output.read_bytes(RECORD)
    if found is None:
        output.write_bytes(RECORD, json.dumps({**record, "name": settings["name"]}, indent=1).encode())
        return
    before = json.loads(found)
    if changed := [f"{key} was {before.get(key)}, is {value}" for key, value in record.items() if before[key] != value]:
        raise ValueError(
            f"{output.uri} holds images that were made otherwise: {'; '.join(changed)}. Give another output"
        )
