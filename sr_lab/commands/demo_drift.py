"""Drift and retraining on photos that ship inside scikit-image and scikit-learn, in minutes on two cores.

    srlab demo_drift

A small EDSR is trained on clean photos and becomes champion; its inputs get a profile. More clean images come in:
nothing happens. Then noisy JPEG images come in: drift is found and explained, the champion is fine-tuned, and the gate
compares both under the old and the new conditions, on photos that neither has seen. Each step is printed as the
command that does it alone. Eight unseen photos are few, and the gate counts them as eight scenes.
"""

import time
from pathlib import Path

from omegaconf import DictConfig

from sr_lab.commands._steps import folder_of, step
from sr_lab.config.words import setting
from sr_lab.workflows.drifting import make_inputs

GATE = (
    "~policy.checks.ssim_new", "~policy.checks.ssim_old", "policy.checks.psnr_new.min_scenes=8",
    "policy.checks.psnr_old.min_scenes=8", "policy.checks.psnr_old.margin=1.0", "policy.checks.psnr_floor.value=18",
    "policy.checks.latency.limit=1.5",
)  # fmt: skip
"""What eight scenes can show: the interval of a loss under the old conditions is about a decibel wide."""


def run(cfg: DictConfig) -> int:
    """Runs the steps; the first one that fails ends the demo with its exit code."""
    if cfg.inputs is not None:
        make_inputs(Path(cfg.inputs), noise=cfg.noise, quality=cfg.quality)
        return 0
    start = time.perf_counter()
    output = folder_of(cfg, "demo-drift")
    store, champion = f"sqlite:///{output.resolve() / 'mlflow.db'}", output / "champion"
    step("prepare", "data=photos")
    before, same, now, holdout = make_inputs(output, noise=cfg.noise, quality=cfg.quality)
    reference = output / "reference.parquet"
    recipe = ["trainer.enable_progress_bar=true", *cfg.train]
    training = [
        *(setting("experiment", cfg.experiment), setting("name", output.name), setting("output", champion)),
        *(f"max_steps={cfg.steps}", f"val_every={cfg.steps // 4}", f"checkpoint_every={cfg.steps // 4}"),
        *(setting("tracking.uri", store), "tracking.drain_seconds=120", *recipe),
    ]
    promotion = [
        *("name=photos", "policy=default", setting("policy.holdout.photos.benchmark", holdout)),
        *("policy.checks.psnr_floor.value=18", "policy.checks.psnr_worst.value=12"),
        *(setting("tracking_uri", store), setting("report", output / "first")),
    ]
    retraining = [
        *("name=photos", setting("experiment", cfg.experiment), setting("reference", reference)),
        *(setting("holdout", holdout), setting("output", output / "retrain"), f"steps={cfg.retrain_steps}"),
        *(setting("tracking_uri", store), *GATE, setting("train", [*recipe, "tracking.drain_seconds=120"])),
    ]
    for command, *settings in (
        ["train", *training],
        ["register", setting("run", champion), "name=photos"],
        ["promote", *promotion],
        ["profile", setting("input", before), setting("output", reference)],
        ["retrain", setting("current", same), *retraining],
        ["retrain", setting("current", now), *retraining],
    ):
        if code := step(command, *settings):
            return code
    page = max((output / "retrain").glob("*/retrain.html"))
    print(f"\n== done in {time.perf_counter() - start:.0f} s\nreport    {page}")
    print(f"drift     {page.parent / 'drift' / 'drift.html'}\ngate      {next((page.parent / 'gate').glob('*.html'))}")
    return 0
