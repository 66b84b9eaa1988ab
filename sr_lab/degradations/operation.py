"""Operations: degradations that a pipeline is made of, and the two ways in which they run.

On the CPU each sample is an array (H, W, C) of its own and goes through OpenCV and NumPy: samples may have any size,
and a library call works on one image anyway. On a GPU (and wherever a gradient is asked for) the batch is a
:class:`~sr_lab.degradations.canvas.Canvas`, one tensor with room for the largest sample, and every operation is
vectorised over samples of different sizes. Both follow the same parameters. Most operations agree to 1e-4 or better
(their docstrings say), noise draws the very same bits. After a rounding (8 bits, Poisson's rate, a codec's
coefficients) a value may fall on the other side, so whole pipelines agree within 0.2 levels of 255 on average without a
codec, and about 1 through two JPEGs (real here, arithmetic there; up to 3.5 for single samples).
"""

from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sr_lab.base.randomness import Floats, Streams, child, digest64, frame_seed, uniforms, upload
from sr_lab.base.words import counted
from sr_lab.degradations.base import Degradation, Key, Params
from sr_lab.degradations.canvas import VARYING, Canvas, from_canvas, to_canvas
from sr_lab.images import full_precision

Array = npt.NDArray[np.float32]
Size = tuple[int, int]
Sample = Mapping[str, Any]
Columns = Mapping[str, Any]


class Operation(Degradation):
    """A degradation that can be part of a pipeline, with a gate of its own.

    A subclass states how many uniform numbers it needs (``num_uniforms``), turns them into parameters (``parameters``),
    and applies these to one array (``degrade``) and to a canvas (``degrade_canvas``; without one, the samples make a
    detour through the host). ``limits`` gives the range that each of its parameters must lie in. In a clip all frames
    share the parameters; where ``new_each_frame``, the ``seed`` changes from frame to frame (noise does, a dead row
    stays).

    Args:
        probability: Probability that a sample goes through the operation; drawn for each sample, recorded as ``on``.
        scale: See :class:`Degradation`.

    Raises:
        ValueError: if an argument is out of range.
    """

    num_uniforms: ClassVar[int] = 0
    limits: ClassVar[Mapping[str, tuple[float, float]]] = {}
    new_each_frame: ClassVar[bool] = False

    def __init__(self, *, probability: float = 1.0, scale: int = 1) -> None:
        super().__init__(scale=scale)
        if not 0 <= probability <= 1:
            raise ValueError(f"probability={probability}: must lie in 0..1")
        self.probability = probability
        self.deterministic = probability == 1 and self.num_uniforms == 0

    def parameters(self, uniform: Floats) -> dict[str, npt.NDArray[Any]]:
        """Parameters (B, ...) of float64, int64 or bool from (B, num_uniforms) numbers in [0, 1)."""
        return {}

    @abstractmethod
    def degrade(self, image: Array, sample: Sample, *, high: Size) -> Array:
        """One sample: (H, W, C) float32 in [0, 1] to the like; ``high`` is the size the pipeline started from."""

    def degrade_canvas(self, canvas: Canvas, columns: Columns, *, high: Size) -> Canvas:
        """A batch on its device; ``columns`` holds host arrays (B, ...)."""
        results = []
        for row, (height, width) in enumerate(canvas.sizes):
            array = canvas.pixels[row, :, :height, :width].detach().permute(1, 2, 0).contiguous().cpu().numpy()
            results.append(self.degrade(array, _row(columns, row), high=high))
        sizes = np.array([result.shape[:2] for result in results], dtype=np.int64)
        height, width = sizes.max(axis=0)
        pixels = np.zeros((len(results), results[0].shape[2], height, width), dtype=np.float32)
        for target, result in zip(pixels, results, strict=True):
            target[:, : result.shape[0], : result.shape[1]] = result.transpose(2, 0, 1)
        return Canvas(upload(pixels, canvas.pixels.device), sizes)

    def scale_after(self, before: float | None) -> float | None:
        """Size of the high image divided by that after this operation; None where it varies from draw to draw."""
        if self.scale == 1:
            return before
        return None if before is None or self.probability < 1 else before * self.scale

    def smallest_after(self, side: float, *, high: float) -> float:
        """Shortest side that can come out of a side of ``side`` pixels."""
        return side / self.scale

    def draw(self, batch_size: int, generator: torch.Generator) -> Params:
        """Random parameters of ``batch_size`` samples; one number a sample is taken from ``generator``."""
        streams = torch.randint(2**63 - 1, (batch_size,), generator=generator)
        return _tensors(self.draw_streams(streams.numpy().astype(np.uint64)))

    def draw_keyed(self, keys: Iterable[Key]) -> Params:
        """Parameters of one sample a key, all drawn at once; those of a key do not depend on its neighbours."""
        streams = np.array([digest64("degradation", *key) for key in keys], dtype=np.uint64)
        return _tensors(self.draw_streams(streams)) if len(streams) else {}

    def draw_streams(self, streams: Streams) -> dict[str, npt.NDArray[Any]]:
        """Parameters of (B,) streams, among them the gate where there is one."""
        drawn = self.parameters(uniforms(streams, self.num_uniforms)) if self.num_uniforms else {}
        if self.probability < 1:
            drawn = {"on": uniforms(child(streams, "on"), 1)[:, 0] < self.probability, **drawn}
        return drawn

    def apply(self, image: Tensor, params: Mapping[str, Tensor]) -> Tensor:
        """(B, C, H, W) through the operation: array by array on the CPU, as a canvas on a GPU or for a gradient.

        Raises:
            ValueError: if a parameter is missing or out of range, or the samples come out in different sizes.
        """
        columns = self.checked(params, len(image))
        if image.device.type != "cpu" or image.requires_grad:
            return self.apply_canvas(image, columns)
        height, width = image.shape[-2:]
        lists = _lists(columns)
        arrays = to_arrays(image)
        return from_arrays(
            [self.run(array, _row(lists, row), high=(height, width)) for row, array in enumerate(arrays)], image.dtype
        )

    def apply_canvas(self, image: Tensor, columns: Columns) -> Tensor:
        """``apply`` by way of a canvas, on any device; differentiable where the operations are."""
        size = (image.shape[2], image.shape[3])
        with full_precision(image.device):
            return from_canvas(self.run_canvas(to_canvas(image), columns, high=size), image.dtype)

    def pair_clip(self, clip: Tensor, params: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Clips (B, T, C, H, W), see ``Degradation``; on a GPU they make a detour through the host."""
        lists = _lists(self.checked(params, len(clip)))
        pairs = [self._pair_frames(frames.detach().cpu(), _row(lists, row)) for row, frames in enumerate(clip)]
        low, target = (torch.stack(list(part)).to(clip) for part in zip(*pairs, strict=True))
        return low, target

    def _pair_frames(self, frames: Tensor, sample: Sample) -> tuple[Tensor, Tensor]:
        """Low images and targets of one clip (T, C, H, W)."""
        size = (frames.shape[2], frames.shape[3])
        return from_arrays(self.run_clip(to_arrays(frames), sample, high=size), frames.dtype), frames

    def checked(self, params: Mapping[str, Tensor], batch_size: int) -> Columns:
        """``params`` as nested host arrays, after a check of their names, shapes and ranges."""
        columns = nest({name: values.detach().cpu().numpy() for name, values in params.items()})
        self.check(columns, batch_size, where="")
        return columns

    def check(self, columns: Columns, batch_size: int, *, where: str) -> None:
        """Raises ``ValueError`` naming the parameter that is missing, of the wrong length or out of range."""
        if self.probability < 1:
            _column(columns, "on", batch_size, where)
        for name, (low, high) in self.limits.items():
            values = _column(columns, name, batch_size, where)
            if values.size and not (values.min() >= low and values.max() <= high):
                bad = values[~((values >= low) & (values <= high))][0]
                raise ValueError(f"parameter {where}{name}={bad}: must lie in {low:g}..{high:g}")

    def run(self, image: Array, sample: Sample, *, high: Size) -> Array:
        """``degrade`` behind the gate."""
        return self.degrade(image, sample, high=high) if self.probability == 1 or sample["on"] else image

    def degrade_clip(self, frames: list[Array], sample: Sample, *, high: Size) -> list[Array]:
        """The frames of one clip: one by one, unless neighbours matter (a video codec)."""
        samples = [_at_frame(sample, number) if self.new_each_frame else sample for number in range(len(frames))]
        return [self.degrade(frame, own, high=high) for frame, own in zip(frames, samples, strict=True)]

    def run_clip(self, frames: list[Array], sample: Sample, *, high: Size) -> list[Array]:
        """``degrade_clip`` behind the gate."""
        return self.degrade_clip(frames, sample, high=high) if self.probability == 1 or sample["on"] else frames

    def run_canvas(self, canvas: Canvas, columns: Columns, *, high: Size) -> Canvas:
        """``degrade_canvas`` behind the gate, for the samples whose gate is open."""
        if self.probability == 1:
            return self.degrade_canvas(canvas, columns, high=high)
        rows = np.flatnonzero(columns["on"])
        if len(rows) == 0:
            return canvas
        if len(rows) == len(canvas.sizes):
            return self.degrade_canvas(canvas, columns, high=high)
        return canvas.put(rows, self.degrade_canvas(canvas.take(rows), select(columns, rows), high=high))


def nest(params: Mapping[str, Any]) -> dict[str, Any]:
    """``{"a.b": x}`` as ``{"a": {"b": x}}``."""
    nested: dict[str, Any] = {}
    for name, values in params.items():
        *path, last = name.split(".")
        place = nested
        for part in path:
            place = place.setdefault(part, {})
        place[last] = values
    return nested


def as_operation(degradation: Degradation) -> Operation:
    """The degradation itself, or a plain one (``draw`` and ``apply`` alone) as part of a pipeline."""
    return degradation if isinstance(degradation, Operation) else Wrapped(degradation=degradation)


def select(columns: Columns, rows: npt.NDArray[np.int64]) -> dict[str, Any]:
    """Some samples of nested arrays."""
    return {
        name: select(values, rows) if isinstance(values, Mapping) else values[rows] for name, values in columns.items()
    }


def to_arrays(image: Tensor) -> list[Array]:
    """(B, C, H, W) as float32 arrays (H, W, C), contiguous copies."""
    planes = image.detach().float().numpy()
    if planes.shape[1] == 3:
        return [cv2.merge([plane[0], plane[1], plane[2]]) for plane in planes]
    return [np.array(sample.transpose(1, 2, 0), order="C") for sample in planes]


def from_arrays(arrays: list[Array], dtype: torch.dtype) -> Tensor:
    """Arrays (H, W, C) of one size as (B, C, H, W)."""
    shapes = {array.shape for array in arrays}
    if len(shapes) > 1:
        raise ValueError(VARYING.format(sorted(shape[:2] for shape in shapes)[:2]))
    height, width, channels = arrays[0].shape
    out = np.empty((len(arrays), channels, height, width), dtype=np.float32)
    for target, array in zip(out, arrays, strict=True):
        target[...] = array.transpose(2, 0, 1)
    return torch.from_numpy(out).to(dtype)


def _tensors(drawn: Mapping[str, npt.NDArray[Any]]) -> Params:
    return {name: torch.from_numpy(np.ascontiguousarray(values)) for name, values in drawn.items()}


def _lists(columns: Columns) -> dict[str, Any]:
    return {
        name: _lists(values) if isinstance(values, Mapping) else values.tolist() for name, values in columns.items()
    }


def _row(columns: Columns, row: int) -> dict[str, Any]:
    return {name: _row(values, row) if isinstance(values, dict) else values[row] for name, values in columns.items()}


def flat(columns: Columns, prefix: str = "") -> dict[str, Any]:
    """Nested parameters by their dotted names: the inverse of ``nest``."""
    found: dict[str, Any] = {}
    for name, values in columns.items():
        found |= flat(values, f"{prefix}{name}.") if isinstance(values, Mapping) else {f"{prefix}{name}": values}
    return found


def _at_frame(sample: Sample, number: int) -> Sample:
    """The parameters of a frame of a clip: with a seed of its own; the first frame keeps the clip's."""
    return {**sample, "seed": frame_seed(sample["seed"], number)}


def _column(columns: Columns, name: str, batch_size: int, where: str) -> npt.NDArray[Any]:
    values = columns.get(name)
    if not isinstance(values, np.ndarray):
        raise ValueError(f"parameter {where}{name} is missing: draw the parameters by the same pipeline")
    if len(values) != batch_size:
        raise ValueError(f"parameter {where}{name} is of {counted(len(values), 'sample')}, the batch has {batch_size}")
    return values


class Wrapped(Operation):
    """A plain :class:`Degradation` as part of a pipeline; each sample draws from a generator of its own.

    Args:
        degradation: with a fixed ``scale``.
    """

    def __init__(self, *, degradation: Degradation) -> None:
        super().__init__(scale=degradation.scale)
        self.degradation = degradation
        self.deterministic = degradation.deterministic

    def settings(self) -> dict[str, Any]:
        """Those of what is wrapped."""
        return self.degradation.settings()

    def draw_streams(self, streams: Streams) -> dict[str, npt.NDArray[Any]]:
        """Parameters drawn one by one."""
        if self.deterministic:
            return {}
        generators = [torch.Generator().manual_seed(int(stream >> np.uint64(1))) for stream in streams]
        drawn = [self.degradation.draw(1, generator) for generator in generators]
        return {name: torch.cat([params[name] for params in drawn]).numpy() for name in drawn[0]}

    def degrade(self, image: Array, sample: Sample, *, high: Size) -> Array:
        """One sample by the degradation's own ``apply``."""
        params = {name: torch.from_numpy(np.array([value])) for name, value in flat(sample).items()}
        low = self.degradation.apply(torch.from_numpy(image).permute(2, 0, 1)[None], params)
        return np.array(low[0].permute(1, 2, 0).numpy(), dtype=np.float32, order="C")

    def degrade_canvas(self, canvas: Canvas, columns: Columns, *, high: Size) -> Canvas:
        """The whole batch at once where its samples have one size, else one by one."""
        height, width = canvas.sizes[0]
        if (canvas.sizes != (height, width)).any():
            return super().degrade_canvas(canvas, columns, high=high)
        params = {name: torch.from_numpy(values) for name, values in flat(columns).items()}
        return to_canvas(self.degradation.apply(canvas.pixels[:, :, :height, :width], params))
