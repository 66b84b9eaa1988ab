"""What every training algorithm shares: EMA, the optimizer, validation, and the guard against NaN."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from sr_lab.metrics.base import PerImageMetric
from sr_lab.networks.base import Network
from sr_lab.networks.tiling import restore_tiled

Batch = dict[str, Any]


class NonFiniteLoss(RuntimeError):
    """A loss became NaN or infinite; the message names step, loss and batch."""


class TrainingModule(pl.LightningModule, ABC):
    """A network, what it is judged by, and how its weights move.

    Args:
        network: the network that is trained.
        metrics: torchmetrics faces, updated with (restored, target); logged as ``val/<key>``, the metric's own
            key, which tells the protocol's channels: ``val/psnr_y``.
        optimizer: partial that takes the parameters.
        scheduler: partial that takes the optimizer; None keeps the learning rate. Stepped once an
            optimizer step.
        ema_decay: decay of the exponential moving average of the weights, updated once an optimizer step;
            None keeps none. Where there is one, validation, test and export use it.
        tile: side in low-resolution pixels above which validation works in tiles.
        overlap: low-resolution pixels that neighbouring tiles share.
        channels_last: whether convolutions run in the channels-last memory format.
        compile_network: whether the network is compiled by ``torch.compile``.
    """

    def __init__(
        self,
        *,
        network: Network,
        metrics: Mapping[str, PerImageMetric],
        optimizer: Callable[..., Optimizer],
        scheduler: Callable[..., LRScheduler] | None = None,
        ema_decay: float | None = None,
        tile: int = 512,
        overlap: int = 16,
        channels_last: bool = False,
        compile_network: bool = False,
    ) -> None:
        super().__init__()
        if ema_decay is not None and not 0 < ema_decay < 1:
            raise ValueError(f"ema_decay={ema_decay}: must lie between 0 and 1, or be null for no average")
        self.network = network
        self.metrics = nn.ModuleDict(metrics)
        self.make_optimizer = optimizer
        self.make_scheduler = scheduler
        self.ema: AveragedModel | None = None
        if ema_decay is not None:
            average = get_ema_multi_avg_fn(ema_decay)  # type: ignore[no-untyped-call]
            self.ema = AveragedModel(network, multi_avg_fn=average, use_buffers=True)
        self.tile, self.overlap = tile, overlap
        self.channels_last = channels_last
        if channels_last:
            self.network.to(memory_format=torch.channels_last)
        if compile_network:
            self.network.compile()
        self._bad_losses: dict[str, Tensor] = {}

    @property
    def _log_interval(self) -> int:
        return int(self.trainer.log_every_n_steps)  # type: ignore[attr-defined]

    @property
    def final_network(self) -> Network:
        """The weights that validation, test and export use: the EMA where there is one."""
        if self.ema is None:
            return self.network
        averaged = self.ema.module
        assert isinstance(averaged, Network)
        return averaged

    def named_metrics(self) -> dict[str, PerImageMetric]:
        """The metrics by the key under which each is logged; one that cannot be measured is left out."""
        metrics = {metric.key: metric for metric in self.metrics.values()}
        return {key: metric for key, metric in metrics.items() if metric.reason is None}  # type: ignore[misc]

    @abstractmethod
    def dry_step(self, batch: Batch) -> None:
        """One forward and backward pass as in training, without optimizer and logging: the preflight's."""

    def configure_optimizers(self) -> Any:
        """The optimizer over the trainable weights, and its schedule in optimizer steps."""
        parameters = [p for p in self.network.parameters() if p.requires_grad]
        if not parameters:
            name = type(self.network).__name__
            raise ValueError(f"{name} has no trainable parameters: it can be evaluated, not trained")
        optimizer = self.make_optimizer(parameters)
        if self.make_scheduler is None:
            return optimizer
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": self.make_scheduler(optimizer), "interval": "step"},
        }

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Steps the optimizer, then the EMA: once an optimizer step, not once a batch."""
        super().optimizer_step(*args, **kwargs)
        if self.ema is not None:
            self.ema.update_parameters(self.network)

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Restores one whole image with the final weights and updates the metrics."""
        restored = self.restore(batch["low"])
        for metric in self.named_metrics().values():
            metric.update(restored, batch["high"])
            self.log(f"val/{metric.key}", metric, on_epoch=True, prog_bar=metric.key.startswith("psnr"), batch_size=1)
        return restored

    def restore(self, low: Tensor) -> Tensor:
        """(B, C, h, w) -> float32 (B, C, h * scale, w * scale), clamped to [0, 1], in tiles where it is large."""
        if self.channels_last:
            low = low.to(memory_format=torch.channels_last)
        restored = restore_tiled(self.final_network, low, tile=self.tile, overlap=self.overlap)
        return restored.float().clamp(0, 1)

    def guard(self, losses: Mapping[str, Tensor], batch: Batch) -> None:
        """Stops the run at a loss that is not finite.

        On the CPU at once; on a GPU the check is kept on the device and read at every logging step, so
        that no step waits for it.

        Raises:
            NonFiniteLoss: naming the step, the losses and, on the CPU, the samples of the batch.
        """
        for name, value in losses.items():
            bad = ~torch.isfinite(value.detach())
            self._bad_losses[name] = bad | self._bad_losses[name] if name in self._bad_losses else bad
        on_cpu = self.device.type == "cpu"
        if not on_cpu and self.global_step % self._log_interval != 0:
            return
        self.raise_if_not_finite(losses, batch)

    def raise_if_not_finite(self, losses: Mapping[str, Tensor] | None = None, batch: Batch | None = None) -> None:
        """Raises for a loss that was not finite since the last look; see ``guard``."""
        bad = [name for name, flag in self._bad_losses.items() if flag.item()]
        if not bad:
            self._bad_losses = {}
            return
        values = {} if losses is None else {name: float(value.detach()) for name, value in losses.items()}
        named = ", ".join(f"{name}={values.get(name, float('nan'))}" for name in bad)
        where = f"step {self.global_step}"
        if self.device.type != "cpu":
            where = f"at or up to {self._log_interval} steps before step {self.global_step}"
        samples = ""
        if batch is not None and "index" in batch:
            epochs, indices = batch["epoch"].tolist(), batch["index"].tolist()
            samples = f"; batch of (epoch, sample): {list(zip(epochs, indices, strict=True))}"
        raise NonFiniteLoss(
            f"{where}: {named}{samples}. Lower optimizer.lr, set trainer.gradient_clip_val, or look at the samples; "
            "the last checkpoint holds finite weights."
        )
