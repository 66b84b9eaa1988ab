"""Adversarial losses at known logits, R1 of a linear critic, LDL of a known residual."""

import math

import pytest
import torch
import torch.nn.functional as F

from sr_lab.losses.adversarial import R1, Hinge, LeastSquares, RelativisticAverage, Vanilla, r1_penalty
from sr_lab.losses.ldl import LDL, artefact_weight

LN2 = math.log(2)
ALL = [Vanilla, RelativisticAverage, LeastSquares, Hinge]


@pytest.mark.parametrize(
    ("kind", "generator", "critic"),
    [(Vanilla, LN2, 2 * LN2), (RelativisticAverage, LN2, LN2), (LeastSquares, 0.5, 0.5), (Hinge, 0.0, 2.0)],
)
def test_values_at_logits_of_zero(kind, generator, critic):
    loss, logits = kind(weight=1.0), torch.zeros(2, 1, 3, 3)
    assert loss.generator(logits, logits).item() == pytest.approx(generator)
    assert loss.critic(logits, logits).item() == pytest.approx(critic)


def test_ragan_is_ln_2_at_any_equal_logits_and_compares_with_the_mean():
    loss, equal = RelativisticAverage(weight=1.0), torch.full((4, 1), 7.5)
    assert loss.generator(equal, equal).item() == pytest.approx(LN2)
    assert loss.critic(equal, equal).item() == pytest.approx(LN2)
    real, fake = torch.tensor([[1.0], [3.0]]), torch.tensor([[-1.0], [0.0]])
    expected = (
        F.binary_cross_entropy_with_logits(real + 0.5, torch.ones(2, 1))
        + F.binary_cross_entropy_with_logits(fake - 2.0, torch.zeros(2, 1))
    ) / 2
    assert loss.critic(real, fake).item() == pytest.approx(expected.item())
    swapped = (
        F.binary_cross_entropy_with_logits(real + 0.5, torch.zeros(2, 1))
        + F.binary_cross_entropy_with_logits(fake - 2.0, torch.ones(2, 1))
    ) / 2
    assert loss.generator(real, fake).item() == pytest.approx(swapped.item())


def test_other_known_values():
    real, fake = torch.tensor([2.0]), torch.tensor([-3.0])
    assert Vanilla(weight=1.0).generator(real, fake).item() == pytest.approx(math.log1p(math.exp(3)))
    assert LeastSquares(weight=1.0).generator(real, fake).item() == pytest.approx(8.0)
    assert LeastSquares(weight=1.0).critic(real, fake).item() == pytest.approx(5.0)
    assert Hinge(weight=1.0).critic(real, fake).item() == 0
    assert Hinge(weight=1.0).generator(real, fake).item() == 3


@pytest.mark.parametrize("kind", ALL)
def test_the_two_sides_pull_the_logits_apart_and_together(kind):
    loss = kind(weight=1.0)
    real, fake = torch.tensor([[[0.3], [-0.2]], [[0.1], [0.4]]], requires_grad=True).unbind()
    (of_generator,) = torch.autograd.grad(loss.generator(real, fake), fake)
    on_real, on_fake = torch.autograd.grad(loss.critic(real, fake), (real, fake))
    assert of_generator.sum() < 0, "the generator wants larger logits of its images"
    assert on_real.sum() < 0
    assert on_fake.sum() > 0
    with pytest.raises(ValueError, match="weight=0"):
        kind(weight=0)


def test_r1_of_a_linear_critic_is_half_its_squared_weight():
    weight = torch.randn(1, 3, 8, 8, requires_grad=True)
    images = torch.rand(5, 3, 8, 8, requires_grad=True)
    penalty = r1_penalty((images * weight).sum((1, 2, 3)).view(5, 1), images)
    assert penalty.item() == pytest.approx(weight.square().sum().item() / 2, rel=1e-5)
    (gradient,) = torch.autograd.grad(penalty, weight)
    torch.testing.assert_close(gradient, weight.detach())


def test_r1_takes_the_mean_of_a_map_of_logits():
    images = torch.rand(2, 1, 4, 4, requires_grad=True)
    assert r1_penalty(3 * images, images).item() == pytest.approx(9 / 16 / 2, rel=1e-5)
    with pytest.raises(ValueError, match="left out by null"):
        R1(weight=0)


def test_ldl_weight_is_the_papers_map():
    torch.manual_seed(0)
    target, restored, averaged = torch.rand(3, 2, 3, 20, 24).unbind()
    weight = artefact_weight(restored, target, averaged)
    residual, settled = ((target - image).abs().sum(1) for image in (restored, averaged))
    for image, y, x in ((0, 10, 12), (1, 3, 20), (1, 9, 5), (0, 15, 4)):
        window = residual[image, y - 3 : y + 4, x - 3 : x + 4]
        expected = residual[image].var() ** 0.2 * window.var()
        if residual[image, y, x] < settled[image, y, x]:
            expected = 0.0
        assert weight[image, 0, y, x].item() == pytest.approx(float(expected), rel=1e-4)
    assert 0 < (weight == 0).float().mean() < 1


def test_ldl_spares_what_the_average_does_not_do_better():
    target = torch.rand(1, 3, 16, 16)
    restored = (target + 0.1 * torch.randn_like(target)).requires_grad_()
    assert LDL()(restored, target, target + 1.0).item() == 0
    loss = LDL()(restored, target, target)
    assert loss.item() > 0
    expected = (artefact_weight(restored, target, target) * (restored - target).abs()).mean()
    assert loss.item() == pytest.approx(expected.item())
    loss.backward()
    assert restored.grad.abs().max() > 0
    with pytest.raises(ValueError, match=r"give model\.ema_decay"):
        LDL()(restored, target)
    with pytest.raises(ValueError, match="window=4"):
        LDL(window=4)
