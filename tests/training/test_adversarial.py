"""Adversarial training: who moves whom, the count of steps, the instruments, collapse, resume to the last bit."""

import copy
from functools import partial

import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from pytorch_lightning.loggers import Logger
from torch import nn

from sr_lab.images.context import Context
from sr_lab.losses.adversarial import R1, Hinge, LeastSquares, RelativisticAverage, Vanilla, r1_penalty
from sr_lab.losses.ldl import LDL
from sr_lab.losses.pixel import L1
from sr_lab.networks.discriminators import PatchCritic, UNetCritic, VGGCritic
from sr_lab.networks.edsr import EDSR
from sr_lab.networks.rrdb import RRDBNet
from sr_lab.training.adversarial import Adversarial
from sr_lab.training.base import NonFiniteLoss
from sr_lab.training.checkpoint import KeepBest, KeepLast, load_checkpoint
from sr_lab.training.collapse import Collapsed, CollapseWatch, Limit
from sr_lab.training.preflight import step_problems

# A refactor keeps these; a change of behaviour edits them in the same commit and says why.
GOLDEN = {
    "loss": [0.3303964, 0.3210957, 0.3246984, 0.3193924, 0.317698],  # LDL looks at the average
    "critic": [1.3960462, 1.3946756, 1.3941281, 1.3936538, 1.3921683],
}

GAMES = [Vanilla(weight=0.1), RelativisticAverage(weight=0.1), LeastSquares(weight=0.1), Hinge(weight=0.1)]


def adam(parameters):
    return torch.optim.Adam(parameters, lr=1e-3)


def halve(optimizer):
    return torch.optim.lr_scheduler.StepLR(optimizer, step_size=3, gamma=0.5)


@pytest.fixture
def make(make_module):
    """An ``Adversarial`` of tiny networks that plays from scratch."""

    def build(**changes) -> Adversarial:
        torch.manual_seed(0)
        plain = make_module()
        arguments = {
            "network": EDSR(scale=2, num_blocks=1, num_features=8),
            "losses": {"l1": L1()},
            "gan": Vanilla(weight=0.1),
            "critic": UNetCritic(num_features=4),
            "critic_optimizer": adam,
            "critic_scheduler": halve,
            "metrics": {name: mean.metric for name, mean in plain.metrics.items()},
            "optimizer": adam,
            "scheduler": halve,
            "ema_decay": 0.9,
            "instruments_every": 2,
        }
        return Adversarial(**(arguments | changes))

    return build


def flat(parameters):
    return torch.cat([torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in parameters])


def gradients(module, batch):
    module.zero_grad()
    module.dry_step(batch)
    return flat(module.network.parameters()), flat(module.critic.parameters())


class Recorder(Logger):
    name = version = "recorder"

    def __init__(self):
        super().__init__()
        self.values, self.steps = {}, {}

    def log_metrics(self, metrics, step=None):
        for key, value in metrics.items():
            self.values.setdefault(key, []).append(float(value))
            self.steps.setdefault(key, []).append(step)

    def log_hyperparams(self, *_):
        pass


@pytest.mark.parametrize("game", GAMES, ids=lambda game: type(game).__name__)
@pytest.mark.parametrize(
    "make_critic",
    [partial(UNetCritic, num_features=4), partial(PatchCritic, num_features=4, num_layers=2)],
    ids=["unet", "patch"],
)
@pytest.mark.parametrize(
    "make_network",
    [partial(EDSR, scale=2, num_blocks=1, num_features=8), partial(RRDBNet, scale=2, num_blocks=1)],
    ids=["edsr", "rrdbnet"],
)
def test_the_game_reaches_the_generator_and_the_critic_alone_moves_by_its_loss(
    make, data, game, make_critic, make_network
):
    """Law 11, and a defect of a well-known trainer: the GAN term was logged and reached no generator gradient."""
    batch = data.batch([0, 1])
    torch.manual_seed(0)
    critic = make_critic()
    module = make(gan=game, critic=critic, network=make_network(), losses={})
    alone, on_critic = gradients(module, batch)
    assert alone.abs().max() > 0
    assert on_critic.abs().max() > 0

    seen = copy.deepcopy(critic)  # a look moves the estimate of its spectral norm
    restored = module.network(batch["low"])
    expected = torch.autograd.grad(
        game.weight * game.generator(seen(batch["high"]), seen(restored)), list(module.network.parameters())
    )
    torch.testing.assert_close(alone, torch.cat([g.flatten() for g in expected]), atol=1e-4, rtol=0.05)

    stronger = copy.copy(game)
    stronger.weight = 10 * game.weight
    module.gan = stronger
    louder, unmoved = gradients(module, batch)
    torch.testing.assert_close(louder, 10 * alone, atol=1e-3, rtol=0.1)
    torch.testing.assert_close(unmoved, on_critic, msg="the generator's weight does not touch the critic")


@pytest.mark.parametrize("loss", [L1(), LDL()], ids=["l1", "ldl"])
def test_every_further_loss_changes_the_generators_gradient_alone(make, data, loss):
    batch = data.batch([0, 1])
    without, critic_without = gradients(make(losses={}), batch)
    module = make(losses={"tested": loss})
    with torch.no_grad():
        module.ema.module.tail.bias.add_(0.3)  # the average is now the worse one: LDL looks at the rest
        module.ema.module.tail.weight.mul_(0.5)
    tested, critic_tested = gradients(module, batch)
    assert (tested - without).abs().max() > 1e-7
    torch.testing.assert_close(critic_tested, critic_without)


@pytest.mark.parametrize(
    "make_critic", [partial(UNetCritic, num_features=4), partial(VGGCritic, num_features=4, input_size=32)]
)
def test_r1_changes_the_critics_gradient_alone_by_its_own(make, make_critic):
    torch.manual_seed(0)
    critic, images = make_critic(), torch.rand(2, 3, 32, 32)
    batch = {"low": F.avg_pool2d(images, 2), "high": images}
    plain, penalised = (make(critic=copy.deepcopy(critic), r1=r1) for r1 in (None, R1(weight=100.0, every=2)))
    plain_generator, plain_critic = gradients(plain, batch)
    generator, moved = gradients(penalised, batch)
    torch.testing.assert_close(generator, plain_generator)
    fresh, real = copy.deepcopy(critic), images.clone().requires_grad_()
    penalty = 200 * r1_penalty(fresh(real), real)
    expected = torch.autograd.grad(penalty, list(fresh.parameters()), allow_unused=True)
    zeros = [torch.zeros_like(p) if g is None else g for p, g in zip(fresh.parameters(), expected, strict=True)]
    torch.testing.assert_close(moved - plain_critic, torch.cat([g.flatten() for g in zeros]), atol=1e-4, rtol=1e-3)


def test_the_critic_sees_real_and_restored_images_once_a_step(make, make_trainer, data):
    module, seen = make(ema_decay=None), []
    module.critic.register_forward_hook(lambda _, inputs, __: seen.append(tuple(inputs[0].shape)))
    make_trainer(3).fit(module, data)
    assert seen == [(2, 3, 16, 16)] * 6


def test_golden_losses(make, make_trainer, data):
    recorder = Recorder()
    module = make(losses={"l1": L1(), "ldl": LDL()}, r1=R1(every=2))
    # A young average is the weights themselves but for rounding, and LDL compares the images of the two.
    module.ema.load_state_dict({**module.ema.state_dict(), "n_averaged": torch.tensor(100)})
    make_trainer(5, logger=recorder, log_every_n_steps=1).fit(module, data)
    for name, expected in GOLDEN.items():
        assert recorder.values[f"train/{name}"] == pytest.approx(expected, rel=1e-5), name


class Counts:
    """An optimizer factory that counts the steps of what it made."""

    def __init__(self):
        self.steps = 0

    def __call__(self, parameters):
        optimizer = adam(parameters)
        optimizer.register_step_post_hook(lambda *_: setattr(self, "steps", self.steps + 1))
        return optimizer


@pytest.mark.parametrize("accumulate", [1, 3])
def test_both_optimizers_step_once_for_all_accumulated_batches(make, make_trainer, data, accumulate):
    generator, critic = Counts(), Counts()
    module = make(optimizer=generator, critic_optimizer=critic)
    data.accumulate = accumulate
    trainer = make_trainer(4)
    trainer.fit(module, data)
    assert (generator.steps, critic.steps) == (4, 4)
    assert trainer.global_step == 4, "the critic's steps are not counted"
    assert int(module.ema.n_averaged) == 4
    assert module.critic_scheduler.last_epoch == 4
    assert module.critic_optimizer.param_groups[0]["lr"] == 5e-4


def test_accumulated_gradients_of_the_critic_equal_one_large_batch(make, make_trainer, data):
    sgd = {name: lambda parameters: torch.optim.SGD(parameters, lr=0.1) for name in ("optimizer", "critic_optimizer")}
    critic = Plain()
    modules = [make(**sgd, critic=copy.deepcopy(critic), ema_decay=None) for _ in range(2)]
    data.accumulate = 2
    make_trainer(1).fit(modules[0], data)
    modules[1].dry_step(data.batch([0, 1, 2, 3]))
    for ours, parameter in zip(modules[0].critic.parameters(), modules[1].critic.parameters(), strict=True):
        torch.testing.assert_close(ours, parameter - 0.1 * parameter.grad)


class Plain(UNetCritic):
    """A critic of one convolution, without spectral norm."""

    def __init__(self):
        super().__init__(num_features=1)
        for name in ("head", "down", "up", "last", "tail"):
            delattr(self, name)
        self.conv = nn.Conv2d(3, 1, 3)

    def forward(self, images):
        return self.conv(images)


def test_clipping_of_each(make, make_trainer, data):
    sgd = {name: lambda parameters: torch.optim.SGD(parameters, lr=1.0) for name in ("optimizer", "critic_optimizer")}
    module = make(
        **sgd,
        critic=Plain(),
        critic_clip=0.01,
        gradient_clip=0.02,
        ema_decay=None,
        scheduler=None,
        critic_scheduler=None,
    )
    before = [[p.detach().clone() for p in part.parameters()] for part in (module.network, module.critic)]
    make_trainer(1).fit(module, data)
    for part, old, bound in ((module.network, before[0], 0.02), (module.critic, before[1], 0.01)):
        moved = torch.cat([(p - q).flatten() for p, q in zip(part.parameters(), old, strict=True)]).norm()
        assert moved.item() == pytest.approx(bound, rel=1e-3)


def test_the_critic_takes_the_original_for_real_and_the_losses_the_sharpened_target(make, data):
    batch = data.batch([0, 1])
    sharpened = {**batch, "high": (batch["high"] * 1.5).clamp(0, 1), "original": batch["high"]}
    module, seen = make(), []
    module.critic.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].detach().clone()))
    module.dry_step(sharpened)
    assert torch.equal(seen[0], batch["high"])
    restored = module.network(batch["low"])
    values, _, _ = module._round(restored, sharpened, share=1.0, penalise=False)
    assert values["l1"].item() == pytest.approx(F.l1_loss(restored, sharpened["high"]).item())


def test_instruments_are_logged(make, make_trainer, data):
    recorder = Recorder()
    trainer = make_trainer(4, logger=recorder, log_every_n_steps=1, val_check_interval=2)
    trainer.fit(make(losses={"l1": L1(), "ldl": LDL()}), data)
    names = {"critic_real", "critic_fake", "critic_gap", "colour_bias", "top_octave", "checkerboard"}
    names |= {"gradient_l1", "gradient_ldl", "gradient_gan", "l1", "ldl", "gan", "critic", "loss"}
    values, steps = recorder.values, recorder.steps
    assert {f"train/{name}" for name in names} <= values.keys()
    assert values["train/gradient_gan"][-1] > 0
    assert (steps["train/colour_bias"], steps["train/critic_real"]) == ([2, 4], [1, 2, 3, 4])
    assert values["train/critic_gap"][1] == pytest.approx(
        values["train/critic_real"][3] - values["train/critic_fake"][3], abs=1e-5
    )
    assert steps["val/ema_gain"] == [2, 4]


def test_gradient_of_each_loss_at_the_last_convolution(make, data):
    """The norms are those that the losses have each alone, with their weights."""
    batch = data.batch([0, 1])
    module = make(losses={"l1": L1(weight=0.3)})
    restored = module._restored(batch)
    _, terms, logits = module._round(restored, batch, share=1.0, penalise=False)
    found = module._read(restored, batch, terms, logits)
    for name, term in terms.items():
        (expected,) = torch.autograd.grad(term, module.network.tail.weight, retain_graph=True)
        assert found[f"gradient_{name}"].item() == pytest.approx(expected.norm().item(), rel=1e-4)


def test_weights_do_not_depend_on_the_block(make, make_trainer, data):
    modules = []
    for block in (1, 3):
        data.block = block
        modules.append(make(r1=R1(every=2), losses={"l1": L1(), "ldl": LDL()}))
        make_trainer(6, val_check_interval=6 // block).fit(modules[-1], data)
    for one, other in zip(*(module.state_dict().values() for module in modules), strict=True):
        assert torch.equal(one, other)


def test_what_the_average_gains_is_psnr_less_psnr(make, make_trainer, data):
    module = make()
    trainer = make_trainer(2)
    trainer.fit(module, data)
    gains = []
    for batch in data.val_dataloader():
        with torch.no_grad():
            inner = [
                network(batch["low"]).clamp(0, 1)[..., 2:-2, 2:-2] for network in (module.ema.module, module.network)
            ]
        errors = [(image - batch["high"][..., 2:-2, 2:-2]).square().mean() for image in inner]
        gains.append(float(10 * torch.log10(errors[1] / errors[0])))
    assert float(trainer.callback_metrics["val/ema_gain"]) == pytest.approx(sum(gains) / 3, abs=1e-3)


def test_a_collapse_stops_the_run_and_names_instrument_and_remedy(make, make_trainer, data):
    watch = CollapseWatch(limits={"colour_bias": Limit(most=1e-6), "top_octave": None}, patience=2)
    module, trainer = make(collapse=watch), make_trainer(8)
    with pytest.raises(Collapsed, match=r"step 4: .*train/colour_bias=0\.\d+ \(allowed: most 1e-06\).*pixel loss"):
        trainer.fit(module, data)
    assert trainer.global_step == 4


class Broken(L1):
    def forward(self, restored, target):
        return super().forward(restored, target) * float("nan")


def test_nan_loss_ends_the_run(make, make_trainer, data):
    with pytest.raises(NonFiniteLoss, match=r"step 0: broken=nan"):
        make_trainer(3).fit(make(losses={"broken": Broken()}), data)


def test_nan_critic_ends_the_run(make, make_trainer, data):
    module = make()
    with torch.no_grad():
        module.critic.tail.bias.fill_(float("nan"))
    with pytest.raises(NonFiniteLoss, match=r"step 0: gan=nan, critic=nan"):
        make_trainer(3).fit(module, data)


class StopAt(pl.Callback):
    def __init__(self, step):
        self.step = step

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        if trainer.global_step == self.step:
            raise KeyboardInterrupt


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("stop", [3, 8])
def test_resumed_run_equals_the_uninterrupted_one_to_the_last_bit(make, make_trainer, data, tmp_path, stop, accumulate):
    def fit(directory, *, stop=None, resume=False):
        watch = CollapseWatch(limits={"colour_bias": Limit(most=1e-6)}, patience=6)
        module = make(losses={"l1": L1(), "ldl": LDL()}, r1=R1(every=3), collapse=watch)
        last = KeepLast(directory=directory, every=2, provenance={})
        stopper = [StopAt(stop)] if stop else []
        trainer = make_trainer(10, val_check_interval=5, callbacks=[*stopper, last])
        arguments = {"ckpt_path": directory / "last.ckpt" if resume else None}
        if stop:
            with pytest.raises((KeyboardInterrupt, SystemExit)):
                trainer.fit(module, data, **arguments)
        else:
            trainer.fit(module, data, **arguments)
        return module

    data.accumulate = accumulate
    whole = fit(tmp_path / "whole")
    fit(tmp_path / "parts", stop=stop)
    resumed = fit(tmp_path / "parts", resume=True)
    for (name, ours), expected in zip(resumed.state_dict().items(), whole.state_dict().values(), strict=True):
        assert torch.equal(ours, expected), name
    contents = [load_checkpoint(tmp_path / name / "last.ckpt") for name in ("parts", "whole")]
    for ours, expected in zip(*(list(tensors(content)) for content in contents), strict=True):
        assert torch.equal(ours, expected)
    assert contents[0]["critic"]["collapse"] == contents[1]["critic"]["collapse"] == {"colour_bias": 5}


def tensors(node):
    """All tensors of a checkpoint: weights, both optimizers."""
    if isinstance(node, torch.Tensor):
        yield node
    elif isinstance(node, dict):
        for key, child in node.items():
            if key != "random":  # the loader takes a seed of it at its start, and has no use for it
                yield from tensors(child)
    elif isinstance(node, list):
        for child in node:
            yield from tensors(child)


def test_dry_step_leaves_weights_and_running_statistics_alone(make, make_trainer, data):
    module = make(r1=R1())
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    batches = {"train": lambda: data.batch([0, 1]), "val": lambda: data.batch([5])}
    assert step_problems(make_trainer(1), module, **batches) == []
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert all(parameter.grad is None for parameter in module.parameters())


def test_the_average_starts_from_the_given_weights(make, make_trainer, data):
    module = make()
    module.network.load_state_dict(EDSR(scale=2, num_blocks=1, num_features=8).state_dict())
    first = []
    module.ema.module.register_forward_hook(lambda net, *_: first.append(net.head.weight.clone()))
    start = module.network.head.weight.detach().clone()
    module.losses["ldl"] = LDL()
    make_trainer(1).fit(module, data)
    assert torch.equal(first[0], start)


def test_best_weights_can_be_those_of_the_least_value(make, make_trainer, data):
    kept = []
    best = KeepBest(monitor="val/ema_gain", mode="min", save=lambda _, numbers: kept.append(numbers["val/ema_gain"]))
    make_trainer(6, val_check_interval=1, callbacks=[best]).fit(make(), data)
    assert kept == sorted(kept, reverse=True)
    assert best.best == min(kept)


def test_refuses(make):
    with pytest.raises(ValueError, match=r"ldl compares with the image of the averaged weights: give model\.ema_decay"):
        LDL().measure(torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8), Context())
    with pytest.raises(ValueError, match="losses names 'gan'"):
        make(losses={"gan": L1()})
    with pytest.raises(ValueError, match="critic takes 1 channel, the network 3"):
        make(critic=UNetCritic(num_channels=1, num_features=4))
    with pytest.raises(ValueError, match="either required or waived"):
        make(warm_start="no")
    assert make().needs_initial
    assert not make(warm_start="waived").needs_initial
    with pytest.raises(ValueError, match="limits names 'taste': the instruments are critic_gap"):
        CollapseWatch(limits={"taste": Limit(most=1.0)})
    with pytest.raises(ValueError, match="least=2, most=1"):
        Limit(least=2, most=1)
