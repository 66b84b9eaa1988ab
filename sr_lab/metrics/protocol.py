"""Named evaluation protocols: which image is restored, and what of it is compared with what.

A number without its protocol means nothing: the same restoration differs by 0.02 dB between the two luma
protocols here, and by 1.3 dB between common definitions of luma.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Literal

import torch
from torch import Tensor

from sr_lab.images import crop_border, crop_to_multiple, resize_bicubic, rgb_to_y

_STRIP_PIXELS = 2**16


def _rounded(image: Tensor) -> Tensor:
    """The image after 8-bit quantisation as ``images.to_uint8`` does it, still as float32 in [0, 1]."""
    return image.float().mul(255).clamp_(0, 255).add_(0.5).floor_().div_(255)


def _rounded_luma(image: Tensor) -> Tensor:
    """Luma of the image after 8-bit quantisation; in strips of rows, which stay in the processor's cache."""
    rows = max(1, _STRIP_PIXELS // image.shape[-1]) if image.device.type == "cpu" else image.shape[-2]
    return torch.cat([rgb_to_y(_rounded(strip)) for strip in torch.split(image, rows, dim=-2)], dim=-2)


def _inner(image: Tensor, scale: int) -> Tensor:
    """The image without a border of ``scale`` pixels."""
    height, width = image.shape[-2:]
    if 2 * scale >= min(height, width):
        raise ValueError(f"border={scale} leaves nothing of a {height}x{width} image")
    return crop_border(image, scale)


def _same_shape(restored: Tensor, target: Tensor) -> None:
    if restored.shape != target.shape:
        raise ValueError(f"restored {tuple(restored.shape)} and target {tuple(target.shape)} must have one shape")


class Protocol(ABC):
    """How an image is restored and compared. Stateless; images are (B, C, H, W), values in [0, 1].

    Attributes:
        name: what is stored beside every number.
        suffix: channel word of the logged keys: ``psnr_y``, ``psnr_rgb``.
        definition: the protocol in words, for reports.
        colour: whether the restored image still has the colours of the original.
    """

    name: ClassVar[str]
    suffix: ClassVar[Literal["y", "rgb"]]
    definition: ClassVar[str]
    colour: ClassVar[bool] = True

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
            raise ValueError(f"low image has {low.shape[1]} channels, the original {target.shape[1]}")
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

    name: ClassVar[str] = "y_crop"
    suffix: ClassVar[Literal["y", "rgb"]] = "y"
    definition: ClassVar[str] = (
        "The restored image is rounded once to 8-bit RGB. Scored is its luma, "
        "Y = 16 + (65.481 R + 128.553 G + 24.966 B) / 255 on the 0..255 scale (BT.601 as MATLAB's rgb2ycbcr), not "
        "rounded; a grey image is scored directly. A border as wide as the scale is cropped. "
        "Peak 255; SSIM: Gaussian window 11x11, sigma 1.5, valid region."
    )

    def compare(self, restored: Tensor, target: Tensor, *, scale: int) -> tuple[Tensor, Tensor]:
        """Unrounded luma of the images rounded to 8 bit; see the base class."""
        _same_shape(restored, target)
        if restored.shape[1] not in (1, 3):
            raise ValueError(f"{restored.shape[1]} channels have no luma: use protocol=rgb_crop, which scores them all")
        return _rounded_luma(_inner(restored, scale)), _rounded_luma(_inner(target, scale))


class YClassic(Protocol):
    """Luma restored from luma: how the published bicubic rows were made.

    The colours are gone before the network sees the image. A network for RGB gets the luma in all three
    channels, and the mean of its output channels is the restored luma (``evaluation.restorers``).
    """

    name: ClassVar[str] = "y_classic"
    suffix: ClassVar[Literal["y", "rgb"]] = "y"
    definition: ClassVar[str] = (
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
        target = crop_to_multiple(_rounded(rgb_to_y(high)), scale)
        return self.shrink(target, scale=scale, degrade=degrade), target

    def shrink(self, image: Tensor, *, scale: int, degrade: Callable[[Tensor], Tensor]) -> Tensor:
        """MATLAB's bicubic in floating point, symmetric borders; ``degrade`` is not used."""
        return resize_bicubic(image, scale=1 / scale, border="symmetric")

    def compare(self, restored: Tensor, target: Tensor, *, scale: int) -> tuple[Tensor, Tensor]:
        """The two luma images rounded to 8 bit; see the base class."""
        _same_shape(restored, target)
        if restored.shape[1] != 1:
            raise ValueError(
                f"y_classic compares luma, got {restored.shape[1]} channels: restore what inputs() returned"
            )
        return _rounded(_inner(restored, scale)), _rounded(_inner(target, scale))


class RGBCrop(Protocol):
    """All channels of the restored image, alike."""

    name: ClassVar[str] = "rgb_crop"
    suffix: ClassVar[Literal["y", "rgb"]] = "rgb"
    definition: ClassVar[str] = (
        "The restored image is rounded once to 8 bit. All channels are scored alike: PSNR of the error "
        "over all of them, SSIM as the mean over channels. A border as wide as the scale is cropped. "
        "Peak 255; SSIM: Gaussian window 11x11, sigma 1.5, valid region."
    )

    def compare(self, restored: Tensor, target: Tensor, *, scale: int) -> tuple[Tensor, Tensor]:
        """The two images rounded to 8 bit; see the base class."""
        _same_shape(restored, target)
        return _rounded(_inner(restored, scale)), _rounded(_inner(target, scale))
