"""Training steps: samples/s, share of the device's matmul rate, what waiting for data and the training loop cost.

    python benchmarks/training.py                 # every case on the GPU, or on the CPU where there is none
    python benchmarks/training.py --case rdn      # one of them
    python benchmarks/training.py --tiny          # toy sizes: a smoke test, its numbers mean nothing

Each case is trained twice through the product's own data module and training loop (blocks of steps, logging, progress
bar): in eager float32 (tf32 switched off), then as ``speed=gpu`` says: bf16, channels_last, CUDA graphs, fused Adam,
images on the device. On a CPU the second way is channels_last and blocks alone. Then the same steps by hand, without
Lightning, with data and with one batch used again and again: the differences are the shares of loop and data. FLOPs are
counted by PyTorch's counter in one eager step; the peak is a square matrix product of random numbers, in the same run
and precision. The last table is the training loop alone, under a network of one convolution, for blocks of K steps.
"""

import argparse
import json
import logging
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytorch_lightning as pl
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader
from torch.utils.flop_counter import flop_registry

from sr_lab.config.compose import build, compose, plain
from sr_lab.data.blocks import Block
from sr_lab.losses.pixel import L1
from sr_lab.metrics.protocol import RGBCrop
from sr_lab.metrics.psnr import PSNR
from sr_lab.networks.srcnn import SRCNN
from sr_lab.tracking.none import NoRun
from sr_lab.training.base import TrainingModule
from sr_lab.training.logger import RunLogger
from sr_lab.training.progress import StepProgressBar
from sr_lab.training.regression import Regression

CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")
CASES = {
    "edsr_baseline": ["model/network=edsr_baseline", "data.batch_size=64"],
    "rdn": ["model/network=rdn", "data.batch_size=16"],
    "rrdb": ["model/network=rrdb", "data.batch_size=16"],
    "gan": ["model=adversarial", "model/network=rrdb", "model.warm_start=waived", "data.batch_size=16"],
    "diffusion": ["model=diffusion", "model/network=resshift", "losses=[l2]", "data.batch_size=32"],
}
TINY = {
    "edsr_baseline": ["model/network=edsr_tiny"],
    "rdn": [f"model.network.{size}" for size in ("num_blocks=2", "num_layers=2", "growth=8", "num_features=8")],
    "rrdb": [f"model.network.{size}" for size in ("num_blocks=1", "growth=8", "num_features=8")],
    "gan": [f"model.network.{size}" for size in ("num_blocks=1", "growth=8", "num_features=8")]
    + ["model.critic.num_features=8"],
    "diffusion": ["model/network=resshift_tiny"],
}


def clock() -> float:
    """Seconds: of the clock once the GPU is done, of this process's own time on a CPU (other work does not count)."""
    if CUDA:
        torch.cuda.synchronize()
        return time.perf_counter()
    return time.process_time()


def photos(folder: Path, count: int, side: int) -> None:
    for split in ("train", "val"):
        (folder / split).mkdir(parents=True)
        for number in range(count if split == "train" else 1):
            rng = np.random.default_rng([number, split == "val"])
            smooth = cv2.resize(rng.random((side // 16, side // 16, 3)).astype(np.float32), (side, side))
            noisy = np.clip(smooth + rng.normal(0, 0.03, smooth.shape), 0, 1) * 255
            cv2.imwrite(str(folder / split / f"{number}.png"), noisy.astype(np.uint8))


def peak(dtype: torch.dtype, side: int) -> float:
    """FLOP/s of a square matrix product of random numbers: the best of several."""
    a, b = (torch.randn(side, side, device=DEVICE).to(dtype) for _ in range(2))
    times = []
    for _ in range(12 if CUDA else 4):
        start = clock()
        a @ b
        times.append(clock() - start)
    return 2 * side**3 / min(times[1:])


def peaks(side: int) -> dict[str, float]:
    """The rates of float32 without tf32, and of the precision that the fast way uses."""
    with strict_float32(True):
        rates = {"float32": peak(torch.float32, side)}
    return rates | {"fast": peak(torch.bfloat16, side) if CUDA else rates["float32"]}


class Flops(TorchDispatchMode):
    """Sums the FLOPs of convolutions and matrix products, by PyTorch's own formulas.

    PyTorch's counter also follows modules, and its hooks cannot pass a gradient with respect to an image.
    """

    total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if (formula := flop_registry.get(func.overloadpacket)) is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=result)
        return result


class Probe(pl.Callback):
    """Times the steps of a run after the first ones, then the same steps by hand.

    Attributes:
        seconds: a step: ``whole`` run, by hand ``with_data``, by hand on one batch (``bare``).
        flops: of one step; counted where ``count`` says so.
    """

    def __init__(self, data: Any, *, warm: int, count: bool, rounds: int) -> None:
        super().__init__()
        self.data, self.warm, self.count, self.rounds = data, warm, count, rounds
        self.seconds: dict[str, float] = {}
        self.flops = 0
        self._start = self._first = 0.0

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        step = trainer.global_step
        if step >= self.warm and not self._start:
            self._start, self._first = clock(), step
        elif step >= trainer.max_steps:
            self.seconds["whole"] = (clock() - self._start) / (step - self._first)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, TrainingModule)
        steps = max(trainer.max_steps - self.warm, self.data.steps_per_batch)
        with trainer.precision_plugin.train_step_context():
            batch = next(self._steps(1))[0]
            if self.count:
                with Flops() as counter:
                    pl_module.learn([batch])
                self.flops = counter.total
            for name, source in (("bare", lambda: ([batch] for _ in range(steps))), ("with_data", self._steps)):
                rounds = []
                for _ in range(self.rounds):
                    start, done = clock(), 0
                    for batches in source() if name == "bare" else source(steps):
                        if pl_module.compiled and CUDA:
                            torch.compiler.cudagraph_mark_step_begin()
                        pl_module.learn(batches)
                        done += 1
                    rounds.append((clock() - start) / done)
                self.seconds[name] = min(rounds)

    def _steps(self, steps: int) -> Iterator[Any]:
        """The data module's own batches of so many steps, in its blocks."""
        block = self.data.steps_per_batch
        sampler = self.data.make_sampler(num_batches=-(-steps // block) * block, block=block)
        for content in self.data.make_loader(sampler):
            sent = self.data.on_after_batch_transfer(self.data.transfer_batch_to_device(content, DEVICE, 0), 0)
            yield from sent if isinstance(sent, Block) else [[sent]]


def quiet_trainer(config: dict[str, Any], steps: int, *callbacks: pl.Callback) -> pl.Trainer:
    """A trainer as ``srlab train`` makes it: its logger, its progress bar, without validation and checkpoints."""
    settings = {"max_steps": steps, "max_epochs": -1, "limit_val_batches": 0, "num_sanity_val_steps": 0}
    settings |= {"enable_checkpointing": False, "enable_model_summary": False, "use_distributed_sampler": False}
    run = NoRun(name="benchmark", directory="")
    return build(config | settings, logger=RunLogger(run=run), callbacks=[StepProgressBar(), *callbacks])


@contextmanager
def strict_float32(strict: bool) -> Iterator[None]:
    before = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = not strict
    torch.set_float32_matmul_precision("highest" if strict else "high")
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before[0]
        torch.set_float32_matmul_precision(before[1])


def seconds_a_step(overrides: list[str], *, warm: int, steps: int, strict: bool) -> dict[str, float]:
    """Times a training configuration, without validation and checkpoints.

    Args:
        overrides: of ``srlab train``.
        warm: steps before the clock starts.
        steps: steps that are timed.
        strict: whether tf32 is off, and FLOPs are counted.

    Returns:
        Seconds a step as in :class:`Probe`, FLOPs of one, and the batch size.
    """
    cfg = compose("train", overrides)
    module, data = build(cfg.model), build(cfg.data)
    probe = Probe(data, warm=warm, count=strict, rounds=3 if steps > 8 else 1)
    with strict_float32(strict), redirect_stdout(StringIO()), redirect_stderr(StringIO()):
        quiet_trainer(plain(cfg.trainer), warm + steps, probe).fit(module, data)
    return {**probe.seconds, "flops": float(probe.flops), "batch": cfg.data.batch_size}


def train(case: str, folder: Path, *, fast: bool, tiny: bool, steps: int) -> dict[str, float]:
    """One case in one way."""
    overrides = ["data=folder", f"data.train.roots={folder}/train", f"data.val.roots={folder}/val", "scale=4"]
    overrides += [f"data.cache={folder}/cache", "data.crop=192", "data.repeats=64", "scheduler=constant", *CASES[case]]
    if tiny:
        overrides += ["data.crop=32", "data.batch_size=2", *TINY[case]]
    if fast:
        overrides += ["speed=gpu"] if CUDA else ["model.channels_last=true", "data.steps_per_batch=4"]
        overrides += [] if CUDA else ["data.images_on=device"]
    warm = 4 if tiny else 24 if fast else 8
    return seconds_a_step(overrides, warm=warm, steps=steps, strict=not fast)


def measure(case: str, *, tiny: bool, peaks: dict[str, float]) -> dict[str, Any]:
    """One row of the table."""
    steps = 4 if tiny else 200
    with tempfile.TemporaryDirectory() as root:
        folder = Path(root)
        photos(folder, 2 if tiny else 24, 64 if tiny else 512)
        eager = train(case, folder, fast=False, tiny=tiny, steps=steps if tiny else steps // 4)
        fast = train(case, folder, fast=True, tiny=tiny, steps=steps)
    rate = eager["flops"] / fast["whole"]
    return {
        "case": case,
        "batch": eager["batch"],
        "gflop": eager["flops"] / 1e9,
        "eager_samples": eager["batch"] / eager["whole"],
        "eager_peak_share": eager["flops"] / eager["whole"] / peaks["float32"],
        "fast_samples": fast["batch"] / fast["whole"],
        "speedup": eager["whole"] / fast["whole"],
        "peak_share": rate / peaks["fast"],
        "data_share": max(0.0, fast["with_data"] - fast["bare"]) / fast["whole"],
        "loop_share": max(0.0, fast["whole"] - fast["with_data"]) / fast["whole"],
    }


def print_rows(rows: list[dict[str, Any]], peaks: dict[str, float]) -> None:
    name = torch.cuda.get_device_name() if CUDA else "CPU, one thread"
    rates = f"{peaks['float32'] / 1e12:.3g} TFLOP/s in float32, {peaks['fast'] / 1e12:.3g} in the fast way"
    print(f"\n{name}: matmul {rates}")
    print("| step | batch | GFLOP | float32 samples/s | of peak | fast samples/s | ratio | of peak | data | loop |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        eager = f"{row['eager_samples']:.3g} | {row['eager_peak_share']:.1%}"
        fast = f"{row['fast_samples']:.3g} | {row['speedup']:.2f} | {row['peak_share']:.1%}"
        shares = f"{row['data_share']:.1%} | {row['loop_share']:.1%}"
        print(f"| {row['case']} | {row['batch']} | {row['gflop']:.3g} | {eager} | {fast} | {shares} |")


class OneBatch(pl.LightningDataModule):
    """The same two crops again and again, in blocks."""

    def __init__(self, block: int) -> None:
        super().__init__()
        self.block = block
        self.batch = {"low": torch.rand(2, 3, 4, 4), "high": torch.rand(2, 3, 8, 8)}

    def train_dataloader(self) -> DataLoader[int]:
        assert self.trainer is not None
        return DataLoader(range(self.trainer.max_steps // self.block), batch_size=1)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return [[self.batch]] * self.block


def loop_overhead(steps: int) -> dict[str, float]:
    """Milliseconds a step of processor time, under a network of one convolution: by hand, and in blocks of K."""

    def module() -> Regression:
        return Regression(
            network=SRCNN(scale=2, num_features=[1, 1], kernels=[1, 1, 1]),
            losses={"l1": L1()},
            metrics={"psnr": PSNR(protocol=RGBCrop(), scale=2)},
            optimizer=lambda parameters: torch.optim.Adam(parameters, fused=True),
            ema_decay=0.9,
        )

    def by_hand() -> None:
        bare = module()
        optimizer = torch.optim.Adam(bare.network.parameters(), fused=True)
        for _ in range(steps):
            loss = (bare.network(batch["low"]) - batch["high"]).abs().mean()
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            assert bare.ema is not None
            bare.ema.update(bare.network)

    def timed(call: Callable[[], object]) -> float:
        start = time.process_time()
        call()
        return (time.process_time() - start) / steps * 1e3

    batch = OneBatch(1).batch
    by_hand()
    repeats = 3 if steps > 100 else 1
    found = {"by hand": min(timed(by_hand) for _ in range(repeats))}
    config = {"_target_": "pytorch_lightning.Trainer", "accelerator": "cpu", "log_every_n_steps": 20}
    for block in (1, 8, 32):
        rounds = []
        for _ in range(repeats):
            probe = Steps()
            with redirect_stdout(StringIO()), redirect_stderr(StringIO()):
                quiet_trainer(config, steps // 32 * 32, probe).fit(module(), OneBatch(block))
            rounds.append(probe.seconds / (steps // 32 * 32) * 1e3)
        found[f"K={block}"] = min(rounds)
    return found


class Steps(pl.Callback):
    """Processor time between the start and the end of the training."""

    def on_train_start(self, *_: Any) -> None:
        self._start = time.process_time()

    def on_train_end(self, *_: Any) -> None:
        self.seconds = time.process_time() - self._start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--case", choices=[*CASES, "loop"], action="append", help="which rows; all without it")
    parser.add_argument("--tiny", action="store_true", help="toy sizes")
    parser.add_argument("--json", type=Path, help="file for the numbers")
    arguments = parser.parse_args()
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    cases = arguments.case or [*CASES, "loop"]
    side = 256 if arguments.tiny else 8192 if CUDA else 1024
    rates = peaks(side)
    rows = [measure(case, tiny=arguments.tiny, peaks=rates) for case in cases if case != "loop"]
    if rows:
        print_rows(rows, rates)
    loop = loop_overhead(64 if arguments.tiny else 960) if "loop" in cases else {}
    if loop:
        numbers = ", ".join(f"{name} {value:.2f}" for name, value in loop.items())
        print(f"\ntraining loop alone, ms a step of processor time: {numbers}")
    if arguments.json is not None:
        content = {"tiny": arguments.tiny, "peaks": rates, "rows": rows, "loop_ms": loop}
        arguments.json.write_text(json.dumps(content, indent=2), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
