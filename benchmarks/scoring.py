"""PSNR + SSIM on luma, ms an image on one thread: this project beside BasicSR's NumPy code and scikit-image.

    python benchmarks/scoring.py [FOLDER_OF_IMAGES ...]

Every contender starts from the same two 8-bit RGB arrays and does the whole work: conversion to luma, border crop,
PSNR, SSIM. CPU time, the best of several rounds that take turns, so that other work on the machine disturbs little.
Without folders: synthetic photos of 480x320 and 1024x680. BasicSR's code is loaded as benchmarks/peers.py says.
"""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import torch
from peers import basicsr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from sr_lab.images import list_images, read_image, resize_bicubic, to_array, to_tensor
from sr_lab.metrics.protocol import YCrop
from sr_lab.metrics.psnr import psnr
from sr_lab.metrics.ssim import ssim

SCALE = 2
ROUNDS = 12
Score = Callable[[np.ndarray, np.ndarray], tuple[float, float]]


def ours(restored: np.ndarray, target: np.ndarray) -> tuple[float, float]:
    pair = YCrop().compare(to_tensor(restored), to_tensor(target), scale=SCALE)
    return float(psnr(*pair)), float(ssim(*pair))


def peer() -> Score:
    module = basicsr("metrics.psnr_ssim")

    def score(restored: np.ndarray, target: np.ndarray) -> tuple[float, float]:
        bgr = restored[..., ::-1], target[..., ::-1]
        return (
            float(module.calculate_psnr(*bgr, crop_border=SCALE, test_y_channel=True)),
            float(module.calculate_ssim(*bgr, crop_border=SCALE, test_y_channel=True)),
        )

    return score


def scikit_image(restored: np.ndarray, target: np.ndarray) -> tuple[float, float]:
    weights = np.array([65.481, 128.553, 24.966]) / 255
    one, two = ((image @ weights + 16)[SCALE:-SCALE, SCALE:-SCALE] for image in (restored, target))
    structure = structural_similarity(
        one, two, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    return float(peak_signal_noise_ratio(two, one, data_range=255)), float(structure)


def photo(height: int, width: int) -> np.ndarray:
    """A picture with edges, waves and noise, (height, width, 3) uint8."""
    generator = np.random.default_rng(0)
    rows, columns = np.mgrid[:height, :width] / 40
    waves = np.stack([np.sin(rows * f) * np.cos(columns / f) for f in (1, 1.7, 3.1)], axis=-1)
    blocks = np.kron(generator.random((height // 20 + 1, width // 20 + 1, 3)), np.ones((20, 20, 1)))[:height, :width]
    image = 0.5 + 0.2 * waves + 0.4 * (blocks - 0.5) + 0.03 * generator.standard_normal((height, width, 3))
    return (255 * image).round().clip(0, 255).astype(np.uint8)


def restored_from(target: np.ndarray) -> np.ndarray:
    """The picture after bicubic shrinking and enlarging."""
    image = to_tensor(target)
    return to_array(resize_bicubic(resize_bicubic(image, scale=1 / SCALE), scale=float(SCALE)))


def sets(folders: list[str]) -> dict[str, list[np.ndarray]]:
    if not folders:
        return {f"{width}x{height}": [photo(height, width)] for width, height in ((480, 320), (1024, 680))}
    found = {}
    for folder in folders:
        images = [read_image(file) for file in list_images(Path(folder))]
        even = [image[: image.shape[0] // 2 * 2, : image.shape[1] // 2 * 2] for image in images if image.shape[2] == 3]
        found["/".join(Path(folder).parts[-3:])] = even[:20]
    return found


def main() -> None:
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    contenders: dict[str, Score] = {"BasicSR (NumPy)": peer(), "scikit-image": scikit_image, "sr_lab": ours}
    print(f"{'images':<24}{'who':<18}{'ms':>8}{'ratio':>8}{'max |dPSNR|':>14}{'max |dSSIM|':>14}")
    for name, targets in sets(sys.argv[1:]).items():
        pairs = [(restored_from(target), target) for target in targets]
        rounds: dict[str, list[float]] = {who: [] for who in contenders}
        for _ in range(ROUNDS):
            for who, score in contenders.items():
                start = time.process_time()
                for pair in pairs:
                    score(*pair)
                rounds[who].append((time.process_time() - start) / len(pairs))
        times = {who: 1000 * min(values[1:]) for who, values in rounds.items()}
        truth = np.array([contenders["BasicSR (NumPy)"](*pair) for pair in pairs])
        for who, score in contenders.items():
            difference = np.abs(np.array([score(*pair) for pair in pairs]) - truth).max(axis=0)
            ratio = times["BasicSR (NumPy)"] / times[who]
            print(f"{name:<24}{who:<18}{times[who]:>8.2f}{ratio:>7.1f}x{difference[0]:>14.1e}{difference[1]:>14.1e}")


if __name__ == "__main__":
    main()
