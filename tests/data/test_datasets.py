from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sr_lab.data.cache import DecodedCache, open_or_build
from sr_lab.data.datasets import CropDataset, ImageDataset, copy_turned, degrade, to_float
from sr_lab.degradations.base import Degradation, Params

SIZES = [(40, 60), (24, 24), (52, 30)]


def coordinates(index: int, height: int, width: int, channels: int, dtype: Any) -> np.ndarray:
    """An image whose pixels say where they are: image and row and column are read back from the channels."""
    grid = np.stack([np.full((height, width), index), *np.mgrid[:height, :width]])[:channels]
    return np.ascontiguousarray(grid.astype(dtype))


def make(root: Path, *, scale: int = 2, low: bool = True, channels: int = 3, dtype: Any = np.uint8) -> DecodedCache:
    def load(index: int) -> tuple[np.ndarray, np.ndarray | None]:
        high = coordinates(index, *SIZES[index], channels, dtype)
        return high, np.ascontiguousarray(high[:, ::scale, ::scale]) if low else None

    names = [str(number) for number in range(len(SIZES))]
    return open_or_build(root, f"{scale}{low}{channels}{dtype}", names=names, dtype=np.dtype(dtype), load=load)


def dataset(cache: DecodedCache, **kwargs: Any) -> CropDataset:
    return CropDataset(**{"cache": cache, "images": [0, 1, 2], "scale": 2, "crop": 16, "seed": 3, **kwargs})


KEYS = [(epoch, index) for epoch in range(20) for index in range(3)]


def test_low_and_high_crops_show_the_same_place_in_the_same_orientation(tmp_path: Path) -> None:
    batch = dataset(make(tmp_path)).__getitems__(KEYS)
    high, low = batch["high"], batch["low"]
    assert high.shape == (60, 3, 16, 16)
    assert low.shape == (60, 3, 8, 8)
    assert torch.equal(high[:, 0], (batch["index"].view(-1, 1, 1) % 3).expand(-1, 16, 16))
    # Turned by any of the 8 operations, a low pixel (2r, 2c) is one of the four high pixels of its block.
    blocks = high[:, 1:].unfold(2, 2, 2).unfold(3, 2, 2).flatten(4)
    match = (blocks == low[:, 1:, :, :, None]).all(dim=1).any(dim=-1)
    assert match.all()
    assert low[:, 1:].min() % 2 == 0


def test_every_position_and_orientation_occurs(tmp_path: Path) -> None:
    keys = [(epoch, 0) for epoch in range(3000)]
    high = dataset(make(tmp_path)).__getitems__(keys)["high"].int()
    rows, columns = high[:, 1].amin(dim=(1, 2)), high[:, 2].amin(dim=(1, 2))
    assert set(rows.tolist()) == set(range(0, 25, 2))
    assert set(columns.tolist()) == set(range(0, 45, 2))
    steps = torch.stack([high[:, 1:, 0, 1] - high[:, 1:, 0, 0], high[:, 1:, 1, 0] - high[:, 1:, 0, 0]], dim=1)
    assert len({tuple(step.flatten().tolist()) for step in steps}) == 8


@pytest.mark.parametrize(("augment", "expected"), [("dihedral", 8), ("flips", 4), ("none", 1)])
def test_augment_bounds_the_orientations(tmp_path: Path, augment: Any, expected: int) -> None:
    high = dataset(make(tmp_path), augment=augment).__getitems__([(epoch, 1) for epoch in range(200)])["high"].int()
    steps = torch.stack([high[:, 1:, 0, 1] - high[:, 1:, 0, 0], high[:, 1:, 1, 0] - high[:, 1:, 0, 0]], dim=1)
    assert len({tuple(step.flatten().tolist()) for step in steps}) == expected


def test_a_sample_depends_on_its_key_alone(tmp_path: Path) -> None:
    data = dataset(make(tmp_path), repeats=4)
    batch = data.__getitems__([(5, 11), (0, 2), (5, 3)])
    for row, key in enumerate([(5, 11), (0, 2), (5, 3)]):
        alone = data[key]
        assert all(torch.equal(alone[name][0], batch[name][row]) for name in ("high", "low", "index", "epoch"))
    assert (batch["epoch"].tolist(), batch["index"].tolist()) == ([5, 0, 5], [11, 2, 3])
    assert batch["high"][0, 0, 0, 0] == 11 // 4
    assert len(data) == 12


def test_no_two_epochs_and_no_two_repeats_draw_the_same(tmp_path: Path) -> None:
    data = dataset(make(tmp_path), repeats=50)
    crops = data.__getitems__([(epoch, index) for epoch in range(2) for index in range(50)])["high"]
    assert len({crop.numpy().tobytes() for crop in crops}) > 85
    one, two = (data.__getitems__([(epoch, index) for index in range(50)])["high"] for epoch in (0, 1))
    assert (one == two).flatten(1).all(dim=1).sum() < 5


@pytest.mark.parametrize("operation", range(8))
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_copy_turned_equals_numpy(operation: int, dtype: Any) -> None:
    source = np.random.default_rng(0).integers(0, 65535, (5, 20, 23)).astype(dtype)[:, 3:11, 4:12]
    target = np.empty((5, 8, 8), dtype=dtype)
    copy_turned(source, target, operation)
    expected = source[:, :, ::-1] if operation & 1 else source
    expected = expected[:, ::-1] if operation & 2 else expected
    expected = expected.transpose(0, 2, 1) if operation & 4 else expected
    assert np.array_equal(target, expected)


@pytest.mark.parametrize(("channels", "dtype"), [(1, np.uint8), (3, np.uint16), (2, np.uint16)])
def test_channels_and_depths(tmp_path: Path, channels: int, dtype: Any) -> None:
    batch = dataset(make(tmp_path, channels=channels, dtype=dtype)).__getitems__(KEYS)
    assert batch["high"].shape[1] == channels
    assert batch["high"].dtype == (torch.uint8 if dtype == np.uint8 else torch.uint16)


def test_small_images_are_mirrored_consistently(tmp_path: Path) -> None:
    data = dataset(make(tmp_path), images=[1], crop=56, augment="none")
    batch = data[(0, 0)]
    assert batch["high"].shape == (1, 3, 56, 56)
    ramp = np.r_[np.arange(24), np.arange(24)[::-1], np.arange(8)]
    assert batch["high"][0, 1, :, 0].tolist() == ramp.tolist()
    assert (
        batch["low"][0, 2, 0].tolist() == np.r_[np.arange(0, 24, 2), np.arange(0, 24, 2)[::-1], [0, 2, 4, 6]].tolist()
    )


def test_mixed_channels_do_not_fit_in_a_batch(tmp_path: Path) -> None:
    cache = open_or_build(
        tmp_path,
        "mixed",
        names=["a", "b"],
        dtype=np.dtype(np.uint8),
        load=lambda i: (np.zeros((i + 1, 9, 9), np.uint8), None),
    )
    with pytest.raises(ValueError, match=r"\[1, 2\] channels"):
        dataset(cache, images=[0, 1], crop=4)


class Noise(Degradation):
    """Subsampling plus noise from a seed a sample."""

    def __init__(self) -> None:
        super().__init__(scale=2)

    def draw(self, batch_size: int, generator: torch.Generator) -> Params:
        return {"seed": torch.randint(2**31, (batch_size,), generator=generator)}

    def apply(self, image: Tensor, params: Mapping[str, Tensor]) -> Tensor:
        low = image[:, :, ::2, ::2]
        seeds = params["seed"].tolist()
        noise = [torch.rand(low.shape[1:], generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        return (low + 0.1 * torch.stack(noise)).clamp(0, 1)


def test_random_degradations_are_drawn_by_key(tmp_path: Path) -> None:
    data = dataset(make(tmp_path, low=False), degradation=Noise())
    batch = data.__getitems__([(0, 0), (0, 1), (1, 0)])
    assert batch["low"].shape == (3, 3, 8, 8)
    assert torch.equal(batch["low"][2:], data[(1, 0)]["low"])
    noise = batch["low"] - to_float(batch["high"])[:, :, ::2, ::2]
    assert not torch.allclose(noise[0], noise[2])
    later, target = degrade(Noise(), to_float(batch["high"]), batch, seed=3)
    assert torch.equal(target, to_float(batch["high"]))
    assert torch.equal(later, batch["low"])
    assert not torch.equal(degrade(Noise(), to_float(batch["high"]), batch, seed=4)[0], later)


def test_crops_without_low_images_start_anywhere(tmp_path: Path) -> None:
    high = dataset(make(tmp_path, low=False)).__getitems__([(epoch, 0) for epoch in range(2000)])["high"].int()
    assert set(high[:, 1].amin(dim=(1, 2)).tolist()) == set(range(25))


def test_to_float_spans_the_range() -> None:
    assert to_float(torch.tensor([0, 51, 255], dtype=torch.uint8)).tolist() == pytest.approx([0, 0.2, 1])
    deep = to_float(torch.from_numpy(np.array([0, 13107, 40000, 65535], dtype=np.uint16)))
    assert deep.tolist() == pytest.approx([0, 0.2, 40000 / 65535, 1])
    assert deep.dtype == torch.float32


def test_whole_images(tmp_path: Path) -> None:
    item = ImageDataset(cache=make(tmp_path))[2]
    assert item["name"] == ["2"]
    assert item["high"].shape == (1, 3, 52, 30)
    assert torch.equal(item["low"], item["high"][..., ::2, ::2])


class Sharpened(Noise):
    """A degradation whose target is not the original, as Real-ESRGAN's."""

    def pair(self, high: Tensor, params: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        return self.apply(high, params), (high * 1.5).clamp(0, 1)


def test_a_target_that_the_degradation_changes_reaches_the_batch(tmp_path: Path) -> None:
    cache = make(tmp_path, low=False)
    plain = dataset(cache, degradation=Noise()).__getitems__([(0, 0), (0, 1)])
    sharpened = dataset(cache, degradation=Sharpened()).__getitems__([(0, 0), (0, 1)])
    assert torch.equal(sharpened["high"], (to_float(plain["high"]) * 1.5).clamp(0, 1))
    assert torch.equal(sharpened["low"], plain["low"])
    assert torch.equal(sharpened["original"], plain["high"])
    assert "original" not in plain
