"""A causal network: a network for images that also sees its own last frame, brought along by the motion."""

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sr_lab.images.cuts import is_cut
from sr_lab.networks.blocks import conv
from sr_lab.networks.edsr import EDSR
from sr_lab.networks.temporal.base import ClipNetwork, enlarge_flow, flow_warp
from sr_lab.networks.temporal.flow import DISFlow


class State(NamedTuple):
    """What a step hands to the next one.

    Attributes:
        low: The frame's low image, (B, C, h, w).
        restored: Its restored image, (B, C, h * scale, w * scale).
    """

    low: Tensor
    restored: Tensor


class RecurrentEDSR(ClipNetwork):
    """EDSR for clips that are played: each frame sees the last restored one, aligned by flow, and nothing later.

    The detail of the last restored frame (what it adds to the bilinear enlargement) is warped to the frame, its pixels
    are unshuffled into channels (FRVSR, Sajjadi et al., CVPR 2018), and a convolution adds them to the first features.
    That convolution begins at zero: with the weights of an EDSR in ``image`` the network starts as that EDSR, and
    whatever it gains in training comes from the frames before.

    The detail counts ``leak`` times as much as it did at every step, and less where the warped low frame does not look
    like the frame. At a cut it counts nothing. In evaluation a frame that equals the last one gets its image, and
    leaves the state as it is, so that a still scene cannot drift.

    Args:
        image: The network for images, of which its convolutions are used.
        flow: Motion from a frame to another one; None for ``DISFlow``.
        leak: Share of the last detail that is seen, from 0 to 1; below 1 nothing can grow for ever.
        gate: How fast the detail is distrusted where the warped low frame differs, ``exp(-gate * difference^2)``, in
            [0, 1]; 0 trusts it everywhere.

    Raises:
        ValueError: If ``leak`` or ``gate`` is out of range.

    Example:
        >>> network = RecurrentEDSR(image=EDSR(scale=2, num_blocks=1, num_features=8)).eval()
        >>> low = torch.rand(1, 3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        >>> with torch.no_grad():
        ...     whole = network(low)
        ...     first, state = network.step(low[:, 0])
        ...     second, state = network.step(low[:, 1], state)
        >>> torch.equal(whole[:, 0], first), torch.equal(whole[:, 1], second)
        (True, True)
    """

    def __init__(self, *, image: EDSR, flow: nn.Module | None = None, leak: float = 0.9, gate: float = 50.0) -> None:
        super().__init__(scale=image.scale, num_channels=image.num_channels)
        if not 0 <= leak <= 1 or gate < 0:
            raise ValueError(f"leak={leak} must lie in 0..1, and gate={gate} at 0 or above")
        self.image, self.flow, self.leak, self.gate = image, flow or DISFlow(), leak, gate
        entering = image.num_channels * image.scale**2
        self.recurrent = conv(entering, image.head.out_channels)
        nn.init.zeros_(self.recurrent.weight)
        assert self.recurrent.bias is not None
        nn.init.zeros_(self.recurrent.bias)

    def clip(self, low: Tensor) -> Tensor:
        """(B, T, C, h, w) to (B, T, C, h * scale, w * scale): step after step."""
        frames, state = [], None
        for number in range(low.shape[1]):
            frame, state = self.step(low[:, number], state)
            frames.append(frame)
        return torch.stack(frames, dim=1)

    def step(self, low: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """One frame.

        Args:
            low: (B, C, h, w).
            state: Of the frame before; None at the beginning of a clip.

        Returns:
            The restored frame (B, C, h * scale, w * scale), and the state for the next one.
        """
        if state is None:
            detail = low.new_zeros(len(low), self.recurrent.in_channels, *low.shape[-2:])
        else:
            if not self.training and torch.equal(low, state.low):
                return state.restored, state
            detail = self._brought(low, state)
        image = self.image
        features = image.head((low - image.mean) * image.value_range) + self.recurrent(detail * image.value_range)
        features = features + image.body(features)
        restored: Tensor = image.tail(image.upsampler(features)) / image.value_range + image.mean
        return restored, State(low, restored)

    def _brought(self, low: Tensor, state: State) -> Tensor:
        """The detail of the last frame where this one shows it, (B, C * scale^2, h, w)."""
        flow = self.flow(low, state.low)
        base = F.interpolate(state.low, scale_factor=self.scale, mode="bilinear", align_corners=False)
        detail = F.pixel_unshuffle(
            flow_warp(state.restored - base, enlarge_flow(flow, self.scale), border=True), self.scale
        )
        trust = self._same_scene(low, state.low) * self.leak
        if self.gate:
            apart = (flow_warp(state.low, flow, border=True) - low).square().mean(dim=1, keepdim=True)
            trust = trust * torch.exp(-self.gate * apart)
        return detail * trust

    @torch.no_grad()
    def _same_scene(self, low: Tensor, before: Tensor) -> Tensor:
        """(B, 1, 1, 1), 0 at cuts and 1 elsewhere."""
        greys = [
            (frame.detach().float().mean(dim=1) * 255).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
            for frame in (before, low)
        ]
        same = np.array([not is_cut(*pair) for pair in zip(*greys, strict=True)], np.float32)
        return torch.from_numpy(same).view(-1, 1, 1, 1).to(low)
