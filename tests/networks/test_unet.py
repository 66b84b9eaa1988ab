import torch

from sr_lab.images import resize_bicubic
from sr_lab.networks.unet import UNet, time_embedding


def tiny(**changes):
    torch.manual_seed(0)
    return UNet(**({"scale": 4, "num_features": 8, "multipliers": (1, 2), "num_blocks": 1} | changes)).eval()


def stirred(network):
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return network


def test_starts_as_its_base():
    low, base = torch.rand(2, 3, 5, 7), torch.rand(2, 3, 20, 28)
    network = tiny()
    assert torch.equal(network(low, torch.randn(2, 3, 20, 28), torch.rand(2), base), base)
    assert torch.equal(network(low), resize_bicubic(low, scale=4.0))


def test_noise_time_and_base_all_matter():
    network, low = stirred(tiny()), torch.rand(1, 3, 8, 8)
    noisy, base = torch.randn(1, 3, 32, 32), torch.rand(1, 3, 32, 32)
    with torch.no_grad():
        reference = network(low, noisy, torch.tensor([0.2]), base) - base
        others = [
            network(low, noisy + 1, torch.tensor([0.2]), base) - base,
            network(low, noisy, torch.tensor([0.3]), base) - base,
            network(low, noisy, torch.tensor([0.2]), base * 0.5) - base * 0.5,
        ]
    for other in others:
        assert (other - reference).abs().mean() > 1e-3 * reference.abs().mean()


def test_each_image_has_its_own_time():
    network, low = stirred(tiny()), torch.rand(1, 3, 4, 4).expand(2, -1, -1, -1)
    noisy = torch.randn(1, 3, 16, 16).expand(2, -1, -1, -1)
    with torch.no_grad():
        both = network(low, noisy, torch.tensor([0.1, 0.9]))
        single = network(low[:1], noisy[:1], torch.tensor([0.9]))
    assert not torch.allclose(both[0], both[1], atol=1e-4)
    torch.testing.assert_close(both[1:], single, atol=1e-5, rtol=1e-4)


def test_a_crop_is_treated_as_in_the_whole_image():
    """No statistics over the image: away from the borders a crop gives what the whole image gives."""
    network = stirred(tiny())
    low = torch.rand(1, 3, 88, 88)
    with torch.no_grad():
        whole, crop = network(low), network(low[..., 4:84, 4:84])
    torch.testing.assert_close(crop[..., 144:176, 144:176], whole[..., 160:192, 160:192], atol=1e-5, rtol=1e-4)


def test_unshuffling_loses_nothing():
    """Every pixel of the noisy image, in every position inside a block of 4x4, changes the output."""
    network = stirred(tiny())
    noisy = torch.zeros(1, 3, 16, 16, requires_grad=True)
    network(torch.rand(1, 3, 4, 4), noisy).square().sum().backward()
    assert (noisy.grad != 0).all()


def test_time_embedding_tells_the_steps_of_the_chain_apart():
    embedded = time_embedding(torch.arange(1, 16) / 15, 64)
    assert embedded.shape == (15, 64)
    distances = torch.cdist(embedded, embedded) + 10 * torch.eye(15)
    assert distances.min() > 1
