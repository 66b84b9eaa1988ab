"""A causal network that learns where to trust what the motion brings along."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sr_lab.images.resize import bicubic_matrix
from sr_lab.networks.blocks import conv
from sr_lab.networks.edsr import EDSR
from sr_lab.networks.temporal.base import Enlarge, flow_warp
from sr_lab.networks.temporal.recurrent import RecurrentEDSR, State

AT_FIRST = 2.0
"""What the trust is the sigmoid of in a new network: .88."""
SENSITIVITY, HASTE = 10.0, 4.0
"""Of the trust to differences of images in [0, 1], and of the share to its weights."""


class TrustingEDSR(RecurrentEDSR):
    """A ``RecurrentEDSR`` that learns, pixel by pixel, how far the last frame is to be trusted.

    The last detail is warped by cubic interpolation, which blurs less from step to step. With the warped last low frame
    it gives what the frame should look like; reduced as the low frame was, that must be the low frame, aliasing and
    all: the *residual* is large where something was hidden before, or the motion was not found. Two convolutions see
    residual, difference and strength of the detail. They give the share of the detail that is believed on the way
    through the network, and the share that the frame expected from the last one has in the restored one: what is
    right once need not pass the network again, which keeps it from flickering. As in ``RecurrentEDSR`` the convolution
    that adds the detail to the first features begins at zero, and so does that second share.

    Args:
        image: See ``RecurrentEDSR``.
        flow: See ``RecurrentEDSR``.
        leak: See ``RecurrentEDSR``.
        damping: See ``RecurrentEDSR``.
        width: Channels between the two convolutions that see how far the last frame is right.
        truncate: See ``RecurrentEDSR``.
        recompute: See ``RecurrentEDSR``.

    Example:
        >>> network = TrustingEDSR(image=EDSR(scale=2, num_blocks=1, num_features=8)).eval()
        >>> low = torch.rand(1, 3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
        >>> with torch.no_grad():
        ...     torch.equal(network(low)[:, 2], network.image(low[:, 2]))
        True
    """

    kernel: Tensor

    def __init__(
        self,
        *,
        image: EDSR,
        flow: nn.Module | None = None,
        leak: float = 1.0,
        damping: float = 1.0,
        width: int = 16,
        truncate: int | None = None,
        recompute: bool = False,
    ) -> None:
        super().__init__(
            image=image, flow=flow, leak=leak, damping=damping, gate=0, truncate=truncate, recompute=recompute
        )
        channels = image.num_channels
        self.recurrent = conv(channels * (self.scale**2 + 2), image.head.out_channels)
        last = conv(width, 2)
        self.trust = nn.Sequential(conv(3 * channels, width), nn.ReLU(), last)
        for layer in (self.recurrent, last):
            nn.init.zeros_(layer.weight)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
        self.register_buffer("kernel", _reducing(self.scale), persistent=False)

    def _following(self, low: Tensor, before: State, enlarge: Enlarge | None) -> Tensor:
        brought, expected, share = self._seen(low, before)
        restored = self._computed(low, brought, enlarge)
        return restored + share * (expected - restored)

    def _seen(self, low: Tensor, state: State) -> tuple[Tensor, Tensor, Tensor]:
        """What the last frame brings: to the network, as the expected frame, and the share of that in the restored one.

        The first has the believed detail, residual and difference, (B, C * (scale^2 + 2), h, w).
        """
        flow = self.flow(low, state.low)
        moved = self._moved_detail(state, flow, cubic=True)
        moved_low = flow_warp(state.low, flow, border=True)
        apart = moved_low - low
        residual = self._reduced(moved + self._base(moved_low)) - low
        strength = F.avg_pool2d(moved.abs(), self.scale)
        evidence = SENSITIVITY * torch.cat([residual.abs(), apart.abs(), strength], dim=1)
        trust, share = self.trust(evidence).split(1, dim=1)
        most = self._most(low, state)
        believed = F.pixel_unshuffle(moved, self.scale) * torch.sigmoid(trust + AT_FIRST)
        share = self._base(torch.tanh(HASTE * share) * most)
        return torch.cat([believed, residual, apart], dim=1) * most, self._base(low) + moved, share

    def _reduced(self, large: Tensor) -> Tensor:
        """As MATLAB's bicubic reduces, but for the edges."""
        channels, margin = large.shape[1], (self.kernel.shape[-1] - self.scale) // 2
        padded = F.pad(large, (margin, margin, margin, margin), mode="replicate")
        across = self.kernel.expand(channels, 1, 1, -1)
        rows = F.conv2d(padded, across, stride=(1, self.scale), groups=channels)
        return F.conv2d(rows, across.transpose(-1, -2), stride=(self.scale, 1), groups=channels)


def _reducing(scale: int) -> Tensor:
    """Weights of the pixels that a reduced pixel is made of, as MATLAB's bicubic has them."""
    rows, columns, values = bicubic_matrix(9 * scale, 9)
    weights = np.bincount(columns[rows == 4], values[rows == 4], minlength=9 * scale)
    inside = np.flatnonzero(weights)
    return torch.from_numpy(weights[inside[0] : inside[-1] + 1]).float()
