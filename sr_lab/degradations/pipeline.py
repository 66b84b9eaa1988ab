"""Operations made of operations: in order, shuffled, or one of several."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from sr_lab.base.randomness import Streams, child, uniforms
from sr_lab.base.words import counted
from sr_lab.degradations.base import Degradation
from sr_lab.degradations.canvas import Canvas, from_canvas, joined, to_canvas
from sr_lab.degradations.operation import (
    Array,
    Columns,
    Operation,
    Sample,
    Size,
    as_operation,
    from_arrays,
    select,
    to_arrays,
)
from sr_lab.degradations.ranges import pick, weights_of
from sr_lab.images import full_precision


class Chain(Operation):
    """Applies named operations in order, to each sample those whose gate is open.

    Each operation draws from a stream of its own, keyed by its name: taking one out or putting one in leaves the
    draws of the others as they were. Parameters are named ``operation.parameter``.

    Args:
        ops: Operations in their order; a mapping, so that a configuration can change one by its name.
        probability: Probability that a sample goes through the chain.

    Raises:
        ValueError: if there is none, or a name holds a dot or is ``on``.
    """

    def __init__(self, *, ops: Mapping[str, Degradation], probability: float = 1.0) -> None:
        super().__init__(probability=probability)
        self.ops = _checked(ops)
        self.deterministic = probability == 1 and all(op.deterministic for op in self.ops.values())

    def draw_streams(self, streams: Streams) -> dict[str, npt.NDArray[Any]]:
        """Parameters of every operation, named ``operation.parameter``."""
        drawn = super().draw_streams(streams)
        for name, op in self.ops.items():
            own = op.draw_streams(child(streams, name))
            drawn.update({f"{name}.{parameter}": values for parameter, values in own.items()})
        return drawn

    def check(self, columns: Columns, batch_size: int, *, where: str) -> None:
        """Checks the parameters of every operation."""
        super().check(columns, batch_size, where=where)
        for name, op in self.ops.items():
            op.check(columns.get(name, {}), batch_size, where=f"{where}{name}.")

    def degrade(self, image: Array, sample: Sample, *, high: Size) -> Array:
        """One sample through every operation."""
        for name, op in self.ops.items():
            image = op.run(image, sample.get(name, {}), high=high)
        return image

    def degrade_clip(self, frames: list[Array], sample: Sample, *, high: Size) -> list[Array]:
        """One clip through every operation."""
        for name, op in self.ops.items():
            frames = op.run_clip(frames, sample.get(name, {}), high=high)
        return frames

    def degrade_canvas(self, canvas: Canvas, columns: Columns, *, high: Size) -> Canvas:
        """The batch through every operation; where its samples differ much in size, small and large ones apart."""
        return _follow(list(self.ops.items()), canvas, columns, high)

    def scale_after(self, before: float | None) -> float | None:
        """Through every operation in turn."""
        return _gated(self, before, _chained(self.ops, before))

    def smallest_after(self, side: float, *, high: float) -> float:
        """Through every operation in turn."""
        for name, op in self.ops.items():
            side = _smallest(name, op, side, high)
        return side


class Shuffle(Chain):
    """Applies named operations in an order drawn for each sample.

    Args:
        ops: Operations, whose order is drawn for each sample.
        before: Pairs ``{first: second}``; where the drawn order has them the other way round, they change places
            (BSRGAN keeps its first downscale before its second).
        probability: Probability that a sample goes through the operations.

    Raises:
        ValueError: if ``before`` names an operation that is not there.
    """

    def __init__(
        self, *, ops: Mapping[str, Degradation], before: Mapping[str, str] | None = None, probability: float = 1.0
    ) -> None:
        super().__init__(ops=ops, probability=probability)
        self.before = None if before is None else dict(before)
        self.deterministic = False
        names = list(self.ops)
        for name in [part for pair in (before or {}).items() for part in pair]:
            if name not in names:
                raise ValueError(f"before names {name!r}, which is not among ops: {', '.join(names)}")
        self._pairs = [(names.index(a), names.index(b)) for a, b in (before or {}).items()]

    def draw_streams(self, streams: Streams) -> dict[str, npt.NDArray[Any]]:
        """Parameters of every operation, and ``order``: (B, n) indices into ``ops``."""
        order = np.argsort(uniforms(child(streams, "order"), len(self.ops)), axis=1).astype(np.int64)
        rows = np.arange(len(order))
        for first, second in self._pairs:
            place = np.argsort(order, axis=1)
            swap = place[:, first] > place[:, second]
            order[rows[swap], place[swap, first]], order[rows[swap], place[swap, second]] = second, first
        return {"order": order, **super().draw_streams(streams)}

    def check(self, columns: Columns, batch_size: int, *, where: str) -> None:
        """Checks the order too: a permutation of each sample."""
        super().check(columns, batch_size, where=where)
        order = columns.get("order")
        expected = np.arange(len(self.ops))
        if not isinstance(order, np.ndarray) or order.shape != (batch_size, len(expected)):
            raise ValueError(
                f"parameter {where}order must hold {counted(len(expected), 'number')} for each of "
                f"{counted(batch_size, 'sample')}"
            )
        if (np.sort(order, axis=1) != expected).any():
            raise ValueError(f"parameter {where}order must be a permutation of 0..{len(expected) - 1} in each sample")

    def degrade(self, image: Array, sample: Sample, *, high: Size) -> Array:
        """One sample through every operation, in its order."""
        names = list(self.ops)
        for index in sample["order"]:
            image = self.ops[names[index]].run(image, sample.get(names[index], {}), high=high)
        return image

    def degrade_clip(self, frames: list[Array], sample: Sample, *, high: Size) -> list[Array]:
        """One clip through every operation, in its order."""
        names = list(self.ops)
        for index in sample["order"]:
            frames = self.ops[names[index]].run_clip(frames, sample.get(names[index], {}), high=high)
        return frames

    def degrade_canvas(self, canvas: Canvas, columns: Columns, *, high: Size) -> Canvas:
        """The batch, place by place: those samples together that have the same operation there."""
        for place in range(len(self.ops)):
            canvas = _divided(self.ops, columns["order"][:, place], canvas, columns, high)
        return canvas

    def scale_after(self, before: float | None) -> float | None:
        """Known where every order gives the same: the operations that resize are ordered by ``before``."""
        resizing = [name for name, op in self.ops.items() if op.scale_after(math.pi) != math.pi]
        pairs = set((self.before or {}).items())
        if any((a, b) not in pairs and (b, a) not in pairs for i, a in enumerate(resizing) for b in resizing[:i]):
            return None
        resizing.sort(key=lambda name: sum((other, name) in pairs for other in resizing))
        return _gated(self, before, _chained({name: self.ops[name] for name in resizing}, before))


class Choice(Chain):
    """Applies one of several named operations, drawn for each sample.

    Args:
        ops: Operations of which one is drawn for each sample.
        weights: Weight of each operation by its name; null for equal ones.
        probability: Probability that a sample goes through any of them.

    Raises:
        ValueError: if ``weights`` has other names than ``ops``.
    """

    def __init__(
        self, *, ops: Mapping[str, Degradation], weights: Mapping[str, float] | None = None, probability: float = 1.0
    ) -> None:
        super().__init__(ops=ops, probability=probability)
        self.weights = None if weights is None else dict(weights)
        self.deterministic = False
        names = list(self.ops)
        shares = self.weights or dict.fromkeys(names, 1.0)
        if missing := [name for name in names if name not in shares]:
            raise ValueError(f"weights has none for {missing[0]!r}: give every operation one")
        chosen, self._cumulative = weights_of("weights", shares, names)
        self._indices = np.array([names.index(name) for name in chosen], dtype=np.int64)

    def draw_streams(self, streams: Streams) -> dict[str, npt.NDArray[Any]]:
        """Parameters of every operation, and ``choice``: index into ``ops``."""
        drawn = uniforms(child(streams, "choice"), 1)[:, 0]
        return {"choice": self._indices[pick(drawn, self._cumulative)], **super().draw_streams(streams)}

    def check(self, columns: Columns, batch_size: int, *, where: str) -> None:
        """Checks the choice too."""
        super().check(columns, batch_size, where=where)
        choice = columns.get("choice")
        if not isinstance(choice, np.ndarray) or choice.shape != (batch_size,):
            raise ValueError(
                f"parameter {where}choice must hold one number for each of {counted(batch_size, 'sample')}"
            )
        if choice.size and not (choice.min() >= 0 and choice.max() < len(self.ops)):
            raise ValueError(f"parameter {where}choice must lie in 0..{len(self.ops) - 1}")

    def degrade(self, image: Array, sample: Sample, *, high: Size) -> Array:
        """One sample through its operation."""
        name = list(self.ops)[sample["choice"]]
        return self.ops[name].run(image, sample.get(name, {}), high=high)

    def degrade_clip(self, frames: list[Array], sample: Sample, *, high: Size) -> list[Array]:
        """One clip through its operation."""
        name = list(self.ops)[sample["choice"]]
        return self.ops[name].run_clip(frames, sample.get(name, {}), high=high)

    def degrade_canvas(self, canvas: Canvas, columns: Columns, *, high: Size) -> Canvas:
        """The batch, those samples together that have the same operation."""
        return _divided(self.ops, columns["choice"], canvas, columns, high)

    def scale_after(self, before: float | None) -> float | None:
        """Known where all agree."""
        after = {op.scale_after(before) for op in self.ops.values()}
        return _gated(self, before, after.pop() if len(after) == 1 else None)

    def smallest_after(self, side: float, *, high: float) -> float:
        """The smallest of all."""
        return min(_smallest(name, op, side, high) for name, op in self.ops.items())


class Pipeline(Chain):
    """A whole degradation: a chain with a known scale and, optionally, a changed target.

    Args:
        ops: Operations in their order; a mapping, so that a configuration can change one by its name.
        target: Operation that makes the training target out of the high image (Real-ESRGAN: a sharpened one, from which
            the low image is made too); null leaves the high image as it is. Its parameters are named
            ``target.parameter``.
        smallest_high: Side, in pixels, of the smallest high image that the pipeline must be able to take.

    Raises:
        ValueError: if the scale varies from draw to draw, or resizing could leave less than a pixel of a side of
            ``smallest_high``.
    """

    def __init__(
        self, *, ops: Mapping[str, Degradation], target: Operation | None = None, smallest_high: int = 32
    ) -> None:
        super().__init__(ops=ops)
        scale = _chained(self.ops, 1)
        if scale is None:
            raise ValueError(
                "ops: the size of the low image varies from draw to draw; put a ResizeTo(scale=...) after the "
                "operations that resize"
            )
        if scale != round(scale):
            raise ValueError(f"ops: the low image is smaller by {scale:g}, which is no whole number")
        self.scale = round(scale)
        self.target, self.smallest_high = target, smallest_high
        if target is not None:
            if "target" in self.ops:
                raise ValueError("ops: the name 'target' is kept for what changes the target; choose another")
            if target.scale_after(1) != 1:
                raise ValueError("target: must keep the size of the high image")
            self.deterministic = self.deterministic and target.deterministic
        self.smallest_after(smallest_high, high=smallest_high)

    def draw_streams(self, streams: Streams) -> dict[str, npt.NDArray[Any]]:
        """Parameters of every operation and of the target."""
        drawn = super().draw_streams(streams)
        if self.target is not None:
            own = self.target.draw_streams(child(streams, "target"))
            drawn.update({f"target.{parameter}": values for parameter, values in own.items()})
        return drawn

    def check(self, columns: Columns, batch_size: int, *, where: str) -> None:
        """Checks the target's parameters too."""
        super().check(columns, batch_size, where=where)
        if self.target is not None:
            self.target.check(columns.get("target", {}), batch_size, where=f"{where}target.")

    def degrade(self, image: Array, sample: Sample, *, high: Size) -> Array:
        """One sample, made from its target."""
        return super().degrade(self._target(image, sample, high), sample, high=high)

    def degrade_clip(self, frames: list[Array], sample: Sample, *, high: Size) -> list[Array]:
        """One clip, made from its targets."""
        return super().degrade_clip(self._target_clip(frames, sample, high), sample, high=high)

    def degrade_canvas(self, canvas: Canvas, columns: Columns, *, high: Size) -> Canvas:
        """The batch, made from its targets."""
        return super().degrade_canvas(self._target_canvas(canvas, columns, high), columns, high=high)

    def pair(self, high: Tensor, params: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Low images and targets; the target is made once."""
        if self.target is None:
            return self.apply(high, params), high
        columns = self.checked(params, len(high))
        size = (high.shape[2], high.shape[3])
        if high.device.type != "cpu" or high.requires_grad:
            with full_precision(high.device):
                target = self._target_canvas(to_canvas(high), columns, size)
                low = super().degrade_canvas(target, columns, high=size)
            return from_canvas(low, high.dtype), from_canvas(target, high.dtype)
        targets, lows = [], []
        for row, array in enumerate(to_arrays(high)):
            sample = _sample(select(columns, np.array([row])))
            targets.append(self._target(array, sample, size))
            lows.append(super().degrade(targets[-1], sample, high=size))
        return from_arrays(lows, high.dtype), from_arrays(targets, high.dtype)

    def _pair_frames(self, frames: Tensor, sample: Sample) -> tuple[Tensor, Tensor]:
        size = (frames.shape[2], frames.shape[3])
        targets = self._target_clip(to_arrays(frames), sample, size)
        lows = from_arrays(super().degrade_clip(targets, sample, high=size), frames.dtype)
        return lows, frames if self.target is None else from_arrays(targets, frames.dtype)

    def _target(self, image: Array, sample: Sample, high: Size) -> Array:
        return image if self.target is None else self.target.run(image, sample.get("target", {}), high=high)

    def _target_clip(self, frames: list[Array], sample: Sample, high: Size) -> list[Array]:
        return frames if self.target is None else self.target.run_clip(frames, sample.get("target", {}), high=high)

    def _target_canvas(self, canvas: Canvas, columns: Columns, high: Size) -> Canvas:
        return canvas if self.target is None else self.target.run_canvas(canvas, columns.get("target", {}), high=high)


def _checked(ops: Mapping[str, Degradation]) -> dict[str, Operation]:
    if not ops:
        raise ValueError("ops is empty: a pipeline needs an operation (Identity does nothing)")
    for name, op in ops.items():
        if "." in name:
            raise ValueError(f"the operation name {name!r} holds a dot, which separates it from its parameters")
        if name in ("on", "order", "choice"):
            raise ValueError(f"the operation name {name!r} is that of a parameter; choose another")
        if not isinstance(op, Degradation):
            raise ValueError(f"ops.{name} is a {type(op).__name__}: a pipeline takes degradations")
    return {name: as_operation(op) for name, op in ops.items()}


def _chained(ops: Mapping[str, Operation], before: float | None) -> float | None:
    for op in ops.values():
        before = op.scale_after(before)
    return before


def _gated(op: Operation, before: float | None, after: float | None) -> float | None:
    return after if op.probability == 1 or after == before else None


def _smallest(name: str, op: Operation, side: float, high: float) -> float:
    try:
        after = op.smallest_after(side, high=high)
    except ValueError as error:  # of an operation inside: told from here
        raise ValueError(f"ops.{name}.{error}") from None
    if after < 1:
        raise ValueError(
            f"ops.{name} could shrink a side of {high:g} pixels to {after:.2g}: raise its factor, or smallest_high and "
            "the size of the crops"
        )
    return after


def _follow(ops: Sequence[tuple[str, Operation]], canvas: Canvas, columns: Columns, high: Size) -> Canvas:
    """The batch through operations in turn."""
    for place, (name, op) in enumerate(ops):
        if rows := canvas.by_size():
            parts = [_follow(ops[place:], canvas.take(some), select(columns, some), high) for some in rows]
            return joined(parts, rows)
        canvas = op.run_canvas(canvas, columns.get(name, {}), high=high)
    return canvas


def _divided(
    ops: Mapping[str, Operation], chosen: npt.NDArray[np.int64], canvas: Canvas, columns: Columns, high: Size
) -> Canvas:
    """Each sample through the operation of the index ``chosen`` for it, those with the same one together."""
    parts, rows = [], []
    for index, (name, op) in enumerate(ops.items()):
        if len(some := np.flatnonzero(chosen == index)):
            own = select(columns.get(name, {}), some)
            parts.append(op.run_canvas(canvas.take(some), own, high=high))
            rows.append(some)
    return joined(parts, rows)


def _sample(columns: Columns) -> dict[str, Any]:
    return {
        name: _sample(values) if isinstance(values, Mapping) else values[0].tolist() for name, values in columns.items()
    }
