"""What networks for clips have in common, and warping by a flow."""

from abc import abstractmethod
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from sr_lab.networks.base import Network


class ClipNetwork(Network):
    """A network that looks at more than one frame. An image is a clip of one frame."""

    @property
    @abstractmethod
    def motion(self) -> nn.Module:
        """What gives the flow from a frame to another one; it may have nothing to train."""

    @abstractmethod
    def clip(self, low: Tensor) -> Tensor:
        """Enlarges clips (B, T, C, h, w) to (B, T, C, h * scale, w * scale)."""

    def forward(self, low: Tensor) -> Tensor:
        """Enlarges clips (B, T, C, h, w), or images (B, C, h, w)."""
        return self.clip(low) if low.ndim == 5 else self.clip(low[:, None])[:, 0]


CausalState = tuple[Tensor, ...]
"""What a step of a causal network hands to the next one; first the low frame and the restored one."""
Enlarge = Callable[[Tensor], Tensor]


class CausalNetwork(ClipNetwork):
    """A network for clips of which no frame depends on a later one: step after step, each handing a state to the next.

    Attributes:
        truncate: In training, steps after which the gradient through time ends; None for the whole clip.
    """

    truncate: int | None = None

    @abstractmethod
    def step(
        self, low: Tensor, state: CausalState | None = None, *, enlarge: Enlarge | None = None
    ) -> tuple[Tensor, CausalState]:
        """One frame.

        Args:
            low: (B, C, h, w).
            state: Of the frame before, or a tuple of its tensors; None at the beginning of a clip.
            enlarge: What computes ``enlarger``, tile by tile or in another engine; None for itself.

        Returns:
            The restored frame (B, C, h * scale, w * scale), and the state for the next one.
        """

    @property
    def enlarger(self) -> Network | None:
        """The part of a step that is an image's: from what a step sees to the restored frame; None if there is none."""
        return None

    def clip(self, low: Tensor) -> Tensor:
        """(B, T, C, h, w) to (B, T, C, h * scale, w * scale): step after step."""
        frames: list[Tensor] = []
        state: CausalState | None = None
        for number in range(low.shape[1]):
            if self.training and self.truncate and state is not None and number % self.truncate == 0:
                state = tuple(part.detach() for part in state)
            frame, state = self.step(low[:, number], state)
            frames.append(frame)
        return torch.stack(frames, dim=1)


def flow_warp(image: Tensor, flow: Tensor, *, border: bool = False, cubic: bool = False) -> Tensor:
    """The image as seen from where the flow starts, by bilinear interpolation, or by a cubic one.

    Args:
        image: (B, C, H, W).
        flow: (B, 2, H, W), pixels to the right and down, from the result to ``image``.
        border: Whether places outside take the nearest edge pixel; they are zero otherwise.
        cubic: Whether to interpolate by cubic polynomials, which blur less where warps follow one another.

    Example:
        >>> image = torch.arange(4.0).view(1, 1, 1, 4)
        >>> flow_warp(image, torch.tensor([1.0, 0.0]).view(1, 2, 1, 1).expand(1, 2, 1, 4)).flatten().tolist()
        [1.0, 2.0, 3.0, 0.0]
    """
    height, width = flow.shape[-2:]
    across = torch.arange(width, device=flow.device, dtype=flow.dtype)
    down = torch.arange(height, device=flow.device, dtype=flow.dtype)[:, None]
    x = 2 * (across + flow[:, 0]) / max(width - 1, 1) - 1
    y = 2 * (down + flow[:, 1]) / max(height - 1, 1) - 1
    padding = "border" if border else "zeros"
    way = "bicubic" if cubic else "bilinear"
    return F.grid_sample(image, torch.stack([x, y], dim=-1), way, padding, align_corners=True)


def enlarge_flow(flow: Tensor, scale: int) -> Tensor:
    """(B, 2, h, w) at ``scale`` times the size, in its pixels."""
    return scale * F.interpolate(flow, scale_factor=scale, mode="bilinear", align_corners=False)


def without_keeping(part: Callable[..., Tensor], *inputs: Tensor, recompute: bool) -> Tensor:
    """``part(*inputs)``; with ``recompute`` its activations are computed again for the gradient, not kept."""
    if recompute and torch.is_grad_enabled():
        again: Tensor = checkpoint(part, *inputs, use_reentrant=False)
        return again
    return part(*inputs)
