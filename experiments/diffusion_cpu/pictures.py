"""Crops of what a generative artefact draws, and where its samples differ: pictures.png beside this file.

python experiments/diffusion_cpu/pictures.py ARTEFACT SET5_X4_FOLDER
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from torch import Tensor

from sr_lab.artefacts.artefact import load_artefact
from sr_lab.images import read_image, resize_bicubic, to_tensor
from sr_lab.inference.restorers import NetworkRestorer

CROPS = {"img_001": (20, 50), "img_003": (8, 10), "img_005": (5, 10)}
SIDE, NUM = 40, 4


def main(artefact: str, folder: str) -> None:
    """Draws the figure."""
    network = load_artefact(Path(artefact)).network
    restorer = NetworkRestorer(network)
    figure, axes = plt.subplots(len(CROPS), 8, figsize=(16, 2.1 * len(CROPS)))
    for row, (name, (top, left)) in zip(axes, CROPS.items(), strict=True):
        low, high = (to_tensor(read_image(Path(folder) / part / f"{name}.png")) for part in ("LR", "HR"))
        low = low[..., top : top + SIDE, left : left + SIDE]
        scale = network.scale
        high = high[..., top * scale : (top + SIDE) * scale, left * scale : (left + SIDE) * scale]
        with torch.inference_mode():
            one = NetworkRestorer(network, num_steps=1)(low)
            first, second = (restorer.sample(low, seed=seed) for seed in (0, 1))
            mean, variance = restorer.moments(low, num=NUM)
        images = {
            "low": low,
            "bicubic": resize_bicubic(low, scale=float(scale)),
            "1 step": one,
            f"{network.num_steps} steps, seed 0": first,
            f"{network.num_steps} steps, seed 1": second,
            f"mean of {NUM}": mean,
            "original": high,
        }
        for axis, (title, image) in zip(row, images.items(), strict=False):
            axis.imshow(_picture(image), interpolation="nearest")
            axis.set_title(title, fontsize=9)
        deviation = variance.mean(dim=1).sqrt()[0]
        shown = row[-1].imshow(deviation.numpy(), cmap="magma", vmin=0, vmax=0.08)
        row[-1].set_title(f"deviation of {NUM} (mean {float(deviation.mean()):.3f})", fontsize=9)
        figure.colorbar(shown, ax=row[-1], fraction=0.046)
    for axis in axes.flat:
        axis.axis("off")
    figure.tight_layout()
    figure.savefig(Path(__file__).with_name("pictures.png"), dpi=75)


def _picture(image: Tensor) -> Tensor:
    return image[0].clamp(0, 1).permute(1, 2, 0)


if __name__ == "__main__":
    main(*sys.argv[1:])
