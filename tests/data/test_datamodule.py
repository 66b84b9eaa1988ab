import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from torch import nn

from sr_lab.data.cache import DecodedCache
from sr_lab.data.datamodule import SRDataModule
from sr_lab.data.sampler import KeyedBatchSampler
from sr_lab.data.sources import FolderSource, PairedSource
from sr_lab.degradations.pipeline import Pipeline
from sr_lab.degradations.resize import Bicubic

Make = Callable[..., Any]


class Recorder(pl.LightningModule):
    """A one-weight network that remembers the batches it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False
        self.weight = nn.Parameter(torch.zeros(()))
        self.seen: list[list[tuple[int, int]]] = []
        self.val: list[dict[str, Any]] = []

    def training_step(self, batch: Any, batch_idx: int) -> None:
        optimizer = self.optimizers()
        for step in [[batch]] if isinstance(batch, dict) else batch:
            for part in step:
                self.seen.append(list(zip(part["epoch"].tolist(), part["index"].tolist(), strict=True)))
                self.last = part
                self.manual_backward(((part["high"].mean() * self.weight) - 1) ** 2 / len(step))
            optimizer.step()
            optimizer.zero_grad()

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        self.val.append(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.01)


def trainer(root: Path, **kwargs: Any) -> pl.Trainer:
    quiet = {"logger": False, "enable_progress_bar": False, "enable_model_summary": False, "accelerator": "cpu"}
    defaults = {"max_epochs": -1, "enable_checkpointing": False, "num_sanity_val_steps": 0, "default_root_dir": root}
    return pl.Trainer(**{**quiet, **defaults, **kwargs})


def batches(data: SRDataModule, num_batches: int = 6) -> list[dict[str, Any]]:
    data.setup()
    sampler = KeyedBatchSampler(
        num_images=len(data.train_dataset.images),
        batch_size=data.batch_size,
        num_batches=num_batches,
        seed=data.seed,
        repeats=data.repeats,
    )
    return [{name: value.clone() for name, value in batch.items()} for batch in data.make_loader(sampler)]


def same(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> bool:
    pairs = zip(first, second, strict=True)
    return all(a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a) for a, b in pairs)


@pytest.mark.usefixtures("forked")
@pytest.mark.parametrize(("num_workers", "start_method"), [(1, "fork"), (2, "fork"), (2, "spawn")])
def test_batches_do_not_depend_on_the_workers(module: Make, num_workers: int, start_method: str) -> None:
    expected = batches(module())
    assert same(expected, batches(module(num_workers=num_workers, start_method=start_method)))
    assert not same(expected, batches(module(seed=8)))


def test_no_two_epochs_of_a_worker_draw_the_same(module: Make) -> None:
    crops = [crop.numpy().tobytes() for batch in batches(module(num_workers=2), 25) for crop in batch["high"]]
    assert len(crops) == 100
    assert len(set(crops)) > 95


def test_trains_validates_and_gives_float_images(module: Make, tmp_path: Path) -> None:
    model, data = Recorder(), module()
    trainer(tmp_path, max_steps=5, val_check_interval=5, check_val_every_n_epoch=None).fit(model, data)
    assert len(model.seen) == 5
    assert model.last["high"].shape == (4, 3, 32, 32)
    assert model.last["low"].shape == (4, 3, 16, 16)
    assert model.last["high"].dtype == model.last["low"].dtype == torch.float32
    assert 0.5 < model.last["high"].max() <= 1
    assert [batch["name"] for batch in model.val] == [["00.png"], ["01.png"]]
    assert model.val[0]["high"].shape == (1, 3, 64, 72)
    assert model.val[0]["low"].shape == (1, 3, 32, 36)


def test_low_crops_are_cut_from_the_low_version_of_the_whole_image(module: Make, tmp_path: Path) -> None:
    data = module(augment="none", crop=64, batch_size=1)
    for batch in batches(data, 5):
        high = cv2.imread(str(tmp_path / "train" / f"{batch['index'].item():02}.png"))[..., ::-1].copy()
        whole = torch.from_numpy(high).permute(2, 0, 1)[None].float() / 255
        low = (Bicubic(scale=2).apply(whole, {}) * 255).round().to(torch.uint8)
        left = next(x for x in range(9) if torch.equal((whole[..., x : x + 64] * 255).round(), batch["high"].float()))
        assert left % 2 == 0
        assert torch.equal(batch["low"], low[..., left // 2 : left // 2 + 32])


@pytest.mark.parametrize(("accumulate", "block"), [(1, 1), (3, 1), (1, 4), (2, 2)])
def test_a_resumed_run_goes_on_with_the_next_sample(module: Make, tmp_path: Path, accumulate: int, block: int) -> None:
    whole, single = Recorder(), module(accumulate=accumulate)
    trainer(tmp_path, max_steps=9).fit(whole, single)
    assert len(whole.seen) == 9 * accumulate

    class Killed(RuntimeError):
        pass

    class Dies(Recorder):
        def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
            if self.global_step >= 5:
                raise Killed

    keep = ModelCheckpoint(dirpath=tmp_path / "kept", every_n_train_steps=4, save_top_k=-1)
    first = Dies()
    blocks = {"accumulate": accumulate, "steps_per_batch": block}
    with pytest.raises(Killed):
        trainer(tmp_path, max_steps=9, callbacks=[keep], enable_checkpointing=True).fit(first, module(**blocks))
    checkpoint = next((tmp_path / "kept").glob("*step=4.ckpt"))
    second = Recorder()
    resumed = trainer(tmp_path, max_steps=9)
    resumed.fit(second, module(**blocks), ckpt_path=checkpoint)
    assert second.seen == whole.seen[4 * accumulate :]
    assert resumed.global_step == 9
    assert torch.equal(second.weight, whole.weight)


def test_steps_must_bound_the_run(module: Make, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="use a Trainer with max_steps"):
        trainer(tmp_path, max_epochs=1).fit(Recorder(), module())


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"crop": 31}, "crop=31 is not a multiple of scale=2: 30 is"),
        ({"degradation": Bicubic(scale=4)}, "the degradation shrinks by 4, but scale=2"),
        ({"degradation": None}, "has no low images"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"small": "drop"}, "small='drop'"),
        ({"augment": "rotate"}, "augment='rotate'"),
    ],
)
def test_arguments_that_do_not_fit(module: Make, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        module(**wrong)


def test_all_problems_come_in_one_message(module: Make, folder: Make) -> None:
    root = folder("bad", 3)
    (root / "00.png").write_bytes(b"not an image")
    cv2.imwrite(str(root / "01.png"), np.zeros((64, 64), np.uint8))
    cv2.imwrite(str(root / "03.png"), np.full((20, 30, 3), 9, np.uint8))
    data = module(train=FolderSource(roots=root))
    found = data.problems(num_channels=4)
    text = "\n".join(found)
    assert "00.png" in found[0]
    assert "train images differ in their channels: " in text
    assert "data.train.channels=rgb" in text
    assert "the network takes 4 channels, but train images have 1 or 3" in text
    assert "the network takes 4 channels, but val images have 3" in text
    assert "1 training image is smaller than crop=32: 03.png (30x20); lower data.crop" in text
    assert len(found) == 5
    with pytest.raises(ValueError, match=r"(?s)^3 problems with the data:.*00\.png.*differ in their.*03\.png"):
        data.prepare_data()
    assert module().problems(num_channels=3) == []


def test_missing_folders_are_reported_together(module: Make, tmp_path: Path) -> None:
    data = module(
        train=FolderSource(roots=tmp_path / "a"), val=FolderSource(roots=tmp_path / "b"), holdout=[tmp_path / "c"]
    )
    found = data.problems()
    assert len(found) == 3
    assert all(str(tmp_path / name) in text for name, text in zip("abc", found, strict=True))


def test_channels_convert_where_the_network_wants_three(module: Make, folder: Make) -> None:
    root = folder("mixed", 2)
    cv2.imwrite(str(root / "grey.png"), (np.arange(64 * 64).reshape(64, 64) * 7 % 251).astype(np.uint8))
    data = module(train=FolderSource(roots=root, channels="rgb"))
    assert data.problems(num_channels=3) == []
    assert batches(data, 3)[0]["high"].shape[1] == 3
    assert module(train=FolderSource(roots=root, channels="y")).problems(num_channels=1)[0].startswith("the network")


@pytest.mark.parametrize(("small", "shown"), [("skip", 5), ("pad", 6)])
def test_small_images(module: Make, tmp_path: Path, small: str, shown: int) -> None:
    cv2.imwrite(str(tmp_path / "train" / "tiny.png"), np.random.default_rng(0).integers(0, 255, (20, 40, 3)))
    assert "tiny.png (40x20)" in module().problems()[0]
    data = module(small=small)
    assert data.problems() == []
    found = batches(data, shown)
    assert len(data.train_dataset.images) == shown
    assert {int(index) for batch in found for index in batch["index"]} == set(range(shown))


def test_nothing_left_after_skipping_is_a_problem(module: Make) -> None:
    assert "every training image is smaller than crop=128" in module(crop=128, small="skip").problems()[0]


def test_16_bit_pairs_of_bands(module: Make, tmp_path: Path) -> None:
    for name in ("train", "val"):
        high, low = tmp_path / f"{name}16/high", tmp_path / f"{name}16/low"
        for number in range(2):
            image = np.random.default_rng([number, len(name)]).integers(0, 65535, (66, 64)).astype(np.uint16)
            for root, content in ((high, image), (low, image[:64:2, ::2])):
                root.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(root / f"{number}.png"), content)
    train, val = (PairedSource(high=tmp_path / f"{n}16/high", low=tmp_path / f"{n}16/low") for n in ("train", "val"))
    data = module(train=train, val=val, degradation=None)
    problem = data.problems()[0]
    assert problem.startswith("2 train images are of sizes that do not fit scale=2: 0: high 64x66 and low 32x32")
    for file in [*tmp_path.glob("*16/high/*.png")]:
        cv2.imwrite(str(file), cv2.imread(str(file), cv2.IMREAD_UNCHANGED)[:65])
    data = module(train=train, val=val, degradation=None, augment="none")
    assert data.problems(num_channels=1) == []
    batch = data.on_after_batch_transfer(batches(data, 1)[0], 0)
    assert batch["high"].shape == (4, 1, 32, 32)
    assert torch.equal(batch["low"], batch["high"][..., ::2, ::2])
    levels = batch["high"].double() * 65535
    assert (levels - levels.round()).abs().max() < 0.01
    assert len(levels.round().unique()) > 2000


def test_8_bit_files_beside_16_bit_ones_keep_their_values(module: Make, tmp_path: Path) -> None:
    image = np.random.default_rng(5).integers(0, 65535, (64, 64, 3)).astype(np.uint16)
    cv2.imwrite(str(tmp_path / "train" / "deep.png"), image)
    data = module(augment="none", crop=64, batch_size=6)
    (batch,) = batches(data, 1)
    row = batch["index"].tolist().index(0)
    eight = cv2.imread(str(tmp_path / "train" / "00.png"))[..., ::-1]
    values = (data.on_after_batch_transfer(batch, 0)["high"][row] * 255).round().permute(1, 2, 0)
    assert any(np.array_equal(values.numpy(), eight[:, x : x + 64]) for x in range(9))
    deep = batch["high"][batch["index"].tolist().index(5)]
    assert np.array_equal(deep.numpy(), image[..., ::-1].transpose(2, 0, 1))


class Brighter(Bicubic):
    """A degradation whose target is not the original, as Real-ESRGAN's."""

    def __init__(self, *, scale: int) -> None:
        super().__init__(scale=scale)
        self.deterministic = False

    def pair(self, high: torch.Tensor, params: Any) -> tuple[torch.Tensor, torch.Tensor]:
        return self.apply(high, params), high + 1


@pytest.mark.parametrize("where", ["device", "worker"])
def test_a_batch_carries_the_changed_target_and_the_original(module: Make, where: str) -> None:
    data = module(degradation=Brighter(scale=2), degrade_in=where)
    batch = data.on_after_batch_transfer(batches(data, 1)[0], 0)
    assert batch["original"].max() <= 1
    assert torch.equal(batch["high"], batch["original"] + 1)
    assert torch.equal(batch["low"], Bicubic(scale=2).apply(batch["original"], {}))


def test_data_version_follows_content_and_not_place_or_settings(module: Make, tmp_path: Path) -> None:
    before = module().data_version
    shutil.copytree(tmp_path / "train", tmp_path / "moved")
    assert module(train=FolderSource(roots=tmp_path / "moved"), crop=16, seed=1).data_version == before
    shutil.move(tmp_path / "moved" / "00.png", tmp_path / "moved" / "05.png")
    assert module(train=FolderSource(roots=tmp_path / "moved")).data_version != before
    assert module(train=FolderSource(roots=tmp_path / "train", exclude=["00.png"])).data_version != before


def test_description_for_tracking(module: Make, tmp_path: Path) -> None:
    train, val = module().describe()
    assert (train["name"], train["context"]) == ("test-train", "training")
    assert (val["context"], val["profile"]["num_images"]) == ("validation", 2)
    assert train["source"] == str(tmp_path / "train")
    assert train["digest"] != val["digest"]
    assert train["profile"]["degradation_fingerprint"] == Bicubic(scale=2).fingerprint()


def test_training_leaves_out_what_is_also_in_val_or_holdout(
    module: Make, folder: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clean = module().data_version
    image = cv2.imread(str(tmp_path / "train" / "01.png"))
    cv2.imwrite(str(tmp_path / "val" / "leak.jpg"), image, [cv2.IMWRITE_JPEG_QUALITY, 60])
    held = folder("held", 1)
    cv2.imwrite(str(held / "turned.png"), cv2.imread(str(tmp_path / "train" / "03.png"))[:, ::-1])
    data = module(holdout=[held])
    with caplog.at_level(logging.WARNING):
        used = {int(index) for batch in batches(data, 9) for index in batch["index"]}
    assert [item.name for item in data.parts["train"].items] == ["00.png", "02.png", "04.png"]
    assert used == {0, 1, 2}
    assert data.data_version != clean
    text = caplog.text
    assert str(tmp_path / "train" / "01.png") in text
    assert str(tmp_path / "val" / "leak.jpg") in text
    assert str(held / "turned.png") in text
    assert data.describe()[0]["profile"]["excluded"] == data.excluded
    assert len(data.excluded) == 2


def test_a_second_module_decodes_nothing(module: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = batches(module(), 2)

    def refuse(*args: Any) -> None:
        raise AssertionError("decoded again")

    monkeypatch.setattr("sr_lab.data.sources.read_image", refuse)
    assert same(expected, batches(module(), 2))


def test_settings_that_change_pixels_change_the_cache(module: Make) -> None:
    def keys(**kwargs: Any) -> set[str]:
        return {part.cache_key for part in module(**kwargs).parts.values()}

    before = keys()
    assert keys(crop=16, batch_size=1, augment="none", seed=3) == before
    assert not keys(scale=4, degradation=Bicubic(scale=4)) & before


def test_a_full_disk_is_a_problem_before_it_is_a_failure(module: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(".")._replace(free=1000)
    monkeypatch.setattr("sr_lab.data.datamodule.shutil.disk_usage", lambda _: usage)
    assert "the decoded cache needs" in module().problems()[0]


def test_cache_holds_aligned_pairs(module: Make) -> None:
    data = module()
    data.setup()
    cache: DecodedCache = data.train_dataset.cache
    assert cache.has_low
    assert cache.shape(0) == (3, 64, 72)
    assert cache.shape(0, "low") == (3, 32, 36)


def test_a_degradation_that_nothing_or_one_half_uses_is_refused(module: Make, tmp_path: Path) -> None:
    pairs = PairedSource(high=tmp_path / "high", low=tmp_path / "low")
    noisy = Pipeline(ops={"bicubic": Bicubic(scale=2)})
    for degradation in (Bicubic(scale=2), noisy):
        with pytest.raises(ValueError, match="used by nothing"):
            module(train=pairs, val=pairs, degradation=degradation)
    with pytest.raises(ValueError, match="would change the training images alone: those of the validation"):
        module(val=pairs, degradation=noisy)
    with pytest.raises(ValueError, match="would change the validation images alone: those of the training"):
        module(train=pairs, degradation=noisy)
    assert module(val=pairs, degradation=Bicubic(scale=2)).degradation is not None
