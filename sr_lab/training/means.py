"""Means of per-image metrics over validation batches and processes."""

import torch
from torch import Tensor
from torchmetrics import Metric

from sr_lab.metrics.base import Context, PerImageMetric


class ImageMean(Metric):
    """Mean of a metric over every image seen, on all processes; the sum is kept in float64.

    Args:
        metric: Gives the value of each image, which counts up to the metric's ceiling.
    """

    full_state_update = False
    is_differentiable = False

    total: Tensor
    num_images: Tensor

    def __init__(self, metric: PerImageMetric) -> None:
        super().__init__()
        self.metric = metric
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("num_images", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    @property
    def key(self) -> str:
        """Name under which the metric is recorded."""
        return self.metric.key

    @property
    def reason(self) -> str | None:
        """Why nothing is measured at all; None where it is."""
        return self.metric.reason

    def update(self, restored: Tensor, target: Tensor, *, low: Tensor | None = None) -> None:
        """Adds the images of one batch.

        Args:
            restored: The restored images, (B, C, H, W), values in [0, 1].
            target: Their originals, of the same shape.
            low: What they were restored from, (B, C, h, w).
        """
        values = self.metric.measure(restored, target, Context(low=low)).to(torch.float64)
        self.total += values.clamp(max=self.metric.ceiling).sum()
        self.num_images += values.numel()

    def compute(self) -> Tensor:
        """The mean over the images; NaN where there was none."""
        return self.total / self.num_images
