"""How often the gate errs, on clustered data; the whole study is experiments/gate_simulation."""

import numpy as np
import pytest

from sr_lab.base.statistics import mean_interval
from sr_lab.promotion import Policy, gate
from sr_lab.promotion.quality import NonInferior

NUM_SIMULATIONS = 1000


def simulate(random, *, scenes, frames, size=NUM_SIMULATIONS):
    """(size, scenes, frames) gains with mean zero; half of the variance is the scene's."""
    return 0.08 * random.standard_normal((size, scenes, 1)) + 0.087 * random.standard_normal((size, scenes, frames))


def share_promoted(gains, measurement):
    policy = Policy(
        name="simulated", alpha=0.05, checks={"psnr": NonInferior(metric="psnr_y", better="higher", margin=0.05)}
    )
    frames = gains.shape[2]
    champion = measurement("champion", {"psnr_y": [28.0] * gains[0].size}, frames=frames)
    promoted = 0
    for gain in gains:
        candidate = measurement("candidate", {"psnr_y": (28 + gain.ravel()).tolist()}, frames=frames)
        promoted += gate(candidate, champion, policy).outcome == "promote"
    return promoted / len(gains)


def test_false_promotions_at_the_margin_stay_within_alpha(measurement):
    gains = simulate(np.random.default_rng(0), scenes=20, frames=5) - 0.05
    share = share_promoted(gains, measurement)
    assert 0.02 < share < 0.05 + 2 * np.sqrt(0.05 * 0.95 / NUM_SIMULATIONS)
    naive = mean_interval(gains.reshape(NUM_SIMULATIONS, -1), alpha=0.05).low > -0.05
    assert naive.mean() > 0.12, "frames taken as independent would promote three times as often: the test can tell"


def test_equal_models_are_mostly_promoted(measurement):
    gains = simulate(np.random.default_rng(1), scenes=50, frames=5, size=200)
    assert share_promoted(gains, measurement) > 0.95


@pytest.mark.parametrize(("scenes", "most"), [(8, 0.065), (20, 0.055), (100, 0.055)])
def test_rare_large_losses_do_not_slip_through(scenes, most):
    random = np.random.default_rng(2)
    gains = 0.08 * (1 - random.exponential(size=(20_000, scenes))) + 0.039 * random.standard_normal((20_000, scenes))
    wrong = (mean_interval(gains, alpha=0.05).low > 0).mean()
    assert wrong < most
