"""What an image shows, as a few numbers: tells a change of content from a change of the degradation.

Both embeddings look at a small thumbnail, so noise and compression hardly move them, and end in a fixed projection by
signs, the same on every machine.
"""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Literal, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from sr_lab.base.files import sha256

Array = NDArray[np.float64]
Levels = NDArray[np.float32]

_SIDE, _CELLS, _ANGLES = 32, 4, 8
_MEAN = np.array([0.485, 0.456, 0.406], np.float32)
_DEVIATION = np.array([0.229, 0.224, 0.225], np.float32)


class Embedding(Protocol):
    """A function of an image that knows its own settings."""

    def settings(self) -> dict[str, Any]:
        """What decides over the values, as JSON can hold it."""
        ...

    def __call__(self, levels: Levels) -> Array:
        """(H, W, 3) RGB in [0, 255] to (dims,)."""
        ...


class ContentEmbedding:
    """Orientation of the edges and colour of each part of a thumbnail of 32 x 32 pixels, projected.

    Needs no weights: it works on a fresh machine without a network.

    Args:
        dims: Number of values that stand for an image.
    """

    def __init__(self, *, dims: int = 6) -> None:
        if not 1 <= dims <= 64:
            raise ValueError(f"dims={dims}: must be 1 to 64")
        self.dims = dims

    def settings(self) -> dict[str, Any]:
        """See ``Embedding``."""
        return {"embedding": "content", "dims": self.dims}

    def __call__(self, levels: Levels) -> Array:
        """See ``Embedding``."""
        small = cv2.resize(levels, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA) / np.float32(255)
        grey = small.mean(2)
        right, down = cv2.Sobel(grey, cv2.CV_32F, 1, 0), cv2.Sobel(grey, cv2.CV_32F, 0, 1)
        size, angle = cv2.cartToPolar(right, down)
        turn = np.minimum((angle % np.pi) * (_ANGLES / np.pi), _ANGLES - 1e-3).astype(int)
        y, x = np.indices(grey.shape) * _CELLS // _SIDE
        cells = np.bincount(
            ((y * _CELLS + x) * _ANGLES + turn).ravel(), size.ravel(), minlength=_CELLS * _CELLS * _ANGLES
        )
        cells = cells / (np.linalg.norm(cells) + 1e-3)
        parts = cv2.resize(small, (_CELLS, _CELLS), interpolation=cv2.INTER_AREA).ravel()
        return _project(np.concatenate([np.sqrt(cells), parts - parts.mean()]), self.dims)


class BackboneEmbedding:
    """Mean activations of the convolutions of a torchvision network with ImageNet weights, projected.

    Args:
        weights: File of the weights, with the keys of torchvision (``features.*``); nothing is downloaded.
        network: Network that the weights are of.
        dims: Number of values that stand for an image.

    Raises:
        ValueError: if the file is missing or its keys are of another network.
    """

    def __init__(
        self, *, weights: str | Path, network: Literal["squeezenet1_1", "alexnet"] = "squeezenet1_1", dims: int = 6
    ) -> None:
        from torchvision import models

        path = Path(weights)
        if not path.is_file():
            raise ValueError(f"embedding.weights={path} does not exist: give torchvision's weights of {network}")
        state = torch.load(path, map_location="cpu", weights_only=True)
        kept = {key.removeprefix("features."): value for key, value in state.items() if key.startswith("features.")}
        self.network, self.dims, self.sha256 = network, dims, sha256(path)
        self._body = getattr(models, network)(weights=None).features.eval()
        try:
            self._body.load_state_dict(kept)
        except RuntimeError as error:
            raise ValueError(f"embedding.weights={path} are no weights of {network}: {error}") from error

    def settings(self) -> dict[str, Any]:
        """See ``Embedding``."""
        return {"embedding": self.network, "dims": self.dims, "weights_sha256": self.sha256}

    @torch.inference_mode()
    def __call__(self, levels: Levels) -> Array:
        """See ``Embedding``."""
        small = cv2.resize(levels, (128, 128), interpolation=cv2.INTER_AREA) / np.float32(255)
        normal = (small - _MEAN) / _DEVIATION
        active = self._body(torch.from_numpy(normal).permute(2, 0, 1)[None]).mean((0, 2, 3))
        return _project(active.double().numpy(), self.dims)


def embedding_features(embedding: Embedding, levels: Levels) -> Mapping[str, float]:
    """The embedding as named features."""
    return {f"content_{index}": float(value) for index, value in enumerate(embedding(levels))}


def _project(vector: Array, dims: int) -> Array:
    return np.asarray(_signs(len(vector), dims) @ vector, np.float64)


@cache
def _signs(length: int, dims: int) -> Array:
    """(dims, length) of +-1 / sqrt(length): raw bits of a generator whose stream NumPy guarantees."""
    bits = np.random.MT19937(20).random_raw(dims * length) & 1
    return np.asarray((2.0 * bits.reshape(dims, length) - 1) / np.sqrt(length), np.float64)
