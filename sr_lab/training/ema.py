"""The moving average of a network's weights: it forgets where they started, and no update waits for the device."""

import copy
from typing import Any

import torch
from torch import Tensor, nn

from sr_lab.networks.base import Network

WIDTH_POWER = 16.97
"""Exponent of the warm-up: the average looks back over a twentieth of the steps that were done (sigma_rel = 0.05)."""


def decay_at(update: int, *, decay: float) -> float:
    """Weight of the former average at an update, counted from 0: min(decay, (1 - 1 / (update + 1)) ** (gamma + 1)).

    The warm-up is the power-function average of Karras et al. (2024, "Analyzing and Improving the Training Dynamics of
    Diffusion Models", equation 8): it looks back over the same share of the steps whatever their number, and forgets
    the first weights. A fixed decay d leaves the share d^(n - 1) of them after n updates, 37 % after 1000 at 0.999.
    ``decay`` is reached after about 18 / (1 - decay) updates. TensorFlow's (1 + n) / (10 + n) looks back twice as far,
    which costs 0.1 dB in runs of ten steps (``benchmarks/averaging.py``).
    """
    return min(decay, float((1 - 1 / (update + 1)) ** (WIDTH_POWER + 1)))


class EMA(nn.Module):
    """Exponential moving average of weights and buffers; the first update copies them, see ``decay_at`` for the next.

    torch's ``AveragedModel`` reads its counter from the device at every update and for every tensor; here the host
    counts.

    Args:
        network: The network that is averaged; a copy of it is kept in ``module``.
        decay: Largest weight of the former average, between 0 and 1.

    Raises:
        ValueError: If ``decay`` is not between 0 and 1.
    """

    def __init__(self, network: Network, *, decay: float) -> None:
        super().__init__()
        if not 0 < decay < 1:
            raise ValueError(f"ema_decay={decay}: must lie between 0 and 1, or be null for no average")
        self.decay = decay
        self.module: Network = copy.deepcopy(network).requires_grad_(False)
        self.n_averaged: Tensor
        self.register_buffer("n_averaged", torch.tensor(0, dtype=torch.long))
        self._count = 0
        self._pairs: list[tuple[Tensor, Tensor]] = []

    @torch.no_grad()
    def update(self, network: Network) -> None:
        """Moves the average towards ``network``, always the same: once an optimizer step."""
        if not self._pairs:  # walking through a network of a thousand modules takes milliseconds
            averages = [*self.module.parameters(), *self.module.buffers()]
            self._pairs = list(zip(averages, [*network.parameters(), *network.buffers()], strict=True))
        floats = [pair for pair in self._pairs if pair[0].is_floating_point()]
        if self._count and floats:
            new = 1 - decay_at(self._count, decay=self.decay)
            torch._foreach_lerp_([pair[0] for pair in floats], [pair[1] for pair in floats], new)
        for average, value in self._pairs:
            if not self._count or not average.is_floating_point():
                average.copy_(value)
        self.n_averaged += 1
        self._count += 1

    def _apply(self, *args: Any, **kwargs: Any) -> "EMA":
        """A move to another device or type makes other tensors."""
        self._pairs = []
        super()._apply(*args, **kwargs)  # type: ignore[no-untyped-call]
        return self

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        self._count = int(state_dict.get(f"{prefix}n_averaged", 0))
        super()._load_from_state_dict(state_dict, prefix, *args)
