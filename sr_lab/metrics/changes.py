"""What changes from frame to frame of a restored clip and should not, of clips too short for a spectrum."""

import torch
from torch import Tensor


def change_error(restored: Tensor, target: Tensor) -> Tensor:
    """Mean absolute error of the differences between neighbouring frames, in levels of 255.

    A constant error of every frame counts nothing; one that comes and goes counts in full. Motion is in both clips, so
    that it needs no optical flow.

    Args:
        restored: A clip, (T, C, H, W), values in [0, 1], at least two frames.
        target: What it should be, same shape.

    Returns:
        A float tensor without dimensions; 0 where the errors of all frames are equal.

    Raises:
        ValueError: If the shapes differ, or there is no second frame.

    Example:
        >>> clip = torch.zeros(3, 1, 4, 4)
        >>> round(float(change_error(clip + torch.tensor([0.0, 0.1, 0.0]).view(3, 1, 1, 1), clip)), 2)
        25.5
    """
    if restored.shape != target.shape or restored.ndim != 4 or len(restored) < 2:
        raise ValueError(
            f"restored {tuple(restored.shape)} and target {tuple(target.shape)} must be clips of one shape, (T, C, H, "
            "W), with two frames or more"
        )
    error = restored.float() - target.float()
    return torch.diff(error, dim=0).abs().mean() * 255
