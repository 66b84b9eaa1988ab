"""The hash of a network: of its weights and of everything that says how it computes."""

import hashlib
import json

import torch
from torch import nn

from sr_lab.base.version import __version__


def network_hash(network: nn.Module, *more: object) -> str:
    """32 digits that are others for another network: its state, and the classes and plain settings of its parts.

    Args:
        network: any module.
        more: what else decides what is kept under the hash; JSON has to hold it.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        digest.update(f"{name} {tuple(tensor.shape)} {tensor.dtype} ".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    parts = [
        [name, type(part).__module__, type(part).__qualname__, _plain(part)] for name, part in network.named_modules()
    ]
    digest.update(json.dumps([__version__, parts, more]).encode())
    return digest.hexdigest()[:32]


def _plain(module: nn.Module) -> list[list[str]]:
    """Settings of a module that are numbers or words, and what it says of itself."""
    found = {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, int | float | str) and name not in ("training", "_is_hf_initialized")
    }
    return [*([name, repr(found[name])] for name in sorted(found)), ["", module.extra_repr()]]
