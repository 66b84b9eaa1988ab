"""Fixtures of the degradation tests."""

import numpy as np
import pytest
import torch
from torch import Tensor


@pytest.fixture(scope="session")
def photos() -> Tensor:
    """(6, 3, 96, 80) images with flat parts, edges and texture, values k/255."""
    generator = np.random.default_rng(5)
    y, x = np.mgrid[0:96, 0:80]
    images = []
    for k in range(6):
        waves = np.stack([0.5 + 0.3 * np.sin(x / (3 + k + c) + y / (7 - k / 2)) for c in range(3)], -1)
        waves[20:50, 10 + 3 * k : 40] = generator.random(3)
        waves[60:, :30] += generator.normal(0, 0.05, (36, 30, 3))
        images.append(np.clip(waves, 0, 1))
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).mul(255).round().div(255).float().contiguous()
