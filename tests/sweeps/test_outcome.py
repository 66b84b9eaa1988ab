"""Seeds are repetitions: settings are compared by their mean, and among seeds alone there is no winner."""

import pytest

from sr_lab.sweeps.ablation import compare, latex
from sr_lab.sweeps.outcome import Row, best, front, settings
from sr_lab.sweeps.space import Choice

SEED = Choice(key="seed", values=[0, 1, 2])


def row(number: int, value: float, *, state: str = "complete", **params) -> Row:
    values = [value] if state == "complete" else []
    return Row(number=number, state=state, params=params, values=values, curve={}, attempts=1, seconds=1, error="")


def test_the_luckiest_seed_is_no_winner(make_plan):
    plan = make_plan(space={"loss": Choice(key="losses", values=["[l1]", "[l2]"]), "seed": SEED})
    values = {"[l1]": [30.0, 30.1, 30.2], "[l2]": [29.0, 29.1, 31.0]}
    found = [
        row(3 * k + s, value, loss=loss, seed=s)
        for k, (loss, each) in enumerate(values.items())
        for s, value in enumerate(each)
    ]
    top = best(found, plan)
    assert (top.params, top.numbers) == ({"loss": "[l1]"}, (0, 1, 2))
    assert top.values[0] == pytest.approx(30.1)
    assert top.halves[0] == pytest.approx(0.248, abs=1e-3)
    assert "val/score 30.1 ± 0.25" in top.text(plan)
    assert front(found, plan) == [top]
    found[0] = row(0, 0.0, state="failed", loss="[l1]", seed=0)
    assert best(found, plan).params == {"loss": "[l2]"}, "a setting whose seed failed does not win by the others"


def test_a_sweep_over_seeds_alone_has_a_mean_and_no_winner(make_plan):
    plan = make_plan(space={"seed": SEED})
    found = [row(s, 30 + s, seed=s) for s in range(3)]
    assert best(found, plan) is None
    (alone,) = settings(found, plan)
    assert (alone.values, alone.title) == ((31.0,), "mean of 3 trials (0, 1, 2)")


@pytest.mark.parametrize(("gains", "bold"), [([0.017, 0.04, -0.01], False), ([0.2, 0.21, 0.19], True)])
def test_a_difference_is_bold_where_its_interval_excludes_zero(gains, bold):
    cells = {(("loss", "a"),): {0: 30.0, 1: 30.3, 2: 29.9}}
    cells[(("loss", "b"),)] = {seed: cells[(("loss", "a"),)][seed] + gain for seed, gain in enumerate(gains)}
    assert (r"\mathbf" in latex(compare(cells), objective="psnr", alpha=0.05, maximize=True)) == bold
