"""Any transform of albumentations as an operation."""

import importlib
import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from sr_lab.base.randomness import Floats, seeds
from sr_lab.degradations.compression import to_bytes, to_floats
from sr_lab.degradations.operation import Array, Operation, Sample, Size


class Albumentation(Operation):
    """Runs a transform of albumentations by its dotted path, seeded for each sample.

    A record replays to the same image with the same release of albumentations. On a GPU samples make a detour through
    the host.

    Args:
        transform: dotted path of the class, ``albumentations.ISONoise`` for example; it must keep the size.
        arguments: of its constructor, without ``p`` (the gate here is ``probability``).
        as_bytes: whether the image is given to it as uint8 instead of float32 in [0, 1].
        probability: that a sample is transformed.

    Raises:
        ValueError: if there is no such class, or it does not take the arguments.
    """

    num_uniforms: ClassVar[int] = 1
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {"seed": (0, 2**32 - 1)}

    def __init__(
        self,
        *,
        transform: str,
        arguments: Mapping[str, Any] | None = None,
        as_bytes: bool = False,
        probability: float = 1.0,
    ) -> None:
        super().__init__(probability=probability)
        self.transform, self.as_bytes = transform, as_bytes
        self.arguments = None if arguments is None else dict(arguments)
        module, _, name = transform.rpartition(".")
        try:
            kind = getattr(importlib.import_module(module), name)
        except (ImportError, ValueError, AttributeError) as error:
            raise ValueError(f"transform={transform!r}: no such class; give its dotted path ({error})") from error
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error", UserWarning)
                self._transform = kind(**(self.arguments or {}), p=1.0)
        except (TypeError, ValueError, UserWarning) as error:
            raise ValueError(f"arguments of {transform}: {error}") from error
        if not hasattr(self._transform, "set_random_seed"):
            raise ValueError(f"transform={transform!r} is no transform of albumentations 2 (it takes no seed)")

    def parameters(self, uniform: Floats) -> dict[str, npt.NDArray[Any]]:
        """Seed, 32 bits."""
        return {"seed": seeds(uniform[:, 0]) >> 21}

    def degrade(self, image: Array, sample: Sample, *, high: Size) -> Array:
        """(H, W, C) transformed, cut to [0, 1]."""
        self._transform.set_random_seed(int(sample["seed"]))
        given = to_bytes(image) if self.as_bytes else image.copy()
        result = self._transform(image=given)["image"]
        if result.shape[:2] != image.shape[:2]:
            raise ValueError(
                f"{self.transform} made {image.shape[:2]} into {result.shape[:2]}: take one that keeps the size"
            )
        floats = to_floats(result) if result.dtype == np.uint8 else np.asarray(result, dtype=np.float32)
        return np.clip(floats, 0, 1).reshape(image.shape)
