"""Whole folders: true and fitted ranges, the preset, and what the preset's own images are fitted to.

    python experiments/degradation_estimation/folders.py [--output experiments/degradation_estimation]

Four folders of 100 photos (BSD100) with known ranges are fitted; photos of BSDS400 then go through the preset, and a
fit of those says whether the preset imitates the folder.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from estimation import Row, degrade  # noqa: E402

from sr_lab.degradations.estimate import Fit, estimate_image, fit, fit_estimates, preset  # noqa: E402
from sr_lab.degradations.estimate.plots import plot_fit  # noqa: E402
from sr_lab.images import to_array, to_tensor  # noqa: E402

FOLDERS = {
    "camera": Row("camera", {"blur": (0.6, 1.4), "noise": (6, 16), "quality": (60, 90)}, scale=2),
    "messenger": Row("messenger", {"blur": (0.9, 0.9), "noise": (4, 4), "quality": (75, 75)}, scale=2),
    "archive": Row("archive", {"blur": (1.2, 2.8), "quality": (30, 60)}, scale=2),
    "night": Row("night", {"noise": (10, 30)}, scale=2, noise_kind="shot"),
}


def line(name: str, row: Row, found: Fit, again: Fit) -> str:
    """A row of the table: true, fitted and re-fitted ranges."""
    cells = []
    for what in ("blur", "noise", "quality"):
        low, high = row.ranges.get(what, (0, 0))
        low, high = low + 0.05 * (high - low), high - 0.05 * (high - low)
        spans = [getattr(each, what) for each in (found, again)]
        shown = [f"{s.low:.3g}..{s.high:.3g} ({s.share:.0%})" if s.present else "none" for s in spans]
        cells += [f"{low:.3g}..{high:.3g}" if high else "none", *shown]
    return f"| {name} | " + " | ".join(cells) + " |\n"


def main() -> None:
    """Makes and fits the folders."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path(os.environ.get("SR_LAB_SHARED", ROOT.parent / "shared")))
    parser.add_argument("--output", type=Path, default=Path(__file__).parent)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    datasets = arguments.shared / "datasets"
    files = sorted((datasets / "benchmark/BSD100/x2/HR").glob("*.png"))
    others = sorted((datasets / "train/BSDS400").glob("*.jpg"))[::4]
    text = "| folder | blur: true | fitted | of the preset | noise: true | fitted | of the preset "
    text += "| JPEG: true | fitted | of the preset |\n|" + "---|" * 10 + "\n"
    for name, row in FOLDERS.items():
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made)
            for index, file in enumerate(files):
                rng = np.random.default_rng((index, len(name)))
                low = degrade(np.asarray(Image.open(file).convert("RGB")), row.draw(rng), rng)
                Image.fromarray(low).save(folder / file.name)
            found = fit(folder)
            plot_fit(found, arguments.output / f"fit_{name}.png")
        written = preset(found, scale=2, source=f"the folder '{name}'")
        (arguments.output / f"preset_{name}.yaml").write_text(written)
        pipeline = instantiate(OmegaConf.create(written))
        lows = []
        for index, file in enumerate(others):
            high = to_tensor(np.asarray(Image.open(file).convert("RGB"))[:320, :320])
            low = pipeline.apply(high, pipeline.draw(1, torch.Generator().manual_seed(index)))
            lows.append(estimate_image(to_array(low)))
        text += line(name, row, found, fit_estimates(lows))
    print(text)


if __name__ == "__main__":
    main()
