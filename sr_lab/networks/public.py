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

    Known are BasicVSR under BasicSR's names, and under those of ``layouts_of`` EDSR, RDN, SRCNN, FSRCNN, RRDBNet,
    Compact and the lightweight SwinIR, all but the last under our own too. Sizes are read off the tensors. What no
    tensor tells is as published: residuals of EDSR count 0.1 from 256 channels on; EDSR sees the range of 255, in
    MMagic's names that of 1; RDN that of 255 in EDSR-PyTorch's names, that of 1 in RDN-pytorch's (its test.py divides
    by 255) and MMagic's.

    Args:
        weights: The tensors under their authors' names.
        scale: Enlargement factor, for SRCNN and FSRCNN, whose weights do not tell it.

    Raises:
        ValueError: If the factor is needed and not given.
    """
    return (
        _basicvsr(weights) or _edsr(weights) or _rdn(weights) or _rrdb(weights) or _compact(weights) or _swinir(weights)
        or _srcnn(weights, scale) or _fsrcnn(weights, scale)
    )  # fmt: skip


def _basicvsr(weights: Mapping[str, Tensor]) -> dict[str, Any] | None:
    head, flow = weights.get("backward_trunk.main.0.weight"), weights.get("spynet.basic_module.0.basic_module.0.weight")
    if head is None or flow is None or "fusion.weight" not in weights or "upconv2.weight" not in weights:
        return None
    return {
        "_target_": "sr_lab.networks.temporal.basicvsr.BasicVSR",
        "scale": 4,
        "num_channels": 3,
        "num_features": head.shape[0],
        "num_blocks": _count(weights, r"backward_trunk\.main\.2\.(\d+)\."),
    }


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
        "scale": _enlargement(weights, r"(?:tail\.0|upsample|upsampler)\.\d+\.(?:upsample_conv\.)?weight"),
        "num_channels": channels,
        "num_blocks": blocks,
        "num_features": features,
        "res_scale": 0.1 if features >= _WIDE else 1.0,
    }
    if "sub_mean.bias" in weights:
        shift = weights["sub_mean.bias"].flatten()
        node["value_range"] = 255.0 if float(shift.abs().max()) > 1 else 1.0
        node["mean"] = [round(-value / node["value_range"], 6) for value in shift.tolist()]
    elif "upsample.0.upsample_conv.weight" in weights:
        node["value_range"] = 1.0
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
    return {
        "_target_": "sr_lab.networks.srcnn.SRCNN",
        "scale": _given(scale, "SRCNN"),
        "num_channels": first.shape[1],
        "num_features": [first.shape[0], second.shape[0]],
        "kernels": [first.shape[-1], second.shape[-1], third.shape[-1]],
    }


def _fsrcnn(weights: Mapping[str, Tensor], scale: int | None) -> dict[str, Any] | None:
    first = _first(weights, ("first_part.0.weight", "feature_extraction.0.weight", "features.0.weight"))
    shrink = _first(weights, ("mid_part.0.weight", "shrink.0.weight", "features.2.weight"))
    last = _first(weights, ("last_part.weight", "deconv.weight"))
    if first is None or shrink is None or last is None:
        return None
    layers = [key for key, tensor in weights.items() if tensor.ndim == 4]
    return {
        "_target_": "sr_lab.networks.fsrcnn.FSRCNN",
        "scale": _given(scale, "FSRCNN"),
        "num_channels": first.shape[1],
        "num_features": first.shape[0],
        "num_shrunk": shrink.shape[0],
        "num_mapping": len(layers) - 4,
    }


def _rrdb(weights: Mapping[str, Tensor]) -> dict[str, Any] | None:
    head = _first(weights, ("conv_first.weight", "model.0.weight", "head.weight"))
    blocks = _count(weights, r"(?:RRDB_trunk|body|model\.1\.sub)\.(\d+)\.(?:RDB1|rdb1|blocks\.0)\.")
    inner = _first(weights, ("RRDB_trunk.0.RDB1.conv1.weight", "body.0.rdb1.conv1.weight",
                             "model.1.sub.0.RDB1.conv1.0.weight", "body.0.blocks.0.layers.0.weight"))  # fmt: skip
    stages = _count(weights, r"(?:upconv|conv_up|upsampler\.)(\d+)\.weight")
    if "model.0.weight" in weights:  # a sequence: head, body, an enlargement every third, the last two
        numbers = [int(key.split(".")[1]) for key in weights if re.fullmatch(r"model\.\d+\.weight", key)]
        stages, tail = len(numbers) - 3, weights.get(f"model.{max(numbers)}.weight")
    else:
        tail = _first(weights, ("conv_last.weight", "tail.weight"))
    if head is None or inner is None or tail is None or not blocks:
        return None
    features, entering = head.shape[:2]
    # Two enlargements by 2: x4, of an image that was unshuffled by 2 or 4 first x2 or x1; three: x8.
    scale = {(2, 1): 4, (2, 4): 2, (2, 16): 1, (3, 1): 8}.get((stages, entering // tail.shape[0]))
    return None if scale is None else {
        "_target_": "sr_lab.networks.rrdb.RRDBNet",
        "scale": scale,
        "num_channels": tail.shape[0],
        "num_blocks": blocks,
        "num_features": features,
        "growth": inner.shape[0],
    }  # fmt: skip


def _compact(weights: Mapping[str, Tensor]) -> dict[str, Any] | None:
    numbers = [int(found[1]) for key in weights if (found := re.fullmatch(r"body\.(\d+)\.weight", key))]
    head = _first(weights, ("body.0.weight",))
    if (
        head is None
        or len(numbers) < 3
        or any(weights[f"body.{k}.weight"].ndim != (1 if k % 2 else 4) for k in numbers)
    ):
        return None
    inside = "upsampler.0.weight" not in weights  # Real-ESRGAN counts the last convolution with the body
    last = weights[f"body.{max(numbers)}.weight" if inside else "upsampler.0.weight"]
    features, channels = head.shape[:2]
    scale = math.isqrt(last.shape[0] // channels)
    if scale**2 * channels != last.shape[0]:
        return None
    return {
        "_target_": "sr_lab.networks.compact.Compact",
        "scale": scale,
        "num_channels": channels,
        "num_features": features,
        "num_convs": (len(numbers) - inside) // 2 - 1,
    }


def _swinir(weights: Mapping[str, Tensor]) -> dict[str, Any] | None:
    """The lightweight one: a single pixel shuffle makes the image, and no convolution comes after it."""
    head, last = _first(weights, ("conv_first.weight",)), _first(weights, ("upsample.0.weight",))
    place = "layers.0.residual_group.blocks.0."
    table, wide = (weights.get(place + name) for name in ("attn.relative_position_bias_table", "mlp.fc1.weight"))
    if head is None or last is None or table is None or wide is None or "conv_last.weight" in weights:
        return None
    features, channels = head.shape[:2]
    return {
        "_target_": "sr_lab.networks.swinir.SwinIR",
        "scale": math.isqrt(last.shape[0] // channels),
        "num_channels": channels,
        "num_features": features,
        "num_groups": _count(weights, r"layers\.(\d+)\."),
        "num_layers": _count(weights, r"layers\.0\.residual_group\.blocks\.(\d+)\."),
        "num_heads": table.shape[1],
        "window": (math.isqrt(table.shape[0]) + 1) // 2,
        "mlp_ratio": wide.shape[0] / features,
    }


def _given(scale: int | None, name: str) -> int:
    """The enlargement factor, for weights that do not tell it."""
    if scale is None:
        raise ValueError(f"these are weights of {name}, which do not tell their enlargement factor: give scale=...")
    return scale


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
