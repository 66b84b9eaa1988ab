"""Regression: the network is moved straight towards the target by a sum of losses."""

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from sr_lab.losses.base import Loss
from sr_lab.metrics.base import PerImageMetric
from sr_lab.networks.base import Network
from sr_lab.training.base import Batch, Losses, TrainingModule, attached, frames_of, measured


class Regression(TrainingModule):
    """Minimises the weighted sum of ``losses`` between restored and target crops.

    Of clips (B, T, C, H, W) every frame counts as an image does. A network for clips is trained through time; one for
    images sees each frame alone, so that the two can be compared on the same batches.

    Args:
        network: See ``TrainingModule``.
        losses: Losses by name; each is logged as ``train/<name>``, their weighted sum as ``train/loss``.
        metrics: See ``TrainingModule``.
        optimizer: See ``TrainingModule``.
        scheduler: See ``TrainingModule``.
        ema_decay: See ``TrainingModule``.
        tile: See ``TrainingModule``.
        overlap: See ``TrainingModule``.
        channels_last: See ``TrainingModule``.
        compile_network: See ``TrainingModule``.
        gradient_clip: See ``TrainingModule``.
    """

    takes_clips = True

    def __init__(
        self,
        *,
        network: Network,
        losses: Mapping[str, Loss],
        metrics: Mapping[str, PerImageMetric],
        optimizer: Callable[..., Optimizer],
        scheduler: Callable[..., LRScheduler] | None = None,
        ema_decay: float | None = None,
        tile: int = 512,
        overlap: int = 16,
        channels_last: bool = False,
        compile_network: bool | str = False,
        gradient_clip: float | None = None,
    ) -> None:
        super().__init__(
            network=network,
            metrics=metrics,
            optimizer=optimizer,
            scheduler=scheduler,
            ema_decay=ema_decay,
            tile=tile,
            overlap=overlap,
            channels_last=channels_last,
            compile_network=compile_network,
            gradient_clip=gradient_clip,
        )
        if not losses:
            raise ValueError("losses is empty: name at least one, as losses=[l1]")
        self.losses = nn.ModuleDict(losses)
        self.taps = attached(losses, network)

    def learn(self, batches: Sequence[Batch]) -> Losses:
        """One step down the gradient of the weighted sum; every loss is logged unweighted as ``train/<name>``."""
        return self.descend(batches, self._losses)

    def dry_step(self, batch: Batch) -> None:
        """One forward and backward pass, see ``TrainingModule``."""
        self._losses(batch)["loss"].backward()  # type: ignore[no-untyped-call]

    def compared(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """What the losses compare: the network's image of a batch, and what it should be."""
        return self.network(self.low(batch)), frames_of(batch["high"])

    def _losses(self, batch: Batch) -> Losses:
        """Unweighted losses and their weighted sum, in float32 whatever the precision of the network."""
        restored, target = self.compared(batch)
        restored = frames_of(restored)
        context = self.context(self.low(batch), self.taps)
        values = measured(self.losses, restored.float(), target.float(), context)
        weighted = [values[name] * cast("Loss", loss).weight for name, loss in self.losses.items()]
        return {**values, "loss": torch.stack(weighted).sum()}
