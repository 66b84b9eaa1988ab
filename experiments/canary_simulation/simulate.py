"""How often does the canary stop a good candidate or promote a bad one, and how soon does it see harm?

    python experiments/canary_simulation/simulate.py           # results.csv, error.png and power.png
    python experiments/canary_simulation/simulate.py --draw    # draws again from results.csv

A client's burst has 1 to 20 images (geometric, 3 on average). The gain of an image is what its client shares (sd 0.35)
plus its own (sd 0.5); between images the metric itself varies by 3 dB. The arithmetic is the canary's own, on arrays of
5,000 rollouts; ten of each kind also go through ``Evidence``, and the script stops if one comes out differently.
"""

import argparse
import csv
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.stats import norm, rankdata, t

from sr_lab.base.statistics import Gambler
from sr_lab.promotion.canary import Burst, Evidence, PairCheck, RolloutPolicy, Stage

HERE = Path(__file__).parent
RUNS, LOOKS, SEED = 5000, 2000, 6174
IMAGE_SD, CLIENT_SD, OWN_SD = 3.0, 0.35, 0.5
HARMS = (0.15, 0.3, 0.6, 1.2)
SHAPES = ("normal", "heavy tails", "rare large losses")
MARGIN = 0.5
STAGES = {"shadow": 100, "canary_1": 50, "canary_5": 50, "canary_25": 50, "canary_50": 50}
ARMS = (100, 200, 500, 1000, 2000)


def one_check(*, releases: int = 1) -> RolloutPolicy:
    """The check of LR consistency alone, with the stages that are shipped."""
    stages = {name: Stage(share=0, bursts=bursts) for name, bursts in STAGES.items()}
    return RolloutPolicy(
        name="one", releases=releases, stages=stages, holdback=Stage(share=1, bursts=500),
        checks={"lr_consistency": PairCheck(low=-2, high=2, margin=MARGIN)},
    )  # fmt: skip


def draws(random: np.random.Generator, shape: str, size: tuple[int, int]) -> np.ndarray:
    """Standardised values, mean 0 and variance 1."""
    if shape == "normal":
        return random.standard_normal(size)
    if shape == "heavy tails":
        return random.standard_t(3, size) / math.sqrt(3)
    return 1 - random.exponential(size=size)


def gains(random: np.random.Generator, shape: str, *, runs: int, bursts: int, mean: float = 0.0) -> np.ndarray:
    """(runs, bursts) mean gains of bursts."""
    images = np.minimum(random.geometric(1 / 3, (runs, bursts)), 20)
    own = OWN_SD / np.sqrt(images) * random.standard_normal((runs, bursts))
    return mean + CLIENT_SD * draws(random, shape, (runs, bursts)) + own


def stage_of(burst: int) -> str:
    """The stage of a burst, by its number from 0, in a rollout that is never held up."""
    for name, bursts in STAGES.items():
        if burst < bursts:
            return name
        burst -= bursts
    return "canary_50"


def paths(policy: RolloutPolicy, values: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """(runs,) burst at which harm was shown, and at which every given check's proof was there; infinite for never."""
    runs, bursts = next(iter(values.values())).shape
    slots = len(policy.all_stages)
    players = {
        key: (
            Gambler(claim="at least", value=-c.tolerance, low=c.low, high=c.high, alpha=policy.harm_level),
            Gambler(claim="at most", value=-c.margin, low=c.low, high=c.high, alpha=policy.level),
        )
        for key, c in policy.checks.items()
    }
    whole = {key: players[key][0].start((runs,)) for key in values}
    proof = {key: players[key][1].start((runs,)) for key in values}
    now = {key: players[key][0].start((runs,)) for key in values}
    over = {key: np.full(runs, -np.inf) for key in values}
    harmed, proven = np.full(runs, np.inf), np.full(runs, np.inf)
    begun, before = 1, stage_of(0)
    needed = -math.log(policy.harm_level) + math.log(len(policy.checks))
    for step in range(bursts):
        if stage_of(step) != before:
            before, begun = stage_of(step), begun + 1
            for key in values:
                over[key] = np.logaddexp(over[key], now[key].log_capital)
                now[key] = players[key][0].start((runs,))
        together = np.full(
            runs, math.log(len(policy.checks) - len(values)) if len(policy.checks) > len(values) else -np.inf
        )
        shown = np.ones(runs, bool)
        for key, gain in values.items():
            harm, less = players[key]
            whole[key], now[key] = harm.bet(whole[key], gain[:, step]), harm.bet(now[key], gain[:, step])
            proof[key] = less.bet(proof[key], gain[:, step])
            stages = np.logaddexp(over[key], now[key].log_capital)
            if begun < slots:
                stages = np.logaddexp(stages, math.log(slots - begun))
            both = np.logaddexp(whole[key].log_capital, stages - math.log(slots)) - math.log(2)
            together = np.logaddexp(together, both)
            shown &= proof[key].log_capital >= -math.log(policy.level)
        harmed[(together >= needed) & np.isinf(harmed)] = step + 1
        proven[shown & np.isinf(proven)] = step + 1
    return harmed, proven


def check_against_evidence(
    policy: RolloutPolicy, values: Mapping[str, np.ndarray], harmed: np.ndarray, *, num: int = 10, bursts: int = 200
) -> None:
    """Stops the script where the canary itself sees harm at another burst."""
    for run in range(num):
        evidence = Evidence(policy)
        for step in range(bursts):
            own = {key: float(gain[run, step]) for key, gain in values.items()}
            evidence.add(Burst(client="c", stage=stage_of(step), num_pairs=1, gains=own, last=step))
        at = harmed[run] if harmed[run] <= bursts else None
        if evidence.harmed_at != at:
            sys.exit(f"run {run}: the canary sees harm at {evidence.harmed_at}, the simulation at {at}")


def peeking_t(values: np.ndarray, *, alpha: float = 0.05, first: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """As ``paths``, by a one-sided paired t test after every burst from the tenth on."""
    num = np.arange(1, values.shape[1] + 1)
    mean = np.cumsum(values, 1) / num
    variance = (np.cumsum(values**2, 1) - num * mean**2) / np.maximum(num - 1, 1)
    error = np.sqrt(np.maximum(variance, 1e-12) / num) * t.ppf(1 - alpha, np.maximum(num - 1, 1))
    harm, proof = mean + error < 0, mean - error > -MARGIN
    harm[:, : first - 1] = proof[:, : first - 1] = False
    return first_time(harm), first_time(proof)


def first_time(shown: np.ndarray) -> np.ndarray:
    """(runs,) number of the first true value; infinite where there is none."""
    return np.where(shown.any(1), shown.argmax(1) + 1.0, np.inf)


def mann_whitney(random: np.random.Generator, harm: float, *, runs: int) -> np.ndarray:
    """(runs, looks) z of the rank sum of images of two arms, with ``ARMS`` images in each."""
    champion = IMAGE_SD * random.standard_normal((runs, max(ARMS)))
    candidate = IMAGE_SD * random.standard_normal((runs, max(ARMS))) - harm
    found = []
    for num in ARMS:
        ranks = rankdata(np.concatenate([candidate[:, :num], champion[:, :num]], 1), axis=1)[:, :num].sum(1)
        found.append((ranks - num * (2 * num + 1) / 2) / math.sqrt(num * num * (2 * num + 1) / 12))
    return np.stack(found, 1)


def thresholds(
    random: np.random.Generator, harm: float, *, runs: int, interval: int = 60, failures: int = 10, steps: int = 10
) -> tuple[float, float]:
    """Share aborted and share promoted by Flagger's rule: so many failed checks of an interval's mean before its steps.

    The limit is the champion's mean less the margin, which is taken as known.
    """
    checks = -harm + IMAGE_SD / math.sqrt(interval) * random.standard_normal((runs, 400)) < -MARGIN
    aborted = first_time(np.cumsum(checks, 1) >= failures)
    promoted = first_time(np.cumsum(~checks, 1) >= steps)
    return float((aborted < promoted).mean()), float((promoted < aborted).mean())


def study(*, runs: int = RUNS, looks: int = LOOKS, verbose: bool = True) -> list[dict[str, object]]:
    """All rows of results.csv."""
    random = np.random.default_rng(SEED)
    rows: list[dict[str, object]] = []

    def add(question: str, method: str, case: str, harm: float, value: float) -> None:
        rows.append({"question": question, "method": method, "case": case, "harm": harm, "value": value})
        if verbose:
            print(f"{question:<18} {method:<22} {case:<22} {harm:<5} {value:.4f}", flush=True)

    own = one_check()
    for shape in SHAPES:
        values = gains(random, shape, runs=runs, bursts=looks)
        harmed, _ = paths(own, {"lr_consistency": values})
        check_against_evidence(own, {"lr_consistency": values}, harmed, bursts=min(200, looks))
        add("false abort", "canary", shape, 0, float(np.isfinite(harmed).mean()))
        alarmed, _ = peeking_t(values)
        add("false abort", "t, peeking", shape, 0, float(np.isfinite(alarmed).mean()))
        if shape == "normal":
            for look in np.unique(np.geomspace(10, looks, 40).astype(int)):
                add("aborted by", "canary", str(look), 0, float((harmed <= look).mean()))
                add("aborted by", "t, peeking", str(look), 0, float((alarmed <= look).mean()))
        values -= MARGIN
        harmed, proven = paths(own, {"lr_consistency": values[:, : looks // 2]})
        add("false promotion", "canary", shape, MARGIN, float((proven < harmed).mean()))
        add("false proof", "canary", shape, MARGIN, float(np.isfinite(proven).mean()))
        alarmed, promoted = peeking_t(values)
        add("false promotion", "t, peeking", shape, MARGIN, float((promoted < alarmed).mean()))
        add("false proof", "t, peeking", shape, MARGIN, float(np.isfinite(promoted).mean()))
    few = max(runs // 5, 50)
    shared = CLIENT_SD * random.standard_normal((few, looks // 10)).repeat(10, axis=1)
    images = shared + OWN_SD * random.standard_normal(shared.shape)
    add(
        "false abort",
        "canary on images",
        "bursts of 10",
        0,
        float(np.isfinite(paths(own, {"lr_consistency": images})[0]).mean()),
    )
    for harm in HARMS:
        values = gains(random, "normal", runs=runs, bursts=min(looks, 1000), mean=-harm)
        harmed, _ = paths(own, {"lr_consistency": values})
        for name, found in (("canary", harmed), ("t, peeking", peeking_t(values)[0])):
            add("median to detect", name, "one check", harm, float(np.median(found)))
            add("90 % detected by", name, "one check", harm, float(np.quantile(found, 0.9, method="higher")))
        for look in np.unique(np.geomspace(10, values.shape[1], 40).astype(int)):
            add("detected by", "canary", str(look), harm, float((harmed <= look).mean()))
    values = gains(random, "normal", runs=few, bursts=min(looks, 1000))
    add("median to promote", "canary", "one check", 0, float(np.median(paths(own, {"lr_consistency": values})[1])))
    for harm in (0.0, *HARMS, MARGIN):
        z = mann_whitney(random, harm, runs=few)
        for place, num in enumerate(ARMS):
            add("one look", "Mann-Whitney", f"{num} an arm", harm, float((z[:, place] < norm.ppf(0.05)).mean()))
            add("one look", "Kayenta", f"{num} an arm", harm, float((z[:, place] < norm.ppf(0.01) / 0.75).mean()))
        add("five looks", "Mann-Whitney", "up to 2000 an arm", harm, float((z < norm.ppf(0.05)).any(1).mean()))
        aborted, promoted = thresholds(random, harm, runs=runs)
        add("aborted", "thresholds", "10 of an interval", harm, aborted)
        add("promoted", "thresholds", "10 of an interval", harm, promoted)
    shipped(random, add, runs=few, bursts=min(looks, 800))
    return rows


def shipped(random: np.random.Generator, add: object, *, runs: int, bursts: int) -> None:
    """The policy as it is shipped, all checks and ten releases, on plausible gains of equal and of bad candidates."""
    from sr_lab.config.compose import build, compose

    policy = build(compose("rollout", ["name=m"]).policy)
    spread = {"lr_consistency": 0.5, "naturalness": 0.3, "unseen_detail": 0.003, "latency_small": 0.2}

    def equal() -> dict[str, np.ndarray]:
        size = (runs, bursts)
        found = {key: sd * random.standard_normal(size) for key, sd in spread.items()}
        found["disagreement"] = -np.abs(0.005 + 0.002 * random.standard_normal(size))
        found["errors"] = np.zeros(size)
        return found

    cases = {
        "equal": {},
        "LR consistency -0.5 dB": {"lr_consistency": -0.5},
        "LR consistency -2 dB": {"lr_consistency": -2.0},
        "unseen detail +0.01": {"unseen_detail": -0.01},
        "30 % slower": {"latency_small": -math.log(1.3)},
        "one in ten fails": {"errors": None},
        "each fails": {"errors": -1.0},
    }
    for case, changes in cases.items():
        values = equal()
        for key, change in changes.items():
            values[key] = (
                -(random.random((runs, bursts)) < 0.1).astype(float) if change is None else values[key] + change
            )
        if case == "each fails":
            values = {"errors": values["errors"]}
        harmed, proven = paths(policy, values)
        check_against_evidence(policy, values, harmed, num=2, bursts=min(150, bursts))
        add("shipped: stopped", "canary", case, 0, float(np.isfinite(harmed).mean()))  # type: ignore[operator]
        add("shipped: promoted", "canary", case, 0, float((proven < harmed).mean()))  # type: ignore[operator]
        for name, found in (("harm", harmed), ("proof", proven)):
            add(f"shipped: median {name}", "canary", case, 0, float(np.median(found)))  # type: ignore[operator]


def draw(rows: Sequence[Mapping[str, str]]) -> None:
    """error.png and power.png."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    def curve(question: str, method: str, harm: float) -> tuple[list[float], list[float]]:
        found = [r for r in rows if (r["question"], r["method"], float(r["harm"])) == (question, method, harm)]
        return [float(r["case"].split()[0]) for r in found], [float(r["value"]) for r in found]

    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    for method, colour in (("canary", "#3f7cac"), ("t, peeking", "#c43d20")):
        axes.plot(*curve("aborted by", method, 0), color=colour, label=method)
    axes.axhline(0.05, color="#646a72", linewidth=0.8, linestyle=":")
    axes.set(
        xscale="log", ylim=(0, None), xlabel="bursts, looked at after each", ylabel="share of equal candidates stopped"
    )
    axes.legend(frameon=False)
    figure.savefig(HERE / "error.png", dpi=110)
    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    for harm, colour in zip(HARMS, ("#9ec5e0", "#6aa5d3", "#3f7cac", "#1f4e73"), strict=True):
        axes.plot(*curve("detected by", "canary", harm), color=colour, label=f"canary, {harm:g} dB lost")
        axes.plot(*curve("one look", "Mann-Whitney", harm), color=colour, linestyle="--", marker="o", markersize=3)
    axes.plot(
        [], [], color="#646a72", linestyle="--", marker="o", markersize=3, label="Mann-Whitney, one look, images an arm"
    )
    axes.set(xscale="log", ylim=(0, 1.02), xlabel="bursts (images an arm)", ylabel="share of harms found")
    figure.legend(loc="outside upper center", frameon=False, fontsize=8, ncols=3)
    figure.savefig(HERE / "power.png", dpi=110)


def main() -> None:
    """Simulates, writes results.csv, draws."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draw", action="store_true")
    file = HERE / "results.csv"
    if not parser.parse_args().draw:
        rows = study()
        with file.open("w", newline="", encoding="utf-8") as stream:
            writer = csv.DictWriter(stream, ["question", "method", "case", "harm", "value"], lineterminator="\n")
            writer.writeheader()
            writer.writerows({**row, "value": f"{row['value']:.4f}"} for row in rows)
    with file.open(encoding="utf-8") as stream:
        draw(list(csv.DictReader(stream)))


if __name__ == "__main__":
    main()
