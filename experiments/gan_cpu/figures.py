"""The figures of this study: crops of each model, the instruments of a run that broke, the grid in the images.

    python experiments/gan_cpu/figures.py START LPIPS GAN BENCHMARK EVENTS

START, LPIPS and GAN are artefacts, BENCHMARK holds Set5/x4 and Set14/x4, EVENTS is ``tracking/events.jsonl`` of the
run that broke. The grid is printed: ``lattice_amplitude`` of period 4, mean over Set5.
"""

import json
import sys
from pathlib import Path

import matplotlib.pyplot as plt
import torch

from sr_lab.artefacts.artefact import load_artefact
from sr_lab.images import list_images, read_image, resize_bicubic, to_tensor
from sr_lab.networks.base import Network
from sr_lab.training.instruments import lattice_amplitude
from sr_lab.training.pictures import most_detailed_crop

IMAGES = ("Set5/x4/{}/img_001.png", "Set5/x4/{}/img_003.png", "Set14/x4/{}/img_001.png", "Set14/x4/{}/img_014.png")
SIDE, HERE = 96, Path(__file__).parent
LIMITS = {"top_octave": 4.0, "checkerboard": 0.03, "colour_bias": 0.1}


def comparison(networks: dict[str, Network], benchmark: Path) -> None:
    """comparison.png: one row an image, its most detailed crop."""
    figure, axes = plt.subplots(len(IMAGES), 2 + len(networks), figsize=(12.5, 2.6 * len(IMAGES)))
    for row, name in zip(axes, IMAGES, strict=True):
        high, low = (to_tensor(read_image(benchmark / name.format(part))) for part in ("HR", "LR"))
        with torch.no_grad():
            shown = {"bicubic": resize_bicubic(low, size=(high.shape[-2], high.shape[-1]))}
            shown |= {label: network(low) for label, network in networks.items()}
        top, left = most_detailed_crop(high, side=SIDE, multiple=4)
        for axis, (label, image) in zip(row, {**shown, "HR": high}.items(), strict=True):
            crop = image[0, :, top : top + SIDE, left : left + SIDE].clamp(0, 1)
            axis.imshow(crop.permute(1, 2, 0), interpolation="nearest")
            axis.set_title(label, fontsize=10)
            axis.axis("off")
    figure.tight_layout()
    figure.savefig(HERE / "comparison.png", dpi=100)


def grid(networks: dict[str, Network], benchmark: Path) -> dict[str, float]:
    """How strong a pattern of period 4 the images of Set5 bear, by model."""
    found: dict[str, list[float]] = {}
    for file in list_images(benchmark / "Set5/x4/LR"):
        low, high = (to_tensor(read_image(benchmark / "Set5/x4" / part / file.name)) for part in ("LR", "HR"))
        with torch.no_grad():
            shown = {"HR": high} | {label: network(low) for label, network in networks.items()}
        for label, image in shown.items():
            found.setdefault(label, []).append(lattice_amplitude(image, period=4).item())
    return {label: sum(values) / len(values) for label, values in found.items()}


def instruments(events: Path) -> None:
    """instruments.png: three instruments, their bounds, and L1."""
    found: dict[str, list[tuple[int, float]]] = {}
    for line in events.read_text(encoding="utf-8").splitlines():
        event = json.loads(line)
        for key, value in event.get("values", {}).items() if event["kind"] == "metrics" else ():
            found.setdefault(key.removeprefix("train/"), []).append((event["step"], value))
    figure, axes = plt.subplots(1, 4, figsize=(13, 2.8))
    for axis, name in zip(axes, [*LIMITS, "l1"], strict=True):
        axis.plot(*zip(*found[name], strict=True), lw=1)
        if name in LIMITS:
            axis.axhline(LIMITS[name], color="tab:red", lw=1, ls="--")
        axis.set_title(f"train/{name}", fontsize=10)
        axis.set_xlabel("step")
    axes[0].set_yscale("log")
    figure.tight_layout()
    figure.savefig(HERE / "instruments.png", dpi=90)


if __name__ == "__main__":
    *artefacts, benchmark, events = (Path(argument) for argument in sys.argv[1:])
    labels = ("PSNR start", "LPIPS", "GAN")
    networks = {label: load_artefact(path).network for label, path in zip(labels, artefacts, strict=True)}
    comparison(networks, benchmark)
    instruments(events)
    print(", ".join(f"{label} {value:.4f}" for label, value in grid(networks, benchmark).items()))
