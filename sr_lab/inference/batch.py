"""Restoring every image of a folder or object store: each is written once, whole, and what is there is left alone."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from torch import Tensor

from sr_lab.base.files import sha256
from sr_lab.data.stores import Store
from sr_lab.images import read_image, to_levels, to_tensor

MADE_OF = ".restored"
"""Folder below the output with a file for each image: the SHA-256 of what it was made of."""


class RestoreImages:
    """Restores one named image after the other.

    Args:
        source: store of the low images.
        target: store of the restored ones; one that was made of the same input (by SHA-256) is passed over.
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
        there = any(self.target.has(stem + suffix) for suffix in {self.suffix, ".tif"})
        with tempfile.TemporaryDirectory(prefix="srlab-") as scratch:
            file = self.source.fetch(name, Path(scratch))
            digest, record = sha256(file), f"{MADE_OF}/{name}.json"
            before = self.target.read_bytes(record)
            if there and before is not None and json.loads(before) == digest:
                return
            try:
                low = read_image(file)
                suffix = self.suffix if low.shape[2] in (1, 3) else ".tif"
                if low.dtype == np.uint16 and suffix not in (".png", ".tif"):
                    raise ValueError(f"{name}: {suffix[1:]} cannot hold 16 bits; give format=png or tif")
                restored = self.restorer(to_tensor(low).to(self.device))
            except (ValueError, RuntimeError) as error:
                text = str(error) if self.source.local else str(error).replace(str(file), f"{self.source.uri}/{name}")
                raise ValueError(text if name in text else f"{name}: {text}") from error
        if before is not None:
            self.target.write_bytes(record, b"null")
        self.target.write_image(stem + suffix, to_levels(restored.cpu(), low.dtype))
        self.target.write_bytes(record, json.dumps(digest).encode())
