"""Pruned networks equal the whole ones with the filters at zero."""

import pytest
import torch
import torch.nn.functional as F

from sr_lab.images import write_image
from sr_lab.networks.bicubic import Bicubic
from sr_lab.networks.compact import Compact
from sr_lab.networks.edsr import EDSR
from sr_lab.networks.pruning import L1Norm, Taylor, choose, narrowed_state, prunable
from sr_lab.networks.rrdb import RRDBNet

ARGUMENTS = {
    EDSR: {"scale": 2, "num_blocks": 3, "num_features": 12, "res_scale": 0.5},
    Compact: {"scale": 3, "num_features": 10, "num_convs": 2},
    RRDBNet: {"scale": 2, "num_blocks": 2, "num_features": 12, "growth": 8},
}


def stirred(kind):
    torch.manual_seed(0)
    network = kind(**ARGUMENTS[kind])
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return network.eval()


@pytest.mark.parametrize("kind", ARGUMENTS)
@pytest.mark.parametrize("amount", [0.3, 0.9])
def test_pruned_equals_masked(kind, amount):
    network = stirred(kind)
    layers = prunable(network)
    keep = choose([torch.rand(network.get_submodule(item.layer).out_channels) for item in layers], amount)
    pruned = kind(**ARGUMENTS[kind], widths=[int(mask.sum()) for mask in keep]).eval()
    pruned.load_state_dict(narrowed_state(network, keep))
    assert pruned.num_parameters < network.num_parameters
    with torch.no_grad():
        for item, mask in zip(layers, keep, strict=True):
            layer = network.get_submodule(item.layer)
            layer.weight[~mask], layer.bias[~mask] = 0, 0
        low = torch.rand(2, 3, 8, 10)
        torch.testing.assert_close(pruned(low), network(low), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("kind", "count"), [(EDSR, 3), (Compact, 3), (RRDBNet, 24)])
def test_every_width_is_used_in_its_order(kind, count):
    widths = [1 + k % 7 for k in range(count)]
    network = kind(**ARGUMENTS[kind], widths=widths)
    assert [network.get_submodule(item.layer).out_channels for item in prunable(network)] == widths
    assert network(torch.rand(1, 3, 5, 6)).shape[-1] == 6 * network.scale
    with pytest.raises(ValueError, match=f"this network needs {count} numbers"):
        kind(**ARGUMENTS[kind], widths=widths[1:])
    with pytest.raises(ValueError, match="at least 1"):
        kind(**ARGUMENTS[kind], widths=[0] * count)


def test_a_pruned_network_can_be_pruned_again():
    network = EDSR(**ARGUMENTS[EDSR], widths=[8, 4, 2])
    keep = choose(L1Norm()(network, prunable(network)), 0.5)
    assert [int(mask.sum()) for mask in keep] == [4, 2, 1]


def test_l1_keeps_the_heaviest_filters():
    network = stirred(EDSR)
    with torch.no_grad():
        network.body[1].body[0].weight[5] *= 100
        network.body[1].body[0].weight[7] *= 0
    keep = choose(L1Norm()(network, prunable(network)), 1 / 12)
    assert bool(keep[1][5])
    assert not bool(keep[1][7])
    assert [int(mask.sum()) for mask in keep] == [11, 11, 11]


def test_taylor_finds_the_filter_that_nothing_reads(tmp_path):
    """Its weights are the largest of all, so that the L1 norm would keep it."""
    for index in range(2):
        write_image(tmp_path / f"{index}.png", (torch.rand(40, 44, 3) * 255).byte().numpy())
    network = stirred(EDSR)
    with torch.no_grad():
        network.body[0].body[0].weight[3] *= 50
        network.body[0].body[2].weight[:, 3] = 0
    layers = prunable(network)
    scores = Taylor(photos=str(tmp_path), num_photos=2, side=32)(network, layers)
    assert scores[0][3].item() == 0
    assert int((scores[0] > 0).sum()) == 11
    assert int(L1Norm()(network, layers)[0].argmax()) == 3
    assert all(parameter.grad is None for parameter in network.parameters())


def test_taylor_is_the_change_of_the_loss_to_first_order(tmp_path):
    write_image(tmp_path / "0.png", (torch.rand(16, 16, 3) * 255).byte().numpy())
    network = stirred(Compact)
    criterion = Taylor(photos=str(tmp_path), side=15)
    scores = criterion(network, prunable(network))
    weight = network.body[2].weight
    from sr_lab.images import read_image, resize_bicubic, to_tensor

    high = to_tensor(read_image(tmp_path / "0.png"))[..., :15, :15]
    low = resize_bicubic(high, scale=1 / 3)

    def loss_without(share):
        with torch.no_grad():
            kept = weight[4].clone()
            weight[4] *= 1 - share
            value = F.l1_loss(network(low), high).item()
            weight[4] = kept
        return value

    slope = (loss_without(-1e-2) - loss_without(1e-2)) / 2e-2
    assert slope**2 == pytest.approx(scores[1][4].item(), rel=0.05)


def test_refuses():
    with pytest.raises(ValueError, match="Bicubic cannot be pruned"):
        prunable(Bicubic(scale=2))
    with pytest.raises(ValueError, match="amount=1"):
        choose([torch.rand(4)], 1.0)
    with pytest.raises(ValueError, match="amount=half"):
        choose([torch.rand(4)], "half")
    with pytest.raises(ValueError, match="takes nothing out of layers of 4 filters"):
        choose([torch.rand(4)], 0.1)
    with pytest.raises(ValueError, match="holds no image"):
        Taylor(photos="tests/networks")


def test_fine_tuning_recovers_what_pruning_cost():
    network = stirred(EDSR)
    low = torch.rand(4, 3, 8, 8)
    with torch.no_grad():
        wanted = network(low)
    keep = choose(L1Norm()(network, prunable(network)), 0.3)
    pruned = EDSR(**ARGUMENTS[EDSR], widths=[int(mask.sum()) for mask in keep])
    pruned.load_state_dict(narrowed_state(network, keep))
    optimizer = torch.optim.Adam(pruned.parameters(), lr=1e-3)
    errors = []
    for _ in range(150):
        loss = (pruned(low) - wanted).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        errors.append(loss.item())
    assert errors[0] > 1e-3
    assert errors[-1] < errors[0] / 3
