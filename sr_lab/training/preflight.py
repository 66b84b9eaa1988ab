"""What can be known before a long run: all problems at once, within seconds."""

import shutil
import time
from collections.abc import Callable, Collection
from pathlib import Path

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sr_lab.base.words import counted
from sr_lab.training.base import Batch, TrainingModule, frames_of

HALF = {"bf16-mixed": torch.bfloat16, "bf16-true": torch.bfloat16, "16-mixed": torch.float16, "16-true": torch.float16}


def precision_problem(precision: str, device: torch.device) -> str | None:
    """Why ``precision`` should not be used on ``device``, by measurement; None where it is no slower than float32.

    A 3x3 convolution of 64 channels is timed in both; without arithmetic units for it, half precision is
    emulated and runs many times slower.
    """
    dtype = HALF.get(precision)
    if dtype is None:
        return None
    image = torch.randn(1, 64, 64, 64, device=device)
    kernel = torch.randn(64, 64, 3, 3, device=device)
    try:
        slow, fast = _seconds(image.to(dtype), kernel.to(dtype)), _seconds(image, kernel)
    except RuntimeError as error:
        return f"trainer.precision={precision} does not run on {device}: {error}. Use trainer.precision=32-true"
    if slow <= 1.5 * fast:
        return None
    return (
        f"trainer.precision={precision} is {slow / fast:.0f} times slower than float32 on this {device.type} (measured "
        f"on a 64-channel convolution: {slow * 1e3:.1f} ms against {fast * 1e3:.1f} ms): it has no units for "
        f"{str(dtype).removeprefix('torch.')}. Use trainer.precision=32-true"
    )


def _seconds(image: Tensor, kernel: Tensor) -> float:
    """Best of five timings of one convolution, after a warm-up."""
    times = []
    for _ in range(6):
        start = time.perf_counter()
        F.conv2d(image, kernel, padding=1)
        if image.is_cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def disk_problem(directory: Path, module: nn.Module) -> str | None:
    """Whether ``directory``'s disk lacks room for the run: two checkpoints and artefacts.

    The module's weights, average and critic among them, are counted eight times: in each of two checkpoints with Adam's
    two moments, and in two artefacts.
    """
    needed = 8 * sum(p.numel() * p.element_size() for p in module.parameters()) + 2**26
    existing = next(path for path in (directory, *directory.absolute().parents) if path.exists())
    free = shutil.disk_usage(existing).free
    if free >= needed:
        return None
    return f"disk: {directory} has {free / 2**20:.0f} MiB free, the run needs about {needed / 2**20:.0f} MiB"


def optimizer_problem(module: TrainingModule) -> str | None:
    """Why optimizer and scheduler cannot be built over the module's weights."""
    try:
        module.configure_optimizers()
    except (ValueError, TypeError) as error:
        return f"optimizer and scheduler: {error}"
    return None


def image_problems(channels: Collection[int], deep: bool, module: TrainingModule, *, monitor: str) -> list[str]:
    """All that unusual images need and is not set, in one message: network, protocol, monitor.

    Args:
        channels: Numbers of channels that the images have.
        deep: Whether they have more levels than 8 bits hold.
        module: What is to be trained.
        monitor: The logged key that chooses the best weights.
    """
    bands = next(iter(channels)) if len(channels) == 1 else 3
    odd = bands not in (1, 3)
    if not (odd or deep):
        return []
    settings = [f"num_channels={bands}"] if odd and module.network.num_channels != bands else []
    protocol, suffix, unfit = ("deep", "_deep", ("_y", "_rgb")) if deep else ("rgb_crop", "_rgb", ("_y",))
    if any(key.endswith(unfit) for key in module.named_metrics()):
        settings.append(f"protocol={protocol}")
    if monitor.endswith(unfit):
        settings.append(f"monitor={monitor.rpartition('_')[0]}{suffix}")
    if not settings:
        return []
    kind = f"of {bands} channels have no luma and need their own network" if odd else "have 16 bits"
    lost = f"{', and ' if odd else ', of which '}8-bit protocols lose most levels{' of their 16 bits' if odd else ''}"
    return [f"images {kind}{lost if deep else ''}: add {' '.join(settings)}"]


def step_problems(
    trainer: pl.Trainer, module: TrainingModule, *, train: Callable[[], Batch], val: Callable[[], Batch]
) -> list[str]:
    """Problems of one training and one validation step on real batches; the weights are left as they were.

    Args:
        trainer: gives device and precision.
        module: what is to be trained.
        train: loads a training batch, as the network gets it.
        val: loads a validation batch likewise.
    """
    device = trainer.strategy.root_device
    problems = []
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        module.to(device)
        for stage, load in (("training", train), ("validation", val)):
            try:
                batch = {key: v.to(device) if isinstance(v, Tensor) else v for key, v in load().items()}
                with trainer.precision_plugin.forward_context():
                    _step(module, stage, batch)
            except Exception as error:
                problems.append(f"{stage} step: {type(error).__name__}: {error}")
        module.zero_grad(set_to_none=True)
    return problems


def _step(module: TrainingModule, stage: str, batch: Batch) -> None:
    low, high = batch["low"], batch["high"]
    scale, channels = module.network.scale, module.network.num_channels
    if low.ndim == 5 and not module.takes_clips:
        raise ValueError(
            f"{type(module).__name__} trains on images: take model=regression or adversarial for clips, or "
            "data.clips=null"
        )
    if low.shape[-3] != channels:
        raise ValueError(
            f"images have {counted(low.shape[-3], 'channel')}, the network takes {channels}: set num_channels"
        )
    expected = (low.shape[-2] * scale, low.shape[-1] * scale)
    if expected != tuple(high.shape[-2:]):
        raise ValueError(
            f"x{scale} of {tuple(low.shape)} is not the target's {tuple(high.shape)}: check scale and data"
        )
    if stage == "training":
        module.dry_step(batch)
        return
    with torch.no_grad():
        restored = module.restore(low)
        for key, metric in module.named_metrics().items():
            metric.update(frames_of(restored), frames_of(high), low=frames_of(low))
            value = float(metric.compute())
            metric.reset()
            if value != value:
                raise ValueError(f"metric {key} is NaN on the first validation image")
