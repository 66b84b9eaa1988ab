"""Images on the device: the same batches as from the loader, a refusal where they do not fit."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import torch

from sr_lab.data.blocks import Block
from sr_lab.data.datamodule import SRDataModule
from sr_lab.data.resident import ResidentImages, memory_problem, resident_bytes
from sr_lab.data.sources import FolderSource
from sr_lab.degradations.blur import Blur
from sr_lab.degradations.pipeline import Pipeline
from sr_lab.degradations.resize import ResizeTo

Make = Callable[..., SRDataModule]
CPU = torch.device("cpu")
NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
DEVICES = [CPU, pytest.param(torch.device("cuda"), marks=NEEDS_GPU)]


def blurred() -> Pipeline:
    return Pipeline(ops={"blur": Blur(kinds={"anisotropic": 1}), "down": ResizeTo(scale=2, modes={"area": 1})})


def batches(data: SRDataModule, device: torch.device, num_batches: int, block: int = 1) -> list[dict[str, Any]]:
    data.setup()
    made = []
    for batch in data.make_loader(data.make_sampler(num_batches=num_batches, block=block)):
        sent = data.on_after_batch_transfer(data.transfer_batch_to_device(batch, device, 0), 0)
        made += [part for step in sent for part in step] if isinstance(sent, Block) else [sent]
    return made


def assert_same(ours: list[dict[str, Any]], expected: list[dict[str, Any]], tolerance: float = 0) -> None:
    assert len(ours) == len(expected)
    for batch, other in zip(ours, expected, strict=True):
        for name in ("low", "high", "index", "epoch"):
            torch.testing.assert_close(batch[name].cpu(), other[name].cpu(), rtol=0, atol=tolerance)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize(
    "changes",
    [{}, {"augment": "flips"}, {"augment": "none", "repeats": 3}, *({"crop": c, "small": "pad"} for c in (96, 200))],
    ids=["dihedral", "flips", "none", "pad", "pad by more than the image"],
)
def test_batches_are_those_of_the_loader(module: Make, device: torch.device, changes: dict[str, Any]) -> None:
    """With low images from the cache; every one of the 8 orientations occurs in 60 draws."""
    expected = batches(module(**changes), CPU, 15)
    assert_same(batches(module(images_on="device", **changes), device, 15), expected)


@pytest.mark.parametrize("device", DEVICES)
def test_random_degradations_are_drawn_and_applied_alike(module: Make, device: torch.device) -> None:
    expected = batches(module(degradation=blurred(), degrade_in="worker"), CPU, 4)
    ours = batches(module(degradation=blurred(), images_on="device"), device, 4)
    assert_same(ours, expected, tolerance=0 if device == CPU else 1e-4)


def test_sixteen_bits(module: Make, folder: Callable[..., Path], tmp_path: Path) -> None:
    folder("deep", 3, dtype=np.uint16)
    deep = {"train": FolderSource(roots=tmp_path / "deep")}
    expected = batches(module(**deep), CPU, 4)
    assert module(**deep).parts["train"].dtype == np.uint16
    assert_same(batches(module(images_on="device", **deep), CPU, 4), expected)


def test_blocks_hold_the_same_batches_and_send_their_draws_at_once(module: Make) -> None:
    expected = batches(module(), CPU, 12)
    data = module(images_on="device", accumulate=2, steps_per_batch=3)
    assert_same(batches(data, CPU, 12, block=6), expected)
    (first, _) = data.make_loader(data.make_sampler(num_batches=12, block=6))
    assert set(first) == {"draws", "index", "epoch"}, "no pixels travel"
    block = data.on_after_batch_transfer(first, 0)
    assert (len(block), [len(step) for step in block]) == (3, [2, 2, 2])


def test_images_are_uploaded_once(module: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    cut = ResidentImages.cut
    monkeypatch.setattr(ResidentImages, "cut", lambda self, draws: made.append(self) or cut(self, draws))
    batches(module(images_on="device"), CPU, 5)
    assert len(made) == 5
    assert len(set(map(id, made))) == 1


def test_images_that_do_not_fit_are_refused_with_both_sizes(module: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    data = module(images_on="device")
    data.setup()
    needed = resident_bytes(data.train_dataset)
    assert needed == 5 * 3 * (64 * 72 + 32 * 36)
    memory = type(psutil.virtual_memory())
    fields = dict.fromkeys(memory._fields, 0)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory(**(fields | {"available": 2 * needed})))
    assert memory_problem(data.train_dataset, CPU) is None
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory(**(fields | {"available": 2 * needed - 2})))
    with pytest.raises(ValueError, match=r"images_on=device needs 0\.00 GB for 5 images.*set data\.images_on=host"):
        data.train_batch(CPU)


def test_what_does_not_fit_together(module: Make) -> None:
    with pytest.raises(ValueError, match="images_on='disk'"):
        module(images_on="disk")
    with pytest.raises(ValueError, match="degrade_in=device"):
        module(images_on="device", degrade_in="worker")
