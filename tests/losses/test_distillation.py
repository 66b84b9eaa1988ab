"""The distillation loss: what it is, and which gradients it changes (law 11)."""

import pytest
import torch

from sr_lab.images.context import Context
from sr_lab.losses.distillation import Distillation, attention, feature_distance
from sr_lab.losses.pixel import L1
from sr_lab.networks.edsr import EDSR
from sr_lab.networks.rrdb import RRDBNet
from sr_lab.networks.srcnn import SRCNN
from sr_lab.training.base import attached
from sr_lab.training.regression import Regression


def edsr(num_features: int, *, seed: int = 0, scale: int = 2) -> EDSR:
    torch.manual_seed(seed)
    return EDSR(scale=scale, num_blocks=2, num_features=num_features, value_range=1.0)


def pair(**changes):
    student, teacher = edsr(4), edsr(8, seed=1)
    loss = Distillation(**({"teacher": teacher, "features": {"body": "body"}, "feature_weight": 0.5} | changes))
    taps = attached({"distillation": loss}, student)

    def measured(low: torch.Tensor, *, restored: torch.Tensor | None = None) -> torch.Tensor:
        restored = student(low) if restored is None else restored
        return loss.measure(restored, torch.rand_like(restored), Context(low=low, features=taps.take()))

    return student.train(), teacher, measured


def test_attention_forgets_width_and_strength():
    features = torch.rand(2, 3, 4, 5)
    torch.testing.assert_close(attention(features), attention(7 * features.repeat(1, 2, 1, 1)))
    torch.testing.assert_close(attention(features).norm(dim=1), torch.ones(2))
    assert feature_distance(features, features.repeat(1, 5, 1, 1)).item() == pytest.approx(0, abs=1e-5)


def test_known_distance():
    """All activity at one pixel against all at another: unit vectors at a right angle."""
    one, other = torch.zeros(1, 2, 2, 2), torch.zeros(1, 3, 2, 2)
    one[0, :, 0, 0], other[0, :, 1, 1] = 3, 0.1
    assert feature_distance(one, other).item() == pytest.approx(2**0.5)
    with pytest.raises(ValueError, match="name layers before the enlargement"):
        feature_distance(one, torch.zeros(1, 2, 4, 4))


def test_value_is_that_of_images_and_features():
    student, teacher, loss = pair()
    low = torch.rand(2, 3, 6, 6)
    value = loss(low)
    inside = [network.body(network.head(low - network.mean)) for network in (student, teacher)]
    expected = (student(low) - teacher(low)).abs().mean() + 0.5 * feature_distance(*inside)
    assert value.item() == pytest.approx(expected.item(), rel=1e-5)


def test_equal_networks_lose_nothing():
    _, _, loss = pair(teacher=edsr(4))
    assert loss(torch.rand(1, 3, 6, 6)).item() == pytest.approx(0, abs=1e-5)


@pytest.mark.parametrize("part", ["image", "features"])
def test_each_part_changes_the_gradient_that_it_is_meant_to_change(part):
    changes = {"image": {"features": {}}, "features": {"feature_weight": 1e6}}[part]
    student, teacher, loss = pair(**changes)
    loss(torch.rand(2, 3, 6, 6)).backward()
    body, tail = (student.get_submodule(name).weight.grad.abs().max().item() for name in ("body.0.body.0", "tail"))
    assert body > 0
    if part == "image":
        assert tail > 0, "the image's loss reaches every layer"
    else:
        assert body > 1e3 * tail, "the features' loss ends at the body"
    assert all(parameter.grad is None for parameter in teacher.parameters())


def test_in_training_it_changes_every_gradient_and_is_no_part_of_the_checkpoint():
    def gradient(*names: str) -> tuple[torch.Tensor, Regression]:
        losses = {"l1": L1(), "distillation": Distillation(teacher=edsr(8, seed=1), features={"body": "body"})}
        module = Regression(
            network=edsr(4),
            losses={name: losses[name] for name in names},
            metrics={},
            optimizer=torch.optim.Adam,
            ema_decay=0.9,
        )
        generator = torch.Generator().manual_seed(0)
        high = torch.rand(2, 3, 12, 12, generator=generator)
        module.dry_step({"low": torch.nn.functional.avg_pool2d(high, 2), "high": high})
        return torch.cat([p.grad.flatten() for p in module.network.parameters()]), module

    alone, _ = gradient("l1")
    both, module = gradient("l1", "distillation")
    assert ((alone - both).abs() > 1e-8).float().mean() > 0.8, "all but dead ReLUs"
    assert not [key for key in module.state_dict() if "teacher" in key or key.startswith("losses.")]
    assert module.ema is not None
    assert not module.ema.module._forward_pre_hooks, "the averaged copy is not watched"


def test_validation_in_between_is_not_mistaken_for_the_batch():
    student, _, loss = pair()
    low = torch.rand(1, 3, 6, 6)
    restored = student(low)
    student.eval()(torch.rand(1, 3, 9, 9))
    assert torch.isfinite(loss(low, restored=restored))


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="the teacher has no layer 'bodi': did you mean 'body'"):
        pair(features={"body": "bodi"})
    with pytest.raises(ValueError, match="the student has no layer 'trunk'"):
        pair(features={"trunk": "body"})
    with pytest.raises(ValueError, match="the teacher has scale=4, the student 2"):
        pair(teacher=edsr(8, scale=4))
    with pytest.raises(ValueError, match="feature_weight=0"):
        pair(feature_weight=0)
    with pytest.raises(ValueError, match="looks at the student's input"):
        Distillation(teacher=edsr(4), features={})(torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 4))
    with pytest.raises(ValueError, match="which this training does not show"):
        Distillation(teacher=edsr(4)).measure(torch.rand(1, 3, 4, 4), torch.rand(1, 3, 4, 4), Context())
    _, _, loss = pair(teacher=RRDBNet(scale=2, num_blocks=1, num_features=4, growth=2), features={"body": "upsampler"})
    with pytest.raises(ValueError, match="the teacher does not go through its layer 'upsampler': name one inside it"):
        loss(torch.rand(1, 3, 8, 8))


@pytest.mark.parametrize("teacher", ["edsr", "rrdb", "srcnn"])
def test_any_two_networks_distil_without_a_word_more(teacher):
    made = {
        "edsr": lambda: edsr(8),
        "rrdb": lambda: RRDBNet(scale=2, num_blocks=1, num_features=4, growth=2),
        "srcnn": lambda: SRCNN(scale=2, num_channels=3),
    }[teacher]()
    student, _, loss = pair(teacher=made, features=None)
    loss(torch.rand(1, 3, 8, 8)).backward()
    assert student.tail.weight.grad.abs().max() > 0


def test_two_networks_of_one_kind_share_their_bodies():
    low = torch.rand(2, 3, 6, 6)
    named, chosen, alone = (pair(features=features)[2](low) for features in ({"body": "body"}, None, {}))
    assert named == chosen
    assert alone < named
