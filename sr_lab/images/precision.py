"""How exact numbers are: float32 that is float32, and what the rounding of an 8-bit image leaves."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

CONSISTENCY_LIMIT = 60.0
"""Decibels that a comparison with an 8-bit input cannot exceed: its rounding alone makes 58.9 dB of noise."""


@contextmanager
def full_precision(device: torch.device | str) -> Iterator[None]:
    """No autocast and no TF32 in here: a training asks for both, and cuDNN takes TF32 unasked.

    A degradation would be damaged by them, and an evaluation would give other numbers on a GPU than on a CPU. The
    settings are those of the whole process; they come back at the end.
    """
    matmul, convolution = torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
    torch.set_float32_matmul_precision("highest")
    torch.backends.cudnn.allow_tf32 = False
    try:
        with torch.autocast(torch.device(device).type, enabled=False):
            yield
    finally:
        torch.set_float32_matmul_precision(matmul)
        torch.backends.cudnn.allow_tf32 = convolution
