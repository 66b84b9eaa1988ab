"""A causal network: a network for images that also sees its own last frame, brought along by the motion."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sr_lab.networks.base import Network
from sr_lab.networks.blocks import conv
from sr_lab.networks.edsr import EDSR
from sr_lab.networks.temporal.base import CausalNetwork, CausalState, Enlarge, enlarge_flow, flow_warp, without_keeping
from sr_lab.networks.temporal.flow import DISFlow, same_scene


class State(NamedTuple):
    """What a step hands to the next one.

    Attributes:
        low: The frame's low image, (B, C, h, w).
        restored: Its restored image, (B, C, h * scale, w * scale).
    """

    low: Tensor
    restored: Tensor


class RecurrentEDSR(CausalNetwork):
    """EDSR for clips that are played: each frame sees the last restored one, aligned by flow, and nothing later.

    The detail of the last restored frame (what it adds to the bilinear enlargement) is warped to the frame, its pixels
    are unshuffled into channels (FRVSR, Sajjadi et al., CVPR 2018), and a convolution adds them to the first features;
    it also sees by how much the warped last low frame differs. That convolution begins at zero: with the weights of an
    EDSR in ``image`` the network starts as that EDSR, and whatever it gains in training comes from the frames before.

    The detail counts ``leak`` times as much as it did at every step, and less where the warped low frame does not look
    like the frame. At a cut it counts nothing. Training may make the loop amplify, which the few frames that it sees do
    not show and hundreds do: in evaluation the detail counts ``damping`` times as much again. There a frame that equals
    the last one gets its image, and leaves the state as it is, so that a still scene cannot drift.

    Args:
        image: The network for images, of which its convolutions are used.
        flow: Motion from a frame to another one; None for ``DISFlow``.
        leak: Share of the last detail that is seen, from 0 to 1.
        damping: Factor on it in evaluation, from 0 to 1: clips that are played are longer than those of the training.
        gate: How fast the detail is distrusted where the warped low frame differs, ``exp(-gate * difference^2)``, in
            [0, 1]; 0 trusts it everywhere.
        truncate: In training, steps after which the gradient through time ends; None for the whole clip.
        recompute: In training, whether a step's activations are computed again for the gradient instead of being kept:
            a third more time, and memory that hardly grows with the clip.

    Raises:
        ValueError: If ``leak``, ``damping``, ``gate`` or ``truncate`` is out of range.

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

    def __init__(
        self,
        *,
        image: EDSR,
        flow: nn.Module | None = None,
        leak: float = 0.9,
        damping: float = 0.78,
        gate: float = 50.0,
        truncate: int | None = None,
        recompute: bool = False,
    ) -> None:
        super().__init__(scale=image.scale, num_channels=image.num_channels)
        if not 0 <= leak <= 1 or not 0 <= damping <= 1 or gate < 0:
            raise ValueError(f"leak={leak} and damping={damping} must lie in 0..1, and gate={gate} at 0 or above")
        if truncate is not None and truncate < 1:
            raise ValueError(f"truncate={truncate}: must be at least 1 step, or null for the whole clip")
        self.image, self.flow, self.leak, self.gate = image, flow or DISFlow(), leak, gate
        self.damping = damping
        self.truncate, self.recompute = truncate, recompute
        entering = image.num_channels * (image.scale**2 + 1)
        self.recurrent = conv(entering, image.head.out_channels)
        nn.init.zeros_(self.recurrent.weight)
        assert self.recurrent.bias is not None
        nn.init.zeros_(self.recurrent.bias)

    @property
    def motion(self) -> nn.Module:
        """See ``ClipNetwork``."""
        return self.flow

    @property
    def last_part(self) -> nn.Module:
        """See ``Network``."""
        return self.image

    @property
    def enlarger(self) -> Network:
        """See ``CausalNetwork``: the frame and what is brought along, one behind the other, to the restored frame."""
        return _Enlarger(self)

    def step(
        self, low: Tensor, state: CausalState | None = None, *, enlarge: Enlarge | None = None
    ) -> tuple[Tensor, CausalState]:
        """See ``CausalNetwork``."""
        if state is None:
            nothing = low.new_zeros(low.shape[0], self.recurrent.in_channels, *low.shape[-2:])
            restored = self._computed(low, nothing, enlarge)
        else:
            before = State(*state)
            if not self.training and torch.equal(low, before.low):
                return before.restored, state
            restored = self._following(low, before, enlarge)
        return restored, State(low, restored)

    def _following(self, low: Tensor, before: State, enlarge: Enlarge | None) -> Tensor:
        """The restored frame behind another one."""
        return self._computed(low, self._brought(low, before), enlarge)

    def _computed(self, low: Tensor, brought: Tensor, enlarge: Enlarge | None) -> Tensor:
        if enlarge is not None:
            return enlarge(torch.cat([low, brought], dim=1))
        return without_keeping(self.enlarged, low, brought, recompute=self.recompute)

    def enlarged(self, low: Tensor, brought: Tensor) -> Tensor:
        """The frame, from its low image and what the last one brings, (B, C * (scale^2 + 1), h, w)."""
        image = self.image
        return image.behind_head(
            image.head((low - image.mean) * image.value_range) + self.recurrent(brought * image.value_range)
        )

    def _brought(self, low: Tensor, state: State) -> Tensor:
        """The detail of the last frame where this one shows it, and how they differ, (B, C * (scale^2 + 1), h, w)."""
        flow = self.flow(low, state.low)
        detail = F.pixel_unshuffle(self._moved_detail(state, flow), self.scale)
        trust = self._most(low, state)
        apart = flow_warp(state.low, flow, border=True) - low
        if self.gate:
            trust = trust * torch.exp(-self.gate * apart.square().mean(dim=1, keepdim=True))
        return torch.cat([detail, apart], dim=1) * trust

    def _moved_detail(self, state: State, flow: Tensor, *, cubic: bool = False) -> Tensor:
        """The last detail as seen from the frame, at its size."""
        detail = state.restored - self._base(state.low)
        return flow_warp(detail, enlarge_flow(flow, self.scale), border=True, cubic=cubic)

    def _base(self, low: Tensor) -> Tensor:
        return F.interpolate(low, scale_factor=self.scale, mode="bilinear", align_corners=False)

    def _most(self, low: Tensor, state: State) -> Tensor:
        """How much of the last detail may count, (B, 1, 1, 1): nothing at cuts."""
        return same_scene(low, state.low) * (self.leak if self.training else self.leak * self.damping)


class _Enlarger(Network):
    """What of a step is convolutions alone: (B, C * (scale^2 + 2), h, w) to (B, C, h * scale, w * scale)."""

    def __init__(self, network: RecurrentEDSR) -> None:
        super().__init__(scale=network.scale, num_channels=network.num_channels + network.recurrent.in_channels)
        self.network = network

    def forward(self, low: Tensor) -> Tensor:
        """See ``RecurrentEDSR.enlarged``; ``low`` is what a step sees."""
        count = self.network.num_channels
        return self.network.enlarged(low[:, :count], low[:, count:])

    def for_graph(self) -> nn.Module:
        """Both first convolutions as one."""
        return _Joined(self.network)


class _Joined(nn.Module):
    mean: Tensor

    def __init__(self, network: RecurrentEDSR) -> None:
        super().__init__()
        image, entering = network.image, network.num_channels + network.recurrent.in_channels
        self.image = image
        self.head = conv(entering, image.head.out_channels)
        assert image.head.bias is not None
        assert network.recurrent.bias is not None
        with torch.no_grad():
            self.head.weight.copy_(torch.cat([image.head.weight, network.recurrent.weight], dim=1))
            self.head.bias.copy_(image.head.bias + network.recurrent.bias)  # type: ignore[union-attr]
        mean = torch.zeros(1, entering, 1, 1)
        mean[:, : network.num_channels] = image.mean
        self.register_buffer("mean", mean)

    def forward(self, seen: Tensor) -> Tensor:
        """The restored frame."""
        image = self.image
        return image.behind_head(self.head((seen - self.mean) * image.value_range))
