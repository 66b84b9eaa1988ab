"""Which preset makes a small model hold up under which corruption? One model a preset, scored under every one.

    python experiments/robustness/study.py runs/robustness

Needs the research data sets (SR_LAB_SHARED). About 20 minutes on 2 CPU cores; what is done is not done again.
"""

import json
import os
import sys
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from sr_lab.cli import main

PRESETS = ["bicubic", "blind_gaussian", "bsrgan", "realesrgan"]
CORRUPTIONS = [*PRESETS, "severity"]
SHARED = Path(os.environ.get("SR_LAB_SHARED", "../shared")) / "datasets"
HERE = Path(__file__).parent


def train(preset: str, root: Path) -> Path:
    """The best weights of a small EDSR at x4, trained under ``preset`` and validated under it on Set5."""
    data = ["data=folder", f"data.train.roots=[{SHARED}/train/T91,{SHARED}/train/BSDS400]", "data.small=skip"]
    data += [f"data.val.roots={SHARED}/benchmark/Set5/x4/HR", "data.crop=96", f"degradation={preset}"]
    data += [f"data.holdout=[{SHARED}/benchmark/Set14/x4/HR,{SHARED}/benchmark/BSD100/x4/HR]"]
    recipe = ["max_steps=600", "val_every=150", "checkpoint_every=150", "optimizer.lr=0.003", "scheduler.num_warmup=40"]
    recipe += ["model.ema_decay=0.98", "model.network.num_blocks=8", "+model.network.value_range=1.0"]
    recipe += ["model.gradient_clip=0.1", "scale=4", "tracking=none", "pictures=0"]
    output = root / preset
    if main(["train", *data, *recipe, f"name={preset}", f"output={output}"]):
        sys.exit(f"training under {preset} failed")
    return output / "best"


def score(restorer: str, name: str, corruption: str, root: Path) -> float:
    """Mean PSNR-Y on Set14 under ``corruption``, protocol y_crop, draws of seed 0."""
    report = root / "reports" / f"{name}-{corruption}"
    if not (report / "summary.json").exists():
        where = [f"restorer={restorer}", f"benchmark={SHARED}/benchmark/Set14/x4/HR", "scale=4", f"report={report}"]
        if main(["evaluate", *where, f"degradation={corruption}", "metrics=[psnr,ssim]"]):
            sys.exit(f"scoring {name} under {corruption} failed")
    return float(json.loads((report / "summary.json").read_text(encoding="utf-8"))["psnr_y"])


def draw(table: np.ndarray, names: list[str]) -> None:
    """The table as a picture: gain over bicubic in decibels."""
    gains = table[1:] - table[:1]
    figure, axis = plt.subplots(figsize=(8.5, 3.6))
    most = np.abs(gains).max()
    image = axis.imshow(gains, cmap="RdBu", vmin=-most, vmax=most, aspect="auto")
    for (row, column), gain in np.ndenumerate(gains):
        axis.text(column, row, f"{gain:+.2f}", ha="center", va="center", color="w" if abs(gain) > 0.6 * most else "k")
    axis.set_xticks(range(len(CORRUPTIONS)), CORRUPTIONS)
    axis.set_yticks(range(len(names) - 1), names[1:])
    axis.set(xlabel="scored under", ylabel="trained under", title="PSNR-Y gain over bicubic, dB (Set14 x4, y_crop)")
    figure.colorbar(image)
    figure.tight_layout()
    figure.savefig(HERE / "gains.png", dpi=110)


def study(root: Path) -> None:
    """Trains, scores, prints the table and draws gains.png beside this file."""
    restorers = {"bicubic interpolation": "bicubic"} | {preset: str(train(preset, root)) for preset in PRESETS}
    table = np.array(
        [
            [score(restorer, name.replace(" ", "_"), c, root) for c in CORRUPTIONS]
            for name, restorer in restorers.items()
        ]
    )
    lines = ["| trained under | " + " | ".join(CORRUPTIONS) + " |", "|" + "---|" * (len(CORRUPTIONS) + 1)]
    for name, row in zip(restorers, table, strict=True):
        cells = [f"**{v:.2f}**" if v == table[:, i].max() else f"{v:.2f}" for i, v in enumerate(row)]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    print("\n".join(lines))
    draw(table, list(restorers))


if __name__ == "__main__":
    study(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/robustness"))
