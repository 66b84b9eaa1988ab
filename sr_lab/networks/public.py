"""Which of our networks a file of public weights is of: its settings are those that its tensors have."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

_WIDE = 256
"""Channels from which on EDSR's residuals are scaled by 0.1, in the paper and in every published file."""


def network_node(weights: Mapping[str, Tensor], *, scale: int | None = None) -> dict[str, Any] | None:
    """The configuration of the network that public weights are of; None where it is none that is known by heart.

    Known are EDSR (EDSR-PyTorch, BasicSR), RDN (EDSR-PyTorch, RDN-pytorch / MMagic), SRCNN (SRCNN-pytorch), and our own
    names of each. Sizes are read off the tensors. What no tensor tells is as published: residuals of EDSR count 0.1
    from 256 channels on; RDN sees the range of 255 in EDSR-PyTorch's names, that of 1 in RDN-pytorch's and MMagic's.

    Args:
        weights: The tensors under their authors' names.
        scale: Enlargement factor, for SRCNN, whose weights do not tell it.

    Raises:
        ValueError: If the factor is needed and not given.
    """
    return _edsr(weights) or _rdn(weights) or _srcnn(weights, scale)


def _edsr(weights: Mapping[str, Tensor]) -> dict[str, Any] | None:
    head = _first(weights, ("head.0.weight", "head.weight", "conv_first.weight"))
    blocks = _count(weights, r"body\.(\d+)\.(?:body\.0|conv1)\.weight")
    after = _first(weights, (f"body.{blocks}.weight", "conv_after_body.weight"))
    if head is None or after is None or not blocks:
        return None
    if not any(key in weights for key in ("tail.1.weight", "tail.weight", "conv_last.weight")):
        return None
    features, channels = head.shape[:2]
    node = {
        "_target_": "sr_lab.networks.edsr.EDSR",
        "scale": _enlargement(weights, r"(?:tail\.0|upsample|upsampler)\.\d+\.weight"),
        "num_channels": channels,
        "num_blocks": blocks,
        "num_features": features,
        "res_scale": 0.1 if features >= _WIDE else 1.0,
    }
    if "sub_mean.bias" in weights:
        shift = weights["sub_mean.bias"].flatten()
        node["value_range"] = 255.0 if float(shift.abs().max()) > 1 else 1.0
        node["mean"] = [round(-value / node["value_range"], 6) for value in shift.tolist()]
    return node


def _rdn(weights: Mapping[str, Tensor]) -> dict[str, Any] | None:
    head = _first(weights, ("SFENet1.weight", "sfe1.weight", "head.weight"))
    blocks = _count(weights, r"(?:RDBs|rdbs|blocks)\.(\d+)\.")
    layers = _count(weights, r"(?:RDBs|rdbs|blocks)\.0\.(?:convs|layers)\.(\d+)\.")
    first = _first(weights, [f"{name}.0.{layer}.weight" for name in ("RDBs", "rdbs", "blocks")
                             for layer in ("convs.0.conv.0", "layers.0.conv", "layers.0")])  # fmt: skip
    if head is None or first is None or not blocks or not layers:
        return None
    features, channels = head.shape[:2]
    return {
        "_target_": "sr_lab.networks.rdn.RDN",
        "scale": _enlargement(weights, r"(?:UPNet|upscale|upsampler)\.(?:\d+\.)+weight"),
        "num_channels": channels,
        "num_blocks": blocks,
        "num_layers": layers,
        "growth": first.shape[0],
        "num_features": features,
        "value_range": 1.0 if "sfe1.weight" in weights else 255.0,
    }


def _srcnn(weights: Mapping[str, Tensor], scale: int | None) -> dict[str, Any] | None:
    for names in (("conv1", "conv2", "conv3"), ("layers.0", "layers.2", "layers.4")):
        if set(weights) == {f"{name}.{kind}" for name in names for kind in ("weight", "bias")}:
            break
    else:
        return None
    first, second, third = (weights[f"{name}.weight"] for name in names)
    if third.shape[0] != first.shape[1]:
        return None
    if scale is None:
        raise ValueError("these are weights of SRCNN, which do not tell their enlargement factor: give scale=...")
    return {
        "_target_": "sr_lab.networks.srcnn.SRCNN",
        "scale": scale,
        "num_channels": first.shape[1],
        "num_features": [first.shape[0], second.shape[0]],
        "kernels": [first.shape[-1], second.shape[-1], third.shape[-1]],
    }


def _first(weights: Mapping[str, Tensor], names: Sequence[str]) -> Tensor | None:
    return next((weights[name] for name in names if name in weights and weights[name].ndim == 4), None)


def _count(weights: Mapping[str, Tensor], pattern: str) -> int:
    """How many different numbers the pattern finds in the names."""
    return len({found.group(1) for key in weights if (found := re.match(pattern, key))})


def _enlargement(weights: Mapping[str, Tensor], pattern: str) -> int:
    """The product of what the convolutions before sub-pixel shuffles enlarge by."""
    scale = 1
    for key, tensor in weights.items():
        if re.fullmatch(pattern, key) and tensor.ndim == 4:
            factor = math.isqrt(tensor.shape[0] // tensor.shape[1])
            if factor > 1 and factor**2 * tensor.shape[1] == tensor.shape[0]:
                scale *= factor
    return scale
