import pytest
import torch

from sr_lab.diffusion.sampling import (
    estimate_clean,
    estimate_velocity,
    sample_flow,
    sample_resshift,
    transport_resshift,
)
from sr_lab.diffusion.schedule import resshift_eta, spaced_steps, to_diffusion

ETAS = {15: resshift_eta(num_steps=15, first=0.02).tolist(), 4: resshift_eta(num_steps=4, first=0.1).tolist()}


def chain(num_steps, shape, *, visited=None, seed=0):
    """Schedule, visited steps and noise of a chain."""
    generator = torch.Generator().manual_seed(seed)
    steps = spaced_steps(visited or num_steps, num_steps)
    return {"eta": ETAS[num_steps], "steps": steps, "noise": lambda _: torch.randn(shape, generator=generator)}


@pytest.mark.parametrize("sampler", [sample_resshift, transport_resshift])
@pytest.mark.parametrize(("num_steps", "visited"), [(4, 4), (15, 15), (15, 6), (15, 1)])
def test_an_oracle_is_believed(sampler, num_steps, visited):
    clean, base = torch.rand(2, 3, 8, 8) * 2 - 1, torch.rand(2, 3, 8, 8) * 2 - 1
    steps = []

    def oracle(state, step):
        steps.append(step)
        return clean

    sample = sampler(oracle, base, **chain(num_steps, base.shape, visited=visited))
    torch.testing.assert_close(sample, clean, atol=1e-6, rtol=0)
    assert len(steps) == visited
    assert steps[0] == num_steps
    assert steps == sorted(set(steps), reverse=True)
    assert visited == 1 or steps[-1] == 1


@pytest.mark.parametrize("sampler", [sample_resshift, transport_resshift])
@pytest.mark.parametrize(("num_steps", "visited"), [(4, 4), (15, 15), (15, 5)])
def test_states_of_the_sampler_have_the_marginals_of_the_chain(sampler, num_steps, visited):
    """With an oracle, every x_t that the denoiser sees is N(x0 + eta_t e0, kappa^2 eta_t), but for the start's 2 %."""
    eta, kappa = ETAS[num_steps], 2.0
    clean, base = torch.full((1, 1, 500, 500), -0.5), torch.full((1, 1, 500, 500), 0.5)
    seen = {}

    def oracle(state, step):
        seen[step] = (state.mean().item(), state.var().item())
        return clean

    sampler(oracle, base, kappa=kappa, **chain(num_steps, base.shape, visited=visited, seed=1))
    assert len(seen) == visited
    for step, (mean, variance) in seen.items():
        assert mean == pytest.approx(-0.5 + eta[step], abs=0.03 + 4 * kappa / 500), step
        assert variance == pytest.approx(kappa**2 * eta[step], rel=0.02), step


@pytest.mark.parametrize(("sampler", "fields"), [(sample_resshift, [0, 1, 2, 3]), (transport_resshift, [0])])
def test_noise_is_asked_for_by_number_and_none_is_added_at_the_last_step(sampler, fields):
    asked = []
    base = torch.rand(1, 3, 4, 4)

    def noise(field):
        asked.append(field)
        return torch.ones_like(base)

    sampler(lambda state, step: base, base, eta=ETAS[4], steps=[4, 3, 2, 1], noise=noise)
    assert asked == fields


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


def test_estimates_scale_the_state_and_tell_the_time():
    seen = {}

    def spy(low, noisy, time, base):
        seen.update(noisy=noisy, time=time)
        return base + 0.25

    low, base = torch.rand(2, 3, 2, 2), torch.rand(2, 3, 8, 8)
    state, step = torch.randn(2, 3, 8, 8), torch.tensor([15, 3])
    share, time = torch.tensor(ETAS[15])[step], step / 15
    clean = estimate_clean(spy, low, state, base, share=share, time=time)
    torch.testing.assert_close(clean, to_diffusion(base + 0.25))
    torch.testing.assert_close(seen["time"], torch.tensor([1.0, 0.2]))
    torch.testing.assert_close(seen["noisy"][1], state[1] / (4 * 0.1763**2 + 1) ** 0.5, atol=1e-4, rtol=1e-4)
    velocity = estimate_velocity(spy, low, base, torch.tensor([0.5, 0.5]), base)
    torch.testing.assert_close(velocity, torch.full_like(base, 0.25))
    torch.testing.assert_close(seen["noisy"], 2 * base - 1)
