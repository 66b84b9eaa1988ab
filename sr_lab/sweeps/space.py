"""What a sweep searches: each parameter is a key of a training's configuration and the values that it may take."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import optuna

from sr_lab.base.words import setting

Value = None | bool | int | float | str


class Parameter(ABC):
    """One setting that the trials differ in.

    Args:
        key: What is overridden, as on the command line: ``optimizer.lr``, or a group as ``model/network``.
    """

    def __init__(self, *, key: str) -> None:
        if not key or "=" in key:
            raise ValueError(f"key={key!r}: give the key that is overridden, as optimizer.lr or model/network")
        self.key = key

    @property
    def replicate(self) -> bool:
        """Whether its values are repetitions of one setting: a seed is drawn, and nobody may choose the luckiest."""
        return self.key.rpartition(".")[2] == "seed"

    @abstractmethod
    def suggest(self, trial: optuna.Trial, label: str) -> Value:
        """The value that the sampler chose for this trial."""

    @abstractmethod
    def grid(self, label: str) -> list[Value]:
        """Every value, for a full grid.

        Raises:
            ValueError: if there are infinitely many.
        """

    def override(self, value: Value) -> str:
        """The setting of the command line that gives the value; text is taken as the command line has it."""
        return f"{self.key}={value}" if isinstance(value, str) else setting(self.key, value)


class Float(Parameter):
    """A real number in [low, high].

    Args:
        key: See ``Parameter``.
        low: Smallest value.
        high: Largest value.
        log: Whether the values are searched on a logarithmic scale.
        step: Distance of two values; None for any value.
    """

    def __init__(self, *, key: str, low: float, high: float, log: bool = False, step: float | None = None) -> None:
        super().__init__(key=key)
        _check(key, low, high, log, step)
        self.low, self.high, self.log, self.step = float(low), float(high), log, step

    def suggest(self, trial: optuna.Trial, label: str) -> Value:
        """See ``Parameter``."""
        return trial.suggest_float(label, self.low, self.high, log=self.log, step=self.step)

    def grid(self, label: str) -> list[Value]:
        """See ``Parameter``."""
        if self.step is None:
            raise ValueError(
                f"space.{label}: a grid over {self.key} needs space.{label}.step=..., or a Choice of values"
            )
        return [self.low + k * self.step for k in range(int((self.high - self.low) / self.step + 1e-9) + 1)]


class Integer(Parameter):
    """A whole number in [low, high].

    Args:
        key: See ``Parameter``.
        low: Smallest value.
        high: Largest value.
        log: Whether the values are searched on a logarithmic scale.
        step: Distance of two values.
    """

    def __init__(self, *, key: str, low: int, high: int, log: bool = False, step: int = 1) -> None:
        super().__init__(key=key)
        _check(key, low, high, log, None if step == 1 else step)
        self.low, self.high, self.log, self.step = low, high, log, step

    def suggest(self, trial: optuna.Trial, label: str) -> Value:
        """See ``Parameter``."""
        return trial.suggest_int(label, self.low, self.high, log=self.log, step=self.step)

    def grid(self, label: str) -> list[Value]:
        """See ``Parameter``."""
        return list(range(self.low, self.high + 1, self.step))


class Choice(Parameter):
    """One of several values without an order.

    Args:
        key: See ``Parameter``.
        values: Values that are tried: numbers, booleans, null, or words of the command line: ``edsr_tiny``,
            ``"[l1,frequency]"``.
    """

    def __init__(self, *, key: str, values: Sequence[Value]) -> None:
        super().__init__(key=key)
        if isinstance(values, str) or not isinstance(values, Sequence):
            raise ValueError(f"{key}: values={values}: give a list of them")
        if len(values) < 1 or len({(type(value), value) for value in values}) < len(values):
            raise ValueError(f"{key}: values={list(values)} is empty or names one twice")
        self.values = list(values)

    def suggest(self, trial: optuna.Trial, label: str) -> Value:
        """See ``Parameter``."""
        value: Value = trial.suggest_categorical(label, self.values)
        return value

    def grid(self, label: str) -> list[Value]:
        """See ``Parameter``."""
        return list(self.values)


def _check(key: str, low: float, high: float, log: bool, step: float | None) -> None:
    if not all(isinstance(value, int | float) for value in (low, high, 0 if step is None else step)):
        raise ValueError(f"{key}: low={low}, high={high}, step={step}: give numbers")
    if not low <= high:
        raise ValueError(f"{key}: low={low} is above high={high}")
    if log and low <= 0:
        raise ValueError(f"{key}: a logarithmic scale needs low={low} above 0")
    if step is not None and (step <= 0 or log):
        raise ValueError(f"{key}: step={step} must be above 0, and goes with log=false only")
