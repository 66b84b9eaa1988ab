"""Drift and retraining on photos that ship inside scikit-image and scikit-learn, in minutes on two cores.

    srlab demo_drift

A small EDSR is trained on clean photos and becomes champion; its inputs get a profile. More clean images come in:
nothing happens. Then noisy JPEG images come in: drift is found and explained, the champion is fine-tuned, and the gate
compares both under the old and the new conditions, on photos that neither has seen. Each step is printed as the
command that does it alone. Three unseen photos are few: the gate's intervals count them as three scenes.
"""

import io
import shlex
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import torch
from omegaconf import DictConfig
from PIL import Image

from sr_lab.base.files import write_bytes
from sr_lab.commands import prepare, profile, promote, register, retrain, train
from sr_lab.config.compose import compose
from sr_lab.config.words import setting
from sr_lab.degradations.estimate.arrays import Pixels
from sr_lab.images import list_images, read_image, resize_bicubic_uint8, write_image

STEPS: dict[str, Callable[[DictConfig], int]] = {
    "prepare": prepare.run,
    "train": train.run,
    "register": register.run,
    "promote": promote.run,
    "profile": profile.run,
    "retrain": retrain.run,
}
SCALE, SIDE = 2, 64
MARGIN = 0.3
"""Loss under the old conditions that the demo's gate allows, in dB: three scenes cannot show less."""


def run(cfg: DictConfig) -> int:
    """Runs the steps; the first one that fails ends the demo with its exit code."""
    if cfg.inputs is not None:
        make_inputs(Path(cfg.inputs), noise=cfg.noise, quality=cfg.quality)
        return 0
    start = time.perf_counter()
    output = Path("runs") / (cfg.name or f"demo-drift-{datetime.now():%Y%m%d-%H%M%S}")
    store, champion = f"sqlite:///{output.resolve() / 'mlflow.db'}", output / "champion"
    _step("prepare", ["data=photos"])
    before, same, now, holdout = make_inputs(output, noise=cfg.noise, quality=cfg.quality)
    reference = output / "reference.parquet"
    recipe = ["trainer.enable_progress_bar=true", *cfg.train]
    retraining = [
        *("name=photos", f"experiment={cfg.experiment}", setting("reference", reference), setting("holdout", holdout)),
        *(setting("output", output / "retrain"), f"steps={cfg.retrain_steps}", setting("tracking_uri", store)),
        *("~policy.checks.ssim_new", "~policy.checks.ssim_old", "policy.checks.psnr_new.min_scenes=3"),
        *("policy.checks.psnr_old.min_scenes=3", f"policy.checks.psnr_old.margin={MARGIN}"),
        *("policy.checks.psnr_floor.value=18", "policy.checks.latency.limit=1.5"),
        f"train={_listed([*recipe, 'tracking.drain_seconds=120'])}",
    ]
    steps: list[tuple[str, list[str]]] = [
        (
            "train",
            [
                *(f"experiment={cfg.experiment}", setting("name", output.name), setting("output", champion)),
                *(f"max_steps={cfg.steps}", f"val_every={cfg.steps // 4}", f"checkpoint_every={cfg.steps // 4}"),
                *(setting("tracking.uri", store), "tracking.drain_seconds=120", *recipe),
            ],
        ),
        ("register", [setting("run", champion), "name=photos"]),
        (
            "promote",
            [
                *("name=photos", "policy=default", setting("policy.holdout.photos.benchmark", holdout)),
                *("policy.checks.psnr_floor.value=18", "policy.checks.psnr_worst.value=12"),
                *(setting("tracking_uri", store), setting("report", output / "first")),
            ],
        ),
        ("profile", [setting("input", before), setting("output", reference)]),
        ("retrain", [setting("current", same), *retraining]),
        ("retrain", [setting("current", now), *retraining]),
    ]
    for command, overrides in steps:
        if code := _step(command, overrides):
            return code
    page = max((output / "retrain").glob("*/retrain.html"))
    print(f"\n== done in {time.perf_counter() - start:.0f} s\nreport    {page}")
    print(f"drift     {page.parent / 'drift' / 'drift.html'}\ngate      {next((page.parent / 'gate').glob('*.html'))}")
    return 0


def make_inputs(output: Path, *, noise: float, quality: int) -> tuple[Path, Path, Path, Path]:
    """Low images as they were, more of them, noisy JPEG ones, and unseen originals by scene.

    The first three are different crops of the photos that are not in the test split, dealt out at random.

    Args:
        output: folder for the four folders.
        noise: sigma in 8-bit levels.
        quality: of the JPEG.
    """
    random, folders = np.random.default_rng(0), [output / name for name in ("before", "same", "now", "holdout")]
    lows = [
        low
        for split in ("train", "val")
        for file in list_images(Path("data/photos") / split)
        for low in _crops(_low(read_image(file)), SIDE, most=16, random=random)
        if low.std() > 6
    ]
    order = random.permutation(len(lows))
    parts = np.split(order, [len(lows) // 2, 3 * len(lows) // 4])
    for folder, part in zip(folders, parts, strict=False):
        for index in part:
            target = folder / f"{index:03}.png"
            if folder.name != "now":
                write_image(target, lows[index])
                continue
            noisy = lows[index] + random.normal(0, noise, lows[index].shape)
            stream = io.BytesIO()
            Image.fromarray(np.clip(np.round(noisy), 0, 255).astype(np.uint8)).save(stream, "JPEG", quality=quality)
            write_bytes(target.with_suffix(".jpg"), stream.getvalue())
    for file in list_images(Path("data/photos/test")):
        for index, crop in enumerate(_crops(read_image(file), 2 * SCALE * SIDE // 2, most=6, random=random)):
            write_image(folders[3] / file.stem / f"{index}.png", crop)
    return folders[0], folders[1], folders[2], folders[3]


def _low(image: Pixels) -> Pixels:
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None]
    return np.asarray(resize_bicubic_uint8(tensor, scale=1 / SCALE)[0].permute(1, 2, 0).numpy())


def _crops(image: Pixels, side: int, *, most: int, random: np.random.Generator) -> list[Pixels]:
    """Crops beside one another, at most so many, in a random order."""
    rows, columns = (length // side for length in image.shape[:2])
    places = [(row * side, column * side) for row in range(rows) for column in range(columns)]
    chosen = random.permutation(len(places))[:most]
    return [image[top : top + side, left : left + side, :3] for top, left in (places[index] for index in chosen)]


def _step(command: str, overrides: Sequence[str]) -> int:
    print(f"\n== srlab {command} {shlex.join(overrides)}", flush=True)
    return int(STEPS[command](compose(command, list(overrides))) or 0)


def _listed(overrides: Sequence[str]) -> str:
    """Overrides as the value of another override."""
    return "[" + ",".join(f'"{text}"' for text in overrides) + "]"
