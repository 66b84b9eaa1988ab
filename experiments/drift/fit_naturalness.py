"""Fits the model of sr_lab.monitoring.naturalness on BSDS400: python experiments/drift/fit_naturalness.py SHARED."""

import sys
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file
from tqdm import tqdm

from sr_lab.degradations.estimate.arrays import as_levels, luma
from sr_lab.images import list_images, read_image
from sr_lab.monitoring import naturalness as module
from sr_lab.monitoring.naturalness import patch_statistics, sharpness_of_patches

SHARP = 0.75
"""Patches with less local contrast than this part of the image's best one are left out, as in the paper."""


def main(shared: Path) -> None:
    """Writes mean and covariance of the patches of all photos."""
    vectors = []
    for file in tqdm(list_images(shared / "datasets" / "train" / "BSDS400")):
        plane = luma(as_levels(read_image(file)))
        contrast = sharpness_of_patches(plane)
        vectors.append(patch_statistics(plane)[contrast > SHARP * contrast.max()])
    pooled = np.concatenate(vectors)
    target = Path(module.__file__).with_suffix(".safetensors")
    save_file({"mean": pooled.mean(0), "covariance": np.cov(pooled.T)}, target)
    print(f"{len(pooled)} patches: {target}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
