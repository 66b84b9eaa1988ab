"""Fits the calibration of sr_lab.degradations.estimate on T91 and BSDS400, and writes it into the package.

    python experiments/degradation_estimation/calibrate.py [--samples 16000] [--processes 2]

Each sample is a photo, or a part of it, degraded by a random recipe; photos of BSD100 are never seen. Five small
networks, each blind to a fifth of the photos, learn centre and width of each quantity; the width is scaled to hold 68 %
of the errors on the photos that its network did not see.
"""

import argparse
import os
import sys
import time
from multiprocessing import get_context
from pathlib import Path

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from safetensors.numpy import save_file
from threadpoolctl import threadpool_limits
from torch import nn

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from estimation import Photo, Recipe, degrade  # noqa: E402

from sr_lab.degradations.estimate.arrays import as_levels, luma  # noqa: E402
from sr_lab.degradations.estimate.calibration import encode  # noqa: E402
from sr_lab.degradations.estimate.features import features  # noqa: E402
from sr_lab.degradations.estimate.jpeg import find_comb  # noqa: E402

FOLDS = 5
_photos: list[Photo] = []


def load(shared: Path) -> list[Photo]:
    """Every training photo, RGB."""
    train = shared / "datasets" / "train"
    files = sorted((train / "T91").glob("*.png")) + sorted((train / "BSDS400").glob("*.jpg"))
    return [np.asarray(Image.open(file).convert("RGB")) for file in files]


def draw(photo: Photo, rng: np.random.Generator) -> tuple[Photo, Recipe]:
    """A part of the photo at a random zoom, and a random recipe that leaves at least 48 pixels a side."""
    if rng.random() < 0.4 and min(photo.shape[:2]) >= 150:
        zoom = rng.uniform(0.5, 1)
        photo = cv2.resize(photo, None, fx=zoom, fy=zoom, interpolation=cv2.INTER_AREA)
    if rng.random() < 0.5:
        photo = photo[:, ::-1]
    if rng.random() < 0.3:
        photo = np.rot90(photo)
    if rng.random() < 0.2:
        photo = np.clip(255 * (photo / 255.0) ** rng.uniform(0.6, 1.7), 0, 255).astype(np.uint8)
    photo = np.ascontiguousarray(photo)
    scales = [scale for scale in (1, 2, 3, 4) if min(photo.shape[:2]) >= 48 * scale]
    scale = int(rng.choice(scales)) if scales else 1
    blurred, noisy, compressed = rng.random(3) < (0.75, 0.75, 0.65)
    blur = rng.uniform(0.2, 4.5) if rng.random() < 0.5 else float(np.exp(rng.uniform(np.log(0.3), np.log(4))))
    recipe = Recipe(
        blur=blur if blurred else None,
        scale=scale,
        noise=float(np.exp(rng.uniform(np.log(0.7), np.log(45)))) if noisy else None,
        quality=int(rng.integers(20, 99)) if compressed else None,
        kernel=str(rng.choice(["gaussian", "anisotropic", "disc"], p=[0.7, 0.22, 0.08])),  # type: ignore[arg-type]
        noise_kind=str(rng.choice(["colour", "grey", "shot"], p=[0.6, 0.2, 0.2])),  # type: ignore[arg-type]
        shrink=str(rng.choice(["bicubic", "area", "linear"], p=[0.7, 0.2, 0.1])),  # type: ignore[arg-type]
        subsampling=2 if rng.random() < 0.8 else 0,
        crop=tuple(rng.integers(0, 8, 2)) if compressed and rng.random() < 0.1 else (0, 0),
        grey=bool(rng.random() < 0.07),
        ratio=float(rng.uniform(1, 3)),
        angle=float(rng.uniform(0, np.pi)),
    )
    side = 250 * scale
    if rng.random() < 0.7 and max(photo.shape[:2]) > side:
        top, left = (int(rng.integers(0, max(length - side, 0) // 8 * 8 + 1)) for length in photo.shape[:2])
        photo = photo[top // 8 * 8 : top // 8 * 8 + side, left // 8 * 8 : left // 8 * 8 + side]
    return np.ascontiguousarray(photo), recipe


def sample(index: int) -> "Sample":
    """Photo number, features and (noise, blur, grey noise, shot noise, noisy) of sample ``index``."""
    cv2.setNumThreads(1)
    torch.set_num_threads(1)
    threadpool_limits(1)
    rng = np.random.default_rng((20240, index))
    number = index % len(_photos)
    photo, recipe = draw(_photos[number], rng)
    low = degrade(photo, recipe, rng)
    levels = as_levels(low)
    jpeg = find_comb(luma(levels), saturated=(low.min(2) <= 1) | (low.max(2) >= 254))
    kind = "grey" if recipe.grey else recipe.noise_kind
    truth = [recipe.noise or 0, recipe.blur or 0, kind == "grey", kind == "shot", recipe.noise is not None]
    return number, features(levels, jpeg), np.array(truth, float)


Sample = tuple[int, NDArray[np.float64], NDArray[np.float64]]


def store(rows: list[Sample], path: Path) -> None:
    """Writes samples for another fit."""
    numbers, x, truth = (np.stack(column) for column in zip(*rows, strict=True))
    np.savez(path.with_suffix(".part.npz"), numbers=numbers, x=x, truth=truth)
    path.with_suffix(".part.npz").replace(path)


class Head(nn.Module):
    """Features to means and log variances of noise and blur, and two logits."""

    def __init__(self, *, inputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Linear(inputs, 96), nn.GELU(approximate="tanh"), nn.Linear(96, 48), nn.GELU(approximate="tanh")
        )
        self.last = nn.Linear(48, 6)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, inputs) standardised to (B, 6)."""
        return self.last(
            nn.functional.dropout(self.body(nn.functional.dropout(x, 0.05, self.training)), 0.05, self.training)
        )


def loss_of(out: torch.Tensor, target: torch.Tensor, kinds: torch.Tensor, share: float) -> torch.Tensor:
    """Robust (Laplace) negative log-likelihood, after a start on the plain error, plus the two classifications."""
    error = (out[:, :2] - target).abs()
    spread = out[:, 2:4].clamp(-4, 2)
    nll = error * torch.exp(-spread) + spread
    plain = nn.functional.smooth_l1_loss(out[:, :2], target, beta=0.1, reduction="none") * 4
    audible = kinds[:, 2:] * (target[:, :1] > np.log(2)).float()
    entropy = nn.functional.binary_cross_entropy_with_logits(out[:, 4:], kinds[:, :2], reduction="none") * audible
    return (share * nll + plain).mean() + 0.5 * entropy.sum() / audible.sum().clamp(min=1)


def train(x: torch.Tensor, t: torch.Tensor, kinds: torch.Tensor, *, seed: int, epochs: int = 90) -> Head:
    """One network."""
    torch.manual_seed(seed)
    head = Head(inputs=x.shape[1])
    optimizer = torch.optim.AdamW(head.parameters(), lr=2e-3, weight_decay=0.02)
    steps = epochs * (len(x) // 256)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=steps + 1)
    for epoch in range(epochs):
        for rows in torch.randperm(len(x))[: len(x) // 256 * 256].view(-1, 256):
            noisy = x[rows] + 0.03 * torch.randn(256, x.shape[1])
            loss = loss_of(head(noisy), t[rows], kinds[rows], share=min(1.0, epoch / 20))
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            optimizer.step()
            schedule.step()
    return head.eval()


def main() -> None:
    """Draws the samples, or takes those kept, and fits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path(os.environ.get("SR_LAB_SHARED", ROOT.parent / "shared")))
    parser.add_argument("--samples", type=int, default=16000)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--cache", type=Path, help="where drawn samples are kept for another fit (npz)")
    parser.add_argument("--output", type=Path, default=ROOT / "sr_lab/degradations/estimate/calibration.safetensors")
    arguments = parser.parse_args()
    if arguments.cache and arguments.cache.exists():
        kept = np.load(arguments.cache)
        numbers, x, truth = kept["numbers"], kept["x"], kept["truth"]
    else:
        begin = time.perf_counter()
        _photos.extend(load(arguments.shared))
        with get_context("fork").Pool(arguments.processes) as pool:
            rows = []
            for row in pool.imap_unordered(sample, range(arguments.samples), chunksize=25):
                rows.append(row)
                if len(rows) % 500 == 0:
                    print(f"{len(rows)} samples, {time.perf_counter() - begin:.0f} s", flush=True)
                    if arguments.cache:
                        store(rows, arguments.cache)
        numbers, x, truth = (np.stack(column) for column in zip(*rows, strict=True))
    fit(numbers, x, truth, arguments.output)


def fit(numbers: NDArray[np.int64], x: NDArray[np.float64], truth: NDArray[np.float64], output: Path) -> None:
    """Trains the networks, prints the error on photos that each did not see, and writes the calibration."""
    torch.set_num_threads(1)
    centre, width = x.mean(0), x.std(0) + 1e-3
    inputs = torch.from_numpy(((x - centre) / width).clip(-5, 5)).float()
    target = torch.from_numpy(np.stack([encode(truth[:, 0], "noise"), encode(truth[:, 1], "blur")], 1)).float()
    kinds = torch.from_numpy(truth[:, 2:5]).float()
    unseen = torch.zeros(len(x), 6)
    weights: dict[str, NDArray[np.floating]] = {"centre": centre.astype(np.float32), "width": width.astype(np.float32)}
    fold = (numbers * 7919) % len(np.unique(numbers)) % FOLDS
    for index in range(FOLDS):
        head = train(inputs[fold != index], target[fold != index], kinds[fold != index], seed=index)
        with torch.no_grad():
            unseen[fold == index] = head(inputs[fold == index])
        for name, value in head.state_dict().items():
            weights[f"{index}.{name}"] = value.numpy().astype(np.float16)
    error = (unseen[:, :2] - target).abs()
    spread = unseen[:, 2:4].clamp(-4, 2).exp()
    weights["spread"] = (error / spread).quantile(0.68, dim=0).numpy()
    save_file({name: np.ascontiguousarray(value) for name, value in weights.items()}, output)
    for column, (name, least, most) in enumerate((("noise", 2, 30), ("blur", 0.6, 3))):
        chosen = (truth[:, column] >= least) & (truth[:, column] <= most)
        relative = error[chosen, column].exp() - 1
        print(
            f"{name}, {chosen.sum()} samples of unseen photos: median error {relative.median():.3f}, "
            f"90 % {relative.quantile(0.9):.3f}"
        )
    loud = truth[:, 0] >= 4
    for column, name in ((0, "grey"), (1, "shot")):
        right = (unseen[loud, 4 + column] > 0) == (truth[loud, 2 + column] > 0)
        print(f"{name}: {right.float().mean():.3f} right")
    print(f"spread x {weights['spread']}, {output} {output.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
