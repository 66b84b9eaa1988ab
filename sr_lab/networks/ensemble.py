"""Several answers to one image, averaged: over the image's symmetries, or over the weights of several networks."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from sr_lab.base.words import counted
from sr_lab.networks.base import GenerativeNetwork, Network


class SelfEnsemble(nn.Module):
    """The mean of a network's images of the 8 flips and turns of its input, each turned back (Timofte et al. 2016).

    Eight times the cost. The mean of the images, not rounded in between. A network that does not care how an image is
    turned gives the same image with and without.

    Args:
        network: any but a generative one.

    Raises:
        ValueError: if the network is generative: a mean of samples is no sample.
    """

    def __init__(self, network: Network) -> None:
        super().__init__()
        if isinstance(network, GenerativeNetwork):
            raise ValueError(f"{type(network).__name__} draws its images: a mean of samples is no sample")
        self.network = network
        self.scale, self.num_channels, self.stride = network.scale, network.num_channels, network.stride

    def forward(self, low: Tensor) -> Tensor:
        """(B, C, h, w) -> (B, C, h * scale, w * scale)."""
        total = None
        for turns in range(4):
            for flipped in (False, True):
                image = torch.rot90(low, turns, (-2, -1))
                restored = self.network(image.flip(-1) if flipped else image)
                restored = torch.rot90(restored.flip(-1) if flipped else restored, -turns, (-2, -1))
                total = restored if total is None else total + restored
        assert total is not None
        return total / 8


def interpolate(states: Sequence[Mapping[str, Tensor]], weights: Sequence[float]) -> dict[str, Tensor]:
    """The weighted mean of the weights of several networks of one architecture.

    Between a network trained for PSNR and one fine-tuned from it with an adversarial loss, it trades fidelity for
    texture (ESRGAN, arXiv:1809.00219, section 3.4). It needs networks with a common past: the mean of two that were
    trained from different initial weights is no network of any use.

    Args:
        states: state dicts with equal names and shapes.
        weights: one for each, adding up to 1.

    Raises:
        ValueError: if names, shapes, or the number or sum of the weights do not fit.
    """
    if len(states) != len(weights) or len(states) < 2:
        raise ValueError(
            f"{counted(len(states), 'network')} and {counted(len(weights), 'weight')}: give at least two, and a "
            f"weight for each"
        )
    if abs(sum(weights) - 1) > 1e-6:
        raise ValueError(f"weights={list(weights)} add up to {sum(weights):g}, not to 1")
    first = states[0]
    for number, state in enumerate(states[1:], 2):
        odd = sorted(first.keys() ^ state.keys()) or [key for key in first if first[key].shape != state[key].shape]
        if odd:
            raise ValueError(f"networks 1 and {number} are of different architectures: {odd[0]} differs")
    mixed = {}
    for key, tensor in first.items():
        if not tensor.is_floating_point():
            mixed[key] = tensor
            continue
        total = sum(weight * state[key].double() for weight, state in zip(weights, states, strict=True))
        assert isinstance(total, Tensor)
        mixed[key] = total.to(tensor.dtype)
    return mixed
