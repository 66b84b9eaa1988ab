"""The degradation that does nothing."""

from collections.abc import Mapping

from torch import Tensor

from sr_lab.degradations.canvas import Canvas
from sr_lab.degradations.operation import Array, Columns, Operation, Sample, Size


class Identity(Operation):
    """Returns the image as it is: the low image is the high one (restoration at scale 1)."""

    def __init__(self) -> None:
        super().__init__(scale=1)

    def apply(self, image: Tensor, params: Mapping[str, Tensor]) -> Tensor:
        """``image`` itself, (B, C, H, W)."""
        return image

    def degrade(self, image: Array, sample: Sample, *, high: Size) -> Array:
        """``image`` itself."""
        return image

    def degrade_canvas(self, canvas: Canvas, columns: Columns, *, high: Size) -> Canvas:
        """``canvas`` itself."""
        return canvas
