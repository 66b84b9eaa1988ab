"""Learning-rate schedules over optimizer steps."""

import math

from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def warmup_cosine_factor(step: int, *, num_steps: int, num_warmup: int, floor: float) -> float:
    """Factor of the base learning rate at optimizer step ``step`` (0-based).

    Linear from 1 / num_warmup to 1, then half a cosine down to ``floor`` at the last step
    (Loshchilov and Hutter 2016, arXiv:1608.03983, without restarts).
    """
    if step < num_warmup:
        return (step + 1) / num_warmup
    progress = min(1.0, (step - num_warmup) / max(1, num_steps - 1 - num_warmup))
    return floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))


def warmup_cosine(optimizer: Optimizer, *, num_steps: int, num_warmup: int = 0, floor: float = 0.0) -> LambdaLR:
    """Warm-up and cosine decay; see ``warmup_cosine_factor``.

    Raises:
        ValueError: if the warm-up is not shorter than the run.
    """
    if not 0 <= num_warmup < num_steps:
        raise ValueError(f"num_warmup={num_warmup} must be at least 0 and below num_steps={num_steps}")
    return LambdaLR(
        optimizer, lambda step: warmup_cosine_factor(step, num_steps=num_steps, num_warmup=num_warmup, floor=floor)
    )
