"""How well degradations are read from images alone: photos degraded by known pipelines, true and estimated values.

    python benchmarks/estimation.py [--output experiments/degradation_estimation] [--photos 100]

The photos are BSD100, on which nothing was calibrated. Each photo goes once through the pipeline of each row: Gaussian
blur, antialiased bicubic shrinking, noise, rounding to 8 bits, JPEG (PIL, 4:2:0), stored without its tables. Truth is:

* noise: standard deviation of what was added to a sample, in 8-bit levels, before clipping and JPEG;
* blur: sigma of the Gaussian applied to the photo, in pixels of the small image (sigma / scale). The blur that a photo
  brings along, and that of the antialiasing filter, do not count: 0 is a photo that was only shrunk;
* quality: libjpeg's.
"""

import argparse
import io
import os
import time
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import cv2
import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.ticker import LogLocator, NullLocator
from numpy.typing import NDArray
from PIL import Image

from sr_lab.degradations.estimate import estimate_image
from sr_lab.images import resize_bicubic

Photo = NDArray[np.uint8]
Range = tuple[float, float]


@dataclass(frozen=True)
class Recipe:
    """One known pipeline; ``blur`` is in pixels of the small image, ``None`` leaves an operation out."""

    blur: float | None = None
    scale: int = 1
    noise: float | None = None
    quality: int | None = None
    kernel: Literal["gaussian", "anisotropic", "disc"] = "gaussian"
    noise_kind: Literal["colour", "grey", "shot"] = "colour"
    shrink: Literal["bicubic", "area", "linear", "nearest"] = "bicubic"
    subsampling: int = 2
    crop: tuple[int, int] = (0, 0)
    grey: bool = False
    ratio: float = 1.0
    angle: float = 0.0
    first_quality: int | None = None
    after: float = 1.0
    codec: Literal["JPEG", "WEBP"] = "JPEG"


def degrade(photo: Photo, recipe: Recipe, rng: np.random.Generator) -> Photo:
    """(H, W, 3) uint8 through ``recipe``; independent of sr_lab.degradations."""
    levels = photo.astype(np.float32)
    if recipe.blur:
        levels = _blur(levels, recipe)
    if recipe.scale > 1:
        levels = _shrink(levels, recipe)
    if recipe.grey:
        levels = np.repeat(levels.mean(2, keepdims=True), 3, axis=2)
    if recipe.noise:
        channels = 1 if recipe.noise_kind == "grey" or recipe.grey else 3
        noise = rng.standard_normal((*levels.shape[:2], channels)).astype(np.float32) * recipe.noise
        if recipe.noise_kind == "shot":
            noise = noise * np.sqrt(np.maximum(levels, 0.5) / np.maximum(levels, 0.5).mean())
        levels = levels + noise
    small = np.clip(np.round(levels), 0, 255).astype(np.uint8)
    if recipe.first_quality is not None:
        small = _compressed(small, "JPEG", recipe.first_quality, recipe.subsampling)
    if recipe.quality is not None:
        small = _compressed(small, recipe.codec, recipe.quality, recipe.subsampling)
    if recipe.after != 1:
        small = cv2.resize(small, None, fx=recipe.after, fy=recipe.after, interpolation=cv2.INTER_CUBIC)
    return small[recipe.crop[0] :, recipe.crop[1] :]


def _compressed(image: Photo, codec: str, quality: int, subsampling: int) -> Photo:
    stream = io.BytesIO()
    options = {"subsampling": subsampling} if codec == "JPEG" else {}
    Image.fromarray(image).save(stream, codec, quality=quality, **options)
    return np.asarray(Image.open(stream).convert("RGB"))


def _blur(levels: NDArray[np.float32], recipe: Recipe) -> NDArray[np.float32]:
    sigma = (recipe.blur or 0) * recipe.scale
    if recipe.kernel == "gaussian":
        return cv2.GaussianBlur(levels, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)
    half = int(np.ceil(4 * sigma * max(recipe.ratio, 1))) + 1
    y, x = np.mgrid[-half : half + 1, -half : half + 1]
    if recipe.kernel == "disc":
        kernel = np.clip(2 * sigma + 0.5 - np.hypot(x, y), 0, 1)
    else:
        along = sigma * np.sqrt(2 * recipe.ratio**2 / (1 + recipe.ratio**2))
        u, v = (
            x * np.cos(recipe.angle) + y * np.sin(recipe.angle),
            y * np.cos(recipe.angle) - x * np.sin(recipe.angle),
        )
        kernel = np.exp(-(u**2 + (v * recipe.ratio) ** 2) / (2 * along**2))
    return cv2.filter2D(levels, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT)


def _shrink(levels: NDArray[np.float32], recipe: Recipe) -> NDArray[np.float32]:
    height, width = levels.shape[0] // recipe.scale, levels.shape[1] // recipe.scale
    levels = levels[: height * recipe.scale, : width * recipe.scale]
    if recipe.shrink == "bicubic":
        batch = torch.from_numpy(np.ascontiguousarray(levels)).permute(2, 0, 1)[None]
        return resize_bicubic(batch, scale=1 / recipe.scale)[0].permute(1, 2, 0).contiguous().numpy()
    if recipe.shrink == "nearest":
        return np.ascontiguousarray(levels[:: recipe.scale, :: recipe.scale])
    mode = cv2.INTER_AREA if recipe.shrink == "area" else cv2.INTER_LINEAR
    return cv2.resize(levels, (width, height), interpolation=mode)


RANGES: dict[str, Range] = {"noise": (2, 30), "blur": (0.6, 3), "quality": (30, 95)}
BARS = {"noise": 0.15, "blur": 0.2, "quality": 5.0}


class Row:
    """A pipeline of the table: the ranges from which it draws, uniformly, and the fixed rest."""

    def __init__(self, name: str, ranges: Mapping[str, Range], **fixed: Any) -> None:
        self.name, self.ranges, self.fixed = name, ranges, Recipe(**fixed)

    def draw(self, rng: np.random.Generator) -> Recipe:
        """The recipe of one photo."""
        drawn: dict[str, Any] = {name: float(rng.uniform(*limits)) for name, limits in self.ranges.items()}
        if "quality" in drawn:
            drawn["quality"] = round(drawn["quality"])
        return replace(self.fixed, **drawn)


ALONE = [
    Row(f"{what}, x{scale}", {name: RANGES[name]}, scale=scale)
    for name, what in (("noise", "noise"), ("blur", "blur"), ("quality", "JPEG"))
    for scale in (1, 2, 4)
]
PAIRS = [
    Row(f"{first} + {second}, x2", {first: RANGES[first], second: RANGES[second]}, scale=2)
    for first, second in (("blur", "noise"), ("blur", "quality"), ("noise", "quality"))
]
TOGETHER = [Row(f"all three, x{scale}", RANGES, scale=scale) for scale in (1, 2, 4)]
GRID = [
    Row(f"all three, x1: noise {n[0]}-{n[1]}, quality {q[0]}-{q[1]}", {**RANGES, "noise": n, "quality": q})
    for n in ((2, 5), (5, 10), (10, 30))
    for q in ((30, 50), (50, 75), (75, 95))
]
OTHER = [
    Row("grey noise, x2", {"noise": RANGES["noise"]}, scale=2, noise_kind="grey"),
    Row("shot noise, x2", {"noise": RANGES["noise"]}, scale=2, noise_kind="shot"),
    Row("grey image, all three, x2", RANGES, scale=2, grey=True),
    Row("anisotropic blur (2:1), x2", {"blur": RANGES["blur"]}, scale=2, kernel="anisotropic", ratio=2.0, angle=0.6),
    Row("disc blur, x2", {"blur": RANGES["blur"]}, scale=2, kernel="disc"),
    Row("blur, shrunk by area, x2", {"blur": RANGES["blur"]}, scale=2, shrink="area"),
    Row("all three, shrunk without antialiasing, x2", RANGES, scale=2, shrink="nearest"),
    Row("all three, chroma 4:4:4, x2", RANGES, scale=2, subsampling=0),
    Row("all three, cropped off the grid, x2", RANGES, scale=2, crop=(3, 5)),
    Row("all three, JPEG twice (first quality 70), x2", RANGES, scale=2, first_quality=70),
    Row("noise + blur, then resized by 0.8", {"noise": RANGES["noise"], "blur": RANGES["blur"]}, after=0.8),
    Row("JPEG, then resized by 0.8", {"quality": RANGES["quality"]}, after=0.8),
    Row("WebP of the quality, all three, x2", RANGES, scale=2, codec="WEBP"),
]
CLEAN = [Row(f"nothing, x{scale}", {}, scale=scale) for scale in (1, 2, 4)]


def wavelet_sigma(image: Photo) -> float:
    """The usual estimate (Donoho and Johnstone 1994; scikit-image's estimate_sigma): MAD of the finest wavelets."""
    high = np.array([-0.12940952, -0.22414387, 0.8365163, -0.48296291])
    detail = cv2.sepFilter2D(image.astype(np.float32), -1, high, high)[::2, ::2]
    return float(np.mean([np.median(np.abs(part[part != 0])) / 0.6745 for part in np.moveaxis(detail, 2, 0)]))


def measure(row: Row, photos: Sequence[Photo]) -> list[dict[str, Any]]:
    """True and estimated values of every photo."""
    records = []
    for index, photo in enumerate(photos):
        rng = np.random.default_rng((index, zlib.crc32(row.name.encode())))
        recipe = row.draw(rng)
        low = degrade(photo, recipe, rng)
        begin = time.thread_time()
        found = estimate_image(low)
        seconds = time.thread_time() - begin
        known = {"noise": found.noise.value, "blur": found.blur.value, "quality": found.jpeg.quality}
        guess = {"noise": found.noise.guess, "blur": found.blur.guess, "quality": found.jpeg.quality}
        peer = wavelet_sigma(low) if "noise" in row.ranges else None
        for name in RANGES:
            true = getattr(recipe, name)
            record = {"row": row.name, "photo": index, "what": name, "true": true, "known": known[name]}
            record |= {"grey": found.grey_noise > 0.5, "shot": found.shot_noise > 0.5}
            records.append({**record, "guess": guess[name], "wavelet": peer, "ms": seconds * 1e3})
    return records


def errors(records: Sequence[dict[str, Any]], field: str = "known") -> NDArray[np.float64]:
    """Errors of the records that have a truth and a value: relative; of the quality, in points."""
    pairs = [(r["true"], r[field], r["what"]) for r in records if r["true"] is not None and r[field] is not None]
    return np.array([abs(found - true) / (1 if what == "quality" else true) for true, found, what in pairs])


def cells(records: Sequence[dict[str, Any]], name: str) -> list[str]:
    """Median and 90 % error of what was told, share told, and median with the withheld guesses."""
    own = [record for record in records if record["what"] == name]
    told = errors(own)
    if not len(told):
        found = [r["known"] for r in own if r["known"] is not None]
        applied = any(r["true"] is not None for r in own)
        if applied:
            return ["never told", "", "0 %", ""]
        return [f"({np.median(found):.2g})" if found else "(none)", "", f"({len(found) / len(own):.0%})", ""]
    unit = (lambda x: f"{x:.1f}") if name == "quality" else (lambda x: f"{x:.0%}")
    median = unit(float(np.median(told)))
    mark = "" if float(np.median(told)) <= BARS[name] else " **!**"
    every = errors(own, "guess")
    return [
        median + mark,
        unit(float(np.percentile(told, 90))),
        f"{len(told) / len(own):.0%}",
        unit(float(np.median(every))),
    ]


def table(records: Sequence[dict[str, Any]], rows: Sequence[str]) -> str:
    """Markdown of some rows."""
    lines = [
        "| pipeline | noise: median | 90 % | told | with guesses | wavelet MAD "
        "| blur: median | 90 % | told | with guesses | JPEG: median | 90 % | told | ms |",
        "|---|" + "---|" * 13,
    ]
    for row in rows:
        own = [record for record in records if record["row"] == row]
        noise, blur, quality = (cells(own, name) for name in RANGES)
        peer = errors([record for record in own if record["what"] == "noise"], "wavelet")
        skimage = f"{np.median(peer):.0%}" if len(peer) else ""
        ms = np.median([record["ms"] for record in own])
        lines.append(f"| {row} | " + " | ".join([*noise, skimage, *blur, *quality[:3], f"{ms:.0f}"]) + " |")
    return "\n".join(lines) + "\n"


def plot(records: Sequence[dict[str, Any]], path: Path) -> None:
    """True against estimated values of the rows with one operation and with all three."""
    figure, axes = plt.subplots(2, 3, figsize=(12, 8), layout="constrained")
    for line, rows, title in ((0, ALONE, "alone"), (1, TOGETHER, "all three")):
        names = {row.name for row in rows}
        for column, name in enumerate(RANGES):
            own = [r for r in records if r["row"] in names and r["what"] == name and r["true"] is not None]
            told = [(r["true"], r["known"]) for r in own if r["known"] is not None]
            held = [(r["true"], r["guess"]) for r in own if r["known"] is None and r["guess"] is not None]
            low, high = RANGES[name]
            axis = axes[line, column]
            axis.plot([low, high], [low, high], color="0.6", linewidth=1)
            for points, colour, label in ((held, "#dd8452", "withheld"), (told, "#4c72b0", "told")):
                axis.plot(
                    *zip(*points, strict=True) if points else ([], []), ".", color=colour, markersize=4, label=label
                )
            if name != "quality":
                axis.loglog()
                for side in (axis.xaxis, axis.yaxis):
                    side.set_major_locator(LogLocator(subs=(1, 2, 5)))
                    side.set_minor_locator(NullLocator())
                    side.set_major_formatter("{x:g}")
            axis.set_title(f"{name}, {title}: true (across), estimated (up)", fontsize=10)
            axis.legend(fontsize=8)
    figure.savefig(path, dpi=80)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path(os.environ.get("SR_LAB_SHARED", "../shared")))
    parser.add_argument("--photos", type=int, default=100)
    parser.add_argument("--output", type=Path, help="folder for table.md and estimates.png")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    files = sorted((arguments.shared / "datasets/benchmark/BSD100/x2/HR").glob("*.png"))[: arguments.photos]
    if not files:
        raise SystemExit(f"{arguments.shared}: no BSD100 there; set SR_LAB_SHARED")
    photos = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    records: list[dict[str, Any]] = []
    text = ""
    for title, rows in (
        ("One operation alone", ALONE),
        ("Two", PAIRS),
        ("All three", TOGETHER),
        ("All three, by strength", GRID),
        ("Outside the calibrated pipeline", OTHER),
        ("Nothing applied (found values in brackets)", CLEAN),
    ):
        for row in rows:
            records += measure(row, photos)
        text += f"## {title}\n\n{table(records, [row.name for row in rows])}\n"
        print(text[text.rindex("## ") :], flush=True)
    main_rows = {row.name for row in ALONE + PAIRS + TOGETHER}
    text += "## Bars: every row of the first three tables, pooled\n\n"
    text += "| | median | bar | with guesses | told |\n|---|---|---|---|---|\n"
    for name in RANGES:
        own = [r for r in records if r["row"] in main_rows and r["what"] == name and r["true"] is not None]
        told, every = errors(own), errors(own, "guess")
        text += (
            f"| {name} | {np.median(told):.3f} | {BARS[name]} | {np.median(every):.3f} | {len(told) / len(own):.0%} |\n"
        )
    text += "\n## Kind of noise\n\n| applied | called the same in all channels | called shot noise |\n|---|---|---|\n"
    for row in (ALONE[1], *OTHER[:2], TOGETHER[1]):
        own = [record for record in records if record["row"] == row.name and record["what"] == "noise"]
        shares = [np.mean([record[kind] for record in own]) for kind in ("grey", "shot")]
        text += f"| {row.name} | {shares[0]:.0%} | {shares[1]:.0%} |\n"
    print(text[text.rindex("## Bars") :])
    if arguments.output:
        arguments.output.mkdir(parents=True, exist_ok=True)
        (arguments.output / "table.md").write_text(f"# {len(photos)} photos of BSD100\n\n{text}")
        plot(records, arguments.output / "estimates.png")


if __name__ == "__main__":
    main()
