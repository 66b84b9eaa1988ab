"""Families of restorers with and without consistency=exact: what the projection changes.

    python experiments/consistency/study.py DATA/Set5/x4 experiments/consistency \
        bicubic edge pretrained/realesr_animevideov3 pretrained/realesrgan_x4plus

    python experiments/consistency/study.py DATA/Set5/x4 experiments/consistency RUN/best --picture diffusion.jpg

DATA/Set5/x4 holds HR/ and LR/. Writes table.md, results.csv (an image a line) and a picture into the folder; what
results.csv knows of other restorers stays. Seconds are processor seconds.
"""

import argparse
import csv
import time
from pathlib import Path

import matplotlib as mpl
import torch
from torch import Tensor

import sr_lab
from sr_lab.evaluation.benchmark import decode
from sr_lab.evaluation.pairs import find_pairs
from sr_lab.inference.consistency import ConsistentRestorer
from sr_lab.metrics.hallucination import hallucination
from sr_lab.workflows.load import load_restorer

mpl.use("Agg")
import matplotlib.pyplot as plt

SCALE, CROP, SHOWN = 4, 96, "img_003"
KEYS = ("psnr_y", "lpips", "float", "written", "hallucination", "seconds")


def rounded(image: Tensor) -> Tensor:
    """What an 8-bit file keeps."""
    return image.mul(255).clamp(0, 255).add(0.5).floor() / 255


def measured(image: Tensor, high: Tensor, low: Tensor, by: ConsistentRestorer) -> dict[str, float]:
    """One image's row: consistency in float and of the 8-bit file, the rest of the 8-bit file."""
    kept = rounded(image)
    return {
        "psnr_y": sr_lab.psnr(kept, high, protocol="y_crop", scale=SCALE),
        "lpips": sr_lab.lpips(kept, high),
        "float": by.consistency(image, low),
        "written": by.written(image, low),
        "hallucination": float(hallucination(kept, high, scale=SCALE)),
    }


@torch.inference_mode()
def study(folder: Path, output: Path, names: list[str], image: str) -> None:
    """Measures every restorer on every image, each image restored once."""
    rows: list[dict[str, object]] = known(output / "results.csv", names)
    shown: list[tuple[str, list[Tensor]]] = []
    for name in names:
        restorer = load_restorer(name, scale=SCALE, device="cpu")
        by = ConsistentRestorer(restorer)
        for pair in find_pairs(folder, scale=SCALE):
            decoded = decode(pair)
            high, low = decoded.high, decoded.low
            assert low is not None
            start = time.process_time()
            plain = restorer(low)
            taken = time.process_time() - start
            start = time.process_time()
            exact = by.project(plain, low)
            needed = time.process_time() - start
            for kind, made, seconds in (("plain", plain, taken), ("exact", exact, needed)):
                row = {"restorer": called(name), "kind": kind, "image": pair.name, **measured(made, high, low, by)}
                rows.append(row | {"seconds": seconds, "megapixels": high.shape[-1] * high.shape[-2] / 1e6})
            if pair.name == SHOWN:
                shown.append((called(name), [rounded(plain), rounded(exact), (exact - plain) * 4 + 0.5, high]))
            print(name, pair.name, {key: round(float(rows[-1][key]), 4) for key in KEYS}, flush=True)
        write(rows, output)
    picture(shown, output / image)


def known(file: Path, names: list[str]) -> list[dict[str, object]]:
    """The rows of a former study, but for those that are measured again."""
    if not file.exists():
        return []
    with file.open(newline="") as stream:
        return [dict(row) for row in csv.DictReader(stream) if row["restorer"] not in map(called, names)]


def called(name: str) -> str:
    """A restorer as the table names it; an artefact by its run."""
    return name if name.startswith("pretrained/") else Path(name).parent.name or name


def write(rows: list[dict[str, object]], output: Path) -> None:
    """The rows as a file, their means as a table."""
    with (output / "results.csv").open("w", newline="") as stream:
        table = csv.DictWriter(stream, list(rows[0]))
        table.writeheader()
        table.writerows(
            {key: round(value, 5) if isinstance(value, float) else value for key, value in row.items()} for row in rows
        )
    lines = [
        "| restorer | | PSNR-Y | LPIPS | consistency in float | of the 8-bit file | invented detail |",
        "|---|---|---|---|---|---|---|",
    ]
    for name in dict.fromkeys(str(row["restorer"]) for row in rows):
        for kind in ("plain", "exact"):
            of = [row for row in rows if row["restorer"] == name and row["kind"] == kind]
            mean = {key: sum(float(row[key]) for row in of) / len(of) for key in KEYS}  # type: ignore[arg-type]
            lines.append(
                f"| {name} | {kind} | {mean['psnr_y']:.2f} | {mean['lpips']:.4f} | {mean['float']:.1f} dB | "
                f"{mean['written']:.1f} dB | {mean['hallucination']:.4f} |"
            )
    projected = [row for row in rows if row["kind"] == "exact"]
    speed = sum(float(row["seconds"]) for row in projected) / sum(float(row["megapixels"]) for row in projected)  # type: ignore[arg-type]
    lines += ["", f"The projection took {speed:.2f} processor seconds a megapixel."]
    (output / "table.md").write_text("\n".join(lines) + "\n")


def picture(shown: list[tuple[str, list[Tensor]]], file: Path) -> None:
    """A crop of each: plain, exact, four times their difference on grey, and the original."""
    titles = ("without", "consistency=exact", "difference x 4", "original")
    figure, axes = plt.subplots(len(shown), 4, figsize=(9, 2.35 * len(shown)), squeeze=False)
    for row, (name, images) in zip(axes, shown, strict=True):
        for axis, image, title in zip(row, images, titles, strict=True):
            axis.imshow(image[0, :, 60 : 60 + CROP, 80 : 80 + CROP].clamp(0, 1).permute(1, 2, 0).numpy())
            axis.set_xticks([])
            axis.set_yticks([])
            axis.set_title(title, fontsize=8)
        row[0].set_ylabel(name.rpartition("/")[2], fontsize=7)
    figure.tight_layout()
    figure.savefig(file, dpi=110, pil_kwargs={"quality": 88})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("restorers", nargs="+")
    parser.add_argument("--picture", default="comparison.jpg")
    given = parser.parse_args()
    given.output.mkdir(parents=True, exist_ok=True)
    study(given.folder, given.output, given.restorers, given.picture)
