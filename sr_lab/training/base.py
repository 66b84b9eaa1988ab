"""What every training algorithm shares: blocks of steps, EMA, the optimizer, validation, and the guard against NaN."""

import functools
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, cast

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from sr_lab.base.words import counted
from sr_lab.images.context import Context
from sr_lab.losses.base import Loss
from sr_lab.losses.taps import Taps
from sr_lab.metrics.base import PerImageMetric
from sr_lab.networks.base import Network
from sr_lab.networks.temporal.base import ClipNetwork
from sr_lab.networks.tiling import restore_tiled
from sr_lab.training.ema import EMA
from sr_lab.training.means import ImageMean

Batch = dict[str, Any]
Losses = dict[str, Tensor]


class NonFiniteLoss(RuntimeError):
    """A loss became NaN or infinite; the message names step, loss and batch."""


class TrainingModule(pl.LightningModule, ABC):
    """A network, what it is judged by, and how its weights move.

    An algorithm is its ``learn``: one optimizer step. What Lightning calls a batch is one step's batch or a block of
    several steps (``SRDataModule(steps_per_batch=...)``), because Lightning's own work for a batch takes longer than a
    step of a small network on a fast GPU. Steps are counted and done alike, whatever the size of the blocks; hooks of
    callbacks come once a block.

    Args:
        network: Network that is trained.
        metrics: Metrics that are measured on each validation image; the mean is logged as ``val/<key>``, the metric's
            own key, which tells the protocol's channels: ``val/psnr_y``.
        optimizer: Makes the optimizer: a partial that takes the parameters.
        scheduler: Makes the learning rate's schedule: a partial that takes the optimizer; stepped once an optimizer
            step. None keeps the learning rate.
        ema_decay: Decay of the exponential moving average of the weights, updated once an optimizer step; None keeps
            none. Where there is one, validation, test and export use it.
        tile: Side in low-resolution pixels above which validation works in tiles.
        overlap: Number of low-resolution pixels that neighbouring tiles share.
        channels_last: Whether convolutions run in the channels-last memory format.
        compile_network: Whether the network is compiled by ``torch.compile``, or in which of its modes:
            ``reduce-overhead`` replays CUDA graphs.
        gradient_clip: Largest norm of the network's gradient; None does not clip.

    Attributes:
        needs_initial: Whether the training must start from given weights.
        takes_clips: Whether the algorithm trains on clips (B, T, C, H, W), too.
        saved_step: Optimizer step of the last checkpoint that was written; None as long as there is none.

    Raises:
        ValueError: if an argument is out of range.
    """

    needs_initial: bool = False
    takes_clips: bool = False

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
        compile_network: bool | str = False,
        gradient_clip: float | None = None,
    ) -> None:
        super().__init__()
        if gradient_clip is not None and gradient_clip <= 0:
            raise ValueError(f"gradient_clip={gradient_clip}: must be positive, or null for no clipping")
        self.automatic_optimization = False
        self.network = network.train()  # one that was loaded comes in evaluation mode
        self.metrics = nn.ModuleDict({name: ImageMean(metric) for name, metric in metrics.items()})
        self.make_optimizer = optimizer
        self.make_scheduler = scheduler
        self.ema = None if ema_decay is None else EMA(network, decay=ema_decay)
        self.gradient_clip = gradient_clip
        self.tile, self.overlap = tile, overlap
        self.channels_last = channels_last
        if channels_last:
            self.network.to(memory_format=torch.channels_last)
        self.compiled = bool(compile_network)
        if compile_network:
            self.network.compile(mode=compile_network if isinstance(compile_network, str) else None)
        self.logged: dict[str, float] = {}
        self.saved_step: int | None = None
        self._bad_losses: dict[str, Tensor] = {}

    @property
    def _log_interval(self) -> int:
        return int(self.trainer.log_every_n_steps)  # type: ignore[attr-defined]

    @property
    def final_network(self) -> Network:
        """The weights that validation, test and export use: the EMA where there is one."""
        if self.ema is None:
            return self.network
        return self.ema.module

    def named_metrics(self) -> dict[str, ImageMean]:
        """The metrics by the key under which each is logged; one that cannot be measured is left out."""
        metrics = {metric.key: metric for metric in self.metrics.values()}
        return {key: metric for key, metric in metrics.items() if metric.reason is None}  # type: ignore[misc]

    @abstractmethod
    def learn(self, batches: Sequence[Batch]) -> Losses:
        """One optimizer step: gradients over ``batches``, then ``advance``.

        Args:
            batches: whose gradients are averaged; one, unless the data accumulate.

        Returns:
            The values to log as ``train/<name>``, detached, on the device; nothing here waits for them.
        """

    @abstractmethod
    def dry_step(self, batch: Batch) -> None:
        """One forward and backward pass as in training, without optimizer and logging: the preflight's."""

    def training_step(self, batch: Batch | Iterable[Sequence[Batch]], batch_idx: int) -> Losses:
        """One optimizer step, or a block of them; gives the values of the last."""
        values: Losses = {}
        steps: Iterable[Sequence[Batch]] = [[batch]] if isinstance(batch, dict) else batch
        for batches in steps:
            if self.compiled and self.device.type == "cuda":
                torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
            values = self.learn(batches)
            if self.global_step % self._log_interval == 0:
                self._log_training(values)
        return values

    def descend(self, batches: Sequence[Batch], losses: Callable[[Batch], Losses]) -> Losses:
        """A whole ``learn`` for algorithms that minimise one number.

        Args:
            batches: see ``learn``.
            losses: values of a batch with gradient; the one called ``loss`` is minimised, all are logged and guarded.
        """
        total: Losses = {}
        for batch in batches:
            values = losses(batch)
            self.guard({name: value for name, value in values.items() if name != "loss"} or values, batch)
            self.manual_backward(values["loss"] / len(batches) if len(batches) > 1 else values["loss"])
            for name, value in values.items():
                part = value.detach() / len(batches) if len(batches) > 1 else value.detach()
                total[name] = total[name] + part if name in total else part
        self.advance()
        return total

    def advance(self) -> None:
        """Steps the network's optimizer (the first) on the gradients that are there, its schedule and the EMA."""
        optimizer, scheduler = _first(self.optimizers()), _first(self.lr_schedulers())
        if self.gradient_clip is not None:
            scaler = getattr(self.trainer.precision_plugin, "scaler", None)
            if scaler is not None:
                scaler.unscale_(optimizer.optimizer)
            trained = [weight for group in optimizer.param_groups for weight in group["params"]]
            nn.utils.clip_grad_norm_(trained, self.gradient_clip)
        optimizer.step()
        optimizer.zero_grad()
        if scheduler is not None:
            scheduler.step()
        if self.ema is not None:
            self.ema.update(self.network)

    def context(self, low: Tensor, taps: Taps) -> Context:
        """What the losses of a batch may look at, after the network's pass over ``low``."""

        @functools.cache
        def averaged() -> Tensor:
            with torch.no_grad():
                image: Tensor = self.final_network(low).float()
            return frames_of(image)

        return Context(low=frames_of(low), averaged=None if self.ema is None else averaged, features=taps.take())

    def configure_optimizers(self) -> Any:
        """The optimizer over the trainable weights, and its schedule in optimizer steps."""
        parameters = [p for p in self.network.parameters() if p.requires_grad]
        if not parameters:
            name = type(self.network).__name__
            raise ValueError(f"{name} has no trainable parameters: it can be evaluated, not trained")
        optimizer = self.make_optimizer(parameters)
        return [optimizer], [] if self.make_scheduler is None else [self.make_scheduler(optimizer)]

    def on_validation_epoch_end(self) -> None:
        """Tells the loggers at which optimizer step the validation was: Lightning counts its batches."""
        self.log("step", float(self.global_step))

    def _log_training(self, values: Losses) -> None:
        """Reads ``values``, averaged over all processes, once for all; gives them to loggers and progress bar."""
        self.raise_if_not_finite(values)
        numbers: list[float] = []
        if values:
            stacked = torch.stack([value.detach().float() for value in values.values()])
            numbers = self.trainer.strategy.reduce(stacked, reduce_op="mean").tolist()
        self.logged = {f"train/{name}": number for name, number in zip(values, numbers, strict=True)}
        for logger in self.loggers:
            logger.log_metrics(self.logged, step=self.global_step)

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Restores one whole image, or clip, with the final weights and updates the metrics: a frame is an image."""
        restored = self.restore(batch["low"])
        frames, high, low = (frames_of(images) for images in (restored, batch["high"], batch["low"]))
        for metric in self.named_metrics().values():
            metric.update(frames, high, low=low)
            self.log(f"val/{metric.key}", metric, on_epoch=True, prog_bar=metric.key.startswith("psnr"), batch_size=1)
        return restored

    def restore(self, low: Tensor, *, raw: bool = False) -> Tensor:
        """(B, C, h, w) -> float32 (B, C, h * scale, w * scale), clamped to [0, 1], in tiles where it is large.

        Clips (B, T, C, h, w) likewise: by a network for clips whole, by one for images frame by frame.

        By the final weights, or by the ``raw`` ones that are trained.
        """
        low = self.laid_out(low)
        eager = torch.compiler.set_stance("force_eager") if self.compiled else nullcontext()  # sizes vary
        with eager:
            restored = self.enlarge(self.network if raw else self.final_network, low)
        return restored.float().clamp(0, 1)

    def enlarge(self, network: Network, low: Tensor) -> Tensor:
        """What ``network`` makes of ``low`` in validation, not clamped."""
        if low.ndim == 5:
            if isinstance(network, ClipNetwork):
                whole: Tensor = network(low)
                return whole
            return torch.stack([self.enlarge(network, frame) for frame in low.unbind(dim=1)], dim=1)
        return restore_tiled(network, low, tile=self.tile, overlap=self.overlap)

    def low(self, batch: Batch) -> Tensor:
        """The low images of a batch in the network's memory format; clips for a network for images as their frames."""
        low: Tensor = batch["low"]
        return self.laid_out(low if isinstance(self.network, ClipNetwork) else frames_of(low))

    def laid_out(self, low: Tensor) -> Tensor:
        """Low images in the network's memory format; clips as they are: a network lays their frames out."""
        return low.to(memory_format=torch.channels_last) if self.channels_last and low.ndim == 4 else low

    def guard(self, losses: Mapping[str, Tensor], batch: Batch) -> None:
        """Stops the run at a loss that is not finite.

        On the CPU at once; on a GPU the check stays on the device and is read when numbers are logged, so that no step
        waits for it.

        Raises:
            NonFiniteLoss: naming the step, the losses and, on the CPU, the samples of the batch.
        """
        for name, value in losses.items():
            bad = ~torch.isfinite(value.detach())
            self._bad_losses[name] = bad | self._bad_losses[name] if name in self._bad_losses else bad
        if self.device.type == "cpu":
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
            where = f"at or up to {counted(self._log_interval, 'step')} before step {self.global_step}"
        samples = ""
        if batch is not None and "index" in batch:
            epochs, indices = batch["epoch"].tolist(), batch["index"].tolist()
            samples = f"; batch of (epoch, sample): {list(zip(epochs, indices, strict=True))}"
        kept = "no checkpoint was written before"
        if self.saved_step is not None:
            kept = f"the checkpoint of step {self.saved_step} holds finite weights"
        raise NonFiniteLoss(
            f"{where}: {named}{samples}. Lower optimizer.lr, set model.gradient_clip, or look at the samples; {kept}"
        )


def attached(losses: Mapping[str, Loss], network: Network) -> Taps:
    """Attaches the losses to the network that is trained; gives what watches the layers that they ask for.

    Raises:
        ValueError: If a loss cannot be used with the network, or asks for a layer that is not there.
    """
    for loss in losses.values():
        loss.attach(network)
    layers = [name for loss in losses.values() for name in loss.watched]
    return Taps(network, layers, whose="the student", training_only=True)


def measured(losses: nn.ModuleDict, restored: Tensor, target: Tensor, context: Context) -> Losses:
    """The unweighted losses by name, scalars with gradient."""
    return {name: cast("Loss", loss).measure(restored, target, context) for name, loss in losses.items()}


def frames_of(images: Tensor) -> Tensor:
    """Clips (B, T, C, H, W) as images (B * T, C, H, W); images as they are."""
    return images.flatten(0, 1) if images.ndim == 5 else images


def _first(found: Any) -> Any:
    """The first of Lightning's optimizers or schedulers: the network's; None if there is none."""
    return (found[0] if found else None) if isinstance(found, list) else found
