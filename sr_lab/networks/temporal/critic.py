"""A critic of motion: it sees three neighbouring frames at once."""

from collections.abc import Callable

import torch
from torch import Tensor

from sr_lab.base.words import counted
from sr_lab.networks.discriminators import Critic
from sr_lab.networks.temporal.base import flow_warp
from sr_lab.networks.temporal.flow import DISFlow


class TripletCritic(Critic):
    """Tells restored clips from original ones by three frames at once, after TecoGAN (arXiv:1811.09393, section 3.1).

    The outer two are warped onto the middle one by the motion of the *original*, in both clips alike: what moves as it
    should lies still, and what is left to tell them apart is texture, and what flickers or slides on the surfaces. The
    authors' critic also sees the triplet as it is and the low frames.

    Args:
        critic: Makes the critic of images with ``num_channels=`` three times as many channels.
        num_channels: Number of channels of the frames.

    Example:
        >>> from functools import partial
        >>> from sr_lab.networks.discriminators import PatchCritic
        >>> critic = TripletCritic(critic=partial(PatchCritic, num_features=4, num_layers=1))
        >>> critic(torch.rand(2, 5, 3, 16, 16)).shape  # three triplets of each clip
        torch.Size([6, 1, 6, 6])
    """

    takes_clips = True

    def __init__(self, *, critic: Callable[..., Critic], num_channels: int = 3) -> None:
        super().__init__(num_channels=num_channels)
        self.critic = critic(num_channels=3 * num_channels)
        self.motion = DISFlow()

    def judge(self, originals: Tensor) -> Callable[[Tensor], Tensor]:
        """See ``Critic``; the motion is searched once for both sides."""
        if originals.ndim != 5 or originals.shape[1] < 3:
            what = counted(originals.shape[1], "frame") if originals.ndim == 5 else "images"
            raise ValueError(
                f"this critic sees three frames of a clip at once, and got {what}: give data.clips.frames=3"
            )
        before, now, after = _triplets(originals)
        flows = [self.motion(now, before), self.motion(now, after)]
        return lambda clips: self._judged(clips, flows)

    def forward(self, images: Tensor) -> Tensor:
        """Logits of clips (B, T, C, H, W), along their own motion: (B * (T - 2), ...)."""
        return self.judge(images)(images)

    def _judged(self, clips: Tensor, flows: list[Tensor]) -> Tensor:
        before, now, after = _triplets(clips)
        around = [flow_warp(frame, flow, border=True) for frame, flow in zip((before, after), flows, strict=True)]
        logits: Tensor = self.critic(torch.cat([around[0], now, around[1]], dim=1))
        return logits


def _triplets(clips: Tensor) -> list[Tensor]:
    """First, middle and last frame of all triplets of clips (B, T, C, H, W), (B * (T - 2), C, H, W) each."""
    count = clips.shape[1] - 2
    return [clips[:, begin : begin + count].flatten(0, 1) for begin in range(3)]
