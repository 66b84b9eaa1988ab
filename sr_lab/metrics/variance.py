"""Variance over several restorations of one input: where a generative model is guessing."""

from typing import ClassVar

from torch import Tensor

from sr_lab.metrics.base import Context, ErrorMap, PerImageMetric


class SampleVariance(PerImageMetric):
    """Mean per-image variance of a generative network's samples; 0 for a network that draws nothing.

    Unbiased, over the samples of one input, at each pixel and channel; then averaged over the image. It shows where
    the network is undecided. A network that always invents the same detail has none: a small variance is no proof of
    truth.
    """

    higher_is_better = False
    digits = ".1e"
    definition: ClassVar[str] = (
        "Variance over the samples at each pixel and channel, averaged over the image, in units of the value range "
        "squared; its map shows the standard deviation. Where it is large the model is guessing; where it is small the "
        "model may still be wrong, every time in the same way. All other numbers are of the first sample."
    )

    @property
    def key(self) -> str:
        """``sample_variance``."""
        return "sample_variance"

    @property
    def label(self) -> str:
        """Sample variance, for people."""
        return "sample variance"

    def per_image(self, restored: Tensor, target: Tensor) -> Tensor:
        """(B,) zeros: a single restoration does not vary."""
        return restored.new_zeros(len(restored))

    def measure(self, restored: Tensor, target: Tensor, context: Context) -> Tensor:
        """(B,) means of the context's variance; zeros where there is none."""
        return self.per_image(restored, target) if context.variance is None else context.variance.mean(dim=(1, 2, 3))

    def map_of(self, restored: Tensor, target: Tensor, context: Context) -> ErrorMap | None:
        """Standard deviation at each pixel, the root of the variance's mean over the channels."""
        if context.variance is None:
            return None
        return ErrorMap("sample spread", context.variance.mean(dim=1, keepdim=True).sqrt(), top=32 / 255)
