"""What several samples of one image agree on, and where they differ."""

from collections.abc import Callable

import torch
from torch import Tensor


def sample_moments(draw: Callable[[int], Tensor], *, num: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Mean and unbiased variance of each value over the images of ``num`` seeds.

    Welford's recurrence (Technometrics 4, 1962): two images are kept, however many are drawn.

    Args:
        draw: seed -> image of any shape; called with ``seed``, ``seed + 1``, ...
        num: number of samples, at least 2.
        seed: the first one.

    Returns:
        Mean and variance, float32, of the image's shape; the variance is in units of the value range squared.

    Raises:
        ValueError: if there are fewer than 2 samples.
    """
    if num < 2:
        raise ValueError(f"num={num}: a variance needs at least 2 samples")
    mean = draw(seed).float()
    squares = torch.zeros_like(mean)
    for count in range(2, num + 1):
        difference = draw(seed + count - 1).float() - mean
        mean = mean + difference / count
        squares = squares + difference.square() * ((count - 1) / count)
    return mean, squares / (num - 1)
