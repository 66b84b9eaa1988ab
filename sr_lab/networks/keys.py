"""Weights under the names of their authors, and warm starts across scales."""

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from sr_lab.networks.edsr import EDSR
from sr_lab.networks.layouts import layouts_of
from sr_lab.networks.temporal.recurrent import RecurrentEDSR

WRAPPERS = ("params_ema", "params-ema", "generator_ema", "g_ema", "netG_ema", "ema", "params", "state_dict",
            "model_state_dict", "netG", "net_g", "generator", "model", "network", "net", "weights")  # fmt: skip
"""Names under which trainers store the weights inside a checkpoint, the preferred first; they may be nested."""
PREFIXES = ("module.", "_orig_mod.", "generator_ema.", "generator.", "netG.", "net_g.")
"""What wrappers of a network (several GPUs, torch.compile, a GAN's training) put before the names of its tensors."""
HOLDERS = ("model.", "network.", "net.")
"""What a trainer's module (a LightningModule) calls its network; an architecture may have a part of that name too."""
_MAX_DEPTH = 4

SCALE_DEPENDENT = ("upsampler.", "head.")
"""Parts whose tensors may depend on the scale: the upsampling, and the first layer of an unshuffling network."""


def read_weights(path: Path) -> dict[str, Any]:
    """The content of a file of weights, read as tensors and plain values only: nothing in it is executed.

    Args:
        path: ``.safetensors``, or what ``torch.save`` wrote.

    Raises:
        FileNotFoundError: if there is no file.
        ValueError: if it holds anything else, or is damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no weights at {path}")
    try:
        with path.open("rb") as file:
            is_safetensors = file.read(9)[8:] == b"{"
        if is_safetensors:
            content: Any = load_file(path)
        else:
            with path.open("rb") as file:  # of a name torch would take the suffix, and not the content
                content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{path} {_what_it_is(path, error)}") from error
    if not isinstance(content, dict) or not content:
        raise ValueError(f"{path} holds no weights")
    return content


def convert_state_dict(state: Mapping[str, Any], network: nn.Module) -> dict[str, Tensor]:
    """The weights of a public checkpoint under the names of ``network``; nothing is changed or loaded.

    Known are, chosen by the names that are there, those of ``layouts_of`` and our own.

    Args:
        state: the content of the checkpoint, see ``unwrap``.
        network: the network that the weights are for.

    Returns:
        Tensors in the type of the network's, for ``network.load_state_dict``.

    Raises:
        ValueError: if no layout fits, or a tensor is missing, left over or of another shape; it names them.
    """
    # SwinIR stores what follows from its window: indices, and masks for the size it was trained with.
    derived = (".relative_position_index", ".attn_mask")
    own = network.state_dict()
    name = type(network).__name__
    layouts = {"sr_lab": lambda key: key, **layouts_of(network)}
    candidates = {layout: {key: public(key) for key in own} for layout, public in layouts.items()}
    read = [{key: value for key, value in one.items() if not key.endswith(derived)} for one in readings(state)]
    weights, layout = max(
        itertools.product(read, candidates),
        key=lambda one: len(one[0].keys() & set(candidates[one[1]].values())),
    )
    mapping = candidates[layout]
    missing = [key for key in mapping.values() if key not in weights]
    if len(missing) == len(mapping):
        raise ValueError(
            f"these are no weights of {name}: none of its tensors is there (known layouts: {', '.join(layouts)}); "
            f"found {_list(sorted(weights))}"
        )
    extra = sorted(weights.keys() - set(mapping.values()))
    if layout == "EDSR-PyTorch" and isinstance(network, EDSR):
        extra = _without_mean_shift(weights, extra, network)
    shapes = [
        f"{public} is {_shape(weights[public])} and not {_shape(tensor)}"
        for public, tensor in zip(mapping.values(), own.values(), strict=True)
        if public in weights and weights[public].shape != tensor.shape
    ]
    problems = [f"missing {_list(missing)}"] if missing else []
    problems += [f"left over {_list(extra)}"] if extra else []
    problems += shapes[:5]
    if problems:
        raise ValueError(
            f"weights in the layout of {layout} do not fit this {name}: {'; '.join(problems)}. "
            "Give the network the scale and the sizes that the weights were trained with"
        )
    return {key: weights[public].to(own[key].dtype) for key, public in mapping.items()}


def public_state_dict(network: nn.Module, layout: str) -> dict[str, Tensor]:
    """The weights of ``network`` under the names of ``layout``: for the tools of others.

    Raises:
        ValueError: if that layout is not known for this network.
    """
    layouts = layouts_of(network)
    if layout not in layouts:
        raise ValueError(
            f"layout={layout!r} is not known for {type(network).__name__}: there are {_list(list(layouts))}"
        )
    state = {layouts[layout](key): tensor for key, tensor in network.state_dict().items()}
    if layout == "EDSR-PyTorch" and isinstance(network, EDSR):
        state |= _mean_shift(network)
    return state


def warm_start(network: nn.Module, source: Mapping[str, Tensor]) -> list[str]:
    """Loads what a network of another scale has learned: all but the tensors that depend on the scale.

    The authors of EDSR and RDN start x3 and x4 from x2 in this way. A causal network for clips takes what its network
    for images has learned, too, and keeps the recurrent weights that it has: zeros in a new one.

    Args:
        network: changed in place; left as it is on error.
        source: weights under the names of sr_lab (see ``convert_state_dict``) of the same network for another scale.

    Returns:
        Names of the network's tensors that kept their values.

    Raises:
        ValueError: if anything else than upsampling or the first layer differs.
    """
    if isinstance(network, RecurrentEDSR) and not any(key.startswith("image.") for key in source):
        anew = [f"image.{key}" for key in warm_start(network.image, source)]
        return [*anew, *(key for key in network.state_dict() if not key.startswith("image."))]
    own = network.state_dict()
    fitting = {key for key, tensor in own.items() if key in source and source[key].shape == tensor.shape}
    left = [key for key in own if key not in fitting]
    wrong = [key for key in left if not key.startswith(SCALE_DEPENDENT)]
    unused = [key for key in source if key not in own and not key.startswith(SCALE_DEPENDENT)]
    if wrong or unused or not fitting:
        raise ValueError(
            f"these weights are not of a {type(network).__name__} that differs in scale only: "
            f"{_list(wrong or unused or left)} differ; give the network the sizes of the source"
        )
    network.load_state_dict({**own, **{key: source[key] for key in fitting}})
    return left


def unwrap(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The tensors of one network in a checkpoint, without what its trainer put around them and before their names.

    Raises:
        ValueError: If there are none; it lists what the checkpoint holds.
    """
    whole = state
    for _ in range(_MAX_DEPTH):
        inner = next((name for name in WRAPPERS if isinstance(state.get(name), Mapping) and state[name]), None)
        if inner is None:
            break
        state = state[inner]
    weights = {key: value for key, value in state.items() if isinstance(value, Tensor)}
    if not weights:
        raise ValueError(f"no weights are found in it: its top-level keys are {_list(sorted(map(str, whole)))}")
    while prefix := next((prefix for prefix in PREFIXES if _is_put_before(prefix, weights)), None):
        weights = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
    return weights


def readings(state: Mapping[str, Any]) -> list[dict[str, Tensor]]:
    """What may be one network's tensors: those of ``unwrap``, and those below a name that trainers give a network.

    Raises:
        ValueError: If there are none; it lists what the checkpoint holds.
    """
    weights = unwrap(state)
    parts = ({key.removeprefix(name): weights[key] for key in weights if key.startswith(name)} for name in HOLDERS)
    return [weights, *(unwrap(part) for part in parts if part)]


def _is_put_before(prefix: str, weights: Mapping[str, Tensor]) -> bool:
    """Whether a prefix is a wrapper's: that of all names, or, of a GAN's generator, of some."""
    some = all if prefix in ("module.", "_orig_mod.") else any
    return some(key.startswith(prefix) for key in weights)


def _what_it_is(path: Path, error: Exception) -> str:
    """What a file is that does not hold weights, in words that tell what to do."""
    with path.open("rb") as stream:
        start = stream.read(512).lstrip().lower()
    if not path.stat().st_size:
        return "is empty: fetch it again, a download or a copy broke off"
    if start.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return "is a web page and no file of weights: download the file itself, not the page that shows it"
    if start.startswith(b"version https://git-lfs"):
        return "is a pointer of Git LFS and no file of weights: git lfs pull brings the file"
    if start.startswith((b"\x89png", b"\xff\xd8\xff", b"riff", b"bm", b"ii*\0", b"mm\0*")):
        return "is an image and no file of weights"
    if start and all(byte >= 32 or byte in b"\t\r\n" for byte in start[:-4]) and start[:1].isascii():
        return (
            f"is a text file and no file of weights ({start[:40].decode('utf-8', 'replace')!r}): fetch the file itself"
        )
    if "weights_only" in str(error) or "Unpickl" in type(error).__name__:
        return (
            "does not hold weights alone, and nothing else is loaded, since that would run its code: save its "
            "state_dict() where its code is, or take its weights as .safetensors"
        )
    return f"is damaged, or was not written by torch.save or safetensors ({type(error).__name__})"


def _mean_shift(network: EDSR) -> dict[str, Tensor]:
    """EDSR-PyTorch's 1x1 convolutions that subtract the mean colour and add it."""
    mean = network.mean.flatten() * network.value_range
    eye = torch.eye(len(mean)).to(mean).view(len(mean), len(mean), 1, 1)
    return {"sub_mean.weight": eye, "sub_mean.bias": -mean, "add_mean.weight": eye.clone(), "add_mean.bias": mean}


def _without_mean_shift(weights: Mapping[str, Tensor], extra: list[str], network: EDSR) -> list[str]:
    """``extra`` less the mean shifts; they must be those that the network makes itself."""
    for key, expected in _mean_shift(network).items():
        if key not in extra:
            continue
        if not torch.allclose(weights[key].flatten().to(expected), expected.flatten(), atol=0.05):
            raise ValueError(
                f"{key} of the weights is {weights[key].flatten().tolist()}, the network's is "
                f"{expected.flatten().tolist()}: give the network their mean and value_range"
            )
        extra = [name for name in extra if name != key]
    return extra


def _list(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "a scalar"
