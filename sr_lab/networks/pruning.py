"""Structured pruning: whole filters are taken out, and what remains is a smaller network of the same kind.

EDSR, RRDBNet and Compact take ``widths``, the number of filters of each convolution that may be narrowed, in the order
of ``prunable``: what is pruned is described by its configuration.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sr_lab.base.words import counted
from sr_lab.images import crop_to_multiple, list_images, read_image, resize_bicubic, to_tensor
from sr_lab.networks.base import Network
from sr_lab.networks.compact import Compact
from sr_lab.networks.edsr import EDSR
from sr_lab.networks.rrdb import INNER, DenseBlock, RRDBNet


@dataclass(frozen=True)
class Filters:
    """The filters of one convolution that may be taken out, and who reads their output.

    Attributes:
        layer: name of the convolution.
        readers: names of the convolutions that read it, and the input channel at which it starts there.
        activation: name of a PReLU with one slope a channel behind it.
    """

    layer: str
    readers: tuple[tuple[str, int], ...]
    activation: str | None = None


class Criterion(Protocol):
    """Tells how much each filter matters."""

    def __call__(self, network: Network, filters: Sequence[Filters]) -> list[Tensor]:
        """One score a filter of each layer, (num filters,), 0 and above; the least are taken out first."""


def prunable(network: Network) -> list[Filters]:
    """The convolutions of a network whose filters may be taken out, in the order of its ``widths``.

    Raises:
        ValueError: if the network is not one of EDSR, RRDBNet and Compact.
    """
    if isinstance(network, EDSR):
        blocks = range(len(network.body) - 1)
        return [Filters(f"body.{k}.body.0", ((f"body.{k}.body.2", 0),)) for k in blocks]
    if isinstance(network, Compact):
        inner = range(0, len(network.body), 2)
        after = [*(f"body.{k}" for k in inner[1:]), "upsampler.0"]
        return [Filters(f"body.{k}", ((reader, 0),), f"body.{k + 1}") for k, reader in zip(inner, after, strict=True)]
    if isinstance(network, RRDBNet):
        return list(_dense_filters(network))
    raise ValueError(f"{type(network).__name__} cannot be pruned: EDSR, RRDBNet and Compact can")


def _dense_filters(network: RRDBNet) -> Iterator[Filters]:
    for name, block in network.named_modules():
        if not isinstance(block, DenseBlock):
            continue
        for index in range(INNER):
            start = _convolution(block, f"layers.{index}").in_channels
            later = range(index + 1, INNER + 1)
            yield Filters(f"{name}.layers.{index}", tuple((f"{name}.layers.{k}", start) for k in later))


def choose(scores: Sequence[Tensor], amount: float) -> list[Tensor]:
    """Which filters stay: of every layer the ``1 - amount`` with the highest scores, at least one.

    Args:
        scores: of each layer's filters.
        amount: share of each layer's filters that is taken out, in (0, 1).

    Returns:
        A bool tensor a layer, True where the filter stays.

    Raises:
        ValueError: if ``amount`` is out of range, or no filter would go.
    """
    if not isinstance(amount, int | float) or not 0 < amount < 1:
        raise ValueError(f"amount={amount}: the share of filters to take out, between 0 and 1")
    keep = []
    for score in scores:
        mask = torch.zeros(len(score), dtype=torch.bool)
        mask[score.argsort(descending=True, stable=True)[: max(1, round((1 - amount) * len(score)))].cpu()] = True
        keep.append(mask)
    if all(bool(mask.all()) for mask in keep):
        raise ValueError(f"amount={amount} takes nothing out of layers of {counted(len(keep[0]), 'filter')}: raise it")
    return keep


def narrowed_state(network: Network, keep: Sequence[Tensor]) -> dict[str, Tensor]:
    """The weights of the network without the filters that go, and without the channels that read them.

    The image is that of the whole network with those filters' weights and biases at zero.

    Args:
        network: of which ``prunable`` gives the layers.
        keep: see ``choose``.
    """
    outputs: dict[str, Tensor] = {}
    inputs: dict[str, Tensor] = {}
    modules = dict(network.named_modules())
    for filters, mask in zip(prunable(network), keep, strict=True):
        outputs[filters.layer] = mask
        if filters.activation is not None:
            outputs[filters.activation] = mask
        for reader, start in filters.readers:
            convolution = modules[reader]
            assert isinstance(convolution, nn.Conv2d)
            chosen = inputs.setdefault(reader, torch.ones(convolution.in_channels, dtype=torch.bool))
            chosen[start : start + len(mask)] = mask
    state = {}
    for key, tensor in network.state_dict().items():
        layer = key.rpartition(".")[0]
        if layer in outputs:
            tensor = tensor[outputs[layer]]
        if layer in inputs and tensor.ndim == 4:
            tensor = tensor[:, inputs[layer]]
        state[key] = tensor.clone()
    return state


class L1Norm:
    """A filter matters as much as the sum of its absolute weights (Li et al. 2017, arXiv:1608.08710)."""

    def __call__(self, network: Network, filters: Sequence[Filters]) -> list[Tensor]:
        """See ``Criterion``."""
        return [_convolution(network, item.layer).weight.detach().abs().sum(dim=(1, 2, 3)) for item in filters]


class Taylor:
    """A filter matters as much as the loss would change without it, to first order.

    The square of the sum over a filter of gradient times weight, averaged over photos (Molchanov et al. 2019,
    arXiv:1906.10771, equation 8). The loss is L1 between the restored bicubic low image and the photo.

    Args:
        photos: Folder of originals by which the filters are ranked; not the hold-out.
        num_photos: Number of photos that are looked at, the first by name.
        side: Side of the square in the middle of each photo that is looked at, in pixels of the original.
    """

    def __init__(self, *, photos: str, num_photos: int = 16, side: int = 192) -> None:
        self.files = list_images(Path(photos))[:num_photos]
        if not self.files:
            raise ValueError(f"criterion.photos={photos} holds no image")
        self.side = side

    def __call__(self, network: Network, filters: Sequence[Filters]) -> list[Tensor]:
        """See ``Criterion``."""
        layers = [_convolution(network, item.layer) for item in filters]
        weights = [layer.weight for layer in layers]
        scores = [torch.zeros(len(weight)) for weight in weights]
        for file in self.files:
            high = crop_to_multiple(self._middle(to_tensor(read_image(file))), network.scale)
            low = resize_bicubic(high, scale=1 / network.scale)
            loss = F.l1_loss(network(low), high)
            for score, weight, gradient in zip(scores, weights, torch.autograd.grad(loss, weights), strict=True):
                score += (gradient * weight.detach()).sum(dim=(1, 2, 3)).square() / len(self.files)
        return scores

    def _middle(self, image: Tensor) -> Tensor:
        top, left = (max(0, (length - self.side) // 2) for length in image.shape[-2:])
        return image[..., top : top + self.side, left : left + self.side]


def _convolution(network: nn.Module, name: str) -> nn.Conv2d:
    layer = network.get_submodule(name)
    assert isinstance(layer, nn.Conv2d)
    return layer
