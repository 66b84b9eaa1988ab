"""What a training step does: golden losses, EMA, accumulation, the guard against NaN."""

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import Logger

from sr_lab.losses.frequency import Frequency
from sr_lab.losses.pixel import L1, L2, Charbonnier
from sr_lab.networks.bicubic import Bicubic
from sr_lab.training.base import NonFiniteLoss

# A refactor keeps these; a change of behaviour edits them in the same commit and says why.
GOLDEN_LOSSES = [0.2582055, 0.2544552, 0.2573664, 0.2512693, 0.2497173]


class Recorder(pl.Callback):
    def __init__(self):
        self.losses, self.optimizer_steps, self.values = [], 0, []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.losses.append(float(outputs["loss"]))

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.optimizer_steps += 1

    def on_validation_end(self, trainer, pl_module):
        self.values.append(float(trainer.callback_metrics["val/psnr_rgb"]))


def test_golden_losses(make_module, make_trainer, data):
    recorder = Recorder()
    make_trainer(5, callbacks=[recorder]).fit(make_module(), data)
    assert recorder.losses == pytest.approx(GOLDEN_LOSSES, rel=1e-5)


@pytest.mark.parametrize("accumulate", [1, 3])
def test_accumulation_steps_the_optimizer_schedule_and_ema_once_for_all_batches(
    make_module, make_trainer, data, accumulate
):
    factors = []

    def schedule(optimizer):
        return torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: factors.append(step) or 1.0)

    module, recorder = make_module(scheduler=schedule), Recorder()
    trainer = make_trainer(4, callbacks=[recorder])
    data.accumulate = accumulate
    trainer.fit(module, data)
    assert recorder.optimizer_steps == 4
    assert len(recorder.losses) == 4
    assert factors == [0, 1, 2, 3, 4]
    assert trainer.global_step == 4
    assert int(module.ema.n_averaged) == 4


def test_accumulated_gradients_equal_one_large_batch(make_module, make_trainer, data):
    """SGD on two accumulated batches of two equals one step on their mean gradient."""
    sgd = {"optimizer": lambda parameters: torch.optim.SGD(parameters, lr=0.1), "ema_decay": None}
    accumulated = make_module(**sgd)
    data.accumulate = 2
    make_trainer(1).fit(accumulated, data)
    by_hand = make_module(**sgd)
    batch = data.batch([0, 1, 2, 3])
    loss = (by_hand.network(batch["low"]) - batch["high"]).abs().mean()
    loss.backward()
    with torch.no_grad():
        for parameter in by_hand.network.parameters():
            parameter -= 0.1 * parameter.grad
    for ours, expected in zip(accumulated.network.parameters(), by_hand.network.parameters(), strict=True):
        torch.testing.assert_close(ours, expected)


def test_ema_follows_its_formula(make_module, make_trainer, data):
    module = make_module()
    weights = []

    class Keep(pl.Callback):
        def on_train_batch_end(self, trainer, pl_module, *_):
            weights.append(pl_module.network.head.weight.detach().clone())

    make_trainer(3, callbacks=[Keep()]).fit(module, data)
    expected = weights[0]
    for decay, weight in zip(((1 / 2) ** 17.97, (2 / 3) ** 17.97), weights[1:], strict=True):
        expected = decay * expected + (1 - decay) * weight
    torch.testing.assert_close(module.ema.module.head.weight, expected)


def test_validation_and_export_use_the_ema_while_raw_weights_train(make_module, make_trainer, data):
    module, recorder = make_module(), Recorder()
    make_trainer(3, callbacks=[recorder]).fit(module, data)
    assert module.final_network is module.ema.module
    low = torch.rand(1, 3, 9, 7)
    with torch.no_grad():
        torch.testing.assert_close(module.restore(low), module.ema.module(low).clamp(0, 1))
        assert not torch.equal(module.network(low), module.ema.module(low))


def test_mean_metric_is_the_mean_of_the_images(make_module, make_trainer, data):
    """Regression: one well-known trainer divides by n and adds 1."""
    module, recorder = make_module(ema_decay=None), Recorder()
    trainer = make_trainer(1, callbacks=[recorder])
    trainer.fit(module, data)
    single = []
    for batch in data.val_dataloader():
        with torch.no_grad():
            single.append(float(module.metrics["psnr"].metric.per_image(module.restore(batch["low"]), batch["high"])))
    assert recorder.values == [pytest.approx(sum(single) / 3, abs=1e-4)]


@pytest.mark.parametrize("loss", [L1(), L2(), Charbonnier(), Frequency()])
def test_every_loss_changes_the_gradient(make_module, data, loss):
    """Law 11: a loss that is enabled reaches the weights, and its weight counts."""
    batch = data.batch([0, 1])

    def gradient(losses):
        module = make_module(losses=losses)
        module.dry_step(batch)
        return torch.cat([p.grad.flatten() for p in module.network.parameters()])

    other = {"base": L2(weight=0.5)}
    alone, together = gradient(other), gradient(other | {"tested": loss})
    assert (together - alone).abs().max() > 1e-7


class Broken(L1):
    def forward(self, restored, target):
        return super().forward(restored, target) * float("nan")


def test_nan_loss_ends_the_run_and_names_step_loss_and_batch(make_module, make_trainer, data):
    module = make_module(losses={"l1": L1(), "broken": Broken()})
    with pytest.raises(NonFiniteLoss, match=r"step 0: broken=nan; batch of \(epoch, sample\): \[\(0, 0\), \(0, 1\)\]"):
        make_trainer(3).fit(module, data)


def test_network_without_weights_is_not_trained(make_module, make_trainer, data):
    with pytest.raises(ValueError, match="Bicubic has no trainable parameters"):
        make_trainer(1).fit(make_module(network=Bicubic(scale=2)), data)


def test_no_losses(make_module):
    with pytest.raises(ValueError, match="losses is empty"):
        make_module(losses={})


def test_large_validation_image_is_restored_in_tiles(make_module):
    module = make_module(tile=24, overlap=8)
    sizes = []
    module.final_network.register_forward_hook(lambda _, inputs, __: sizes.append(tuple(inputs[0].shape[-2:])))
    with torch.no_grad():
        module.restore(torch.rand(1, 3, 100, 60))
    assert len(sizes) > 1
    assert max(height for height, _ in sizes) <= 24


@pytest.mark.parametrize("block", [1, 3])
def test_numbers_are_logged_at_their_optimizer_step_whatever_the_block(make_module, make_trainer, data, block):
    class Kept(Logger):
        name = version = "kept"
        seen = []

        def log_metrics(self, metrics, step=None):
            self.seen.extend((step, key) for key in metrics)

        def log_hyperparams(self, *_):
            pass

    logger = Kept()
    logger.seen = []
    data.block = block
    make_trainer(6, logger=logger, log_every_n_steps=2, val_check_interval=3 // block).fit(make_module(), data)
    assert [step for step, key in logger.seen if key == "train/loss"] == [2, 4, 6]
    assert [step for step, key in logger.seen if key == "val/psnr_rgb"] == [3, 6]


def test_gradient_clipping_bounds_the_step(make_module, make_trainer, data):
    """SGD with learning rate 1: what the weights move is the gradient."""
    sgd = {"optimizer": lambda parameters: torch.optim.SGD(parameters, lr=1.0), "ema_decay": None}
    module = make_module(gradient_clip=1e-3, **sgd)
    before = [parameter.detach().clone() for parameter in module.network.parameters()]
    make_trainer(1).fit(module, data)
    moved = torch.cat([(a - b).flatten() for a, b in zip(module.network.parameters(), before, strict=True)])
    assert float(moved.norm()) == pytest.approx(1e-3, rel=1e-2)
    with pytest.raises(ValueError, match=r"gradient_clip=0\.0: must be positive"):
        make_module(gradient_clip=0.0)
