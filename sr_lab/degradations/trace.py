"""A draw told step by step: what each operation was given, what it made of the image, in words and pixels."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from sr_lab.degradations.base import Degradation, Params, record
from sr_lab.degradations.blur import KINDS, Blur
from sr_lab.degradations.noise import COLOURS
from sr_lab.degradations.operation import Array, Operation, Size, Wrapped, nest, to_arrays
from sr_lab.degradations.pipeline import Chain, Choice, Pipeline, Shuffle
from sr_lab.degradations.resampling import MODES

_WORDS: dict[str, tuple[str, ...]] = {"kind": KINDS, "mode": MODES, "colour": COLOURS}
_UNSEEN = {"on", "order", "choice", "seed", "mixture"}
_SHAPES = {"sinc": ("size", "cutoff"), "motion": ("size", "length", "theta"), "defocus": ("size", "radius")}


@dataclass(frozen=True)
class Step:
    """One operation of one draw.

    Attributes:
        name: where it stands in the pipeline, ``first.blur``.
        kind: its class.
        text: the parameters that it used, in words; empty if there is none.
        applied: whether its gate was open.
        image: (1, C, h, w) after it, values in [0, 1].
    """

    name: str
    kind: str
    text: str
    applied: bool
    image: Tensor


def trace(degradation: Degradation, high: Tensor, params: Params) -> list[Step]:
    """The operations that one image goes through, in the order in which it does, each with its result.

    Args:
        degradation: any; one that is no pipeline is a single step.
        high: (1, C, H, W) on the CPU, values in [0, 1].
        params: drawn for one sample.

    Returns:
        One step an operation, also for those whose gate stayed shut; the last one's image is what ``apply`` gives.

    Raises:
        ValueError: if there is more than one image, or the parameters do not belong to the degradation.
    """
    if len(high) != 1:
        raise ValueError(f"trace follows one image, got {len(high)}")
    sample = nest(record(params)[0]) if params else {}
    if not isinstance(degradation, Operation):
        result = degradation.apply(high, params)
        return [Step("", type(degradation).__name__, _words(degradation, sample), True, result)]
    degradation.checked(params, 1)
    size = (high.shape[2], high.shape[3])
    return [
        Step(name, kind, text, applied, _image(array))
        for name, kind, text, applied, array in _walk("", degradation, to_arrays(high)[0], sample, size)
    ]


def summary(degradation: Degradation, params: Params) -> list[tuple[str, str]]:
    """Name and words of each operation that one drawn sample goes through, without applying it.

    Args:
        degradation: any.
        params: drawn for one sample.
    """
    sample = nest(record(params)[0]) if params else {}
    if not isinstance(degradation, Operation):
        return [(type(degradation).__name__, _words(degradation, sample))]
    return [(name, _words(op, own)) for name, op, own, applied in _leaves("", degradation, sample) if applied]


def _walk(
    name: str, op: Operation, image: Array, sample: Mapping[str, Any], high: Size
) -> Iterator[tuple[str, str, str, bool, Array]]:
    for leaf, part, own, applied in _leaves(name, op, sample):
        if applied:
            image = part.degrade(image, own, high=high)
        kind = type(part.degradation if isinstance(part, Wrapped) else part).__name__
        yield leaf, kind, _words(part, own), applied, image


def _leaves(
    name: str, op: Operation, sample: Mapping[str, Any], applied: bool = True
) -> Iterator[tuple[str, Operation, Mapping[str, Any], bool]]:
    """Name, operation, parameters and gate of every operation that holds no others, in the sample's order."""
    applied = applied and (op.probability == 1 or bool(sample["on"]))
    if not isinstance(op, Chain):
        yield name, op, sample, applied
        return
    names = list(op.ops)
    if isinstance(op, Pipeline) and op.target is not None:
        yield from _leaves(_join(name, "target"), op.target, sample.get("target", {}), applied)
    if isinstance(op, Shuffle):
        names = [names[index] for index in sample["order"]]
    elif isinstance(op, Choice):
        names = [names[sample["choice"]]]
    for part in names:
        yield from _leaves(_join(name, part), op.ops[part], sample.get(part, {}), applied)


def _words(op: Degradation, sample: Mapping[str, Any]) -> str:
    """The parameters that count, for example ``anisotropic, size 13, sigma 1.9 x 0.7``."""
    values = {key: value for key, value in sample.items() if key not in _UNSEEN and not isinstance(value, Mapping)}
    if isinstance(op, Blur):
        return _blur_words(values)
    parts: list[str] = []
    for key, value in values.items():
        if key in _WORDS and isinstance(value, int):
            parts.append(_WORDS[key][value])
        elif isinstance(value, bool):
            parts += [key] if value else []
        elif isinstance(value, list):
            parts.append(f"{key} " + " ".join(_number(item) for item in value if not isinstance(item, list)))
        else:
            parts.append(f"{key} {_number(value)}")
    return ", ".join(parts)


def _blur_words(values: Mapping[str, Any]) -> str:
    kind = KINDS[values["kind"]]
    if kind in _SHAPES:
        return ", ".join([kind, *(f"{key} {_number(values[key])}" for key in _SHAPES[kind])])
    text = f"{kind.replace('_', ' ')}, size {values['size']}, sigma {_number(values['sigma_x'])}"
    if "anisotropic" in kind:
        text += f" x {_number(values['sigma_y'])}, theta {_number(values['theta'])}"
    return text + (f", beta {_number(values['beta'])}" if "_" in kind else "")


def _number(value: float) -> str:
    return str(value) if isinstance(value, int) else f"{value:.3g}"


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _image(array: Array) -> Tensor:
    return torch.from_numpy(array.transpose(2, 0, 1).copy())[None]
