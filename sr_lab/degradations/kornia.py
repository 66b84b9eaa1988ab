"""Any transform of kornia as an operation."""

import difflib
import importlib
import inspect
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar, TypeGuard

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from sr_lab.base.randomness import Floats, seeds
from sr_lab.degradations.canvas import Canvas
from sr_lab.degradations.operation import Array, Columns, Operation, Sample, Size

_HOME = "kornia.augmentation"
_OURS = {
    "p": "probability",
    "p_batch": "probability",
    "same_on_batch": "nothing: each sample has its own draw",
    "keepdim": "nothing: the size is kept",
}


class Kornia(Operation):
    """Runs a transform of ``kornia.augmentation`` by its dotted path, seeded for each sample, on the sample's device.

    All that the transform draws follows from the recorded seed of the sample: a record replays to the same image with
    the same releases of kornia and torch on the same kind of device, whatever else is in the batch. The transform sees
    one sample at a time. A grey image goes in as three equal channels where the transform takes no other, and comes out
    as their mean. A transform that moves pixels (a rotation) moves them against the target, which is left as it is.

    Args:
        transform: Dotted path of the class, for example ``kornia.augmentation.RandomMotionBlur``. It has to keep the
            size, and to work on one image (no mixing of several).
        arguments: Arguments of its constructor, without ``p`` (the gate here is ``probability``); lists become tuples.
        probability: Probability that a sample is transformed.

    Raises:
        ValueError: If there is no such transform, or it does not take the arguments.

    Example:
        >>> import torch
        >>> from sr_lab.degradations.kornia import Kornia
        >>> noise = Kornia(transform="kornia.augmentation.RandomSaltAndPepperNoise", arguments={"amount": [0.1, 0.2]})
        >>> noise.apply(torch.rand(1, 3, 8, 8), noise.draw_keyed([(0, 0, 0)])).shape
        torch.Size([1, 3, 8, 8])
    """

    num_uniforms: ClassVar[int] = 1
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {"seed": (0, 2**32 - 1)}

    def __init__(self, *, transform: str, arguments: Mapping[str, Any] | None = None, probability: float = 1.0) -> None:
        super().__init__(probability=probability)
        self.transform = transform
        self.arguments = None if arguments is None else dict(arguments)
        kind = _transform_class(transform)
        given = {name: _tuples(value) for name, value in (self.arguments or {}).items()}
        for name in _OURS.keys() & given.keys():
            raise ValueError(f"arguments of {transform}: {name} is not given here; instead of it: {_OURS[name]}")
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self._transform: nn.Module = kind(**given, p=1.0)
        except Exception as error:  # kornia's checks raise several kinds, some of them its own
            text = " ".join(str(error).split()) or type(error).__name__
            raise ValueError(f"arguments of {transform}: {text}; it takes {_signature(kind)}") from error
        self._takes_grey: bool | None = None

    def parameters(self, uniform: Floats) -> dict[str, npt.NDArray[Any]]:
        """The seed of each sample, 32 bits."""
        return {"seed": seeds(uniform[:, 0]) >> 21}

    def degrade(self, image: Array, sample: Sample, *, high: Size) -> Array:
        """(H, W, C) transformed, cut to [0, 1]."""
        given = torch.from_numpy(image).permute(2, 0, 1)[None].contiguous()
        result = self._transformed(given, int(sample["seed"]))
        return np.array(result[0].permute(1, 2, 0).numpy(), dtype=np.float32, order="C")

    def degrade_canvas(self, canvas: Canvas, columns: Columns, *, high: Size) -> Canvas:
        """The samples one by one on their device."""
        pixels = canvas.pixels.clone()
        for row, (height, width) in enumerate(canvas.sizes):
            given = canvas.pixels[row : row + 1, :, :height, :width].contiguous()
            pixels[row, :, :height, :width] = self._transformed(given, int(columns["seed"][row]))[0]
        return canvas.with_pixels(pixels)

    def _transformed(self, image: Tensor, seed: int) -> Tensor:
        """(1, C, H, W) transformed by what follows from ``seed``, cut to [0, 1]."""
        if image.shape[1] == 1 and not self._grey_is_taken():
            return self._run(image.expand(-1, 3, -1, -1), seed).mean(dim=1, keepdim=True)
        return self._run(image, seed)

    def _run(self, image: Tensor, seed: int) -> Tensor:
        with torch.no_grad(), _seeded(seed, image.device), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                result: Tensor = self._transform(image)
            except Exception as error:  # kornia's checks raise several kinds, some of them its own
                text = " ".join(str(error).split()) or type(error).__name__
                raise ValueError(f"{self.transform} on an image of shape {tuple(image.shape[1:])}: {text}") from error
        if result.shape != image.shape:
            raise ValueError(
                f"{self.transform} made {tuple(image.shape[1:])} into {tuple(result.shape[1:])} (channels, height, "
                f"width): take one that keeps the size"
            )
        return result.to(image.dtype).clamp(0, 1)

    def _grey_is_taken(self) -> bool:
        """Whether the transform runs on one channel and gives one back; tried once, on the host."""
        if self._takes_grey is None:
            try:
                self._run(torch.full((1, 1, 64, 64), 0.5, device="cpu"), 0)
                self._takes_grey = True
            except ValueError:
                self._takes_grey = False
        return self._takes_grey


@contextmanager
def _seeded(seed: int, device: torch.device) -> Iterator[None]:
    """Torch's own randomness follows from ``seed`` inside, and goes on as if nothing had happened outside."""
    host = torch.default_generator.get_state()
    on_gpu = torch.cuda.get_rng_state(device) if device.type == "cuda" and torch.cuda.is_available() else None
    try:
        torch.default_generator.manual_seed(seed)
        if on_gpu is not None:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield
    finally:
        torch.default_generator.set_state(host)
        if on_gpu is not None:
            torch.cuda.set_rng_state(on_gpu, device)


def _transform_class(transform: str) -> type[nn.Module]:
    """The class of a dotted path; nothing outside kornia is imported."""
    try:
        home = importlib.import_module(_HOME)  # takes a second
        base = home.AugmentationBase2D
    except ImportError as error:
        raise ValueError(f"transform={transform!r} needs kornia: pip install kornia ({error})") from error
    module, _, name = transform.rpartition(".")
    found = None
    if module == "kornia" or module.startswith("kornia."):
        try:
            found = getattr(importlib.import_module(module), name, None)
        except ImportError:
            found = None
    if _is_transform(found, base):
        return found
    known = {entry.lower(): f"{_HOME}.{entry}" for entry, value in vars(home).items() if _is_transform(value, base)}
    close = difflib.get_close_matches(name.lower(), known, n=3, cutoff=0.5)
    hint = f"; the nearest: {', '.join(known[entry] for entry in close)}" if close else f"; they are in {_HOME}"
    raise ValueError(f"transform={transform!r}: kornia has no transform of one image by this name{hint}")


def _is_transform(found: Any, base: type[Any]) -> TypeGuard[type[nn.Module]]:
    """Whether it is a class of transforms of one image, and not what others are derived from."""
    return isinstance(found, type) and issubclass(found, base) and "Base" not in found.__name__


def _signature(kind: type) -> str:
    names = [name for name in inspect.signature(kind).parameters if name not in _OURS]
    return ", ".join(names) or "none"


def _tuples(value: Any) -> Any:
    """Lists as tuples, which is what kornia takes for a range."""
    if isinstance(value, Mapping):
        return {name: _tuples(item) for name, item in value.items()}
    return tuple(_tuples(item) for item in value) if isinstance(value, list | tuple) else value
