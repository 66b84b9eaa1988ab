"""Motion between two frames: SPyNet, which is trained, and OpenCV's DIS, which is not."""

import math

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sr_lab.images.cuts import is_cut
from sr_lab.images.flow import dis_flow
from sr_lab.networks.temporal.base import flow_warp

_LEVELS, _MULTIPLE = 6, 32


class SPyNet(nn.Module):
    """Spatial pyramid network (Ranjan and Black, CVPR 2017), as BasicSR and MMagic have it: 1,440,300 parameters.

    Six levels, each with a network of its own, from coarse to fine; each sees a frame, the other one warped, and the
    flow so far. Keys are those of BasicSR.
    """

    mean: Tensor
    std: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.basic_module = nn.ModuleList(_Level() for _ in range(_LEVELS))
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1))

    def forward(self, now: Tensor, other: Tensor) -> Tensor:
        """Flow (B, 2, H, W) from ``now`` to ``other``, both (B, 3, H, W) in [0, 1]: warping ``other`` gives ``now``."""
        height, width = now.shape[-2:]
        size = [math.ceil(side / _MULTIPLE) * _MULTIPLE for side in (height, width)]
        pair = [F.interpolate(frame, size=size, mode="bilinear", align_corners=False) for frame in (now, other)]
        flow = F.interpolate(self._process(*pair), size=(height, width), mode="bilinear", align_corners=False)
        return flow * flow.new_tensor([width / size[1], height / size[0]]).view(1, 2, 1, 1)

    def _process(self, now: Tensor, other: Tensor) -> Tensor:
        pyramids = [[(frame - self.mean) / self.std] for frame in (now, other)]
        for pyramid in pyramids:
            for _ in range(_LEVELS - 1):
                pyramid.append(F.avg_pool2d(pyramid[-1], 2, count_include_pad=False))
        ours, theirs = (pyramid[::-1] for pyramid in pyramids)
        flow = ours[0].new_zeros(len(now), 2, *ours[0].shape[-2:])
        for level, module in enumerate(self.basic_module):
            upsampled = flow  # nothing moves below the coarsest level
            if level:
                upsampled = 2.0 * F.interpolate(flow, scale_factor=2, mode="bilinear", align_corners=True)
            warped = flow_warp(theirs[level], upsampled, border=True)
            flow = module(torch.cat([ours[level], warped, upsampled], dim=1)) + upsampled
        return flow


class _Level(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        widths = (8, 32, 64, 32, 16, 2)
        layers: list[nn.Module] = []
        for place in range(5):
            layers += [nn.Conv2d(widths[place], widths[place + 1], 7, padding=3), nn.ReLU()]
        self.basic_module = nn.Sequential(*layers[:-1])

    def forward(self, frames: Tensor) -> Tensor:
        """What is added to the flow."""
        result: Tensor = self.basic_module(frames)
        return result


class DISFlow(nn.Module):
    """Dense inverse search, medium, as OpenCV has it: nothing to train, the error of SPyNet at small motion, less at
    large, and a sixtieth of its time on a CPU. On a GPU it makes a detour through the host.

    Args:
        enlarge: See ``dis_flow``.

    Raises:
        ValueError: If ``enlarge`` is below 1.
    """  # noqa: D205

    def __init__(self, *, enlarge: int = 1) -> None:
        super().__init__()
        if enlarge < 1:
            raise ValueError(f"enlarge={enlarge}: must be at least 1")
        self.enlarge = enlarge

    @torch.no_grad()
    def forward(self, now: Tensor, other: Tensor) -> Tensor:
        """Flow (B, 2, H, W) from ``now`` to ``other``, both (B, C, H, W) in [0, 1]."""
        flows = [dis_flow(*pair, enlarge=self.enlarge) for pair in zip(_greys(now), _greys(other), strict=True)]
        return torch.from_numpy(np.stack(flows)).permute(0, 3, 1, 2).to(now)


@torch.no_grad()
def same_scene(now: Tensor, before: Tensor) -> Tensor:
    """Whether no cut is between two frames (B, C, H, W) in [0, 1]: (B, 1, 1, 1), 0 at cuts and 1 elsewhere."""
    same = np.array([not is_cut(*pair) for pair in zip(_greys(before), _greys(now), strict=True)], np.float32)
    return torch.from_numpy(same).view(-1, 1, 1, 1).to(now)


def _greys(frames: Tensor) -> npt.NDArray[np.uint8]:
    """(B, H, W) of 8 bits."""
    levels: npt.NDArray[np.uint8] = (
        (frames.detach().float().mean(dim=1) * 255).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
    )
    return levels
