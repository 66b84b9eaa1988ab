"""Frozen ImageNet networks that images are compared in: where their weights are found, and how they are loaded.

Nothing is downloaded behind one's back, and nothing but tensors is read from a file.
"""

import os
import pickle
import warnings
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sr_lab.base.words import line, setting

Backbone = Literal["alexnet", "squeezenet1_1", "vgg16", "vgg19"]
Net = Literal["alex", "vgg", "squeeze"]

FOLDER_VARIABLE = "SRLAB_WEIGHTS"

ADDRESSES: dict[Backbone, str] = {
    "alexnet": "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth",
    "squeezenet1_1": "https://download.pytorch.org/models/squeezenet1_1-b8a52dc0.pth",
    "vgg16": "https://download.pytorch.org/models/vgg16-397923af.pth",
    "vgg19": "https://download.pytorch.org/models/vgg19-dcbb9e9d.pth",
}
"""torchvision's files (``IMAGENET1K_V1``); each is named by the first digits of its SHA-256."""
_BACKBONE_OF: dict[str, Backbone] = {"alex": "alexnet", "vgg": "vgg16", "squeeze": "squeezenet1_1"}


class MissingWeights(OSError):
    """The backbone's weights are not where they were looked for."""


def backbone_of(net: Net) -> Backbone:
    """The backbone that LPIPS ``net`` is built on.

    Raises:
        ValueError: if there is no such LPIPS.
    """
    if net not in get_args(Net):
        raise ValueError(f"net={net!r}: LPIPS has {', '.join(get_args(Net))}")
    return _BACKBONE_OF[net]


def find_weights(backbone: Backbone, weights: Path | None = None, *, user: str, remedy: str) -> Path:
    """File with the ImageNet weights of a backbone.

    Args:
        backbone: torchvision's name.
        weights: A file, or a folder with torchvision's file or with ``<backbone>_features.pth``; by default
            ``weights_folder()``.
        user: What needs the weights, as the error's first words.
        remedy: What else can be done, as the error's last words.

    Raises:
        MissingWeights: with the name of the file, its address and where to put it.
        ValueError: if there is no such backbone.
    """
    if backbone not in ADDRESSES:
        raise ValueError(f"backbone={backbone!r}: there are {', '.join(ADDRESSES)}")
    address = ADDRESSES[backbone]
    file_name = address.rsplit("/", 1)[-1]
    if weights is not None and weights.is_file():
        return weights
    folder = weights_folder() if weights is None else weights
    for candidate in (folder / file_name, folder / f"{backbone}_features.pth"):
        if candidate.is_file():
            return candidate
    raise MissingWeights(
        f"{user} needs torchvision's {backbone} weights and downloads nothing by itself: "
        f"`{line('weights', setting('fetch', backbone))}` brings them. Or put {file_name} (from {address}) "
        f"or {backbone}_features.pth into {folder}, name a folder that has them by {FOLDER_VARIABLE}=DIR, or {remedy}"
    )


def weights_folder() -> Path:
    """Where weights are looked for and brought to: ``SRLAB_WEIGHTS``, by default torchvision's own cache."""
    named = os.environ.get(FOLDER_VARIABLE)
    return Path(named) if named else Path(torch.hub.get_dir()) / "checkpoints"


def load_features(backbone: Backbone, path: Path) -> nn.Sequential:
    """The convolutional part of a torchvision network, frozen, on CPU, in evaluation mode.

    Args:
        backbone: torchvision's name.
        path: from ``find_weights``: a full torchvision state dict or its ``features.*`` part.

    Raises:
        ValueError: if the file is damaged or holds another network.
    """
    import torchvision.models as models  # here, because it takes two seconds

    with _Undrawn():
        features: nn.Sequential = getattr(models, backbone)(weights=None).features
    fill_features(features, path, backbone)
    return features.eval().requires_grad_(False)


def fill_features(features: nn.Module, path: Path, backbone: Backbone, *, skip_name: bool = False) -> None:
    """Copies the weights at ``path`` into the convolutions of ``features``.

    Args:
        features: changed in place.
        path: see ``load_features``.
        backbone: what the file must hold.
        skip_name: whether the first part of each name is the holder's own (``slice1.0.weight``).

    Raises:
        ValueError: see ``load_features``.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise ValueError(f"{path} is not a file of tensors: {str(error).splitlines()[0]}") from error
    with torch.no_grad():
        for key, parameter in features.named_parameters():
            source = "features." + (key.partition(".")[2] if skip_name else key)
            if not isinstance(state, dict) or source not in state or state[source].shape != parameter.shape:
                raise ValueError(f"{path} does not hold the weights of {backbone}: {source} missing or misshapen")
            parameter.copy_(state[source])


def load_lpips(net: Net, path: Path) -> nn.Module:
    """The LPIPS network of the lpips package, frozen, on CPU, in evaluation mode.

    Build it once, not for each image: its file is read each time.

    Args:
        net: backbone.
        path: from ``find_weights``.

    Raises:
        ValueError: if the file is damaged or holds another network.
    """
    import lpips as lpips_package

    backbone = backbone_of(net)
    with _Undrawn(), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # the package still says pretrained=False to torchvision
        network: nn.Module = lpips_package.LPIPS(net=net, pnet_rand=True, verbose=False)
    fill_features(network.get_submodule("net"), path, backbone, skip_name=True)
    return network.eval().requires_grad_(False)


class _Undrawn(TorchFunctionMode):
    """Modules that are made within draw no initial weights: for those whose weights are read from a file."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == "torch.nn.init":
            return kwargs["tensor"] if "tensor" in kwargs else args[0]
        return func(*args, **kwargs)


def three_channels(image: Tensor) -> Tensor:
    """(B, 1 or 3, H, W) -> (B, 3, H, W): grey in all three.

    Raises:
        ValueError: if the image is neither grey nor RGB.
    """
    if image.ndim != 4 or image.shape[1] not in (1, 3):
        raise ValueError(f"an image {tuple(image.shape)} is neither grey nor RGB: the backbones know nothing else")
    return image.expand(-1, 3, -1, -1)
