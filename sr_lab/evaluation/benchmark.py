"""The images of a benchmark: its files, what makes their low images, and what is compared with what."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from sr_lab.degradations.base import Degradation
from sr_lab.degradations.resize import Bicubic
from sr_lab.evaluation.pairs import Pair, find_pairs
from sr_lab.evaluation.truth import read_truth
from sr_lab.images import read_image, to_tensor
from sr_lab.images.forms import has_deep_levels
from sr_lab.images.found import Truth
from sr_lab.metrics.protocol import Protocol, ProtocolMismatch


@dataclass(frozen=True)
class Decoded:
    """The pixels of a pair's files.

    Attributes:
        high: The original, (1, C, H, W), values in [0, 1].
        low: The given low image, (1, C, h, w); None where it is to be made.
        levels: Steps between black and white of the original: 65535 where it has more than 8 bits hold.
    """

    high: Tensor
    low: Tensor | None = None
    levels: int = 255


def decode(pair: Pair, *, device: torch.device | str = "cpu") -> Decoded:
    """Reads the files of a pair.

    Raises:
        ValueError, OSError: if a file does not decode.
    """
    pixels = read_image(pair.high)
    low = None if pair.low is None else to_tensor(read_image(pair.low)).to(device)
    return Decoded(to_tensor(pixels).to(device), low, 65535 if has_deep_levels(pixels) else 255)


class Benchmark:
    """The images of a folder at one scale, and what makes their low images.

    Args:
        folder: Folder with ``HR/`` and ``LR/``, or with originals.
        scale: Enlargement factor.
        protocol: What is restored and compared with what.
        degradation: Makes the low images where the folder has none; by default the field's bicubic.
        seed: Seed of the draws of a random degradation; image k always gets the same draw.
        device: Where the images are put.

    Raises:
        ValueError: if the folder, the degradation and the scale do not fit together.
    """

    def __init__(
        self,
        folder: Path,
        *,
        scale: int,
        protocol: Protocol,
        degradation: Degradation | None = None,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.folder = folder
        self.scale, self.protocol, self.seed, self.device = scale, protocol, seed, device
        self.pairs = self.find()
        self.truth = self.known()
        given = self.pairs[0].low is not None
        check_degradation(degradation, scale=scale, protocol=protocol, given=given)
        self.degradation = degradation or Bicubic(scale=scale)
        self.low_images = protocol.name if not protocol.colour else "given" if given else self.name_of_degradation()

    def find(self) -> Sequence[Pair]:
        """The pairs of the folder, at least one."""
        return find_pairs(self.folder, scale=self.scale)

    def known(self) -> dict[str, Truth]:
        """What is known of what the images show, by name."""
        return read_truth(self.folder, [pair.name for pair in self.pairs])

    def name_of_degradation(self) -> str:
        """What the record calls the degradation."""
        return type(self.degradation).__name__

    def read(self, index: int) -> tuple[Tensor, Tensor]:
        """Low image (1, C, h, w) and target (1, C, h * scale, w * scale) of image ``index``.

        Raises:
            ValueError, OSError: if a file does not decode or the sizes do not fit.
        """
        return self.inputs(decode(self.pairs[index], device=self.device), index)

    def inputs(self, decoded: Decoded, index: int) -> tuple[Tensor, Tensor]:
        """The same of an image that is decoded already.

        Raises:
            ProtocolMismatch: if the protocol cannot judge such images.
            ValueError: if the sizes do not fit.
        """
        try:
            self.protocol.require(num_channels=decoded.high.shape[1], deep=decoded.levels > 255)
        except ProtocolMismatch as error:
            raise ProtocolMismatch(f"{self.pairs[index].high}: {error}") from None
        return self.protocol.inputs(
            decoded.high, decoded.low, scale=self.scale, degrade=lambda image: self._degrade(image, index)
        )

    def degrade_again(self, image: Tensor, index: int) -> Tensor:
        """A high image (1, C, H, W) by what made the low image of ``index``; MATLAB's bicubic where that was given."""
        return self.protocol.shrink(image, scale=self.scale, degrade=lambda image: self._degrade(image, index))

    def _degrade(self, image: Tensor, index: int) -> Tensor:
        return self.degradation.apply(image, self.degradation.draw_keyed([(self.seed, 0, index)]))


def check_degradation(degradation: Degradation | None, *, scale: int, protocol: Protocol, given: bool) -> None:
    """Refuses a degradation that does not fit the scale, the protocol, or low images that are given."""
    if degradation is None:
        return
    if given:
        raise ValueError("the benchmark brings its own low images (LR/): drop degradation=, or give its HR folder")
    if not protocol.colour:
        raise ValueError(
            f"protocol {protocol.name} makes its own bicubic low images: drop degradation=, or take y_crop"
        )
    if degradation.scale != scale:
        raise ValueError(f"the degradation shrinks by {degradation.scale}, the evaluation is at scale={scale}")
