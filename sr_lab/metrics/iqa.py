"""Any metric of the package pyiqa, where it is installed; its weights are never downloaded behind one's back."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from sr_lab.images import to_uint8
from sr_lab.metrics.base import PerImageMetric
from sr_lab.metrics.protocol import Protocol


class PyIQA(PerImageMetric):
    """Mean per-image value of a metric of pyiqa (IQA-PyTorch) on the whole 8-bit images.

    Args:
        metric: Its name there: ``niqe``, ``musiq``, ``maniqa``, ...
        weights: Its weights' file; pyiqa would download them.
        missing: What happens where package or weights are missing: ``error`` or ``skip``.
    """

    def __init__(
        self, *, metric: str, weights: str | Path | None = None, missing: Literal["error", "skip"] = "error"
    ) -> None:
        super().__init__()
        self.name = metric
        self.reason = None
        if find_spec("pyiqa") is None:
            self.reason = "pyiqa is not installed: pip install --no-deps pyiqa, which else brings a second OpenCV"
        elif weights is None or not Path(weights).is_file():
            self.reason = f"pyiqa's {metric} needs its weights: give their file as metrics.pyiqa.weights=FILE"
        if self.reason is not None and missing == "error":
            raise ValueError(f"{self.key}: {self.reason}; missing=skip leaves it out and says so")
        self._network: tuple[Any, ...] = ()
        if self.reason is None:
            import pyiqa

            network = pyiqa.create_metric(metric, pretrained_model_path=str(weights))
            self.higher_is_better = not network.lower_better  # type: ignore[misc]
            self._network = (network.eval(),)

    higher_is_better = True

    @property
    def key(self) -> str:
        """``pyiqa_`` and the metric's name."""
        return f"pyiqa_{self.name}"

    def unavailable(self, protocol: Protocol) -> str | None:
        """What is missing."""
        return self.reason

    def per_image(self, restored: Tensor, target: Tensor) -> Tensor:
        """(B,) values; of a metric without an original ``target`` is not looked at."""
        network = self._network[0].to(restored.device)
        pair = [to_uint8(image).float() / 255 for image in (restored, target)]
        with torch.no_grad():
            value = network(*pair) if network.metric_mode == "FR" else network(pair[0])
        return torch.as_tensor(value).flatten().double()
