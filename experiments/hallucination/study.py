"""What do LR consistency and invented detail say about restorers that are known to invent, or not to?

    srlab train experiment=edsr_tiny_x4_t91_bsds400
    python experiments/hallucination/study.py runs/edsr_tiny_x4_t91_bsds400/best

Needs the research data sets (SR_LAB_SHARED). Prints the table; writes maps.jpg beside this file.
"""

import os
import sys
from pathlib import Path

import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from sr_lab.artefacts.artefact import load_artefact
from sr_lab.evaluation.pictures import Array, error_colours
from sr_lab.evaluation.scores import Scores
from sr_lab.inference.restorers import BicubicRestorer, NetworkRestorer, Restorer
from sr_lab.metrics.consistency import LRConsistency
from sr_lab.metrics.hallucination import Hallucination, unseen_detail
from sr_lab.metrics.lpips import LPIPSMetric
from sr_lab.metrics.protocol import YCrop
from sr_lab.metrics.psnr import PSNR
from sr_lab.workflows.evaluate import evaluate

SHARED = Path(os.environ.get("SR_LAB_SHARED", "../shared"))
HERE = Path(__file__).parent
SCALE = 4
SIDE = 190
IMAGE = "img_003"


class Sharpened:
    """A restorer's image, its fine structures tripled: unsharp masking by a 5x5 mean."""

    def __init__(self, restorer: Restorer) -> None:
        self.restorer = restorer

    def __call__(self, low: Tensor) -> Tensor:
        """(1, C, h, w) to (1, C, h * scale, w * scale)."""
        image = self.restorer(low)
        soft = torch.nn.functional.avg_pool2d(torch.nn.functional.pad(image, (2,) * 4, mode="replicate"), 5, stride=1)
        return image + 2 * (image - soft)


class Inventing:
    """A restorer's image with a texture that leaves no trace in the low image, strongest where there is contrast."""

    def __init__(self, restorer: Restorer) -> None:
        self.restorer = restorer

    def __call__(self, low: Tensor) -> Tensor:
        """(1, C, h, w) to (1, C, h * scale, w * scale)."""
        image = self.restorer(low)
        soft = torch.nn.functional.avg_pool2d(torch.nn.functional.pad(image, (4,) * 4, mode="replicate"), 9, stride=1)
        contrast = torch.nn.functional.avg_pool2d((image - soft).abs(), 9, stride=1, padding=4)
        noise = torch.randn(image[:, :1].shape, generator=torch.Generator().manual_seed(0))
        return image + unseen_detail(noise * contrast, scale=SCALE)


def score(name: str, restorer: Restorer) -> Scores:
    """All metrics on Set5 x4, protocol y_crop."""
    protocol = YCrop()
    metrics = {
        "psnr": PSNR(protocol=protocol, scale=SCALE),
        "lpips": LPIPSMetric(weights=SHARED / "weights"),
        "lr_consistency": LRConsistency(scale=SCALE),
        "hallucination": Hallucination(scale=SCALE),
    }
    folder = SHARED / "datasets" / "benchmark" / "Set5" / f"x{SCALE}"
    return evaluate(restorer, folder, name=name, scale=SCALE, protocol=protocol, metrics=metrics)


def draw(evaluations: dict[str, Scores]) -> None:
    """One row a restorer: its crop, the original, LR residual and invented detail of one place of one image."""
    gap, top, left = 8, 26, 170
    font = ImageFont.load_default(15)
    width, height = left + 4 * (SIDE + gap), top + len(evaluations) * (SIDE + gap)
    canvas = Image.new("RGB", (width, height), (252, 252, 250))
    pen = ImageDraw.Draw(canvas)
    for column, title in enumerate(["restored", "original", "LR residual, 0 to 16", "invented, 0 to 32"]):
        pen.text((left + column * (SIDE + gap), 4), title, fill=(28, 30, 33), font=font)
    for row, (name, evaluation) in enumerate(evaluations.items()):
        image = next(image for image in evaluation.images if image.name == IMAGE)
        shown = evaluation.pictures([image])[image.name]
        maps = [error_colours(item.levels, item.top) for item in shown.maps]
        y = top + row * (SIDE + gap)
        numbers = "\n".join(f"{key} {image.value(name, key):.{2 + 2 * (key in SMALL)}f}" for key in evaluation.metrics)
        pen.text((8, y + 4), f"{name}\n\n{numbers}", fill=(28, 30, 33), font=font)
        pictures: list[Array] = [
            shown.restored,
            shown.target,
            *maps,
        ]
        for column, picture in enumerate(pictures):
            panel = Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.NEAREST)
            canvas.paste(panel, (left + column * (SIDE + gap), y))
    canvas.save(HERE / "maps.jpg", quality=88)


SMALL = ("lpips", "hallucination")


def study(artefact: Path) -> None:
    """Scores, prints the table, draws maps.jpg."""
    network = NetworkRestorer(load_artefact(artefact).network)
    restorers: dict[str, Restorer] = {
        "bicubic": BicubicRestorer(scale=SCALE),
        "EDSR, 233 k": network,
        "EDSR, sharpened": Sharpened(network),
        "EDSR + texture": Inventing(network),
    }
    evaluations = {name: score(name, restorer) for name, restorer in restorers.items()}
    print("| restorer | PSNR-Y dB | LPIPS (alex) | LR consistency dB | invented detail, RMS |\n|---|---|---|---|---|")
    for name, found in evaluations.items():
        psnr, lpips, consistency, invented = (found.mean(key) for key in found.metrics)
        print(f"| {name} | {psnr:.2f} | {lpips:.4f} | {consistency:.2f} | {invented:.4f} |")
    draw(evaluations)


if __name__ == "__main__":
    study(Path(sys.argv[1] if len(sys.argv) > 1 else "runs/edsr_tiny_x4_t91_bsds400/best"))
