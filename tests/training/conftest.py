"""A tiny step-bounded data set and a tiny trainer: the training machinery without files."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, Dataset, Sampler

from sr_lab.data.blocks import Block
from sr_lab.losses.pixel import L1
from sr_lab.metrics.protocol import RGBCrop
from sr_lab.metrics.psnr import PSNR
from sr_lab.networks.edsr import EDSR
from sr_lab.training.checkpoint import AtomicCheckpointIO
from sr_lab.training.regression import Regression


class Crops(Dataset):
    """Sample k is made from k alone."""

    def __getitem__(self, index: int) -> dict:
        generator = torch.Generator().manual_seed(index)
        high = torch.rand(3, 16, 16, generator=generator)
        low = torch.nn.functional.avg_pool2d(high, 2)
        return {"low": low, "high": high, "index": torch.tensor(index), "epoch": torch.tensor(0)}


class Steps(Sampler[list[int]]):
    def __init__(self, num_batches: int, start: int, block: int) -> None:
        self.num_batches, self.start, self.block = num_batches, start, block

    def __len__(self) -> int:
        return self.num_batches // self.block

    def __iter__(self) -> Iterator[list[int]]:
        for batch in range(self.start, self.num_batches, self.block):
            yield list(range(2 * batch, 2 * (batch + self.block)))


class TinyData(pl.LightningDataModule):
    """Batches of two; ``accumulate`` of them a step, ``block`` steps at a time."""

    accumulate, block = 1, 1

    def train_dataloader(self) -> DataLoader:
        size = self.accumulate * self.block
        sampler = Steps(self.trainer.max_steps * self.accumulate, self.trainer.global_step * self.accumulate, size)
        return DataLoader(Crops(), batch_sampler=sampler)

    def on_after_batch_transfer(self, batch: dict, dataloader_idx: int) -> dict | Block:
        if not self.trainer.training or len(batch["index"]) == 2:
            return batch
        return Block(batch, batch_size=2, accumulate=self.accumulate, make=lambda part: part)

    def batch(self, indices: list[int]) -> dict:
        return torch.utils.data.default_collate([Crops()[index] for index in indices])

    def val_dataloader(self) -> DataLoader:
        samples = [Crops()[10_000 + k] for k in range(3)]
        return DataLoader(samples, batch_size=1)


@pytest.fixture
def make_module() -> Callable[..., Regression]:
    def make(**changes) -> Regression:
        torch.manual_seed(0)
        arguments = {
            "network": EDSR(scale=2, num_blocks=1, num_features=8),
            "losses": {"l1": L1()},
            "metrics": {"psnr": PSNR(protocol=RGBCrop(), scale=2)},
            "optimizer": lambda parameters: torch.optim.Adam(parameters, lr=1e-3),
            "ema_decay": 0.9,
        }
        return Regression(**(arguments | changes))

    return make


@pytest.fixture
def make_trainer(tmp_path: Path) -> Callable[..., pl.Trainer]:
    def make(max_steps: int, **changes) -> pl.Trainer:
        arguments = {
            "max_steps": max_steps,
            "max_epochs": -1,
            "accelerator": "cpu",
            "devices": 1,
            "logger": False,
            "plugins": [AtomicCheckpointIO()],
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "enable_checkpointing": False,
            "use_distributed_sampler": False,
            "num_sanity_val_steps": 0,
            "check_val_every_n_epoch": None,
            "val_check_interval": max_steps,
            "default_root_dir": tmp_path,
        }
        return pl.Trainer(**(arguments | changes))

    return make


@pytest.fixture
def data() -> TinyData:
    return TinyData()
