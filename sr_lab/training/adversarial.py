"""Adversarial training: the network also plays against a critic that tells its images from photographs."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from sr_lab.base.words import counted
from sr_lab.losses.adversarial import R1, AdversarialLoss, r1_penalty
from sr_lab.losses.base import Loss
from sr_lab.metrics.base import PerImageMetric
from sr_lab.metrics.psnr import psnr
from sr_lab.networks.base import Network
from sr_lab.networks.discriminators import Critic
from sr_lab.training.base import Batch, Losses, TrainingModule, attached, frames_of, measured
from sr_lab.training.collapse import CollapseWatch
from sr_lab.training.instruments import checkerboard, colour_bias, last_convolution, top_octave_ratio


class Adversarial(TrainingModule):
    """ESRGAN's and Real-ESRGAN's training: losses against the target, and a game against a critic.

    Each step plays one round, as the authors do: the generator is moved against the critic, and the critic by the same
    images. The critic sees real and restored images once; its logits serve both sides. Lightning knows the generator's
    optimizer alone, so that ``global_step`` counts its steps; the critic's is stepped right after it.

    Where the batch has an ``original`` (the degradation sharpens the target), ``losses`` compare with the target, and
    the critic takes the original for real, as in Real-ESRGAN.

    Of clips (B, T, C, H, W) every frame counts as an image does, for the losses and for a critic of images; a critic of
    clips (``TripletCritic``) judges them whole. A network for clips is trained through time.

    Logged beside the losses, as ``train/...``: ``gan``, ``critic``, ``critic_real`` and ``critic_fake`` (mean logits);
    and every ``instruments_every`` steps ``critic_gap`` (their difference), ``colour_bias``, ``top_octave``,
    ``checkerboard`` (see ``sr_lab.training.instruments``) and ``gradient_<loss>``, the norm of each weighted loss's
    gradient at the last convolution. At validation ``val/ema_gain``: PSNR in dB of the averaged weights less that of
    the raw ones.

    Args:
        network: See ``TrainingModule``.
        losses: Losses against the target by name; each is logged unweighted.
        gan: Adversarial loss: what generator and critic want.
        critic: Network that judges whether an image is an original.
        critic_optimizer: Makes the critic's optimizer: a partial that takes its parameters.
        metrics: See ``TrainingModule``.
        optimizer: See ``TrainingModule``.
        scheduler: See ``TrainingModule``.
        critic_scheduler: Makes the critic's schedule: a partial that takes its optimizer; stepped once an optimizer
            step.
        critic_clip: Largest norm of the critic's gradient; None does not clip.
        r1: Gradient penalty of the critic; None for none.
        warm_start: ``required`` asks for weights to start from, as the papers do; ``waived`` plays from scratch.
        instruments_every: Number of optimizer steps between two looks at the instruments.
        collapse: Stops the run by the instruments; None watches nothing.
        ema_decay: See ``TrainingModule``.
        tile: See ``TrainingModule``.
        overlap: See ``TrainingModule``.
        channels_last: See ``TrainingModule``.
        compile_network: See ``TrainingModule``; the critic is not compiled.
        gradient_clip: See ``TrainingModule``.
    """

    takes_clips = True

    def __init__(
        self,
        *,
        network: Network,
        losses: Mapping[str, Loss],
        gan: AdversarialLoss,
        critic: Critic,
        critic_optimizer: Callable[..., Optimizer],
        metrics: Mapping[str, PerImageMetric],
        optimizer: Callable[..., Optimizer],
        scheduler: Callable[..., LRScheduler] | None = None,
        critic_scheduler: Callable[..., LRScheduler] | None = None,
        critic_clip: float | None = None,
        r1: R1 | None = None,
        warm_start: Literal["required", "waived"] = "required",
        instruments_every: int = 20,
        collapse: CollapseWatch | None = None,
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
        if warm_start not in ("required", "waived"):
            raise ValueError(f"warm_start={warm_start!r}: either required or waived")
        if instruments_every < 1:
            raise ValueError(f"instruments_every={instruments_every}: must be at least 1 step")
        if critic.num_channels != network.num_channels:
            raise ValueError(
                f"the critic takes {counted(critic.num_channels, 'channel')}, the network {network.num_channels}"
            )
        if taken := {"gan", "critic", "loss"} & losses.keys():
            raise ValueError(f"losses names {taken.pop()!r}, which is the game's own: choose another name")
        self.losses = nn.ModuleDict(losses)
        self.taps = attached(losses, network)
        self.gan, self.critic, self.r1 = gan, critic, r1
        self.make_critic_optimizer, self.make_critic_scheduler = critic_optimizer, critic_scheduler
        self.critic_clip, self.collapse, self.instruments_every = critic_clip, collapse, instruments_every
        self.needs_initial = warm_start == "required"
        self.critic_optimizer: Optimizer | None = None
        self.critic_scheduler: LRScheduler | None = None
        self._resumed: dict[str, Any] | None = None
        if channels_last:
            self.critic.to(memory_format=torch.channels_last)

    def learn(self, batches: Sequence[Batch]) -> Losses:
        """A round on each of the batches, then one step of the generator and one of the critic."""
        looks = (self.global_step + 1) % self.instruments_every == 0
        penalise = self.r1 is not None and self.global_step % self.r1.every == 0
        total: Losses = {}
        found: Losses = {}
        for number, batch in enumerate(batches):
            restored = self._restored(batch)
            values, terms, logits = self._round(restored, batch, share=1 / len(batches), penalise=penalise)
            self.guard(values, batch)
            if looks and number == 0:
                found = self._read(restored, batch, terms, logits)
            loss = torch.stack(list(terms.values())).sum()
            self.manual_backward(loss / len(batches))
            for name, value in {**values, **logits, "loss": loss}.items():
                part = value.detach() / len(batches)
                total[name] = total[name] + part if name in total else part
        self.advance()
        self._advance_critic()
        if looks:
            self._look(found)
        return total

    def dry_step(self, batch: Batch) -> None:
        """One round without optimizers and logging; the critic's running state is left as it was."""
        before = {name: buffer.clone() for name, buffer in self.critic.named_buffers()}
        _, terms, _ = self._round(self._restored(batch), batch, share=1.0, penalise=self.r1 is not None)
        torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
        for name, buffer in self.critic.named_buffers():
            buffer.copy_(before[name])

    def _restored(self, batch: Batch) -> Tensor:
        restored: Tensor = self.network(self.low(batch)).float()
        return restored

    def _round(self, restored: Tensor, batch: Batch, *, share: float, penalise: bool) -> tuple[Losses, Losses, Losses]:
        """One round: the critic's gradient is added to its parameters, the generator's is left in the terms.

        Args:
            restored: with its graph.
            batch: the batch.
            share: factor of the critic's gradient.
            penalise: whether R1 is added.

        Returns:
            Unweighted losses of both sides; the weighted terms of the generator's; the mean logits.
        """
        target: Tensor = batch["high"]
        values = self._distances(frames_of(restored), frames_of(target), self.low(batch))
        shown = restored.reshape(target.shape) if self.critic.takes_clips else frames_of(restored)
        fake = shown.detach().requires_grad_()
        real = batch.get("original", target).detach()
        real = (real if self.critic.takes_clips else frames_of(real)).requires_grad_(penalise)
        judge = self.critic.judge(real)
        on_real, on_fake = judge(real).float(), judge(fake).float()
        gan = self.gan.generator(on_real, on_fake)
        (pull,) = torch.autograd.grad(gan, fake, retain_graph=True)
        # The value of the game with the gradient of the game, and no path into the critic.
        values["gan"] = gan.detach() + (pull * (shown - fake.detach())).sum()
        weights = {name: float(loss.weight) for name, loss in self.losses.items()}  # type: ignore[arg-type]
        terms = {name: values[name] * weight for name, weight in {**weights, "gan": self.gan.weight}.items()}
        values["critic"] = critic_total = self.gan.critic(on_real, on_fake)
        if penalise:
            assert self.r1 is not None
            values["r1"] = r1_penalty(on_real, real)
            critic_total = critic_total + self.r1.weight * self.r1.every * values["r1"]
        parameters = [p for p in self.critic.parameters() if p.requires_grad]
        (critic_total * share).backward(inputs=parameters)  # type: ignore[no-untyped-call]
        return values, terms, {"critic_real": on_real.detach().mean(), "critic_fake": on_fake.detach().mean()}

    def _distances(self, restored: Tensor, target: Tensor, low: Tensor) -> Losses:
        """The unweighted losses against the target."""
        return measured(self.losses, restored, target, self.context(low, self.taps))

    def _read(self, restored: Tensor, batch: Batch, terms: Losses, logits: Losses) -> Losses:
        """The instruments of one batch, on the device.

        The network is run once more for the gradients at its last convolution: a compiled graph may be gone through
        once only.
        """
        pulls = {name: torch.autograd.grad(term, restored, retain_graph=True)[0] for name, term in terms.items()}
        weight = last_convolution(self.network)
        with torch.compiler.set_stance("force_eager") if self.compiled else nullcontext():
            again = self._restored(batch)
        found = {
            f"gradient_{name}": torch.autograd.grad(again, weight, pull, retain_graph=True)[0].norm()
            for name, pull in pulls.items()
        }
        with torch.no_grad():
            restored, high = frames_of(restored), frames_of(batch["high"])
            return found | {
                "critic_gap": logits["critic_real"] - logits["critic_fake"],
                "colour_bias": colour_bias(restored, high),
                "top_octave": top_octave_ratio(restored, high),
                "checkerboard": checkerboard(restored, high, scale=self.network.scale),
            }

    def _look(self, found: Losses) -> None:
        """Reads the instruments from the device, once for all, logs them and stops a GAN that has collapsed."""
        values = torch.stack([value.float() for value in found.values()]).tolist()
        numbers = dict(zip(found, values, strict=True))
        for logger in self.loggers:
            logger.log_metrics({f"train/{name}": number for name, number in numbers.items()}, step=self.global_step)
        if self.collapse is not None:
            self.collapse.look(self.global_step, numbers)

    def _advance_critic(self) -> None:
        """Steps the critic's optimizer on the gradients that are there, and its schedule."""
        assert self.critic_optimizer is not None
        if self.critic_clip is not None:
            nn.utils.clip_grad_norm_(self.critic.parameters(), self.critic_clip)
        self.critic_optimizer.step()
        self.critic_optimizer.zero_grad()
        if self.critic_scheduler is not None:
            self.critic_scheduler.step()

    def configure_optimizers(self) -> Any:
        """The generator's optimizer and schedule for Lightning; the critic's are kept here."""
        self.critic_optimizer = self.make_critic_optimizer([p for p in self.critic.parameters() if p.requires_grad])
        if self.make_critic_scheduler is not None:
            self.critic_scheduler = self.make_critic_scheduler(self.critic_optimizer)
        return super().configure_optimizers()

    def validation_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """As in ``TrainingModule``; also logs what the average gains over the raw weights."""
        restored = super().validation_step(batch, batch_idx)
        if self.ema is not None:
            border, high = self.network.scale, frames_of(batch["high"])
            ours, raw = frames_of(restored), frames_of(self.restore(batch["low"], raw=True))
            gain = psnr(ours, high, border=border) - psnr(raw, high, border=border)
            self.log("val/ema_gain", gain.mean(), on_epoch=True, batch_size=1, sync_dist=True)
        return restored

    def on_fit_start(self) -> None:
        """Gives the critic's optimizer what a checkpoint kept, and the average the weights to start from.

        Raises:
            ValueError: on several devices or in float16, in which the critic's part is not made.
        """
        if self.trainer.world_size > 1:
            raise ValueError(f"trainer.devices: a GAN trains on one device, not on {self.trainer.world_size}")
        if str(self.trainer.precision).startswith("16"):
            raise ValueError("trainer.precision=16: the critic's gradients are not scaled; use bf16-mixed or 32-true")
        if self._resumed is not None:
            assert self.critic_optimizer is not None
            self.critic_optimizer.load_state_dict(self._resumed["optimizer"])
            if self.critic_scheduler is not None:
                self.critic_scheduler.load_state_dict(self._resumed["scheduler"])
            if self.collapse is not None:
                self.collapse.load_state_dict(self._resumed["collapse"])
            self._resumed = None
        elif self.ema is not None:
            self.ema.module.load_state_dict(self.network.state_dict())

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Adds what the critic needs to go on to the same bits."""
        assert self.critic_optimizer is not None
        checkpoint["critic"] = {
            "optimizer": self.critic_optimizer.state_dict(),
            "scheduler": None if self.critic_scheduler is None else self.critic_scheduler.state_dict(),
            "collapse": None if self.collapse is None else self.collapse.state_dict(),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keeps it until the critic's optimizer is made."""
        self._resumed = checkpoint["critic"]
