"""Training on clips: through time, with frozen flow, and to the same bits after a stop."""

from functools import partial
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch

from sr_lab.data.clips import CameraClips
from sr_lab.data.datamodule import SRDataModule
from sr_lab.data.sources import FolderSource
from sr_lab.degradations.resize import Bicubic
from sr_lab.images import write_image
from sr_lab.losses.pixel import Charbonnier
from sr_lab.metrics.protocol import RGBCrop
from sr_lab.metrics.psnr import PSNR
from sr_lab.networks.base import Network
from sr_lab.networks.edsr import EDSR
from sr_lab.networks.keys import warm_start
from sr_lab.networks.temporal.flow import SPyNet
from sr_lab.networks.temporal.recurrent import RecurrentEDSR
from sr_lab.tracking.none import NoRun
from sr_lab.training.checkpoint import load_checkpoint
from sr_lab.training.frozen_flow import FrozenFlow
from sr_lab.training.preflight import step_problems
from sr_lab.training.regression import Regression
from sr_lab.workflows.train import train

IMAGE = {"_target_": "sr_lab.networks.edsr.EDSR", "scale": 2, "num_blocks": 1, "num_features": 4}
NETWORK = {"_target_": "sr_lab.networks.temporal.recurrent.RecurrentEDSR", "image": IMAGE}


def image(seed: int = 0) -> EDSR:
    torch.manual_seed(seed)
    return EDSR(scale=2, num_blocks=1, num_features=4)


def recurrent(**settings) -> RecurrentEDSR:
    """Of random weights everywhere."""
    network = RecurrentEDSR(image=image(), **settings)
    torch.nn.init.normal_(network.recurrent.weight, std=0.05)
    return network.train()


def module(network: Network | None = None) -> Regression:
    return Regression(
        network=network or recurrent(),
        losses={"charbonnier": Charbonnier()},
        metrics={"psnr": PSNR(protocol=RGBCrop(), scale=2)},
        optimizer=partial(torch.optim.Adam, lr=1e-3),
        ema_decay=0.9,
    )


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    root, generator = tmp_path_factory.mktemp("photos"), torch.Generator().manual_seed(3)
    for name in ("train/a.png", "train/b.png", "val/c.png"):
        write_image(root / name, torch.randint(0, 256, (48, 56, 3), generator=generator, dtype=torch.uint8).numpy())
    return root


def data(photos: Path, folder: Path) -> SRDataModule:
    return SRDataModule(
        name="tiny",
        train=FolderSource(roots=photos / "train"),
        val=FolderSource(roots=photos / "val"),
        degradation=Bicubic(scale=2),
        scale=2, crop=32, batch_size=2, seed=0, cache=folder / "cache",
        clips=CameraClips(frames=3, val_frames=2, events=["none", "foreground"], val_crop=32),
    )  # fmt: skip


class Fall(pl.Callback):
    """Ends the run after a step, as a fault would."""

    def on_train_batch_end(self, trainer, *_):
        if trainer.global_step == 3:
            raise KeyError("fell")


def test_a_resumed_training_on_clips_has_the_bits_of_one_that_was_not_stopped(photos, tmp_path):
    def run(name, **changes):
        arguments = {
            "module": module, "data": lambda: data(photos, tmp_path), "tracking": NoRun, "output": tmp_path / name,
            "trainer": partial(pl.Trainer, accelerator="cpu", log_every_n_steps=1),
            "config": {"model": {"network": NETWORK}}, "name": name, "protocol": "rgb_crop",
            "max_steps": 4, "val_every": 2, "checkpoint_every": 2, "monitor": "val/psnr_rgb", "pictures": 1,
        }  # fmt: skip
        return train(**(arguments | changes))

    run("whole")
    with pytest.raises(KeyError, match="fell"):
        run("stopped", callbacks=[Fall()])
    resumed = run("stopped")
    assert resumed.ended == "steps"
    whole, again = (load_checkpoint(tmp_path / name / "checkpoints" / "last.ckpt") for name in ("whole", "stopped"))
    assert whole["global_step"] == again["global_step"] == 4
    assert all(torch.equal(value, again["state_dict"][key]) for key, value in whole["state_dict"].items())
    assert "network.recurrent.weight" in whole["state_dict"]


def clip(seed: int = 1, count: int = 4) -> torch.Tensor:
    """Frames of one scene, which are no cuts."""
    generator = torch.Generator().manual_seed(seed)
    scene = torch.nn.functional.interpolate(torch.rand(2, 3, 6, 6, generator=generator), 24, mode="bilinear")
    return 0.9 * scene[:, None] + 0.05 * torch.rand(2, count, 3, 24, 24, generator=generator)


def test_a_network_for_images_sees_the_frames_of_a_clip_alone():
    low = clip()
    high = torch.rand(2, 4, 3, 48, 48, generator=torch.Generator().manual_seed(2))
    learner = module(image())
    as_clip = learner._losses({"low": low, "high": high})["loss"]
    as_images = learner._losses({"low": low.flatten(0, 1), "high": high.flatten(0, 1)})["loss"]
    assert torch.equal(as_clip, as_images)
    restored = learner.restore(low)
    assert torch.equal(restored[:, 1], learner.restore(low[:, 1]))


@pytest.mark.parametrize(("truncate", "reached"), [(None, [True, True, True, True]), (2, [False, False, True, True])])
def test_the_gradient_goes_back_as_far_as_it_is_told(truncate, reached):
    network, low = recurrent(truncate=truncate, gate=0.0), clip().requires_grad_()
    network(low)[:, 3].square().sum().backward()
    assert low.grad is not None
    assert [bool(low.grad[:, number].abs().max() > 0) for number in range(4)] == reached


def test_activations_that_are_computed_again_give_the_same_gradients():
    gradients = []
    for recompute in (False, True):
        network = recurrent(recompute=recompute)
        network(clip()).square().mean().backward()
        gradients.append([parameter.grad for parameter in network.parameters()])
    for kept, again in zip(*gradients, strict=True):
        torch.testing.assert_close(kept, again)


def test_it_starts_from_what_its_network_for_images_has_learned():
    source, network = image(5), RecurrentEDSR(image=image(6)).eval()
    assert warm_start(network, source.state_dict()) == ["recurrent.weight", "recurrent.bias"]
    low = clip()
    with torch.no_grad():
        assert torch.equal(network(low)[:, 2], source.eval()(low[:, 2]))
    with pytest.raises(ValueError, match="differ"):
        warm_start(network, EDSR(scale=2, num_blocks=2, num_features=4).state_dict())
    other = recurrent()
    warm_start(network, other.state_dict())
    assert torch.equal(network.recurrent.weight, other.recurrent.weight)


class Steps(torch.utils.data.IterableDataset):
    def __iter__(self):
        for number in range(4):
            low = clip(number, count=2)
            high = torch.rand(2, 2, 3, 48, 48, generator=torch.Generator().manual_seed(number))
            yield {"low": low, "high": high}


class Flows(pl.Callback):
    def __init__(self) -> None:
        self.seen: list[torch.Tensor] = []

    def on_train_batch_end(self, trainer, pl_module, *_):
        weights = pl_module.network.motion.parameters()
        self.seen.append(torch.cat([weight.detach().flatten() for weight in weights]))


def fit(network: Network, *callbacks: pl.Callback) -> None:
    trainer = pl.Trainer(
        accelerator="cpu", max_steps=4, callbacks=list(callbacks), logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, limit_val_batches=0,
    )  # fmt: skip
    trainer.fit(module(network), torch.utils.data.DataLoader(Steps(), batch_size=None))


def test_the_flow_is_frozen_for_the_first_steps():
    torch.manual_seed(0)
    flows = Flows()
    fit(recurrent(flow=SPyNet()), FrozenFlow(steps=2), flows)
    first, second, third, fourth = flows.seen
    assert torch.equal(first, second)
    assert not torch.equal(second, third)
    assert not torch.equal(third, fourth)
    with pytest.raises(ValueError, match="RecurrentEDSR has no flow that is trained"):
        fit(recurrent(), FrozenFlow(steps=2))


def test_an_algorithm_for_images_refuses_clips_before_the_run():
    learner = module()
    learner.takes_clips = False
    trainer = pl.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    batch = {"low": clip(), "high": torch.rand(2, 4, 3, 48, 48)}
    problems = step_problems(trainer, learner, train=lambda: batch, val=lambda: batch)
    assert any(
        "trains on images: take model=regression or adversarial for clips, or data.clips=null" in text
        for text in problems
    )
