"""Learned perceptual distance (LPIPS v0.1), on backbone weights that are never downloaded behind one's back."""

import logging
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from sr_lab import backbones
from sr_lab.backbones import MissingWeights, Net
from sr_lab.base.words import counted
from sr_lab.images import to_uint8
from sr_lab.metrics.base import PerImageMetric
from sr_lab.metrics.protocol import Protocol

_LOGGER = logging.getLogger(__name__)
_MIN_SIZE = 32


def find_weights(net: Net, weights: Path | None = None) -> Path:
    """File with the ImageNet weights of the backbone; see ``sr_lab.backbones.find_weights``.

    Raises:
        MissingWeights: with the name of the file, its address and where to put it.
    """
    remedy = (
        "name a file or folder with metrics.lpips.weights=PATH; with missing=skip the distance is left out and "
        "recorded as not measured"
    )
    return backbones.find_weights(backbones.backbone_of(net), weights, user=f"LPIPS ({net})", remedy=remedy)


def load_lpips(net: Net = "alex", *, weights: Path | None = None) -> nn.Module:
    """The LPIPS network, frozen; see ``sr_lab.backbones.load_lpips``.

    Args:
        net: backbone; ``alex`` is the authors' recommendation for comparing, ``vgg`` for training.
        weights: see ``sr_lab.backbones.find_weights``.

    Raises:
        MissingWeights: if the weights are not there.
        ValueError: if the file is damaged or holds another network.
    """
    return backbones.load_lpips(net, find_weights(net, weights))


def lpips(restored: Tensor, target: Tensor, *, network: nn.Module) -> Tensor:
    """Perceptual distance of each image; 0 where they are equal (Zhang et al. 2018).

    Args:
        restored: (B, 3, H, W) or (B, 1, H, W), values in [0, 1]; the network sees them scaled to [-1, 1],
            grey in all three channels. Whole images: no border is cropped.
        target: same shape.
        network: from ``load_lpips``, on the images' device.

    Returns:
        (B,) float32 tensor.

    Raises:
        ValueError: if the shapes differ, are neither grey nor RGB, or are below 32x32.
    """
    if restored.shape != target.shape or restored.ndim != 4 or restored.shape[1] not in (1, 3):
        raise ValueError(
            f"restored {tuple(restored.shape)} and target {tuple(target.shape)} must both be grey or RGB, of one size"
        )
    height, width = restored.shape[-2:]
    if min(height, width) < _MIN_SIZE:
        raise ValueError(f"LPIPS needs images of at least {_MIN_SIZE}x{_MIN_SIZE}, got {height}x{width}")
    with torch.autocast(restored.device.type, enabled=False):
        pair = (image.float().expand(-1, 3, -1, -1) * 2 - 1 for image in (restored, target))
        distance: Tensor = network(next(pair), next(pair))
    return distance.flatten()


class LPIPSMetric(PerImageMetric):
    """Mean per-image LPIPS of the 8-bit images, whole, without a border crop.

    The backbone is built once, stays in evaluation mode whatever its owner does, and is no part of the
    owner's state dict: a checkpoint does not carry it.

    Args:
        net: Backbone that compares the images.
        weights: File or folder of the backbone's weights; by default torchvision's cache.
        missing: What happens without weights: ``error`` raises at once; ``skip`` measures nothing, says so in the log
            and in ``reason``, and ``compute`` returns NaN.
    """

    higher_is_better = False

    def __init__(
        self, *, net: Net = "alex", weights: str | Path | None = None, missing: Literal["error", "skip"] = "error"
    ) -> None:
        super().__init__()
        if missing not in ("error", "skip"):
            raise ValueError(f"missing={missing!r}: either error or skip")
        self.net = net
        self.reason: str | None = None
        self._network: tuple[nn.Module, ...] = ()
        try:
            self._network = (load_lpips(net, weights=None if weights is None else Path(weights)),)
        except MissingWeights as error:
            if missing == "error":
                raise
            self.reason = str(error)
            _LOGGER.warning("LPIPS is not measured: %s", error)

    @property
    def key(self) -> str:
        """``lpips``; the backbone is in ``net``."""
        return "lpips"

    def unavailable(self, protocol: Protocol) -> str | None:
        """Why there is no distance: no weights, or a protocol that restores luma only."""
        if self.reason is None and not protocol.colour:
            return f"protocol {protocol.name} restores luma only, LPIPS compares colour images"
        if self.reason is None and protocol.deep:
            return f"protocol {protocol.name} keeps more than 8 bits, LPIPS compares 8-bit pictures"
        return self.reason

    def refuses(self, num_channels: int) -> str | None:
        """LPIPS compares grey or RGB images."""
        if num_channels in (1, 3):
            return None
        return f"LPIPS compares grey or RGB images, these have {counted(num_channels, 'channel')}"

    def per_image(self, restored: Tensor, target: Tensor) -> Tensor:
        """(B,) distances of the images rounded to 8 bit; (0,) where there are no weights."""
        if not self._network:
            return restored.new_zeros(0)
        network = self._network[0].to(restored.device)
        pair = (to_uint8(image).float() / 255 for image in (restored, target))
        return lpips(next(pair), next(pair), network=network)
