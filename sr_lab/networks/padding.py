"""Sizes that a network cannot take: the image is continued by its mirror image, and the result is cut."""

import torch
from torch import Tensor


def pad_to_multiple(image: Tensor, multiple: int, *, minimum: int = 1) -> Tensor:
    """Continues an image at the bottom and at the right by reflection, the edge pixel not repeated.

    As ``torch.nn.functional.pad(mode="reflect")`` where that is defined; an image that is smaller than what
    has to be added is reflected again and again, so every size from 1x1 on works. Traceable with dynamic sizes.

    Args:
        image: (B, C, H, W), any range.
        multiple: what height and width of the result are multiples of.
        minimum: least height and width of the result, before rounding up to a multiple.

    Returns:
        (B, C, H', W'), the least such H' >= H and W' >= W.
    """
    height, width = image.shape[-2:]
    tall, wide = _padded(height, multiple, minimum), _padded(width, multiple, minimum)
    if not torch.compiler.is_exporting() and (tall, wide) == (height, width):
        return image
    rows, columns = (_mirror(*lengths, device=image.device) for lengths in ((height, tall), (width, wide)))
    return image.index_select(-2, rows).index_select(-1, columns)


def cut(image: Tensor, height: int, width: int) -> Tensor:
    """The top left ``height`` x ``width`` pixels: what is left of a padded image's result.

    The exporter cannot prove that a slice fits into a padded size; gathering by index asks for no proof.
    """
    if not torch.compiler.is_exporting():
        return image[..., :height, :width]
    rows, columns = (torch.arange(length, device=image.device) for length in (height, width))
    return image.index_select(-2, rows).index_select(-1, columns)


def _padded(length: int, multiple: int, minimum: int) -> int:
    least = int(torch.sym_max(length, minimum)) if minimum > 1 else length
    return (least + multiple - 1) // multiple * multiple


def _mirror(length: int, padded: int, *, device: torch.device) -> Tensor:
    """Indices 0 1 2 ... length-1 ... 2 1 0 1 2 ..., ``padded`` of them."""
    period = torch.sym_max(2 * length - 2, 1)
    index = torch.arange(padded, device=device).remainder(period)
    return torch.minimum(index, -index + period)
