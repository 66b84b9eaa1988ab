"""Preferences against choix, against SciPy's own maximum, and in a world whose truth is known."""

import math

import choix
import numpy as np
import pytest
from scipy.optimize import minimize

from sr_lab.base.statistics.agreement import krippendorff_alpha
from sr_lab.base.statistics.preferences import SCORE_SD, TIE_SD, Votes, fit, interval, prefer, preference, refit


def votes(random, *, scores, num, raters=10, images=15, ties=True, side=0.0, tie=-0.5, image_sd=0.0, taste_sd=0.0):
    k = len(scores)
    rater, image = np.repeat(np.arange(raters), num // raters), random.integers(0, images, num)
    left = random.integers(0, k, num)
    right = (left + random.integers(1, k, num)) % k
    quality = scores + image_sd * random.standard_normal((images, k))
    taste = taste_sd * random.standard_normal((raters, k))
    d = quality[image, left] - quality[image, right] + taste[rater, left] - taste[rater, right] + side
    weights = np.exp(np.stack([d / 2, np.full(num, tie if ties else -50.0), -d / 2]))
    weights /= weights.sum(axis=0)
    answer = (random.random(num) > weights.cumsum(axis=0)[:2]).sum(axis=0)
    return Votes(left=left, right=right, answer=answer, rater=rater, image=image, num_items=k)


def test_without_ties_and_sides_it_is_what_choix_finds():
    found = votes(np.random.default_rng(0), scores=np.array([1.0, 0.3, -0.2, -1.1]), num=4000, raters=1, ties=False)
    won = np.where(found.answer == 0, found.left, found.right)
    lost = np.where(found.answer == 0, found.right, found.left)
    theirs = choix.opt_pairwise(4, list(zip(won.tolist(), lost.tolist(), strict=True)), alpha=1 / SCORE_SD**2)
    ours = fit(found)
    assert np.allclose(ours.scores, theirs - theirs.mean(), atol=2e-3), "sides were drawn evenly, so they matter little"
    assert abs(ours.side) < 0.1


def test_with_ties_it_is_davidsons_maximum():
    data = votes(np.random.default_rng(1), scores=np.array([0.8, 0.0, -0.8]), num=900, raters=1, side=0.3)

    def loss(theta):
        s, side, tie, own_side, own_tie = theta[:3], theta[3], theta[4], theta[5], theta[6]
        d = s[data.left] - s[data.right] + side + own_side
        logits = np.stack([d / 2, np.full(len(d), tie + own_tie), -d / 2])
        likely = logits[data.answer, np.arange(len(d))] - np.logaddexp.reduce(logits, axis=0)
        prior = (s**2).sum() / SCORE_SD**2 + side**2 / 16 + tie**2 / TIE_SD**2 + own_side**2 / 0.25 + own_tie**2
        return -likely.sum() + prior / 2

    best = minimize(loss, np.zeros(7), method="BFGS", options={"gtol": 1e-6}).x
    ours = fit(data)
    assert np.allclose(ours.scores, best[:3] - best[:3].mean(), atol=1e-4)
    assert np.allclose([ours.side, ours.tie], best[3:5], atol=1e-3)
    assert ours.side == pytest.approx(0.3, abs=0.25)
    left, none, right = preference(ours.scores[0] - ours.scores[2], ours.tie)
    assert float(left + none + right) == pytest.approx(1)
    assert float(left / right) == pytest.approx(math.exp(ours.scores[0] - ours.scores[2]))


def test_weights_of_one_change_nothing_and_a_vote_twice_is_a_vote_with_weight_two():
    data = votes(np.random.default_rng(2), scores=np.array([0.5, 0.0, -0.5]), num=300, raters=3)
    ours = fit(data)
    weights = np.ones((2, 300))
    weights[1, :150] = 2
    once, twice = refit(data, ours, weights, num_steps=30)
    assert np.allclose(once, ours.scores, atol=1e-3)
    double = np.concatenate([np.arange(300), np.arange(150)])
    longer = Votes(
        **{key: getattr(data, key)[double] for key in ("left", "right", "answer", "rater", "image")}, num_items=3
    )
    assert np.allclose(twice, refit(longer, ours, np.ones((1, 450)), num_steps=30)[0], atol=1e-6)


def test_raters_and_images_both_widen_the_interval():
    random, scores = np.random.default_rng(3), np.array([0.3, -0.3])
    found = {}
    for name, more in {"neither": {}, "images": {"image_sd": 1.0}, "raters": {"taste_sd": 1.0}}.items():
        errors = [
            prefer(votes(random, scores=scores, num=600, **more), num_draws=60).difference(0, 1)[1] for _ in range(6)
        ]
        found[name] = np.mean(errors)
    assert found["images"] > 1.5 * found["neither"]
    assert found["raters"] > 1.5 * found["neither"]


def test_one_rater_tells_nothing_about_chance():
    value, error, freedom = prefer(
        votes(np.random.default_rng(4), scores=np.array([1.0, -1.0]), num=40, raters=1), num_draws=10
    ).difference(0, 1)
    assert value > 0
    assert math.isnan(error)
    assert all(math.isnan(bound) for bound in interval(value, error, freedom, alpha=0.05))


def test_who_never_lost_has_a_finite_score():
    data = Votes(
        left=np.array([0, 1, 0, 1]), right=np.array([1, 2, 2, 0]), answer=np.array([0, 0, 0, 2]),
        rater=np.array([0, 0, 1, 1]), image=np.array([0, 1, 0, 1]), num_items=3,
    )  # fmt: skip
    scores = fit(data).scores
    assert np.isfinite(scores).all()
    assert scores[0] > scores[1] > scores[2]


@pytest.mark.parametrize("change", [{"left": np.array([2])}, {"answer": np.array([3])}, {"rater": np.array([0, 1])}])
def test_votes_that_are_none(change):
    good = {key: np.array([0]) for key in ("left", "answer", "rater", "image")} | {"right": np.array([1])}
    with pytest.raises(ValueError):
        Votes(**{**good, **change}, num_items=2)


def test_krippendorffs_alpha_of_the_textbook():
    """Hayes and Krippendorff 2007 give .691 (nominal) and .811 (interval) for these three coders."""
    gap = np.nan
    table = np.array([
        [gap, gap, gap, gap, gap, 3, 4, 1, 2, 1, 1, 3, 3, gap, 3],
        [1, gap, 2, 1, 3, 3, 4, 3, gap, gap, gap, gap, gap, gap, gap],
        [gap, gap, 2, 1, 3, 4, 4, gap, 2, 1, 1, 3, 3, gap, 4],
    ])  # fmt: skip
    coder, unit = np.nonzero(~np.isnan(table))
    values = table[coder, unit]
    assert krippendorff_alpha(values, unit) == pytest.approx(0.691, abs=5e-4)
    assert krippendorff_alpha(values, unit, level="interval") == pytest.approx(0.811, abs=5e-4)
    assert math.isnan(krippendorff_alpha(np.array([1.0, 2.0]), np.array([0, 1])))
