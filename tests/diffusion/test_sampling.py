import pytest
import torch

from sr_lab.diffusion.sampling import (
    draw_noise,
    estimate_clean,
    estimate_velocity,
    restore_flow,
    restore_resshift,
    sample_flow,
    sample_resshift,
)
from sr_lab.diffusion.schedule import resshift_eta, to_diffusion
from sr_lab.images import resize_bicubic
from sr_lab.networks.unet import UNet

ETAS = {15: resshift_eta(num_steps=15, first=0.02), 4: resshift_eta(num_steps=4, first=0.1)}


def seeded(seed):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    network = UNet(scale=4, num_features=8, multipliers=(1, 2), num_blocks=1).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return network


@pytest.mark.parametrize("num_steps", [4, 15])
def test_an_oracle_is_believed(num_steps):
    clean, base = torch.rand(2, 3, 8, 8) * 2 - 1, torch.rand(2, 3, 8, 8) * 2 - 1
    steps = []

    def oracle(state, step):
        steps.append(step)
        return clean

    sample = sample_resshift(oracle, base, eta=ETAS[num_steps], generator=seeded(0))
    assert torch.equal(sample, clean)
    assert steps == list(range(num_steps, 0, -1))


@pytest.mark.parametrize("num_steps", [4, 15])
def test_states_of_the_sampler_have_the_marginals_of_the_chain(num_steps):
    """With an oracle, every x_t that the denoiser sees is N(x0 + eta_t e0, kappa^2 eta_t), but for the start's 2 %."""
    eta, kappa = ETAS[num_steps], 2.0
    clean, base = torch.full((1, 1, 500, 500), -0.5), torch.full((1, 1, 500, 500), 0.5)
    seen = {}

    def oracle(state, step):
        seen[step] = (state.mean().item(), state.var().item())
        return clean

    sample_resshift(oracle, base, eta=eta, generator=seeded(1), kappa=kappa)
    for step, (mean, variance) in seen.items():
        share = eta[step].item()
        start = share / eta[-1].item()
        assert mean == pytest.approx(-0.5 + start, abs=4 * kappa * share**0.5 / 500), step
        assert mean == pytest.approx(-0.5 + share, abs=0.03 + 4 * kappa / 500), step
        assert variance == pytest.approx(kappa**2 * share, rel=0.02), step


def test_no_noise_at_the_last_step():
    def keep(state, step):
        return torch.zeros_like(state)

    assert not sample_resshift(keep, torch.rand(1, 3, 4, 4), eta=ETAS[15], generator=seeded(0)).any()


@pytest.mark.parametrize("num_steps", [1, 25, 50])
def test_flow_with_the_true_velocity_arrives(num_steps):
    start, clean = torch.rand(1, 3, 8, 8), torch.rand(1, 3, 8, 8)
    times = []

    def velocity(state, time):
        times.append(time)
        return clean - start

    torch.testing.assert_close(sample_flow(velocity, start, num_steps=num_steps), clean)
    assert times == [step / num_steps for step in range(num_steps)]


def test_euler_converges_on_a_known_equation():
    start = torch.ones(1, dtype=torch.float64)
    error = [abs(sample_flow(lambda x, t: x, start, num_steps=n).item() - torch.e) for n in (25, 50)]
    assert error[1] == pytest.approx(error[0] / 2, rel=0.05)
    with pytest.raises(ValueError, match="num_steps=0"):
        sample_flow(lambda x, t: x, start, num_steps=0)


def test_same_seed_same_image_other_seed_other_image(network):
    low = torch.rand(1, 3, 5, 6)
    with torch.no_grad():
        samples = [restore_resshift(network, low, scale=4, eta=ETAS[4], generator=seeded(seed)) for seed in (7, 7, 8)]
        flows = [
            restore_flow(network, low, resize_bicubic(low, scale=4.0), generator=seeded(seed), num_steps=3)
            for seed in (7, 7, 8)
        ]
    for first, second, other in (samples, flows):
        assert first.shape == (1, 3, 20, 24)
        assert torch.equal(first, second)
        assert not torch.allclose(first, other, atol=1e-3)


def test_an_image_with_its_own_generator_does_not_depend_on_its_batch(network):
    low = torch.rand(2, 3, 4, 4)
    arguments = {"scale": 4, "eta": ETAS[4]}
    with torch.no_grad():
        both = restore_resshift(network, low, generator=[seeded(1), seeded(2)], **arguments)
        alone = restore_resshift(network, low[1:], generator=[seeded(2)], **arguments)
    torch.testing.assert_close(both[1:], alone, atol=1e-5, rtol=1e-4)
    with pytest.raises(ValueError, match="1 generators for 2 images"):
        draw_noise(low, [seeded(0)])


def test_noise_follows_type_of_its_image():
    noise = draw_noise(torch.zeros(2, 3, 64, 64, dtype=torch.float64), seeded(0))
    assert noise.dtype == torch.float64
    assert noise.std().item() == pytest.approx(1, abs=0.02)


def test_estimates_scale_the_state_and_tell_the_time():
    seen = {}

    def spy(low, noisy, time, base):
        seen.update(noisy=noisy, time=time)
        return base + 0.25

    low, base = torch.rand(2, 3, 2, 2), torch.rand(2, 3, 8, 8)
    state, step = torch.randn(2, 3, 8, 8), torch.tensor([15, 3])
    clean = estimate_clean(spy, low, state, step, base, eta=ETAS[15])
    torch.testing.assert_close(clean, to_diffusion(base + 0.25))
    torch.testing.assert_close(seen["time"], torch.tensor([1.0, 0.2]))
    torch.testing.assert_close(seen["noisy"][1], state[1] / (4 * 0.1763**2 + 1) ** 0.5, atol=1e-4, rtol=1e-4)
    velocity = estimate_velocity(spy, low, base, torch.tensor([0.5, 0.5]), base)
    torch.testing.assert_close(velocity, torch.full_like(base, 0.25))
    torch.testing.assert_close(seen["noisy"], 2 * base - 1)


def test_the_chain_can_start_from_another_networks_image(network):
    low, base = torch.rand(1, 3, 4, 4), torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        given = restore_resshift(network, low, scale=4, eta=ETAS[4], generator=seeded(0), base=base)
        bicubic = restore_resshift(network, low, scale=4, eta=ETAS[4], generator=seeded(0))
    assert not torch.allclose(given, bicubic, atol=1e-2)
