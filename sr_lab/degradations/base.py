"""What every degradation has in common: parameters are drawn, then applied.

The two halves are apart (as in kornia) so that any draw can be recorded and replayed. Parameters are
tensors whose first dimension is the batch, so each sample of a batch has its own.
"""

import hashlib
import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from sr_lab.base.randomness import digest64

Params = dict[str, Tensor]
Key = tuple[int, ...]
Record = dict[str, Any]


def keyed_generator(*key: int | str) -> torch.Generator:
    """A CPU generator that depends on ``key`` alone, for example (seed, epoch, index).

    Keys that differ in any part give unrelated streams, however close their numbers are.
    """
    return torch.Generator().manual_seed(digest64(*key))


class Degradation(ABC):
    """Makes a low-resolution image from a high-resolution one.

    A subclass keeps every constructor argument as an attribute of the same name: the fingerprint is made of them.

    Attributes:
        scale: height and width of the input divided by those of the output.
        deterministic: whether ``draw`` draws nothing, so that an image has only one low version.
        version: raised when the same settings begin to give other pixels, so that caches are made anew.
    """

    version: ClassVar[int] = 1
    deterministic: bool = False

    def __init__(self, *, scale: int) -> None:
        if scale < 1:
            raise ValueError(f"scale={scale}: must be at least 1")
        self.scale = scale

    @abstractmethod
    def draw(self, batch_size: int, generator: torch.Generator) -> Params:
        """Random parameters of ``batch_size`` samples: named CPU tensors (batch_size, ...).

        They are float64, int64 or bool, so that a record (JSON, Parquet) gives them back exactly. An operation that
        needs randomness for each pixel (noise) draws a seed a sample.
        """

    @abstractmethod
    def apply(self, image: Tensor, params: Mapping[str, Tensor]) -> Tensor:
        """Degrades ``image`` (B, C, H, W), values in [0, 1], to (B, C, H / scale, W / scale), values in [0, 1].

        Uses no randomness but ``params``, and leaves ``image`` unchanged. ``params`` stay on the CPU, where they were
        drawn, wherever the image is: sizes and groups are read from them without waiting for the device.
        """

    def pair(self, high: Tensor, params: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """The low image and the target that a network is trained towards.

        Args:
            high: (B, C, H, W), values in [0, 1].
            params: as in ``apply``.

        Returns:
            What ``apply`` gives, and the target (B, C, H, W): ``high`` itself, unless the degradation changes it
            (Real-ESRGAN's sharpened target).
        """
        return self.apply(high, params), high

    def pair_clip(self, clip: Tensor, params: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """``pair`` of clips: every frame of a clip goes through the one draw of its clip.

        Args:
            clip: (B, T, C, H, W), values in [0, 1].
            params: as in ``apply``, drawn for B clips.

        Returns:
            Low clips (B, T, C, H / scale, W / scale) and targets (B, T, C, H, W).
        """
        pairs = [
            self.pair(
                frames, {name: values[row].expand(len(frames), *values.shape[1:]) for name, values in params.items()}
            )
            for row, frames in enumerate(clip)
        ]
        return torch.stack([low for low, _ in pairs]), torch.stack([target for _, target in pairs])

    def draw_keyed(self, keys: Iterable[Key]) -> Params:
        """Parameters of one sample a key, stacked; those of a key do not depend on its neighbours.

        Args:
            keys: by custom (seed, epoch, index) of each sample.
        """
        if self.deterministic:
            return {}
        drawn = [self.draw(1, keyed_generator("degradation", *key)) for key in keys]
        return {name: torch.cat([params[name] for params in drawn]) for name in drawn[0]} if drawn else {}

    def settings(self) -> dict[str, Any]:
        """Class, version and constructor arguments, as values that JSON can hold."""
        names = [name for name in inspect.signature(type(self).__init__).parameters if name != "self"]
        kind = type(self)
        for name in names:
            if not hasattr(self, name):
                raise ValueError(f"{kind.__qualname__} does not keep its argument {name}: set self.{name} = {name}")
        return {
            "class": f"{kind.__module__}.{kind.__qualname__}",
            "version": kind.version,
            **{name: _plain(getattr(self, name), where=f"{kind.__qualname__}.{name}") for name in names},
        }

    def fingerprint(self) -> str:
        """Hexadecimal digest of ``settings``: equal fingerprints mean equal results for equal draws."""
        return hashlib.sha256(json.dumps(self.settings()).encode()).hexdigest()


def record(params: Mapping[str, Tensor]) -> list[Record]:
    """The parameters of each sample as plain numbers and lists, fit for JSON or a row of Parquet.

    Args:
        params: drawn parameters, float64, int64 or bool.

    Returns:
        One mapping from parameter to value for each sample; ``params_from_records`` gives ``params`` back, bit for bit.

    Raises:
        ValueError: if a tensor has another type, which a record would not keep.
    """
    for name, values in params.items():
        if values.dtype not in (torch.float64, torch.int64, torch.bool):
            raise ValueError(f"parameter {name} is {values.dtype}: draw float64, int64 or bool")
    columns = {name: values.tolist() for name, values in params.items()}
    size = len(next(iter(columns.values()))) if columns else 0
    return [{name: values[row] for name, values in columns.items()} for row in range(size)]


def params_from_records(records: Sequence[Mapping[str, Any]]) -> Params:
    """The parameters of a batch from its records: the inverse of ``record``.

    Raises:
        ValueError: if the records do not have the same parameters, or a value is no number.
    """
    if not records:
        return {}
    names = list(records[0])
    for row, sample in enumerate(records):
        if set(sample) != set(names):
            odd = sorted(set(sample) ^ set(names))
            raise ValueError(f"records 0 and {row} differ in {odd[0]}: they come from two pipelines; replay them apart")
    return {name: _column(name, [sample[name] for sample in records]) for name in names}


def _column(name: str, values: list[Any]) -> Tensor:
    kinds: set[type] = set()
    plain = [_unwrap(value, kinds) for value in values]
    for kind, dtype in ((bool, torch.bool), (int, torch.int64), (float, torch.float64)):
        if kinds == {kind}:
            return torch.tensor(plain, dtype=dtype)
    raise ValueError(f"parameter {name} holds {sorted(kind.__name__ for kind in kinds)}: one kind of number is needed")


def _unwrap(value: Any, kinds: set[type]) -> Any:
    """``value`` as nested lists of Python numbers, whose types are added to ``kinds``."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_unwrap(item, kinds) for item in value]
    kinds.add(type(value))
    return value


def check_divisible(image: Tensor, scale: int) -> None:
    """Raises ``ValueError`` unless both sides of ``image`` (..., H, W) are multiples of ``scale``."""
    height, width = image.shape[-2:]
    if height % scale or width % scale:
        raise ValueError(
            f"a {width}x{height} image does not divide by scale={scale}: crop it first (images.crop_to_multiple)"
        )


def _plain(value: Any, *, where: str) -> Any:
    """``value`` as JSON; mappings become lists of pairs, because their order counts."""
    if isinstance(value, Degradation):
        return value.settings()
    if isinstance(value, Mapping):
        return [[str(name), _plain(item, where=f"{where}.{name}")] for name, item in value.items()]
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, Sequence):
        return [_plain(item, where=where) for item in value]
    raise TypeError(f"{where} is a {type(value).__name__}: a degradation's settings are plain values or degradations")
