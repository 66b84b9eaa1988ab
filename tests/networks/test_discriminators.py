import pytest
import torch

from sr_lab.networks.discriminators import PatchCritic, UNetCritic, VGGCritic


def test_unet_critic_judges_every_pixel_of_any_size():
    critic = UNetCritic(num_features=4)
    assert critic(torch.rand(2, 3, 19, 33)).shape == (2, 1, 19, 33)


def test_spectral_norm_bounds_the_layers():
    torch.manual_seed(0)
    critic = UNetCritic(num_features=4)
    with torch.no_grad():
        for parameter in critic.parameters():
            parameter.mul_(50)
    for _ in range(50):
        critic(torch.rand(1, 3, 16, 16))
    for layer in [*critic.down, *critic.up, *critic.last]:
        largest = torch.linalg.svdvals(layer.weight.detach().flatten(1))[0]
        assert largest == pytest.approx(1, abs=0.05)
    assert torch.linalg.svdvals(critic.head.weight.detach().flatten(1))[0] > 2, "the first and the last layer are free"


def test_evaluation_does_not_move_the_singular_vectors():
    critic = UNetCritic(num_features=4).eval()
    images = torch.rand(1, 3, 16, 16)
    assert torch.equal(critic(images), critic(images))


def test_vgg_critic_names_the_size_it_needs():
    critic = VGGCritic(num_features=4, input_size=64)
    assert critic(torch.rand(2, 3, 64, 64)).shape == (2, 1)
    with pytest.raises(ValueError, match="images of 64x48 for a VGG critic with input_size=64"):
        critic(torch.rand(2, 3, 64, 48))


@pytest.mark.parametrize("size", [0, 16, 96, 100])
def test_vgg_critic_refuses_sizes_that_it_cannot_halve(size):
    with pytest.raises(ValueError, match=f"input_size={size}"):
        VGGCritic(input_size=size)


def test_patch_critic_sees_70_pixels():
    critic = PatchCritic(num_features=4)
    images = torch.rand(1, 3, 128, 128, requires_grad=True)
    logits = critic(images)
    assert logits.shape == (1, 1, 14, 14)
    logits[0, 0, 7, 7].backward()
    seen = images.grad.abs().sum(dim=(0, 1))
    rows = seen.sum(dim=1).nonzero()
    assert rows.max() - rows.min() + 1 == 70


def test_patch_critic_takes_the_smallest_image_that_it_promises():
    for num_layers in (1, 2, 3, 4):
        critic = PatchCritic(num_features=2, num_layers=num_layers)
        assert critic(torch.rand(1, 3, critic.least, critic.least)).numel() > 0
        with pytest.raises(ValueError, match=f"needs at least {critic.least}x"):
            critic(torch.rand(1, 3, critic.least - 1, critic.least))
