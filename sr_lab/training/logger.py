"""From Lightning's logger calls to a tracking run."""

from argparse import Namespace
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities import rank_zero_only


class TrackingRun(Protocol):
    """The part of a tracking run that training writes to."""

    def log_metrics(self, metrics: Mapping[str, float], step: int) -> None:
        """Records numbers under their logged keys."""

    def log_text(self, text: str, path: str) -> None:
        """Records a text as the artefact ``path``."""

    def log_image(self, image: np.ndarray, key: str, step: int) -> None:
        """Records a uint8 picture (H, W, 3)."""


class RunLogger(Logger):
    """Sends what a module logs to ``run``; the run itself is opened and closed by the command."""

    def __init__(self, *, run: TrackingRun) -> None:
        super().__init__()
        self._run = run

    @property
    def name(self) -> str:
        """Fixed name of this logger."""
        return "sr_lab"

    @property
    def version(self) -> str:
        """Lightning asks for one; runs are told apart by the tracker."""
        return "0"

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Numbers at an optimizer step; Lightning's own ``epoch`` is left out: steps are the budget."""
        values = {key: float(value) for key, value in metrics.items() if key != "epoch"}
        if values:
            self._run.log_metrics(values, step or 0)

    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """The resolved configuration is recorded by the command."""
