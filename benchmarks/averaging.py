"""What the average of the weights costs or gives: validation PSNR of it and of the raw weights, at the same step.

    srlab prepare && python benchmarks/averaging.py

`srlab train` with its default settings on the photos of `srlab prepare`, trained to the end for each budget and seed.
The average does not move the training, so that one run shows both, and the difference has no noise but that of the
seed. Prints the mean over the seeds, the difference, and its standard error.
"""

import argparse
import statistics
import tempfile
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch

from sr_lab.commands.train import call
from sr_lab.config.compose import build, compose
from sr_lab.metrics.psnr import PSNR
from sr_lab.training import ema
from sr_lab.training.base import TrainingModule

QUIET = [
    "tracking=none",
    "pictures=0",
    "preflight=false",
    "trainer.accelerator=cpu",
    "trainer.enable_progress_bar=false",
]


class Watch(pl.Callback):
    """Keeps further averages under other warm-ups, and measures all of them at the end."""

    def __init__(self, metric: Any, decays: dict[str, Any]) -> None:
        self.metric, self.decays, self.psnr = metric, decays, dict[str, float]()
        self.averages: dict[str, ema.EMA] = {}

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, TrainingModule)
        self.averages = {name: ema.EMA(pl_module.network, decay=0.999) for name in self.decays}

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        assert isinstance(pl_module, TrainingModule)
        shipped = ema.decay_at
        for name, average in self.averages.items():
            ema.decay_at = self.decays[name]
            average.update(pl_module.network)
        ema.decay_at = shipped

    @torch.no_grad()
    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, TrainingModule)
        networks = {"none": pl_module.network, "average": pl_module.final_network}
        networks |= {name: average.module for name, average in self.averages.items()}
        assert isinstance(trainer.val_dataloaders, torch.utils.data.DataLoader)
        for name, network in networks.items():
            found = []
            network.eval()
            for batch in trainer.val_dataloaders:
                restored = pl_module.enlarge(network, batch["low"]).float().clamp(0, 1)
                found += self.metric.per_image(restored, batch["high"]).tolist()
            self.psnr[name] = statistics.fmean(found)


def measured(num_steps: int, seed: int, folder: Path, decays: dict[str, Any], words: list[str]) -> dict[str, float]:
    """PSNR-Y of each kind of weights after a training of ``num_steps``."""
    steps = [f"max_steps={num_steps}", f"val_every={num_steps}", f"checkpoint_every={num_steps}", f"seed={seed}"]
    cfg = compose("train", [*QUIET, *steps, f"output={folder / f'{num_steps}_{seed}'}", *words])
    watch = Watch(PSNR(protocol=build(cfg.protocol), scale=cfg.scale), decays)
    call(cfg, callbacks=[watch])
    return watch.psnr


def main() -> None:
    """Measures and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, nargs="*", default=[10, 100, 1000])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--words", nargs="*", default=[], help="further settings of srlab train")
    parser.add_argument("--others", action="store_true", help="measure other warm-ups beside the one that is shipped")
    options = parser.parse_args()
    decays = OTHERS if options.others else {}
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        for num_steps in options.steps:
            runs = [measured(num_steps, seed, Path(folder), decays, options.words) for seed in range(options.seeds)]
            for name in runs[0]:
                gains = [run[name] - run["none"] for run in runs]
                error = statistics.stdev(gains) / len(gains) ** 0.5 if len(gains) > 1 else float("nan")
                mean = statistics.fmean(run[name] for run in runs)
                print(
                    f"{num_steps:>6} {name:<12}{mean:>8.3f} {statistics.fmean(gains):>+8.3f} +- {error:.3f}", flush=True
                )


OTHERS = {
    f"power {gamma}": lambda update, *, decay, gamma=gamma: min(decay, (1 - 1 / (update + 1)) ** (gamma + 1))
    for gamma in (6.94, 16.97, 30, 60)
}
"""Karras et al., Analyzing and Improving the Training Dynamics of Diffusion Models (2024), equation 8."""


if __name__ == "__main__":
    main()
