"""Training of denoisers: keyed noise and times, golden losses, exact resume, distillation."""

import pytest
import pytorch_lightning as pl
import torch

from sr_lab.losses.frequency import Frequency
from sr_lab.losses.pixel import L1, L2, Charbonnier
from sr_lab.metrics.protocol import RGBCrop
from sr_lab.metrics.psnr import PSNR
from sr_lab.networks.edsr import EDSR
from sr_lab.networks.pmrf import PMRF
from sr_lab.networks.resshift import ResShift
from sr_lab.networks.unet import UNet
from sr_lab.training.base import NonFiniteLoss
from sr_lab.training.checkpoint import LAST, KeepLast
from sr_lab.training.diffusion import Diffusion

# A refactor keeps these; a change of behaviour edits them in the same commit and says why.
GOLDEN_LOSSES = {
    "resshift": [0.0662537, 0.067605, 0.0649979, 0.0635378, 0.0660942],
    "pmrf": [0.0983693, 0.0964671, 0.0983106, 0.092261, 0.0904846],
}


def unet():
    return UNet(scale=2, num_features=8, multipliers=(1, 2), num_blocks=1)


def network_of(kind):
    torch.manual_seed(0)
    if kind == "pmrf":
        return PMRF(denoiser=unet(), mean=EDSR(scale=2, num_blocks=1, num_features=4), num_steps=3)
    return ResShift(denoiser=unet(), num_steps={"resshift": 4, "student": 1}[kind], first=0.1)


@pytest.fixture
def make():
    def make_diffusion(kind="resshift", **changes):
        arguments = {
            "network": network_of(kind),
            "losses": {"l2": L2()},
            "metrics": {"psnr": PSNR(protocol=RGBCrop(), scale=2)},
            "optimizer": lambda parameters: torch.optim.Adam(parameters, lr=1e-3),
            "seed": 3,
            "ema_decay": 0.9,
        }
        return Diffusion(**(arguments | changes))

    return make_diffusion


class Recorder(pl.Callback):
    def __init__(self):
        self.losses = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        self.losses.append(float(outputs["loss"]))


@pytest.mark.parametrize("kind", GOLDEN_LOSSES)
def test_golden_losses(make, make_trainer, data, kind):
    module, recorder = make(kind), Recorder()
    make_trainer(5, callbacks=[recorder]).fit(module, data)
    assert recorder.losses == pytest.approx(GOLDEN_LOSSES[kind], rel=1e-5)


def test_noise_and_time_depend_on_the_sample_alone(make, data):
    """Not on global random state, nor on the neighbours in the batch; but on the seed."""
    module = make()
    seen = []
    module.network.denoiser.register_forward_hook(lambda _, inputs, __: seen.append(inputs[1:3]))
    with torch.no_grad():
        torch.manual_seed(1)
        module.compared(data.batch([5, 6]))
        torch.manual_seed(2)
        module.compared(data.batch([4, 6]))
        make_other = make(seed=4)
        make_other.network.denoiser.register_forward_hook(lambda _, inputs, __: seen.append(inputs[1:3]))
        make_other.compared(data.batch([5, 6]))
    (first, times), (second, times_again), (third, _) = seen
    assert torch.equal(first[1], second[1])
    assert times[1] == times_again[1]
    assert (first[0] - second[0]).abs().max() > 0.1
    assert (first - third).abs().max() > 0.1


@pytest.mark.parametrize("kind", ["resshift", "pmrf"])
def test_resumed_run_equals_the_uninterrupted_one(make, make_trainer, data, tmp_path, kind):
    whole = make(kind)
    make_trainer(6).fit(whole, data)
    first = make(kind)
    last = KeepLast(directory=tmp_path / "checkpoints", every=3, provenance={})
    make_trainer(3, callbacks=[last]).fit(first, data)
    torch.manual_seed(99)
    resumed = make(kind)
    make_trainer(6).fit(resumed, data, ckpt_path=tmp_path / "checkpoints" / LAST)
    for (name, ours), expected in zip(resumed.state_dict().items(), whole.state_dict().values(), strict=True):
        assert torch.equal(ours, expected), name


@pytest.mark.parametrize("kind", ["resshift", "pmrf", "student"])
@pytest.mark.parametrize("loss", [L1(), L2(), Charbonnier(), Frequency()], ids=lambda loss: type(loss).__name__)
def test_every_loss_changes_the_gradient(make, data, loss, kind):
    """Law 11: a loss that is enabled reaches the weights."""
    batch = data.batch([0, 1])

    def gradient(losses):
        module = make(kind, losses=losses)
        module.dry_step(batch)
        return torch.cat([p.grad.flatten() for p in module.network.parameters() if p.grad is not None])

    other = {"base": L2(weight=0.5)}
    alone, together = gradient(other), gradient(other | {"tested": loss})
    assert (together - alone).abs().max() > 1e-7


def test_only_the_denoiser_learns(make, make_trainer, data):
    module = make("pmrf")
    before = {name: value.clone() for name, value in module.network.state_dict().items()}
    make_trainer(3).fit(module, data)
    after, average = module.network.state_dict(), module.final_network.state_dict()
    for name, value in before.items():
        if name.startswith("mean."):
            assert torch.equal(after[name], value), name
            assert torch.equal(average[name], value), name
    assert any(not torch.equal(after[name], value) for name, value in before.items())


def test_training_lowers_the_loss(make, make_trainer, data):
    """The same two crops again and again."""
    module, recorder = make(optimizer=lambda parameters: torch.optim.Adam(parameters, lr=1e-2)), Recorder()
    first = data.batch([0, 1])
    data.on_after_batch_transfer = lambda batch, _: first if data.trainer.training else batch
    make_trainer(60, callbacks=[recorder]).fit(module, data)
    assert sum(recorder.losses[-5:]) < 0.8 * sum(recorder.losses[:5])


def test_a_student_learns_its_teachers_image_of_the_same_noise(make, make_trainer, data):
    torch.manual_seed(5)
    teacher = network_of("resshift")
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    module, batch = make("student", teacher=teacher), data.batch([0, 1])
    _, target = module.compared(batch)
    assert not torch.allclose(target, batch["high"], atol=0.05), "the target is not the high image"
    torch.testing.assert_close(target[:1], module.compared(data.batch([0, 7]))[1][:1], atol=1e-5, rtol=1e-4)
    weights = [parameter.clone() for parameter in teacher.parameters()]
    make_trainer(2).fit(module, data)
    assert all(torch.equal(a, b) for a, b in zip(weights, module.teacher.parameters(), strict=True))
    module.train()
    assert not module.teacher.training


def test_a_student_that_is_its_teacher_has_almost_nothing_to_learn(make, data):
    torch.manual_seed(5)
    teacher = network_of("student")
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    restored, target = make("student", network=teacher, teacher=teacher).compared(data.batch([0, 1]))
    spread = (target - data.batch([0, 1])["high"]).std()
    assert (restored - target).std() < 0.05 * spread, "but for the 2 % of the residual that the chain's end leaves out"


def test_validation_draws_seed_0_in_as_many_steps_as_asked(make):
    module, low = make(val_steps=2), torch.rand(1, 3, 6, 7)
    with torch.no_grad():
        expected = module.final_network.sample(low, seeds=[0], num_steps=2).clamp(0, 1)
        assert torch.equal(module.restore(low), expected)


def test_nan_ends_the_run(make, make_trainer, data):
    module = make(optimizer=lambda parameters: torch.optim.SGD(parameters, lr=1e30))
    with pytest.raises(NonFiniteLoss, match=r"batch of \(epoch, sample\)"):
        make_trainer(5).fit(module, data)


def test_compilation_is_the_denoisers(make):
    module = make(compile_network="default")
    assert module.compiled
    assert module.network.denoiser._compiled_call_impl is not None
    assert module.network._compiled_call_impl is None


@pytest.mark.parametrize("name", ["network", "teacher"])
def test_other_networks_are_refused(make, name):
    with pytest.raises(ValueError, match=f"{name}=EDSR draws no images by denoising"):
        make(**{name: EDSR(scale=2, num_blocks=1, num_features=4)})


def test_a_teacher_of_another_scale_is_refused(make):
    teacher = ResShift(denoiser=UNet(scale=4, num_features=8, multipliers=(1, 2), num_blocks=1))
    with pytest.raises(ValueError, match="the teacher is x4 of 3 channels, not x2 of 3"):
        make("student", teacher=teacher)
