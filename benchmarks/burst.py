"""Bursts of Set5 at x4: an area sensor, keyed sub-pixel shifts within a low pixel, noise of 1 %.

    python benchmarks/burst.py ../shared/datasets/benchmark/Set5/x4/HR [--strength 1] [--refine runs/NAME/best]

PSNR of Y, border 8: bicubic of the first frame, the solution from it alone, from five frames with their true
shifts, and with those that ECC finds; the last one behind a network of scale 1, too.
"""

import argparse
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from sr_lab.degradations.base import keyed_generator
from sr_lab.images import list_images, read_image, rgb_to_y, to_tensor
from sr_lab.images.burst import Sampling, register, solve
from sr_lab.workflows.load import load_restorer

SCALE, COUNT, NOISE, BORDER = 4, 5, 0.01, 8


def psnr(image: Any, high: Any) -> float:
    apart = (np.clip(image, 0, 1) - high)[BORDER:-BORDER, BORDER:-BORDER]
    return float(-10 * np.log10(np.mean(apart.astype(np.float64) ** 2)))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("images", type=Path)
    parser.add_argument("--strength", type=float, default=1.0)
    parser.add_argument("--refine", help="a network of scale 1 for the solution")
    arguments = parser.parse_args()
    names = ["bicubic", "one frame", "five, true shifts", "five, ECC"]
    refine = None if arguments.refine is None else load_restorer(arguments.refine, device="cpu")
    names += [] if refine is None else ["five, ECC, refined"]
    rows = []
    print(f"| image | {' | '.join(names)} | ECC's error, low pixels |\n|{'---|' * (len(names) + 2)}")
    for number, file in enumerate(list_images(arguments.images)):
        high = rgb_to_y(to_tensor(read_image(file)))[0, 0].numpy()
        high = np.ascontiguousarray(high[: high.shape[0] // 8 * 8, : high.shape[1] // 8 * 8])
        generator = keyed_generator("burst", 0, 0, number)
        shifts = [
            (0.0, 0.0),
            *(tuple(each) for each in (2 * torch.rand(COUNT - 1, 2, generator=generator) - 1).tolist()),
        ]
        frames = [
            np.asarray(
                Sampling.of((x, y), (high.shape[0], high.shape[1]), SCALE).see(high)
                + NOISE * torch.randn(high.shape[0] // SCALE, high.shape[1] // SCALE, generator=generator).numpy(),
                np.float32,
            )
            for x, y in shifts
        ]
        found, _ = register(frames)
        enlarged = cv2.resize(frames[0], (high.shape[1], high.shape[0]), interpolation=cv2.INTER_CUBIC)
        settings: dict[str, Any] = {"scale": SCALE, "noise": NOISE, "strength": arguments.strength}
        error = float(np.mean([np.hypot(a[0] - b[0], a[1] - b[1]) for a, b in zip(found, shifts, strict=True)]))
        images = [enlarged, *(solve(*given, **settings) for given in (
            (frames[:1], shifts[:1]), (frames, shifts), (frames, found)
        ))]  # fmt: skip
        if refine is not None:
            with torch.inference_mode():
                given = torch.from_numpy(np.clip(images[-1], 0, 1))[None, None]
                images.append(refine(given)[0, 0].numpy())
        values = [psnr(image, high) for image in images]
        rows.append([*values, error])
        print(f"| {file.stem} | {' | '.join(f'{value:.2f}' for value in values)} | {error:.3f} |", flush=True)
    means = np.mean(rows, axis=0)
    print(f"| mean | {' | '.join(f'{value:.2f}' for value in means[:-1])} | {means[-1]:.3f} |")


if __name__ == "__main__":
    main()
