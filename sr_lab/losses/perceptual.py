"""Losses that compare images as an ImageNet network sees them: features, and LPIPS.

A loss and the LPIPS that is reported should not share a backbone: train on ``squeeze``, report ``alex``.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sr_lab.backbones import Net, backbone_of, find_weights, load_features, load_lpips, three_channels
from sr_lab.losses.base import Frozen, Loss

FeatureNet = Literal["alexnet", "squeezenet1_1", "vgg19"]

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's photos in [0, 1], red, green, blue."""

_FAMILY: dict[FeatureNet, Net] = {"alexnet": "alex", "squeezenet1_1": "squeeze", "vgg19": "vgg"}
_VGG19_BLOCKS = (2, 2, 4, 4, 4)
_MIN_SIZE = 32
_LPIPS_EPSILON = 1e-10


def layer_names(backbone: FeatureNet) -> list[str]:
    """Names of the layers whose output can be compared, in their order.

    VGG19: ``conv<block>_<number>`` as in the paper, conv1_1 to conv5_4; AlexNet: ``conv1`` to ``conv5``; SqueezeNet:
    ``conv1``, ``fire2`` to ``fire9``.
    """
    if backbone == "vgg19":
        return [f"conv{block}_{i}" for block, size in enumerate(_VGG19_BLOCKS, 1) for i in range(1, size + 1)]
    if backbone == "alexnet":
        return [f"conv{number}" for number in range(1, 6)]
    return ["conv1", *(f"fire{number}" for number in range(2, 10))]


class _FireBeforeReLU(nn.Module):
    """A fire module of SqueezeNet without the ReLU at its end."""

    def __init__(self, fire: Any) -> None:
        super().__init__()
        self.squeeze, self.narrow, self.wide = fire.squeeze, fire.expand1x1, fire.expand3x3

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C', h, w)."""
        squeezed = F.relu(self.squeeze(features))
        return torch.cat([self.narrow(squeezed), self.wide(squeezed)], 1)


class FeatureExtractor(nn.Module):
    """Named features of an ImageNet network, before their ReLU.

    Args:
        backbone: torchvision's name.
        path: its weights, from ``sr_lab.backbones.find_weights``.
        layers: see ``layer_names``; the network ends after the last of them.

    Raises:
        ValueError: if a layer does not exist, or the file does not hold the network.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, *, backbone: FeatureNet, path: Path, layers: list[str]) -> None:
        super().__init__()
        known = layer_names(backbone)
        if unknown := [name for name in layers if name not in known]:
            raise ValueError(f"layers names {unknown[0]!r}: {backbone} has {', '.join(known)}")
        names = iter(known)
        self.taps: dict[int, str] = {}
        stages: list[nn.Module] = []
        for module in load_features(backbone, path):
            if hasattr(module, "expand3x3"):  # torchvision's Fire
                module = nn.Sequential(_FireBeforeReLU(module), nn.ReLU())
            for stage in module if isinstance(module, nn.Sequential) else [module]:
                if isinstance(stage, nn.Conv2d | _FireBeforeReLU) and (name := next(names)) in layers:
                    self.taps[len(stages)] = name
                stages.append(nn.ReLU() if isinstance(stage, nn.ReLU) else stage)
        self.stages = nn.ModuleList(stages[: max(self.taps) + 1])
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1))
        self.eval().requires_grad_(False)

    def forward(self, image: Tensor) -> dict[str, Tensor]:
        """(B, 1 or 3, H, W) in [0, 1] -> features (B, C', h, w) by their layer.

        Raises:
            ValueError: if the image is neither grey nor RGB, or below 32x32.
        """
        if min(image.shape[-2:]) < _MIN_SIZE:
            size = f"{image.shape[-2]}x{image.shape[-1]}"
            raise ValueError(f"images of {size}: a perceptual loss needs at least {_MIN_SIZE}x{_MIN_SIZE}")
        features = (three_channels(image) - self.mean) / self.std
        found = {}
        for index, stage in enumerate(self.stages):
            features = stage(features)
            if index in self.taps:
                found[self.taps[index]] = features
        return found


class Perceptual(Loss):
    """Weighted sum over layers of the mean absolute difference of features before their ReLU.

    ESRGAN (arXiv:1809.00219, section 3.3) compares conv5_4 of VGG19, Real-ESRGAN (arXiv:2107.10833) five layers of it.
    The network runs in the precision of the run, the differences are float32. It is frozen and no part of the owner's
    state: a checkpoint does not carry it.

    Args:
        layers: Weight of each layer by its name, see ``layer_names``.
        backbone: ``vgg19``, ``alexnet`` or ``squeezenet1_1``.
        weights: File or folder of the backbone's weights; by default torchvision's cache.
        weight: See ``Loss``.

    Raises:
        MissingWeights: if the weights are not there; it says which file to put where.
        ValueError: if there is no layer, a layer or a weight that cannot be.
    """

    def __init__(
        self,
        *,
        layers: Mapping[str, float],
        backbone: FeatureNet = "vgg19",
        weights: str | Path | None = None,
        weight: float = 1.0,
    ) -> None:
        super().__init__(weight=weight)
        if not layers or min(layers.values()) <= 0:
            raise ValueError(f"layers={dict(layers)}: name at least one, each with a positive weight")
        path = find_weights(
            backbone,
            None if weights is None else Path(weights),
            user="the perceptual loss",
            remedy="name a file or folder with losses.perceptual.weights=PATH, or choose another backbone",
        )
        self.layers, self.backbone = dict(layers), backbone
        self._extractor = Frozen(FeatureExtractor(backbone=backbone, path=path, layers=list(layers)))

    @property
    def backbones(self) -> Sequence[Net]:
        """The one network; see ``Loss``."""
        return (_FAMILY[self.backbone],)

    def forward(self, restored: Tensor, target: Tensor) -> Tensor:
        """Scalar, in units of the features."""
        extractor = self._extractor.on(restored.device)
        with torch.no_grad():
            wanted = extractor(target)
        found = extractor(restored)
        terms = [weight * F.l1_loss(found[name].float(), wanted[name].float()) for name, weight in self.layers.items()]
        return torch.stack(terms).sum()


class LPIPS(Loss):
    """The learned perceptual distance v0.1 (Zhang et al. 2018, arXiv:1801.03924) as a loss, averaged over the batch.

    The value is that of the lpips package; the gradient is finite where all features of a place are zero, which the
    package's is not. Always in float32.

    Args:
        net: ``squeeze``, ``vgg`` or ``alex``; not the one that is reported.
        weights: File or folder of the backbone's weights; by default torchvision's cache.
        weight: See ``Loss``.

    Raises:
        MissingWeights: if the weights are not there; it says which file to put where.
    """

    def __init__(self, *, net: Net = "squeeze", weights: str | Path | None = None, weight: float = 1.0) -> None:
        super().__init__(weight=weight)
        path = find_weights(
            backbone_of(net),
            None if weights is None else Path(weights),
            user=f"LPIPS ({net}) as a loss",
            remedy="name a file or folder with losses.lpips.weights=PATH",
        )
        self.net = net
        self._network = Frozen(load_lpips(net, path))

    @property
    def backbones(self) -> Sequence[Net]:
        """The one network; see ``Loss``."""
        return (self.net,)

    def forward(self, restored: Tensor, target: Tensor) -> Tensor:
        """Scalar, 0 where the images are equal."""
        network = self._network.on(restored.device)
        with torch.autocast(restored.device.type, enabled=False):
            found, wanted = (
                network.net(network.scaling_layer(three_channels(image.float()) * 2 - 1))
                for image in (restored, target.detach())
            )
            distances = [
                layer((_unit(one) - _unit(other)).square()).mean()
                for layer, one, other in zip(network.lins, found, wanted, strict=True)
            ]
        return torch.stack(distances).sum()


def _unit(features: Tensor) -> Tensor:
    """Features of unit length over the channels; zeros stay zeros, with a gradient of zero."""
    length = features.square().sum(1, keepdim=True).clamp_min(_LPIPS_EPSILON**2).sqrt()
    return features / (length + _LPIPS_EPSILON)
