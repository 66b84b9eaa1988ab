"""The preflight: what it measures, and that it leaves the weights as they were."""

import re
import shutil
from collections import namedtuple

import pytest
import torch

from sr_lab.training import preflight
from sr_lab.training.preflight import disk_problem, image_problems, optimizer_problem, precision_problem, step_problems
from sr_lab.training.schedule import warmup_cosine

CPU = torch.device("cpu")


@pytest.mark.parametrize(("half", "full", "refused"), [(1.7, 0.1, True), (0.1, 0.1, False), (0.05, 0.1, False)])
def test_half_precision_is_refused_by_its_measured_time(monkeypatch, half, full, refused):
    monkeypatch.setattr(preflight, "_seconds", lambda image, _: full if image.dtype == torch.float32 else half)
    problem = precision_problem("bf16-mixed", CPU)
    assert (problem is not None) == refused
    if refused:
        assert "17 times slower than float32" in problem
        assert "trainer.precision=32-true" in problem


def test_measurement_runs_on_this_machine():
    assert precision_problem("32-true", CPU) is None
    for precision in ("bf16-mixed", "16-mixed"):
        problem = precision_problem(precision, CPU)
        assert problem is None or "times slower" in problem or "does not run" in problem


def test_full_disk_is_found_before_the_run(monkeypatch, tmp_path, make_module):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**9, 10**9, 5 * 2**20))
    assert "has 5 MiB free" in disk_problem(tmp_path / "not" / "yet", make_module())
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**12, 0, 10**12))
    assert disk_problem(tmp_path, make_module()) is None


def test_scheduler_that_cannot_be_built(make_module):
    module = make_module(scheduler=lambda optimizer: warmup_cosine(optimizer, num_steps=3, num_warmup=5))
    assert "num_warmup=5" in optimizer_problem(module)
    assert optimizer_problem(make_module()) is None


def test_steps_leave_weights_gradients_metrics_and_randomness_alone(make_module, make_trainer, data):
    module = make_module()
    before = {name: tensor.clone() for name, tensor in module.state_dict().items()}
    random = torch.get_rng_state()
    batches = {"train": lambda: data.batch([0, 1]), "val": lambda: data.batch([5])}
    assert step_problems(make_trainer(1), module, **batches) == []
    assert all(torch.equal(tensor, before[name]) for name, tensor in module.state_dict().items())
    assert all(parameter.grad is None for parameter in module.parameters())
    assert torch.equal(torch.get_rng_state(), random)
    assert int(module.named_metrics()["psnr_rgb"].num_images) == 0


@pytest.mark.parametrize(
    ("channels", "deep", "monitor", "said"),
    [
        ({4}, True, "val/psnr_y", "4 channels .*16 bits: add num_channels=4 protocol=deep monitor=val/psnr_deep"),
        ({4}, False, "val/psnr_y", "4 channels have no luma and need their own network: add num_channels=4 monitor="),
        ({3}, True, "val/psnr_rgb", "images have 16 bits, of which .*: add protocol=deep monitor=val/psnr_deep"),
        ({1}, True, "val/loss", "have 16 bits.*: add protocol=deep$"),
        ({3}, False, "val/psnr_rgb", None),
        ({1, 3}, False, "val/psnr_rgb", None),
    ],
)
def test_unusual_images_get_one_message_with_all_that_they_need(make_module, channels, deep, monitor, said):
    problems = image_problems(channels, deep, make_module(), monitor=monitor)  # it measures psnr_rgb
    assert (problems == []) if said is None else re.search(said, problems[0])


def test_every_broken_step_is_named(make_module, make_trainer, data):
    def wrong():
        batch = data.batch([0])
        return {**batch, "low": batch["low"][:, :1]}

    def torn():
        raise OSError("img.png is truncated")

    problems = step_problems(make_trainer(1), make_module(), train=wrong, val=torn)
    assert "training step" in problems[0]
    assert "1 channel, the network takes 3" in problems[0]
    assert "validation step: OSError: img.png is truncated" in problems[1]


def test_channels_last_gives_the_same_result(make_module, make_trainer, data):
    plain, last = make_module(), make_module(channels_last=True)
    assert last.network.head.weight.is_contiguous(memory_format=torch.channels_last)
    low = torch.rand(1, 3, 9, 7)
    with torch.no_grad():
        torch.testing.assert_close(last.restore(low), plain.restore(low), atol=1e-5, rtol=1e-4)
    make_trainer(2).fit(last, data)
