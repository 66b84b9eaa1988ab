import math

import pytest
import torch

from sr_lab.training.schedule import warmup_cosine, warmup_cosine_factor


@pytest.mark.parametrize(
    ("step", "factor"),
    [(0, 0.25), (3, 1.0), (4, 1.0), (8, 0.1 + 0.9 * 0.5 * (1 + math.cos(math.pi * 0.5))), (12, 0.1), (99, 0.1)],
)
def test_known_factors(step, factor):
    assert warmup_cosine_factor(step, num_steps=13, num_warmup=4, floor=0.1) == pytest.approx(factor)


def test_optimizer_gets_the_factors():
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=2.0)
    scheduler = warmup_cosine(optimizer, num_steps=5, num_warmup=2)
    rates = []
    for _ in range(5):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert rates == pytest.approx([1.0, 2.0, 2.0, 1.0, 0.0])


def test_warmup_longer_than_the_run():
    with pytest.raises(ValueError, match=r"num_warmup=5 .* num_steps=5"):
        warmup_cosine(torch.optim.SGD([torch.zeros(1)], lr=1.0), num_steps=5, num_warmup=5)
