"""What temporal smoothing (``srlab restore smoothing=true``) does to real clips and to a still scene with noise.

    python benchmarks/smoothing.py FOLDER

FOLDER holds a folder of frames for each clip, as Vid4. Of each the first 16 frames are reduced by MATLAB's bicubic to
a quarter (sides cut to multiples of 8) and enlarged by ``edge``. PSNR is of Y, all frames, no border. Warping error is
Lai's (ECCV 2018) x 1000 with the flow (DIS) and mask of the ground truth. Flicker is the root mean variance over time,
in 8-bit levels, of 16 frames of a still scene. Prints two tables.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sr_lab.images import list_images, read_image, resize_bicubic, rgb_to_y
from sr_lab.images.flow import dis_flow, occluded, warp
from sr_lab.inference.video.smoothing import DetailSmoother, enlarged
from sr_lab.workflows.load import load_restorer

Image = Any


def tensor(image: Image) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(image, -1, 0)))[None]


def array(image: torch.Tensor) -> Image:
    return np.ascontiguousarray(np.moveaxis(image[0].numpy(), 0, -1))


def psnr(images: list[Image], targets: list[Image]) -> float:
    each = [((rgb_to_y(tensor(a)) - rgb_to_y(tensor(b))) ** 2).mean() for a, b in zip(images, targets, strict=True)]
    return float(np.mean([-10 * np.log10(float(error)) for error in each]))


def smoothed(images: list[Image], lows: list[Image]) -> list[Image]:
    smoother = DetailSmoother()
    return [smoother(image, low) for image, low in zip(images, lows, strict=True)]


def warping_error(images: list[Image], targets: list[Image]) -> float:
    grey = [np.round(255 * target.mean(axis=-1)).astype(np.uint8) for target in targets]
    errors = []
    for place in range(len(images) - 1):
        forward, backward = dis_flow(grey[place], grey[place + 1]), dis_flow(grey[place + 1], grey[place])
        seen = ~occluded(forward, backward)
        apart = ((images[place] - warp(images[place + 1], forward)) ** 2).sum(axis=-1)
        errors.append((apart * seen).sum() / seen.sum() / 3)
    return 1000 * float(np.mean(errors))


def flicker(images: list[Image]) -> float:
    return 255 * float(np.sqrt(np.var(np.stack(images[8:]), axis=0).mean()))


@torch.inference_mode()
def main() -> None:
    restore: Any = load_restorer("edge", scale=4, device="cpu", engine="torch")
    clips = sorted(folder for folder in Path(sys.argv[1]).iterdir() if folder.is_dir())
    print("| clip | PSNR-Y, each frame | smoothed | warping error of the original | each frame | smoothed |")
    print("|---|---|---|---|---|---|")
    for folder in clips:
        highs = []
        for file in list_images(folder)[:16]:
            high = read_image(file)[..., :3].astype(np.float32) / 255
            highs.append(np.ascontiguousarray(high[: high.shape[0] // 8 * 8, : high.shape[1] // 8 * 8]))
        lows = [array((255 * resize_bicubic(tensor(high), scale=0.25)).round().clamp(0, 255) / 255) for high in highs]
        images = [array(restore(tensor(low)).clamp(0, 1)) for low in lows]
        smooth = smoothed(images, lows)
        values = [f"{psnr(each, highs):.3f}" for each in (images, smooth)]
        values += [f"{warping_error(each, highs):.2f}" for each in (highs, images, smooth)]
        print(f"| {folder.name} | {' | '.join(values)} |", flush=True)
    print("\n| noise | flicker of bicubic | each frame | smoothed | PSNR-Y | smoothed |")
    print("|---|---|---|---|---|---|")
    high = read_image(list_images(clips[0])[0])[..., :3].astype(np.float32) / 255
    high = np.ascontiguousarray(high[: high.shape[0] // 8 * 8, : high.shape[1] // 8 * 8])
    still, generator = array(resize_bicubic(tensor(high), scale=0.25)), np.random.default_rng(0)
    for noise in (1, 2, 4):
        noisy = [255 * still + noise * generator.standard_normal(still.shape) for _ in range(24)]
        lows = [(each.round().clip(0, 255) / 255).astype(np.float32) for each in noisy]
        images = [array(restore(tensor(low)).clamp(0, 1)) for low in lows]
        smooth, bases = smoothed(images, lows), [enlarged(low, (high.shape[0], high.shape[1])) for low in lows]
        values = [f"{flicker(each):.2f}" for each in (bases, images, smooth)]
        values += [f"{psnr(each[8:], [high] * 16):.2f}" for each in (images, smooth)]
        print(f"| {noise} | {' | '.join(values)} |", flush=True)


if __name__ == "__main__":
    main()
