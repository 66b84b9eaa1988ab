"""Named evaluation protocols: which image is restored, and what of it is compared with what.

A number without its protocol means nothing: the same restoration differs by 0.02 dB between the two luma
protocols here, and by 1.3 dB between common definitions of luma.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

import numpy as np
import torch
from torch import Tensor

from sr_lab.base.errors import SRLabError
from sr_lab.base.words import counted
from sr_lab.images import crop_border, crop_to_multiple, resize_bicubic, rgb_to_y

_STRIP_PIXELS = 2**16


def rounded(image: Tensor) -> Tensor:
    """The image after 8-bit quantisation as ``images.to_uint8`` does it, still as float32 in [0, 1]."""
    return image.float().mul(255).clamp_(0, 255).add_(0.5).floor_().div_(255)


def _rounded_luma(image: Tensor) -> Tensor:
    """Luma of the image after 8-bit quantisation; in strips of rows, which stay in the processor's cache."""
    rows = max(1, _STRIP_PIXELS // image.shape[-1]) if image.device.type == "cpu" else image.shape[-2]
    return torch.cat([rgb_to_y(rounded(strip)) for strip in torch.split(image, rows, dim=-2)], dim=-2)


def _inner(image: Tensor, scale: int) -> Tensor:
    """The image without a border of ``scale`` pixels."""
    height, width = image.shape[-2:]
    if 2 * scale >= min(height, width):
        raise ValueError(f"border={scale} leaves nothing of a {height}x{width} image")
    return crop_border(image, scale)


def same_shape(restored: Tensor, target: Tensor) -> None:
    """Refuses images of two shapes."""
    if restored.shape != target.shape:
        raise ValueError(f"restored {tuple(restored.shape)} and target {tuple(target.shape)} must have one shape")


class ProtocolMismatch(SRLabError, ValueError):
    """A protocol cannot judge images of this kind at all: another one is needed."""


class Protocol(ABC):
    """How an image is restored and compared. Stateless; images are (B, C, H, W), values in [0, 1].

    Attributes:
        name: what is stored beside every number.
        suffix: channel word of the logged keys: ``psnr_y``, ``psnr_rgb``.
        compared: what of the images is compared, in a word or two.
        definition: the protocol in words, for reports.
        colour: whether the restored image still has the colours of the original.
        deep: whether nothing is rounded, so that images of more than 8 bits keep their levels.
        clips: whether it is for the frames of clips (``clip_protocol``).
    """

    name: str
    suffix: ClassVar[Literal["y", "rgb", "deep"]]
    compared: ClassVar[str] = ""
    definition: str
    colour: ClassVar[bool] = True
    deep: ClassVar[bool] = False
    clips: ClassVar[bool] = False

    def require(self, *, num_channels: int, deep: bool) -> None:
        """Refuses images that this protocol cannot judge.

        Args:
            num_channels: Channels of an image.
            deep: Whether its file has more levels than 8 bits hold.

        Raises:
            ProtocolMismatch: naming the protocol that can.
        """
        if deep and not self.deep:
            raise ProtocolMismatch(
                f"the image has 16 bits, and protocol {self.name} rounds to 8, so that most of its levels are lost: "
                "give protocol=deep, which rounds nothing"
            )
        if self.suffix == "y" and num_channels not in (1, 3):
            raise ProtocolMismatch(
                f"{counted(num_channels, 'channel', 'has/have')} no luma: give protocol=rgb_crop, which scores them all"
            )

    def inputs(
        self, high: Tensor, low: Tensor | None, *, scale: int, degrade: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """What the network gets and what its output is compared with.

        Args:
            high: original image, (B, C, H, W).
            low: its given low-resolution image, (B, C, h, w), or None.
            scale: enlargement factor.
            degrade: makes a low-resolution image where none is given.

        Returns:
            The low image (B, C, h, w) and the target (B, C, h * scale, w * scale): the original cropped
            at its right and bottom edges to a multiple of ``scale``.

        Raises:
            ValueError: if the sizes or channels of the two do not belong together.
        """
        target = crop_to_multiple(high, scale)
        if low is None:
            low = self.shrink(target, scale=scale, degrade=degrade)
        (height, width), (tall, wide) = target.shape[-2:], low.shape[-2:]
        if (tall * scale, wide * scale) != (height, width):
            raise ValueError(
                f"low image is {wide}x{tall}, expected {width // scale}x{height // scale}: "
                f"the original of {high.shape[-1]}x{high.shape[-2]} divided by scale={scale}"
            )
        if low.shape[1] != target.shape[1]:
            raise ValueError(f"low image has {counted(low.shape[1], 'channel')}, the original {target.shape[1]}")
        return low, target

    def shrink(self, image: Tensor, *, scale: int, degrade: Callable[[Tensor], Tensor]) -> Tensor:
        """What makes the low images under this protocol: ``degrade``, unless the protocol has a way of its own."""
        return degrade(image)

    @abstractmethod
    def compare(self, restored: Tensor, target: Tensor, *, scale: int) -> tuple[Tensor, Tensor]:
        """Rounds, converts and crops the two images to what the metrics see.

        Args:
            restored: network output, (B, C, H, W).
            target: the target that ``inputs`` returned, same shape.
            scale: enlargement factor; the border that is cropped.

        Returns:
            Two images (B, C', H - 2 * scale, W - 2 * scale), values in [0, 1].

        Raises:
            ValueError: if the shapes differ, the protocol has no use for the channels, or nothing remains.
        """


class YCrop(Protocol):
    """Luma of the restored RGB image: what today's trainers report."""

    name = "y_crop"
    suffix: ClassVar[Literal["y", "rgb", "deep"]] = "y"
    compared: ClassVar[str] = "luma"
    definition = (
        "The restored image is rounded once to 8-bit RGB. Scored is its luma, "
        "Y = 16 + (65.481 R + 128.553 G + 24.966 B) / 255 on the 0..255 scale (BT.601 as MATLAB's rgb2ycbcr), not "
        "rounded; a grey image is scored directly. A border as wide as the scale is cropped. "
        "Peak 255; SSIM: Gaussian window 11x11, sigma 1.5, valid region."
    )

    def compare(self, restored: Tensor, target: Tensor, *, scale: int) -> tuple[Tensor, Tensor]:
        """Unrounded luma of the images rounded to 8 bit; see the base class."""
        same_shape(restored, target)
        if restored.shape[1] not in (1, 3):
            raise ValueError(
                f"{counted(restored.shape[1], 'channel', 'has/have')} no luma: use "
                f"protocol=rgb_crop, which scores them all"
            )
        return _rounded_luma(_inner(restored, scale)), _rounded_luma(_inner(target, scale))


class YClassic(Protocol):
    """Luma restored from luma: how the published bicubic rows were made.

    The colours are gone before the network sees the image. A network for RGB gets the luma in all three
    channels, and the mean of its output channels is the restored luma (``evaluation.restorers``).
    """

    name = "y_classic"
    suffix: ClassVar[Literal["y", "rgb", "deep"]] = "y"
    compared: ClassVar[str] = "luma"
    definition = (
        "The original is converted to luma (BT.601 as MATLAB's rgb2ycbcr) and rounded to 8 bit; the low-resolution "
        "luma is made from that by MATLAB's bicubic imresize (antialiased, symmetric borders) and kept in "
        "floating point, so given LR files are not used; it is restored, and the result rounded to 8 bit. A border as "
        "wide as the scale is cropped. A network for RGB gets the luma in all three channels, and the mean of its "
        "output channels is scored. Peak 255; SSIM: Gaussian window 11x11, sigma 1.5, valid region."
    )
    colour: ClassVar[bool] = False

    def inputs(
        self, high: Tensor, low: Tensor | None, *, scale: int, degrade: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor]:
        """Float luma made here and 8-bit target luma; ``low`` and ``degrade`` are not used. See the base class."""
        if high.shape[1] not in (1, 3):
            raise ValueError(f"{high.shape[1]} channels have no luma: use protocol=rgb_crop, which scores them all")
        target = crop_to_multiple(rounded(rgb_to_y(high)), scale)
        return self.shrink(target, scale=scale, degrade=degrade), target

    def shrink(self, image: Tensor, *, scale: int, degrade: Callable[[Tensor], Tensor]) -> Tensor:
        """MATLAB's bicubic in floating point, symmetric borders; ``degrade`` is not used."""
        return resize_bicubic(image, scale=1 / scale, border="symmetric")

    def compare(self, restored: Tensor, target: Tensor, *, scale: int) -> tuple[Tensor, Tensor]:
        """The two luma images rounded to 8 bit; see the base class."""
        same_shape(restored, target)
        if restored.shape[1] != 1:
            raise ValueError(
                f"y_classic compares luma, got {restored.shape[1]} channels: restore what inputs() returned"
            )
        return rounded(_inner(restored, scale)), rounded(_inner(target, scale))


class RGBCrop(Protocol):
    """All channels of the restored image, alike."""

    name = "rgb_crop"
    suffix: ClassVar[Literal["y", "rgb", "deep"]] = "rgb"
    compared: ClassVar[str] = "RGB"
    definition = (
        "The restored image is rounded once to 8 bit. All channels are scored alike: PSNR of the error "
        "over all of them, SSIM as the mean over channels. A border as wide as the scale is cropped. "
        "Peak 255; SSIM: Gaussian window 11x11, sigma 1.5, valid region."
    )

    def compare(self, restored: Tensor, target: Tensor, *, scale: int) -> tuple[Tensor, Tensor]:
        """The two images rounded to 8 bit; see the base class."""
        same_shape(restored, target)
        return rounded(_inner(restored, scale)), rounded(_inner(target, scale))


class Deep(Protocol):
    """All channels of images of any depth, alike and without any rounding, on a range that is stated.

    The range is what PSNR's peak and SSIM's constants refer to. By default it is the file's: 0 to 65535 of 16 bits, 0
    to 255 of 8. A camera of 12 bits in a 16-bit file fills a sixteenth of that, and its numbers come out 24 dB higher
    than on its own range of 0 to 4095; so the range is a part of the protocol's name, and of every number's.

    Args:
        low: Bottom of the range, in levels of a 16-bit file; None for 0.
        high: Top of the range, in levels of a 16-bit file; None for 65535.
        percentiles: Two percentiles of each original that its range lies between, such as [0.1, 99.9]; they exclude
            ``low`` and ``high``.

    Raises:
        ValueError: if the range is empty, or given in both ways.
    """

    suffix: ClassVar[Literal["y", "rgb", "deep"]] = "deep"
    compared: ClassVar[str] = "full depth"
    deep: ClassVar[bool] = True

    def __init__(
        self, *, low: float | None = None, high: float | None = None, percentiles: Sequence[float] | None = None
    ) -> None:
        if percentiles is not None and (low is not None or high is not None):
            raise ValueError("percentiles and low or high: give the range in one way")
        if percentiles is not None and not (len(percentiles) == 2 and 0 <= percentiles[0] < percentiles[1] <= 100):
            raise ValueError(f"percentiles={list(percentiles)}: two of them, rising, between 0 and 100")
        self.percentiles = None if percentiles is None else (float(percentiles[0]), float(percentiles[1]))
        self.low, self.high = 0.0 if low is None else float(low), 65535.0 if high is None else float(high)
        if not 0 <= self.low < self.high <= 65535:
            raise ValueError(f"low={self.low:g}, high={self.high:g}: a range within 0 to 65535")
        ends = "the whole range of the file (0 to 65535 of 16 bits, 0 to 255 of 8)"
        self.name = "deep"
        if self.percentiles is not None:
            self.name = f"deep_p{self.percentiles[0]:g}_p{self.percentiles[1]:g}"
            ends = f"the percentiles {self.percentiles[0]:g} and {self.percentiles[1]:g} of each original"
        elif (self.low, self.high) != (0.0, 65535.0):
            self.name = f"deep_{self.low:g}_{self.high:g}"
            ends = f"{self.low:g} to {self.high:g} of the 65535 levels of 16 bits"
        self.definition = (
            "Nothing is rounded; the restored image is clamped to what its file can hold. All channels are scored "
            "alike, however many: PSNR of the error over all of them, SSIM as the mean over channels. A border as wide "
            f"as the scale is cropped. Peak: {ends}. SSIM: Gaussian window 11x11, sigma 1.5, valid region."
        )

    def compare(self, restored: Tensor, target: Tensor, *, scale: int) -> tuple[Tensor, Tensor]:
        """The two images on the range, which becomes 0 to 1; see the base class."""
        same_shape(restored, target)
        images = [_inner(restored.float().clamp(0, 1), scale), _inner(target.float(), scale)]
        if self.percentiles is None:
            low, width = self.low / 65535, (self.high - self.low) / 65535
            return (images[0] - low) / width, (images[1] - low) / width
        ends = np.stack([np.percentile(image.cpu().numpy(), self.percentiles) for image in target.float()])
        if bool((ends[:, 1] <= ends[:, 0]).any()):
            raise ValueError(
                f"the percentiles {self.percentiles[0]:g} and {self.percentiles[1]:g} of the original are equal: give "
                "low and high"
            )
        bottom, top = (torch.as_tensor(end, dtype=torch.float32, device=target.device) for end in ends.T)
        low_of, width_of = bottom.view(-1, 1, 1, 1), (top - bottom).view(-1, 1, 1, 1)
        return (images[0] - low_of) / width_of, (images[1] - low_of) / width_of
