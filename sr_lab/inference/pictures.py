"""A restorer that takes images in any form and gives them back in that form."""

from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import numpy.typing as npt
import torch
from torch import Tensor

from sr_lab.images.forms import Image, as_tensor, in_the_form_of
from sr_lab.inference.clips import restored_frames
from sr_lab.inference.consistency import LoadedRestorer


class PictureRestorer:
    """Enlarges arrays, tensors and files.

    Args:
        restorer: What enlarges a tensor.
        name: How it was called.
        device: Where the restorer wants its images.

    Attributes:
        restorer: The same; it takes (B, C, h, w) on its device and neither clamps nor rounds.
        name: How it was called.
        scale: Enlargement factor.
        metadata: What is known of its training; None for bicubic.

    Example:
        >>> import numpy as np
        >>> from sr_lab.inference.restorers import BicubicRestorer
        >>> bicubic = PictureRestorer(BicubicRestorer(scale=2), name="bicubic")
        >>> bicubic(np.zeros((3, 4), np.uint8)).shape
        (6, 8, 1)
    """

    def __init__(self, restorer: LoadedRestorer, *, name: str, device: torch.device | str = "cpu") -> None:
        self.restorer, self.name, self.device = restorer, name, torch.device(device)

    @property
    def scale(self) -> int:
        """Enlargement factor."""
        return self.restorer.scale

    @property
    def metadata(self) -> Mapping[str, Any] | None:
        """What is known of its training: commit, data version, metrics, hashes; None for bicubic."""
        return self.restorer.metadata

    @torch.inference_mode()
    def __call__(self, image: Image) -> npt.NDArray[Any] | Tensor:
        """The restored image, in the form of ``image``.

        Args:
            image: A path, an array (h, w, C) or (h, w) of uint8 or uint16, or a tensor (C, h, w) or (B, C, h, w),
                values in [0, 1].

        Returns:
            (h * scale, w * scale, C) of the array's or file's type, rounded; or a tensor in [0, 1], not rounded, with
            as many dimensions as ``image``, on the device of ``image``.

        Raises:
            ImageError: If the file cannot be read.
            ValueError: If it is no image.
        """
        low = as_tensor(image)
        restored = torch.cat([self.restorer(part[None].float().to(self.device)) for part in low])
        return in_the_form_of(restored.clamp(0, 1).to(low.device), image)

    @torch.inference_mode()
    def frames(self, images: Iterable[Image]) -> Iterator[npt.NDArray[Any] | Tensor]:
        """The restored frames of a clip, in their order, each in the form of its image.

        A causal network for clips goes from frame to frame, and hands each as soon as it is there; one that looks at
        later frames, too, takes the whole clip first. Other restorers see each frame alone.

        Args:
            images: Single images as ``__call__`` takes them, of one size; taken as they are needed.

        Raises:
            ImageError: If a file cannot be read.
            ValueError: If an image is none, or a batch.

        Example:
            >>> import numpy as np
            >>> from sr_lab.inference.restorers import BicubicRestorer
            >>> bicubic = PictureRestorer(BicubicRestorer(scale=2), name="bicubic")
            >>> [frame.shape for frame in bicubic.frames([np.zeros((3, 4), np.uint8)] * 2)]
            [(6, 8, 1), (6, 8, 1)]
        """
        taken = deque[tuple[Image, torch.device]]()

        def lows() -> Iterator[Tensor]:
            for image in images:
                low = as_tensor(image)
                if len(low) != 1:
                    raise ValueError(f"a frame is one image, this is a batch of {len(low)}: give them one by one")
                taken.append((image, low.device))
                yield low.float().to(self.device)

        for restored in restored_frames(self.restorer, lows()):
            image, device = taken.popleft()
            yield in_the_form_of(restored.clamp(0, 1).to(device), image)

    def __repr__(self) -> str:
        return f"PictureRestorer({self.name!r}, scale={self.scale})"
