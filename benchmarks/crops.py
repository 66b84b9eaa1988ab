"""Random crops a second and core: decoded cache against decoding each time, and four ways to flip and turn.

    python benchmarks/crops.py [--seconds 3] [--size 480x320] [--images 48]

One thread. A crop is 192x192 high + 48x48 low pixels (x4), random place and orientation, collated into batches of 16.
The images are synthetic textures: content does not matter to a cache, and PNG decodes them about as slowly as photos.
Rates are crops a second of processor time of that one thread, so that other work on the machine does not change them
much; everything is in memory, nothing waits for a disk.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[name] = "1"

import albumentations  # noqa: E402
import cv2  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402
from PIL import Image  # noqa: E402
from torch.utils.data import DataLoader  # noqa: E402

from sr_lab.data.cache import open_or_build  # noqa: E402
from sr_lab.data.datasets import CropDataset, copy_turned, to_float  # noqa: E402
from sr_lab.data.sampler import KeyedBatchSampler  # noqa: E402

SCALE, CROP, BATCH = 4, 192, 16


def textures(count: int, height: int, width: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    images = []
    for _ in range(count):
        smooth = cv2.resize(rng.random((height // 16, width // 16, 3)).astype(np.float32), (width, height))
        noisy = smooth + rng.normal(0, 0.03, smooth.shape)
        images.append((np.clip(noisy, 0, 1) * 255).astype(np.uint8))
    return images


def rate(step: Callable[[], int], seconds: float) -> float:
    """Crops a second of processor time; ``step`` makes some and returns their number. The median of nine rounds."""
    step()
    rates = []
    for _ in range(9):
        made, start = 0, time.process_time()
        while time.process_time() - start < seconds / 9:
            made += step()
        rates.append(made / (time.process_time() - start))
    return statistics.median(rates)


def product(root: Path, images: list[np.ndarray], *, floats: bool) -> Callable[[], int]:
    def load(index: int) -> tuple[np.ndarray, np.ndarray]:
        high = np.ascontiguousarray(images[index].transpose(2, 0, 1))
        return high, np.ascontiguousarray(high[:, ::SCALE, ::SCALE])

    names = [str(number) for number in range(len(images))]
    cache = open_or_build(root, "bench", names=names, dtype=np.dtype(np.uint8), load=load)
    data = CropDataset(cache=cache, images=range(len(cache)), scale=SCALE, crop=CROP, seed=0)
    sampler = KeyedBatchSampler(num_images=len(cache), batch_size=BATCH, num_batches=10**9, seed=0)
    batches = iter(DataLoader(data, batch_sampler=sampler, collate_fn=lambda batch: batch))

    def step() -> int:
        batch = next(batches)
        if floats:
            to_float(batch["high"]), to_float(batch["low"])
        return len(batch["high"])

    return step


def decoding(files: list[tuple[Path, Path]], read: Callable[[Path], np.ndarray]) -> Callable[[], int]:
    rng = np.random.default_rng(0)

    def step() -> int:
        highs, lows = [], []
        for _ in range(BATCH):
            high, low = map(read, files[rng.integers(len(files))])
            side = CROP // SCALE
            top, left = rng.integers(low.shape[0] - side + 1), rng.integers(low.shape[1] - side + 1)
            crops = high[top * SCALE :, left * SCALE :][:CROP, :CROP], low[top:, left:][:side, :side]
            for crop, out in zip(crops, (highs, lows), strict=True):
                planes = np.empty((3, *crop.shape[:2]), np.uint8)
                copy_turned(crop.transpose(2, 0, 1), planes, int(rng.integers(8)))
                out.append(torch.from_numpy(planes))
        torch.stack(highs), torch.stack(lows)
        return BATCH

    return step


def turning(images: list[np.ndarray]) -> dict[str, Callable[[], int]]:
    """High crops only: cut from memory, turned, and put into a batch."""
    rng = np.random.default_rng(0)
    planes = [np.ascontiguousarray(image.transpose(2, 0, 1)) for image in images]
    tensors = [torch.from_numpy(image) for image in planes]
    symmetry = albumentations.D4(p=1)
    names = ("HorizontalFlip", "VerticalFlip", "Transpose")
    flips = albumentations.Compose([getattr(albumentations, name)() for name in names])

    def draw() -> tuple[int, int, int, int]:
        index = int(rng.integers(len(images)))
        height, width = images[index].shape[:2]
        return index, int(rng.integers(height - CROP + 1)), int(rng.integers(width - CROP + 1)), int(rng.integers(8))

    def opencv() -> int:
        out = np.empty((BATCH, 3, CROP, CROP), np.uint8)
        for target in out:
            index, top, left, turn = draw()
            copy_turned(planes[index][:, top : top + CROP, left : left + CROP], target, turn)
        return BATCH

    def numpy() -> int:
        out = np.empty((BATCH, 3, CROP, CROP), np.uint8)
        for target in out:
            index, top, left, turn = draw()
            crop = planes[index][:, top : top + CROP, left : left + CROP]
            crop = crop[:, :, ::-1] if turn & 1 else crop
            crop = crop[:, ::-1] if turn & 2 else crop
            target[...] = crop.transpose(0, 2, 1) if turn & 4 else crop
        return BATCH

    def tensor() -> int:
        out = torch.empty((BATCH, 3, CROP, CROP), dtype=torch.uint8)
        for target in out:
            index, top, left, turn = draw()
            crop = tensors[index][:, top : top + CROP, left : left + CROP]
            axes = [axis for bit, axis in ((1, 2), (2, 1)) if turn & bit]
            crop = crop.flip(axes) if axes else crop
            target.copy_(crop.transpose(1, 2) if turn & 4 else crop)
        return BATCH

    def with_albumentations(transform: Callable[..., dict[str, np.ndarray]]) -> Callable[[], int]:
        def step() -> int:
            out = np.empty((BATCH, CROP, CROP, 3), np.uint8)
            for target in out:
                index, top, left, _ = draw()
                crop = np.ascontiguousarray(images[index][top : top + CROP, left : left + CROP])
                target[...] = transform(image=crop)["image"]
            return BATCH

        return step

    return {
        "albumentations D4": with_albumentations(symmetry),
        "albumentations flips + transpose": with_albumentations(flips),
        "NumPy views": numpy,
        "torch flip/transpose": tensor,
        "OpenCV by planes (the product's)": opencv,
    }


def table(title: str, rates: dict[str, float]) -> None:
    baseline = next(iter(rates.values()))
    print(f"\n| {title} | crops/s | ratio |\n|---|---|---|")
    for name, value in rates.items():
        print(f"| {name} | {value:,.0f} | {value / baseline:.1f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=3.0, help="time for each row")
    parser.add_argument("--size", default="480x320", help="width x height of the high images")
    parser.add_argument("--images", type=int, default=48)
    arguments = parser.parse_args()
    width, height = map(int, arguments.size.split("x"))
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    images = textures(arguments.images, height, width)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        files = []
        for number, image in enumerate(images):
            pair = root / f"{number}.png", root / f"{number}_low.png"
            cv2.imwrite(str(pair[0]), image)
            cv2.imwrite(str(pair[1]), image[::SCALE, ::SCALE])
            files.append(pair)
        steps = {
            "PNG decoded each time, Pillow": decoding(files, lambda file: np.asarray(Image.open(file))),
            "PNG decoded each time, OpenCV": decoding(files, lambda file: cv2.imread(str(file))),
            "decoded cache, uint8 batches": product(root / "cache", images, floats=False),
            "decoded cache, float32 batches": product(root / "cache", images, floats=True),
        }
        table(f"{width}x{height}, pairs in batches", {k: rate(v, arguments.seconds) for k, v in steps.items()})
        table("turning, high crop only", {k: rate(v, arguments.seconds) for k, v in turning(images).items()})


if __name__ == "__main__":
    main()
