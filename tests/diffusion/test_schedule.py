import pytest
import torch

from sr_lab.diffusion.schedule import (
    flow_start,
    flow_state,
    from_diffusion,
    input_scale,
    resshift_eta,
    resshift_noisy,
    resshift_posterior,
    resshift_start,
    resshift_transport,
    spaced_steps,
    to_diffusion,
)

PUBLISHED_15 = [
    0.02, 0.11717, 0.1763, 0.23363, 0.29157, 0.35101, 0.41236, 0.47586,
    0.54167, 0.60991, 0.68066, 0.75399, 0.82995, 0.90861, 0.99,
]  # fmt: skip


@pytest.mark.parametrize(
    ("arguments", "roots"),
    [({"num_steps": 15, "first": 0.02}, PUBLISHED_15), ({"num_steps": 4, "first": 0.1}, [0.1, 0.5201, 0.76138, 0.99])],
)
def test_published_schedules(arguments, roots):
    eta = resshift_eta(**arguments)
    assert eta.dtype == torch.float64
    assert eta[0] == 0
    torch.testing.assert_close(eta[1:].sqrt(), torch.tensor(roots, dtype=torch.float64), atol=6e-6, rtol=0)


@pytest.mark.parametrize("arguments", [{"num_steps": 0}, {"first": 0.0}, {"first": 0.5, "last": 0.4}, {"last": 1.1}])
def test_impossible_schedules(arguments):
    with pytest.raises(ValueError, match=next(iter(arguments))):
        resshift_eta(**arguments)


def test_forward_marginal():
    """x_t of many draws has mean clean + eta e0 and variance kappa^2 eta, each image at its own step."""
    generator = torch.Generator().manual_seed(0)
    eta = resshift_eta()
    clean, base = torch.full((3, 1, 400, 400), -0.5), torch.full((3, 1, 400, 400), 0.25)
    shares = eta[[1, 8, 15]]
    state = resshift_noisy(clean, base, torch.randn(clean.shape, generator=generator), shares, kappa=2.0)
    assert state.dtype == torch.float32
    for image, share in zip(state, shares.tolist(), strict=True):
        deviation = 2 * share**0.5
        assert image.mean().item() == pytest.approx(-0.5 + share * 0.75, abs=4 * deviation / 400)
        assert image.var().item() == pytest.approx(deviation**2, rel=0.02)


def test_start_leaves_one_percent_of_the_residual_out():
    eta = resshift_eta()
    base, noise = torch.rand(1, 3, 4, 4), torch.randn(1, 3, 4, 4)
    torch.testing.assert_close(resshift_start(base, noise, eta[-1]), base + 2 * 0.99 * noise)


@pytest.mark.parametrize("step", range(2, 16))
def test_posterior_is_bayes_rule(step):
    """The product of q(x_t | x_{t-1}) = N(x_{t-1} + alpha e0, kappa^2 alpha) and q(x_{t-1} | x0), computed directly."""
    eta, kappa, clean, residual, state = resshift_eta(), 1.7, 0.3, -0.8, 0.9
    now, before = eta[step].item(), eta[step - 1].item()
    alpha = now - before
    prior_mean, prior_precision = clean + before * residual, 1 / (kappa**2 * before)
    likelihood_mean, likelihood_precision = state - alpha * residual, 1 / (kappa**2 * alpha)
    precision = prior_precision + likelihood_precision
    mean = (prior_mean * prior_precision + likelihood_mean * likelihood_precision) / precision
    keep, pull, variance = resshift_posterior(now, before, kappa=kappa)
    assert keep * state + pull * clean == pytest.approx(mean, abs=1e-12)
    assert variance == pytest.approx(1 / precision, rel=1e-9)


@pytest.mark.parametrize("step", range(2, 16))
def test_transport_keeps_the_marginal_without_new_noise(step):
    """A state clean + eta_t e0 + kappa sqrt(eta_t) z becomes clean + eta_{t-1} e0 + kappa sqrt(eta_{t-1}) z."""
    eta, kappa, clean, base, noise = resshift_eta(), 1.7, 0.3, -0.5, 0.9
    now, before = eta[step].item(), eta[step - 1].item()
    keep, pull, push = resshift_transport(now, before)
    state = clean + now * (base - clean) + kappa * now**0.5 * noise
    expected = clean + before * (base - clean) + kappa * before**0.5 * noise
    assert keep * state + pull * clean + push * base == pytest.approx(expected, abs=1e-12)


def test_one_step_is_the_last():
    assert resshift_eta(num_steps=1, first=0.02, last=0.99).tolist() == pytest.approx([0, 0.99**2])


def test_spaced_steps():
    assert spaced_steps(15, 15) == list(range(15, 0, -1))
    assert spaced_steps(5, 15) == [15, 12, 8, 4, 1]
    assert spaced_steps(1, 15) == [15]
    for number in (0, 16):
        with pytest.raises(ValueError, match=f"num_steps={number}: must lie between 1 and the chain's 15"):
            spaced_steps(number, 15)


def test_input_scale():
    assert input_scale(0.75, kappa=2.0) == 0.5


def test_ranges():
    image = torch.tensor([0.0, 0.5, 1.0])
    assert to_diffusion(image).tolist() == [-1, 0, 1]
    assert torch.equal(from_diffusion(to_diffusion(image)), image)


def test_flow_is_a_straight_line():
    mean, clean, noise = (torch.rand(2, 1, 4, 4) for _ in range(3))
    start = flow_start(mean, noise, sigma=0.1)
    torch.testing.assert_close(start, mean + 0.1 * noise)
    times = torch.tensor([0.25, 1.0])
    state = flow_state(start, clean, times)
    torch.testing.assert_close(state[0], start[0] + 0.25 * (clean - start)[0])
    torch.testing.assert_close(state[1], clean[1])
