"""Named protocols for clips: which frames are scored, what of them, and what is compared with what.

On one and the same clip they differ by tenths of a decibel, which is what papers differ by.
"""

from typing import ClassVar, Literal

from torch import Tensor

from sr_lab.base.words import counted
from sr_lab.images import rgb_to_y
from sr_lab.metrics.protocol import Protocol, ProtocolMismatch, rounded, same_shape

Box = tuple[int, int, int, int]


class ClipProtocol(Protocol):
    """How a clip is compared. Frames are cropped by ``box`` before any metric sees them.

    Attributes:
        skipped: Frames at each end of a clip that are restored and not scored.
    """

    clips: ClassVar[bool] = True
    skipped: ClassVar[int] = 0

    def frames(self, count: int) -> range:
        """Numbers of the frames of a clip of ``count`` that are scored.

        Raises:
            ValueError: If none is left.
        """
        if count <= 2 * self.skipped:
            raise ValueError(
                f"protocol {self.name} leaves out {self.skipped} frames at each end, and the clip has {count}: take "
                "vid4_y"
            )
        return range(self.skipped, count - self.skipped)

    def box(self, height: int, width: int) -> Box:
        """Top, left, height and width of what is scored of a frame.

        Raises:
            ValueError: If nothing is left.
        """
        return 0, 0, height, width

    def require(self, *, num_channels: int, deep: bool) -> None:
        """Refuses images that this protocol cannot judge; see the base class."""
        if deep:
            raise ProtocolMismatch(f"the clip has 16 bits, and protocol {self.name} rounds to 8: there is none for it")
        if self.suffix == "y" and num_channels not in (1, 3):
            raise ProtocolMismatch(f"{counted(num_channels, 'channel', 'has/have')} no luma: give protocol=reds4_rgb")

    def compare(self, restored: Tensor, target: Tensor, *, scale: int) -> tuple[Tensor, Tensor]:
        """The two frames, cropped already, rounded to 8 bits; luma of them, not rounded, where luma is compared."""
        same_shape(restored, target)
        pair = rounded(restored), rounded(target)
        return (rgb_to_y(pair[0]), rgb_to_y(pair[1])) if self.suffix == "y" else pair


_LUMA = (
    "luma, Y = 16 + (65.481 R + 128.553 G + 24.966 B) / 255 (BT.601), not rounded, of the restored frame rounded once "
    "to 8-bit RGB"
)
_MEAN = "Peak 255; SSIM: Gaussian window 11x11, sigma 1.5, valid region."


class REDS4RGB(ClipProtocol):
    """RGB of whole frames, all of them: the REDS4 columns of BasicVSR and its successors."""

    name = "reds4_rgb"
    suffix: ClassVar[Literal["y", "rgb", "deep"]] = "rgb"
    compared: ClassVar[str] = "RGB"
    definition = f"All frames, no crop; the restored frame is rounded once to 8 bits, all channels alike. {_MEAN}"


class Vid4Y(ClipProtocol):
    """Luma of whole frames, all of them: the Vid4, UDM10 and Vimeo columns of BasicVSR and its successors."""

    name = "vid4_y"
    suffix: ClassVar[Literal["y", "rgb", "deep"]] = "y"
    compared: ClassVar[str] = "luma"
    definition = f"All frames, no crop; {_LUMA}. {_MEAN}"


class Vid4Teco(ClipProtocol):
    """As TecoGAN's code scores Vid4: without two frames at each end, cropped to multiples of 32."""

    name = "vid4_teco"
    suffix: ClassVar[Literal["y", "rgb", "deep"]] = "y"
    compared: ClassVar[str] = "luma"
    skipped: ClassVar[int] = 2
    definition = (
        "Frames 2 to n - 3, cropped to the largest multiples of 32 that leave at least 16 pixels of each side out, "
        f"centred; {_LUMA}. Temporal metrics begin with the step from frame 2 to 3. {_MEAN}"
    )

    def box(self, height: int, width: int) -> Box:
        """The centred crop; see the base class."""
        tall, wide = ((side - 16) // 32 * 32 for side in (height, width))
        if min(tall, wide) < 32:
            raise ValueError(f"protocol {self.name} leaves nothing of a {height}x{width} frame: take vid4_y")
        return (height - tall) // 2, (width - wide) // 2, tall, wide


class Vid4DUF(ClipProtocol):
    """As DUF's code scores Vid4: without two frames at each end and without a border of 8 pixels."""

    name = "vid4_duf"
    suffix: ClassVar[Literal["y", "rgb", "deep"]] = "y"
    compared: ClassVar[str] = "luma"
    skipped: ClassVar[int] = 2
    definition = f"Frames 2 to n - 3, without a border of 8 pixels; {_LUMA}. {_MEAN}"

    def box(self, height: int, width: int) -> Box:
        """All but the border; see the base class."""
        if min(height, width) <= 16:
            raise ValueError(f"protocol {self.name} leaves nothing of a {height}x{width} frame: take vid4_y")
        return 8, 8, height - 16, width - 16
