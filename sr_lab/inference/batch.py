"""Restoring every image of a folder or object store: each is written once, whole, and what is there is left alone."""

from collections.abc import Callable
from pathlib import PurePosixPath

import torch
from torch import Tensor

from sr_lab.data.stores import Store
from sr_lab.images import to_levels, to_tensor


class RestoreImages:
    """Restores one named image after the other.

    Args:
        source: store of the low images.
        target: store of the restored ones; a name that is there already is passed over.
        restorer: maps a low image (1, C, h, w) in [0, 1] to the restored one.
        device: where the restorer wants its input.
        suffix: format of what is written; images of other than 1 or 3 channels become TIFF.
    """

    def __init__(
        self, *, source: str, target: str, restorer: Callable[[Tensor], Tensor], device: torch.device, suffix: str
    ) -> None:
        self.source, self.target = Store(source), Store(target)
        self.restorer, self.device, self.suffix = restorer, device, suffix

    @torch.inference_mode()
    def __call__(self, name: str) -> None:
        """Restores the image called ``name``, as deep (8 or 16 bit) as it was.

        Raises:
            ValueError: naming the image, if it cannot be read or restored.
        """
        stem = PurePosixPath(name).with_suffix("").as_posix()
        if any(self.target.has(stem + suffix) for suffix in {self.suffix, ".tif"}):
            return
        try:
            low = self.source.read_image(name)
            restored = self.restorer(to_tensor(low).to(self.device))
        except (ValueError, RuntimeError) as error:
            raise ValueError(str(error) if name in str(error) else f"{name}: {error}") from error
        suffix = self.suffix if low.shape[2] in (1, 3) else ".tif"
        self.target.write_image(stem + suffix, to_levels(restored.cpu(), low.dtype))
