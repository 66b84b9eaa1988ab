"""A degradation that is called with a seed: on arrays, tensors and files, recorded and replayed."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy.typing as npt
from torch import Tensor

from sr_lab.base.words import counted
from sr_lab.degradations.base import Degradation, Params, Record, params_from_records, record
from sr_lab.images.colour import crop_to_multiple
from sr_lab.images.forms import Image, as_tensor, in_the_form_of


class SeededDegradation:
    """A degradation with the draws that ``srlab degrade`` makes: by (seed, 0, index).

    Args:
        degradation: What makes low images.

    Attributes:
        degradation: The same.
        scale: High side divided by low side.

    Example:
        >>> import numpy as np
        >>> from sr_lab.degradations.preset import SeededDegradation
        >>> from sr_lab.degradations.resize import Bicubic
        >>> SeededDegradation(Bicubic(scale=2))(np.zeros((8, 6, 3), np.uint8)).shape
        (4, 3, 3)
    """

    def __init__(self, degradation: Degradation) -> None:
        self.degradation, self.scale = degradation, degradation.scale

    def __call__(self, image: Image, *, seed: int = 0, index: int = 0) -> npt.NDArray[Any] | Tensor:
        """The low image, in the form of ``image``; right and bottom edges that do not divide by the scale are cut.

        Args:
            image: A path, an array (H, W, C) of uint8 or uint16, or a tensor (C, H, W) or (B, C, H, W) in [0, 1].
            seed: Seed of the draw.
            index: Index of the first image under that seed; image k of a batch is drawn by (seed, 0, index + k).

        Returns:
            (h, w, C) of the array's type, or a tensor with as many dimensions as ``image``; h = H // scale.
        """
        high = as_tensor(image)
        return in_the_form_of(self.apply(high, self.draw(len(high), seed=seed, index=index)), image)

    def draw(self, batch_size: int = 1, *, seed: int = 0, index: int = 0) -> Params:
        """The parameters of ``batch_size`` images: named tensors whose first dimension is the batch."""
        return self.degradation.draw_keyed((seed, 0, index + offset) for offset in range(batch_size))

    def apply(self, image: Tensor, params: Mapping[str, Tensor]) -> Tensor:
        """Degrades by drawn parameters; uses no other randomness.

        Args:
            image: (B, C, H, W), values in [0, 1].
            params: What ``draw`` gave for B images.

        Returns:
            (B, C, H // scale, W // scale), values in [0, 1].
        """
        return self.degradation.apply(crop_to_multiple(image, self.scale), params)

    def record(self, params: Mapping[str, Tensor]) -> list[Record]:
        """The parameters of each image as plain numbers, fit for JSON."""
        return record(params)

    def replay(self, image: Image, records: Sequence[Mapping[str, Any]]) -> npt.NDArray[Any] | Tensor:
        """The low image that was made by recorded parameters, to the last bit.

        Args:
            image: The image or batch that they were drawn for, as in a call.
            records: What ``record`` gave, one for each image.

        Returns:
            As a call.

        Raises:
            ValueError: If the records are not as many as the images, or no parameters of this degradation.
        """
        high = as_tensor(image)
        if len(records) != len(high) and not self.degradation.deterministic:
            raise ValueError(f"{counted(len(records), 'record')} for {counted(len(high), 'image')}: one each is needed")
        return in_the_form_of(self.apply(high, params_from_records(records)), image)

    def __repr__(self) -> str:
        return f"SeededDegradation({self.degradation.settings()['class'].rpartition('.')[2]}, scale={self.scale})"
