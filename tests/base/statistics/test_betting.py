"""Bets on a mean: against the package ville, against the formulas one number at a time, and by simulation."""

import json
import math

import numpy as np
import pytest

from sr_lab.base.statistics import Gambler, Purse, confidence_sequence, spent_evenly
from sr_lab.base.statistics.betting import CAP


def capital(gambler: Gambler, values: np.ndarray) -> list[float]:
    purse, path = gambler.start(), []
    for value in values:
        purse = gambler.bet(purse, value)
        path.append(float(purse.log_capital))
    return path


def agrapa(values: np.ndarray, *, m: float, above: bool) -> list[float]:
    """Waudby-Smith and Ramdas 2024, section 4.3 and appendix B, a number at a time; values in [0, 1]."""
    path, logarithm = [], 0.0
    for t in range(len(values)):
        means = [(0.5 + sum(values[:i])) / (i + 1) for i in range(1, t + 1)]
        mean = means[-1] if means else 0.5
        variance = (0.25 + sum((x - centre) ** 2 for x, centre in zip(values, means, strict=False))) / (t + 1)
        edge = mean - m if above else m - mean
        bet = min(max(edge / (variance + edge**2), 0.0), CAP / (m if above else 1 - m))
        logarithm += math.log(1 + bet * (values[t] - m) * (1 if above else -1))
        path.append(logarithm)
    return path


@pytest.mark.parametrize("above", [True, False])
@pytest.mark.parametrize("m", [0.3, 0.5, 0.62])
def test_agrapa_is_the_papers(above: bool, m: float) -> None:
    values = np.random.default_rng(0).beta(2, 3, 60)
    gambler = Gambler(claim="at most" if above else "at least", value=m, low=0, high=1, shares=(1, 0))
    assert capital(gambler, values) == pytest.approx(agrapa(values, m=m, above=above), abs=1e-12)


@pytest.mark.parametrize(("claim", "alternative"), [("at most", "greater"), ("at least", "less")])
def test_the_predictable_mixture_is_villes(claim: str, alternative: str) -> None:
    ville = pytest.importorskip("ville")
    values = np.random.default_rng(1).normal(-0.4, 0.8, 400).clip(-2, 2)
    theirs = ville.BettingTest(-0.3, bounds=(-2, 2), alternative=alternative, alpha=0.1, c=CAP).fit(values)
    gambler = Gambler(claim=claim, value=-0.3, low=-2, high=2, alpha=0.05, shares=(0, 1))
    assert capital(gambler, values) == pytest.approx(theirs.log_e_values_, abs=1e-9)


def test_the_confidence_sequence_is_villes() -> None:
    ville = pytest.importorskip("ville")
    values = np.random.default_rng(2).normal(0.2, 0.5, 150).clip(-1, 1)
    theirs = ville.BettingCS(bounds=(-1, 1), alpha=0.1, c=CAP, grid=401, intersect=False).fit(values)
    ours = confidence_sequence(values, low=-1, high=1, alpha=0.05, num_points=401, shares=(0, 1))
    assert ours.low == pytest.approx(theirs.lower_, abs=1e-9)
    assert ours.high == pytest.approx(theirs.upper_, abs=1e-9)
    assert ours.mean == pytest.approx(theirs.estimate_)


def test_the_sequence_excludes_what_the_gambler_refuted() -> None:
    values = np.random.default_rng(3).normal(0, 0.3, 200).clip(-1, 1)
    bounds = confidence_sequence(values, low=-1, high=1, alpha=0.05, points=[-0.13])
    gambler = Gambler(claim="at most", value=-0.13, low=-1, high=1)
    refuted = np.array(capital(gambler, values)) >= math.log(20)
    assert refuted.any()
    assert not refuted.all()
    assert (refuted == (bounds.low >= -0.13)).all()


def test_looking_after_every_value_errs_as_seldom_as_stated() -> None:
    random = np.random.default_rng(4)
    gambler = Gambler(claim="at least", value=0.0, low=-3, high=3)
    purse, alarmed = gambler.start((2000,)), np.zeros(2000, bool)
    for _ in range(400):
        purse = gambler.bet(purse, 0.5 * random.standard_normal(2000))
        alarmed |= purse.log_capital >= math.log(20)
    assert 0.005 < alarmed.mean() < 0.05
    purse, alarmed = gambler.start((500,)), np.zeros(500, bool)
    for _ in range(400):
        purse = gambler.bet(purse, 0.5 * random.standard_normal(500) - 0.15)
        alarmed |= purse.log_capital >= math.log(20)
    assert alarmed.mean() > 0.99


def test_a_purse_that_was_written_down_goes_on_as_it_was() -> None:
    values = np.random.default_rng(5).normal(size=50).clip(-2, 2)
    for shares in ((0.5, 0.5), (1.0, 0.0)):
        gambler = Gambler(claim="at most", value=-0.1, low=-2, high=2, shares=shares)
        purse = gambler.start()
        for value in values[:20]:
            purse = gambler.bet(purse, value)
        purse = Purse.from_dict(json.loads(json.dumps(purse.as_dict())))
        for value in values[20:]:
            purse = gambler.bet(purse, value)
        assert float(purse.log_capital) == capital(gambler, values)[-1]


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="two finite bounds"):
        Gambler(claim="at most", value=0, low=1, high=-1)
    with pytest.raises(ValueError, match="does not lie between"):
        Gambler(claim="at most", value=2, low=-1, high=1)
    gambler = Gambler(claim="at most", value=0, low=-1, high=1)
    with pytest.raises(ValueError, match="no value"):
        gambler.bet(gambler.start(), math.nan)
    with pytest.raises(ValueError, match="must lie between"):
        spent_evenly(0.7, over=2)
    with pytest.raises(ValueError, match="at least 1"):
        spent_evenly(0.05, over=0)
