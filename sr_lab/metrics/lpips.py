"""Learned perceptual distance (LPIPS v0.1), on backbone weights that are never downloaded behind one's back."""

import logging
import pickle
import warnings
from pathlib import Path
from typing import Literal, get_args

import torch
import torchvision.models as backbones
from torch import Tensor, nn

from sr_lab.images import to_uint8
from sr_lab.metrics.base import PerImageMetric
from sr_lab.metrics.protocol import Protocol

Net = Literal["alex", "vgg", "squeeze"]

_LOGGER = logging.getLogger(__name__)
_MIN_SIZE = 32


class MissingWeights(OSError):
    """The backbone's weights are not where they were looked for."""


def _backbone(net: Net) -> tuple[str, str]:
    """Name (torchvision's) of the backbone and the address of its ImageNet weights."""
    if net not in get_args(Net):
        raise ValueError(f"net={net!r}: LPIPS has {', '.join(get_args(Net))}")
    name, weights = {
        "alex": ("alexnet", backbones.AlexNet_Weights.IMAGENET1K_V1),
        "vgg": ("vgg16", backbones.VGG16_Weights.IMAGENET1K_V1),
        "squeeze": ("squeezenet1_1", backbones.SqueezeNet1_1_Weights.IMAGENET1K_V1),
    }[net]
    return name, str(weights.url)


def find_weights(net: Net, weights: Path | None = None) -> Path:
    """File with the ImageNet weights of the backbone.

    Args:
        net: which LPIPS.
        weights: a file, or a folder with torchvision's file or with ``<backbone>_features.pth``; by default
            torchvision's own cache.

    Raises:
        MissingWeights: with the name of the file, its address and where to put it.
    """
    name, address = _backbone(net)
    file_name = address.rsplit("/", 1)[-1]
    if weights is not None and weights.is_file():
        return weights
    folder = Path(torch.hub.get_dir()) / "checkpoints" if weights is None else weights
    for candidate in (folder / file_name, folder / f"{name}_features.pth"):
        if candidate.is_file():
            return candidate
    raise MissingWeights(
        f"LPIPS ({net}) needs torchvision's {name} weights and downloads nothing by itself: put {file_name} "
        f"(from {address}) or {name}_features.pth into {folder}, or name a file or folder with "
        f"metrics.lpips.weights=PATH; with missing=skip the distance is left out and recorded as not measured"
    )


def load_lpips(net: Net = "alex", *, weights: Path | None = None) -> nn.Module:
    """The LPIPS network of the lpips package, frozen, on CPU, in evaluation mode.

    It costs about a second to build: build it once, not for each image.

    Args:
        net: backbone; ``alex`` is the authors' recommendation for comparing, ``vgg`` for training.
        weights: see ``find_weights``. Either a full torchvision state dict or its ``features.*`` part; loaded
            without unpickling anything but tensors.

    Raises:
        MissingWeights: if the weights are not there.
        ValueError: if the file is damaged or holds another network.
    """
    path = find_weights(net, weights)
    import lpips as lpips_package

    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the package still says pretrained=False to torchvision
        network: nn.Module = lpips_package.LPIPS(net=net, pnet_rand=True, verbose=False)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path} is not a file of tensors: {str(error).splitlines()[0]}") from error
    with torch.no_grad():
        for key, parameter in network.get_submodule("net").named_parameters():
            source = "features." + key.partition(".")[2]
            if not isinstance(state, dict) or source not in state or state[source].shape != parameter.shape:
                raise ValueError(
                    f"{path} does not hold the weights of {_backbone(net)[0]}: {source} missing or misshapen"
                )
            parameter.copy_(state[source])
    return network.eval().requires_grad_(False)


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
        net: backbone.
        weights: file or folder of the backbone's weights; by default torchvision's cache.
        missing: without weights, ``error`` raises at once; ``skip`` measures nothing, says so in the log and in
            ``reason``, and ``compute`` returns NaN.
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
        return self.reason

    def per_image(self, restored: Tensor, target: Tensor) -> Tensor:
        """(B,) distances of the images rounded to 8 bit; (0,) where there are no weights."""
        if not self._network:
            return restored.new_zeros(0)
        network = self._network[0].to(restored.device)
        pair = (to_uint8(image).float() / 255 for image in (restored, target))
        return lpips(next(pair), next(pair), network=network)
