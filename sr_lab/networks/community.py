"""Architectures of the community, loaded from their weights alone by spandrel (an optional dependency)."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from sr_lab.base.extras import install
from sr_lab.base.words import counted
from sr_lab.networks.base import Network
from sr_lab.networks.keys import read_weights, readings
from sr_lab.networks.padding import cut, pad_to_multiple


class Community(Network):
    """A network of spandrel's, rebuilt from plain values.

    ``load_community`` makes one from a file of weights; ``config`` describes it, so that an artefact of a fine-tuned
    one can be loaded without that file. Sizes that the architecture does not take are padded by reflection.

    Args:
        scale: enlargement factor.
        num_channels: channels of input and output.
        architecture: package of ``spandrel.architectures`` and class in it, as ``ESRGAN.ESRGAN``.
        arguments: plain arguments of that class.
        multiple: what height and width of its input must be multiples of.
        minimum: least height and width of its input.

    Raises:
        ValueError: if spandrel is missing or does not know the architecture.
    """

    def __init__(
        self,
        *,
        scale: int,
        num_channels: int,
        architecture: str,
        arguments: Mapping[str, Any],
        multiple: int = 1,
        minimum: int = 1,
    ) -> None:
        super().__init__(scale=scale, num_channels=num_channels)
        package, _, name = architecture.partition(".")
        known = _spandrel().MAIN_REGISTRY
        module = _spandrel(f".architectures.{package}") if package in known else None
        model_class = getattr(module, name, None)
        if not (isinstance(model_class, type) and issubclass(model_class, torch.nn.Module)):
            raise ValueError(f"architecture={architecture!r}: spandrel has none of this name")
        self.architecture = architecture
        self.arguments = dict(arguments)
        self.multiple, self.minimum = multiple, minimum
        self.stride = multiple
        self.model = model_class(**self.arguments)
        self.config = {
            "_target_": f"{type(self).__module__}.{type(self).__name__}",
            "scale": scale,
            "num_channels": num_channels,
            "architecture": architecture,
            "arguments": self.arguments,
            "multiple": multiple,
            "minimum": minimum,
        }

    def forward(self, low: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h * scale, w * scale)."""
        height, width = low.shape[-2:]
        restored = self.model(pad_to_multiple(low, self.multiple, minimum=self.minimum))
        image: Tensor = restored[0] if isinstance(restored, tuple | list) else restored
        return cut(image, height * self.scale, width * self.scale)


def load_community(*, path: str, scale: int | None = None, num_channels: int | None = None) -> Community:
    """The network that a file of weights belongs to, with these weights, in evaluation mode.

    Args:
        path: ``.safetensors``, ``.pth``, ``.pt`` or ``.ckpt``; read as tensors only, nothing in it is executed.
        scale: Enlargement factor that the caller needs; None takes what the file has.
        num_channels: Number of channels that the caller needs; None takes what the file has.

    Raises:
        FileNotFoundError: if there is no file.
        ValueError: if it holds more than weights, spandrel does not know them, the network is no plain
            image-to-image one with as many channels out as in, or ``scale`` or ``num_channels`` differs.
    """
    file = Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"no weights at {path}")
    spandrel = _spandrel()
    descriptor, refused = None, None
    for state in readings(read_weights(file)):
        try:
            descriptor = spandrel.ModelLoader().load_from_state_dict(spandrel.canonicalize_state_dict(state))
            break
        except (spandrel.UnsupportedModelError, KeyError, RuntimeError) as error:
            refused = refused or error
    if descriptor is None:
        assert refused is not None
        raise ValueError(
            f"{path}: spandrel {spandrel.__version__} does not know these weights: {_first_line(refused)}"
        ) from refused
    title = f"{path} ({descriptor.architecture.name}, x{descriptor.scale})"
    if not isinstance(descriptor, spandrel.ImageModelDescriptor) or descriptor.size_requirements.square:
        raise ValueError(f"{title} is not a network from image to image of any shape")
    if descriptor.input_channels != descriptor.output_channels:
        raise ValueError(
            f"{title} makes {counted(descriptor.output_channels, 'channel')} of {descriptor.input_channels}"
        )
    if scale not in (None, descriptor.scale):
        raise ValueError(f"{title} is for another factor than scale={scale}: give scale={descriptor.scale}")
    if num_channels not in (None, descriptor.input_channels):
        raise ValueError(f"{title} needs num_channels={descriptor.input_channels}, not {num_channels}")
    model = descriptor.model
    package = descriptor.architecture.id
    network = Community(
        scale=descriptor.scale,
        num_channels=descriptor.input_channels,
        architecture=f"{package}.{_public_name(package, model)}",
        arguments=_plain(model.hyperparameters),
        multiple=descriptor.size_requirements.multiple_of,
        minimum=max(1, descriptor.size_requirements.minimum),
    ).eval()
    network.model.load_state_dict(model.state_dict())
    _check_same(network, descriptor, title)
    return network


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else "no architecture fits"


def _check_same(network: Community, descriptor: Any, title: str) -> None:
    """Some architectures need more than a plain call; what they are given by spandrel must be what we give."""
    side = -(-max(16, network.minimum) // network.multiple) * network.multiple
    low = torch.rand(1, network.num_channels, side, side, generator=torch.Generator().manual_seed(0))
    problem = ValueError(f"{title} needs more than the image, or makes more of it: it is no plain network")
    try:
        with torch.no_grad():
            expected, restored = descriptor(low), network(low).clamp(0, 1)
    except (RuntimeError, TypeError) as error:
        raise problem from error
    if restored.shape != expected.shape or not torch.allclose(restored, expected, atol=1e-4):
        raise problem


def _public_name(package: str, model: torch.nn.Module) -> str:
    module = _spandrel(f".architectures.{package}")
    return next(name for name in vars(module) if getattr(module, name) is type(model))


def _plain(value: Any) -> Any:
    """Arguments as YAML can hold them; classes and functions are left out, the architecture's defaults take over."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items() if not callable(item)}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(item) for item in value]
    return value


def _spandrel(part: str = "") -> ModuleType:
    try:
        return importlib.import_module(f"spandrel{part}")
    except ModuleNotFoundError as error:
        raise ValueError(f"weights of other architectures need spandrel: {install('spandrel')}") from error
