"""The average of the weights: its formula, its memory of the start, its cost against the raw weights."""

import pytest
import torch
from torch.optim.swa_utils import AveragedModel

from sr_lab.config.compose import compose
from sr_lab.config.tree import config_dir
from sr_lab.networks.edsr import EDSR
from sr_lab.training.ema import EMA, decay_at
from sr_lab.training.schedule import warmup_cosine

DECAYS = [0.5, 0.9, 0.999, 0.9999, 0.999999]


def network() -> EDSR:
    torch.manual_seed(0)
    return EDSR(scale=2, num_blocks=1, num_features=4)


@torch.no_grad()
def fill(net: EDSR, value: float) -> None:
    for parameter in net.parameters():
        parameter.fill_(value)


@pytest.mark.parametrize("decay", DECAYS)
def test_the_average_of_constant_weights_is_these_weights_after_any_number_of_steps(decay):
    net = network()
    average = EMA(net, decay=decay)
    fill(net, 0.3)  # what the copy in ``average`` was made from is gone
    for _ in range(50):
        average.update(net)
        assert all(torch.equal(weight, torch.full_like(weight, 0.3)) for weight in average.module.parameters())


@pytest.mark.parametrize("decay", DECAYS)
def test_the_start_is_forgotten(decay):
    """The first weights are 1, all later ones 0: the average is the share of the start."""
    net = network()
    average = EMA(net, decay=decay)
    fill(net, 1.0)
    average.update(net)
    fill(net, 0.0)
    for _ in range(9):
        average.update(net)
    assert float(average.module.head.weight.max()) < 0.002, "after 10 steps"
    for _ in range(90):
        average.update(net)
    assert float(average.module.head.weight.max()) < 1e-9, "after 100 steps"


def test_the_decay_rises_to_the_given_one_and_stays():
    decays = [decay_at(update, decay=0.999) for update in range(20_000)]
    assert decays == sorted(decays)
    assert (decays[0], decays[-1]) == (0, 0.999)
    assert [decay_at(update, decay=0.05) for update in (9, 1000)] == [0.05] * 2
    reached = next(update for update, value in enumerate(decays) if value == 0.999)
    assert reached == pytest.approx(18 / 0.001, rel=0.01)


@pytest.mark.parametrize("num_updates", [10, 100, 3000])
def test_the_average_looks_back_over_a_twentieth_of_the_updates(num_updates):
    """Karras et al. 2024: the weights of the average have a standard deviation of 0.05 times its age, in the limit."""
    share = torch.zeros(num_updates, dtype=torch.float64)
    for update in range(num_updates):
        decay = decay_at(update, decay=0.999999)
        share *= decay
        share[update] = 1 - decay
    when = torch.arange(1, num_updates + 1, dtype=torch.float64) / num_updates
    mean = (share * when).sum()
    assert float(share.sum()) == pytest.approx(1)
    assert float((share * (when - mean) ** 2).sum().sqrt()) < 0.0505
    if num_updates == 3000:
        assert float((share * (when - mean) ** 2).sum().sqrt()) == pytest.approx(0.05, rel=0.01)


def test_the_average_equals_torchs_with_the_same_decays_also_after_a_resume():
    net = network()
    ours = EMA(net, decay=0.3)

    def formula(averages, values, count):
        torch._foreach_lerp_(averages, values, 1 - decay_at(int(count), decay=0.3))

    theirs = AveragedModel(net, multi_avg_fn=formula, use_buffers=True)
    for step in range(6):
        with torch.no_grad():
            for parameter in net.parameters():
                parameter += torch.randn_like(parameter)
        if step == 2:  # as a resumed run finds it
            state, ours = ours.state_dict(), EMA(net, decay=0.3)
            ours.load_state_dict(state)
        ours.update(net)
        theirs.update_parameters(net)
    for name, value in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name


@pytest.mark.parametrize("num_steps", [10, 100, 1000])
def test_the_average_loses_nothing_against_the_raw_weights(num_steps):
    """A noisy regression with the default decay, optimizer, schedule: errors of both on what was not trained on."""
    generator = torch.Generator().manual_seed(1)
    true = torch.randn(16, 3, generator=generator)
    net = torch.nn.Linear(16, 3)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    average = EMA(net, decay=float(compose("train", []).model.ema_decay))
    optimizer = torch.optim.Adam(net.parameters(), lr=0.02)
    schedule = warmup_cosine(optimizer, num_steps=num_steps)
    test = torch.randn(500, 16, generator=generator)

    def error(model: torch.nn.Module) -> float:
        with torch.no_grad():
            return float((model(test) - test @ true).square().mean())

    start = error(net)
    for _ in range(num_steps):
        x = torch.randn(8, 16, generator=generator)
        loss = (net(x) - x @ true - 0.3 * torch.randn(8, 3, generator=generator)).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        average.update(net)
    raw, averaged = error(net), error(average.module)
    assert averaged <= raw + 0.02 * (start - raw), f"start {start:.3f}, raw {raw:.4f}, averaged {averaged:.4f}"


def decays() -> list[tuple[str, float | None]]:
    """Of every experiment, algorithm and value of a sweep, by name."""
    chosen = [
        f"{group}={file.stem}" for group in ("experiment", "model") for file in config_dir().glob(f"{group}/*.yaml")
    ]
    found = [(name, compose("train", [name]).model.ema_decay) for name in chosen]
    sweep = compose("sweep", ["sweep=learning_rate", "experiment=edsr_tiny_x2_photos"])
    return found + [(f"sweep: {value}", value) for value in sweep.space.ema["values"]]


def test_no_preset_and_no_value_that_can_be_given_keeps_the_start():
    """The share of the first step's weights after 20 steps, with every decay that we ship and the largest there is."""
    for name, decay in [*decays(), ("largest float below 1", 1 - 2**-53)]:
        if decay is None:
            continue
        share = 1.0
        for update in range(1, 20):
            share *= decay_at(update, decay=decay)
        assert share < 1e-5, name


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.5, 2.0])
def test_a_decay_that_is_none(decay):
    with pytest.raises(ValueError, match="must lie between 0 and 1"):
        EMA(network(), decay=decay)
