"""What each ingredient of edge_x4 gives: the recipe once as it is, and once without each, in short equal runs.

    python experiments/edge_models/ablation.py DATA OUTPUT [--steps 3000] [VARIANT ...]

DATA is the folder that holds Set5/x4; OUTPUT gets the runs, results.csv and table.md. The same command goes on where it
was stopped; what is finished is not done again.
"""

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import sr_lab
from sr_lab.artefacts.artefact import load_artefact
from sr_lab.artefacts.shipped import MODELS

VARIANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "recipe": ("the recipe: branches, L1, 8 crops of 128, cosine, flips and turns, average", {}),
    "seed": ("the same from another seed", {"seed": 1}),
    "no_average": ("without the averaged weights", {"model.ema_decay": None}),
    "no_branches": ("plain convolutions from the start", {"model.network.collapsed": True}),
    "l2": ("L2 instead of L1", {"losses": ["l2"]}),
    "charbonnier": ("Charbonnier's loss instead of L1", {"losses": ["charbonnier"]}),
    "constant": ("a constant learning rate", {"scheduler.floor": 1.0}),
    "small_crops": ("32 crops of 64, as many pixels", {"data.crop": 64, "data.batch_size": 32}),
    "no_augmentation": ("without flips and turns", {"data.augment": "none"}),
    "distillation": (
        "beside L1, the distance to the image of the shipped edge_x4",
        {
            "losses": ["l1", "distillation"],
            "losses.distillation.features": {},
            "losses.distillation.teacher.path": str(MODELS / "edge_x4"),
        },
    ),
    "large_crops": ("2 crops of 256, as many pixels", {"data.crop": 256, "data.batch_size": 2}),
    "seed_2": ("the same from a third seed", {"seed": 2}),
    "constant_no_average": (
        "a constant learning rate, without the average",
        {"scheduler.floor": 1.0, "model.ema_decay": None},
    ),
    "half_rate": ("half the learning rate", {"optimizer.lr": 0.001}),
}
KEYS = ("val", "Set5")


def run(name: str, data: Path, output: Path, steps: int) -> dict[str, float]:
    """Trains and scores one variant: PSNR-Y of the photos of srlab prepare, which choose checkpoints, and of Set5."""
    folder = output / name
    kept = folder / "row.json"
    if kept.exists():
        row: dict[str, float] = json.loads(kept.read_text())
        return row
    settings = {"tracking": "none", "max_steps": steps, "val_every": steps, "scheduler.num_warmup": steps // 20}
    trained = sr_lab.train("edge_x4", name=name, output=str(folder), **settings, **VARIANTS[name][1])
    means = sr_lab.evaluate(trained.best, data / "Set5" / "x4", scale=4).means
    row = {
        "val": load_artefact(trained.best).metadata["metrics"]["val/psnr_y"],
        "Set5": next(mean["psnr_y"] for restorer, mean in means.items() if restorer != "bicubic"),
    }
    kept.write_text(json.dumps(row))
    return row


def write(rows: dict[str, dict[str, float]], output: Path) -> None:
    """results.csv and table.md: beside each figure its difference from the mean of the recipe's seeds."""
    seeds = [row for name, row in rows.items() if name in ("recipe", "seed", "seed_2")]
    with (output / "results.csv").open("w", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(["variant", *KEYS])
        table.writerows([name, *(round(row[key], 4) for key in KEYS)] for name, row in rows.items())
    lines = ["| variant | photos that choose | Set5 |", "|---|---|---|"]
    for name, row in rows.items():
        mean = {key: sum(seed[key] for seed in seeds) / len(seeds) for key in KEYS}
        cells = " | ".join(f"{row[key]:.2f} ({row[key] - mean[key]:+.2f})" for key in KEYS)
        lines.append(f"| {VARIANTS[name][0]} | {cells} |")
    (output / "table.md").write_text("\n".join(lines) + "\n")


def main() -> None:
    """Reads the arguments, runs what is not done yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("variants", nargs="*", default=list(VARIANTS))
    parser.add_argument("--steps", type=int, default=3000)
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    rows: dict[str, dict[str, float]] = {}
    for name in given.variants:
        rows[name] = run(name, given.data, given.output, given.steps)
        print(name, rows[name], flush=True)
        write(rows, given.output)


if __name__ == "__main__":
    main()
