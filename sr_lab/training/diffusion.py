"""Diffusion: a denoiser learns to estimate the image from states between it and noise."""

from collections.abc import Callable, Mapping

import numpy as np
import torch
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from sr_lab.base.randomness import digest64, image_noise, uniforms, upload
from sr_lab.base.words import counted
from sr_lab.losses.base import Loss
from sr_lab.metrics.base import PerImageMetric
from sr_lab.networks.base import Network
from sr_lab.networks.denoising import DenoisingNetwork
from sr_lab.training.base import Batch
from sr_lab.training.regression import Regression


class Diffusion(Regression):
    """Minimises the weighted sum of ``losses`` between the network's estimates of the targets and the targets.

    As ``Regression``, but the network sees each target in a state of noise and time, which decides the algorithm:
    ``ResShift`` with [l2] is the paper's (its 4-step version has [l2,lpips]), ``PMRF`` with [l2] is rectified flow.
    Noise and time of a sample depend on (seed, epoch, index) alone.

    Args:
        network: Network that is trained; its denoiser is what ``compile_network`` compiles.
        losses: See ``Regression``.
        metrics: See ``TrainingModule``.
        optimizer: See ``TrainingModule``.
        seed: Seed of the noise and the times.
        teacher: Trained network, frozen: the targets are not the high images but what it makes of the same low images
            and noise. A ``network`` of one step becomes its student (SinSR, arXiv:2311.14760).
        val_steps: Number of evaluations for a sample in validation; None for the network's own number.
        scheduler: See ``TrainingModule``.
        ema_decay: See ``TrainingModule``.
        tile: See ``TrainingModule``.
        overlap: See ``TrainingModule``.
        channels_last: See ``TrainingModule``.
        compile_network: See ``TrainingModule``.
        gradient_clip: See ``TrainingModule``.

    Raises:
        ValueError: if a network draws no images by denoising, or the teacher's scale or channels differ.
    """

    network: DenoisingNetwork

    takes_clips = False

    def __init__(
        self,
        *,
        network: Network,
        losses: Mapping[str, Loss],
        metrics: Mapping[str, PerImageMetric],
        optimizer: Callable[..., Optimizer],
        seed: int,
        teacher: Network | None = None,
        val_steps: int | None = None,
        scheduler: Callable[..., LRScheduler] | None = None,
        ema_decay: float | None = None,
        tile: int = 512,
        overlap: int = 16,
        channels_last: bool = False,
        compile_network: bool | str = False,
        gradient_clip: float | None = None,
    ) -> None:
        super().__init__(
            network=_denoising(network, "network"),
            losses=losses,
            metrics=metrics,
            optimizer=optimizer,
            scheduler=scheduler,
            ema_decay=ema_decay,
            tile=tile,
            overlap=overlap,
            channels_last=channels_last,
            gradient_clip=gradient_clip,
        )
        self.compiled = bool(compile_network)
        if compile_network:
            self.network.denoiser.compile(mode=compile_network if isinstance(compile_network, str) else None)
        self.seed = seed
        self.val_steps = val_steps
        self.teacher: DenoisingNetwork | None = None
        if teacher is not None:
            self.teacher = _denoising(teacher, "teacher").requires_grad_(False).eval()
            mine, theirs = ((one.scale, one.num_channels) for one in (network, teacher))
            if mine != theirs:
                raise ValueError(
                    f"the teacher is x{theirs[0]} of {counted(theirs[1], 'channel')}, not x{mine[0]} of {mine[1]}"
                )

    def train(self, mode: bool = True) -> "Diffusion":
        """Puts all but the teacher into training mode."""
        super().train(mode)
        if self.teacher is not None:
            self.teacher.eval()
        return self

    def compared(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The estimates of the targets, and the targets."""
        low, target = self.low(batch), batch["high"]
        keys = list(zip(batch["epoch"].tolist(), batch["index"].tolist(), strict=True))
        streams = np.array([digest64("diffusion", self.seed, *key) for key in keys], dtype=np.uint64)
        seeds = [int(stream) >> 10 for stream in streams]  # 53 bits
        uniform = upload(uniforms(streams, 1)[:, 0], low.device)
        if self.teacher is not None:
            with torch.no_grad():
                target = self.teacher.transport(low, seeds=seeds)
        noise = image_noise(seeds, tuple(target.shape[1:]), device=low.device)
        return self.network.estimate(low, target, noise=noise, uniform=uniform), target

    def enlarge(self, network: Network, low: Tensor) -> Tensor:
        """The sample of seed 0, in ``val_steps`` steps."""
        network = _denoising(network, "network")
        return network.sample(low, seeds=[0], num_steps=self.val_steps, tile=self.tile, overlap=self.overlap)


def _denoising(network: Network, name: str) -> DenoisingNetwork:
    if not isinstance(network, DenoisingNetwork):
        raise ValueError(
            f"{name}={type(network).__name__} draws no images by denoising: take model/network=resshift or pmrf"
        )
    return network
